"""Write one set of files for each partition, in bounded memory, for rows in any order.

    sorted so far    ──► streamed into the file of the current partition, which is closed where the partition ends
    no longer sorted ──► all remaining rows are buffered on disk, and written partition by partition at the end

We look one row group ahead. The first partition that reappears ends streaming: all remaining rows are buffered. Files
that were closed by then stay as they are, and more rows of their partitions make further files. If the template has no
number for a further file, all rows are buffered, so that a partition is one file.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from mc_sink._runtime.batches import regrouped
from mc_sink._runtime.spill import Buckets
from mc_sink.writing.encoding import consume, promised

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    import polars as pl

    from mc_sink.keys import Partition, Partitioning
    from mc_sink.writing.encoding import BatchGenerator
    from mc_sink.writing.plan import DeliveryPlan, FilePlan
    from mc_sink.writing.splitting import Split

    Run = tuple[Partition, pl.DataFrame]

LOT_BYTES = 32 * 2**20


class _SortedRuns:
    """Divides windows of rows into runs of one partition each, until a partition reappears."""

    def __init__(self, windows: BatchGenerator, partitioning: Partitioning) -> None:
        self._windows, self._partitioning = windows, partitioning
        self._ahead: deque[Run] = deque()
        self._closed: set[Partition] = set()
        self._unsorted: pl.DataFrame | None = None

    @property
    def current(self) -> Partition | None:
        """The partition of the next run; None at the end of the sorted rows."""
        return self._ahead[0][0] if self._ahead else None

    def start(self) -> BatchGenerator:
        """Look at the first window; yield nothing."""
        self._look_ahead(None)
        yield from ()

    def run(self, partition: Partition) -> BatchGenerator:
        """Yield the rows of the current partition, and look at the rows after them."""
        while self._ahead and self._ahead[0][0] == partition:
            yield self._ahead.popleft()[1]
            if not self._ahead:
                self._look_ahead(partition)
        self._closed.add(partition)

    def rest(self) -> BatchGenerator:
        """Yield the window in which a partition reappeared, and all windows after it; nothing if all were sorted."""
        if self._unsorted is not None:
            window, self._unsorted = self._unsorted, None
            yield window
            yield from self._windows

    def _look_ahead(self, current: Partition | None) -> None:
        """Add the runs of the next window, if each begins a new partition; the first may go on with the current."""
        window = next(self._windows, None)
        if window is None:
            return
        runs = self._partitioning.runs(window)
        begun = {partition for number, (partition, _) in enumerate(runs or ()) if number or partition != current}
        if runs is None or not begun.isdisjoint({*self._closed, current}):
            self._unsorted = window
        else:
            self._ahead.extend(runs)


def write_partitions(batches: BatchGenerator, plan: DeliveryPlan, split: Split) -> None:
    """Write the files of all rows, one partition after the other; a partition that reappears gets further files."""
    partitioning, schema, batch_rows = plan.spec.partitioning(plan.schema), plan.schema, plan.spec.row_group_size
    begun: dict[Partition, Iterator[FilePlan]] = {}

    def plans(partition: Partition) -> Iterator[FilePlan]:
        return begun.setdefault(partition, plan.files(partitioning.file_schema, partition))

    windows = regrouped(promised(batches, schema), batch_rows)
    runs = _SortedRuns(windows, partitioning)
    if plan.spec.names.are_numbered:
        consume(runs.start(), schema)
    while (partition := runs.current) is not None:
        split.write(runs.run(partition), plans(partition))
    with PartitionBuffer(partitioning, plan.folder) as buffer:
        consume(buffer.fill(runs.rest() if plan.spec.names.are_numbered else windows), schema)
        for partition in buffer.partitions:
            split.write(regrouped(buffer.rows(partition), batch_rows), plans(partition))


class PartitionBuffer:
    """Collects batches, and then yields the rows of each partition in the order in which they came.

    Memory and disk are those of `Buckets`. The rows of a small delivery, which make only one lot, stay in memory.
    """

    def __init__(self, partitioning: Partitioning, folder: str | None, *, lot_bytes: int = LOT_BYTES) -> None:
        self._partitioning = partitioning
        self._buckets = Buckets(partitioning.groups, lot_bytes, folder)
        self._in_memory: dict[Partition, pl.DataFrame] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._in_memory.clear()
        self._buckets.close()

    def fill(self, batches: BatchGenerator) -> BatchGenerator:
        """Keep all batches, and yield each of them once it is kept."""
        for batch in batches:
            self._buckets.add(batch)
            yield batch
        if self._buckets.is_parked:
            self._buckets.park()
        elif (lot := self._buckets.take_lot()) is not None:
            self._in_memory = dict(self._partitioning.groups(lot))

    @property
    def partitions(self) -> list[Partition]:
        """The partitions that have rows here, by their keys."""
        return sorted({*self._buckets.keys, *self._in_memory}, key=lambda partition: partition.folder)

    def rows(self, partition: Partition) -> BatchGenerator:
        """Yield the rows of one partition, once."""
        yield from self._buckets.read(partition)
        if (rows := self._in_memory.pop(partition, None)) is not None:
            yield rows
