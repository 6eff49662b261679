"""Write one set of files for each partition, in bounded memory, whatever the order of the rows.

    sorted so far    ──► straight into the file of the one partition that is open, which closes where it ends
    no longer sorted ──► all that follows is parked, and written partition by partition when everything has come

Rows are looked at a row group ahead: a partition that comes back within it, or that was closed before, ends the
straight way for good. What was closed by then stays as it is, and more rows of it make a further file. Where a template
has no number for a further file, all rows are parked, so that a partition is one file.

Rows wait in memory until they make a lot of `LOT_BYTES`, so that what a partition writes to the disk at once is worth
it: with a thousand partitions, 32 KiB. While a lot is sorted into its partitions there are two copies of it. The last
lot, which is the only one of a small delivery, stays in memory.
"""

from __future__ import annotations

from array import array
from collections import deque
from typing import TYPE_CHECKING

import polars as pl

from mc_sink._runtime.batches import regrouped
from mc_sink._runtime.kept_rows import Slot, Spill, compact
from mc_sink.writing.encoding import consume, promised

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Self

    from mc_sink.keys import Partition, Partitioning
    from mc_sink.writing.encoding import BatchGenerator
    from mc_sink.writing.plan import DeliveryPlan, FilePlan
    from mc_sink.writing.splitting import Rolls

    Run = tuple[Partition, pl.DataFrame]

LOT_BYTES = 32 * 2**20


class _Runs:
    """Windows of rows, dealt out as runs of one partition each, as long as no partition comes back."""

    def __init__(self, windows: BatchGenerator, partitioning: Partitioning) -> None:
        self._windows, self._partitioning = windows, partitioning
        self._ahead: deque[Run] = deque()
        self._closed: set[Partition] = set()
        self._unsorted: pl.DataFrame | None = None

    @property
    def current(self) -> Partition | None:
        """The partition of the next run; None where there is none, or the order ended."""
        return self._ahead[0][0] if self._ahead else None

    def start(self) -> BatchGenerator:
        """Look at the first window."""
        self._look_ahead(None)
        yield from ()

    def run(self, partition: Partition) -> BatchGenerator:
        """Yield the rows of the current partition, and look at what comes after them."""
        while self._ahead and self._ahead[0][0] == partition:
            yield self._ahead.popleft()[1]
            if not self._ahead:
                self._look_ahead(partition)
        self._closed.add(partition)

    def rest(self) -> BatchGenerator:
        """Yield the window in which the order ended, and all after it; nothing where all rows were sorted."""
        if self._unsorted is not None:
            window, self._unsorted = self._unsorted, None
            yield window
            yield from self._windows

    def _look_ahead(self, current: Partition | None) -> None:
        """Look at the next window: whether every partition in it is new, but for the current one at its beginning."""
        window = next(self._windows, None)
        if window is None:
            return
        runs = self._partitioning.runs(window)
        if runs is None or not self._closed.union({current}).isdisjoint(self._begun_in(runs, current)):
            self._unsorted = window
        else:
            self._ahead.extend(runs)

    def _begun_in(self, runs: Sequence[Run], current: Partition | None) -> set[Partition]:
        """Give the partitions that begin, or begin again, in a window."""
        return {partition for number, (partition, _) in enumerate(runs) if number or partition != current}


def write_partitions(batches: BatchGenerator, plan: DeliveryPlan, rolls: Rolls) -> None:
    """Make files of all rows, one partition after the other; a partition that comes back gets further files."""
    partitioning, schema, batch_rows = plan.spec.partitioning(plan.schema), plan.schema, plan.spec.row_group_size
    begun: dict[Partition, Iterator[FilePlan]] = {}

    def plans(partition: Partition) -> Iterator[FilePlan]:
        return begun.setdefault(partition, plan.files(partitioning.file_schema, partition))

    windows = regrouped(promised(batches, schema), batch_rows)
    runs = _Runs(windows, partitioning)
    if plan.spec.names.are_numbered:
        consume(runs.start(), schema)
    while (partition := runs.current) is not None:
        rolls.write(runs.run(partition), plans(partition))
    with PartitionBuffer(partitioning, plan.folder) as shelf:
        consume(shelf.fill(runs.rest() if plan.spec.names.are_numbered else windows), schema)
        for partition in shelf.partitions:
            rows = regrouped(shelf.rows(partition), batch_rows)
            rolls.write(rows, plans(partition))


class PartitionBuffer:
    """Takes batches, and then gives the rows of each partition in the order in which they came.

    Memory: two lots, and 16 bytes for each lot of each partition. Disk: the rows once, as Arrow has them.
    """

    def __init__(self, partitioning: Partitioning, folder: str | None, *, lot_bytes: int = LOT_BYTES) -> None:
        self._partitioning, self._spill, self._lot_bytes = partitioning, Spill(folder), lot_bytes
        self._waiting: list[pl.DataFrame] = []
        self._num_bytes = 0
        self._slots: dict[Partition, array[int]] = {}
        self._last: dict[Partition, pl.DataFrame] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._spill.close()

    def fill(self, batches: BatchGenerator) -> BatchGenerator:
        """Park all batches, passing each on when it is parked."""
        for batch in batches:
            self._waiting.append(compact(batch))
            self._num_bytes += int(batch.estimated_size())
            if self._num_bytes > self._lot_bytes:
                self._park()
            yield batch
        self._last = dict(self._sorted_lot())

    @property
    def partitions(self) -> list[Partition]:
        """The partitions that have rows here, by their keys."""
        return sorted({**self._slots, **self._last}, key=lambda partition: partition.folder)

    def rows(self, partition: Partition) -> BatchGenerator:
        """Yield the rows of one partition, once."""
        places = self._slots.pop(partition, array("Q"))
        for offset, length in zip(places[::2], places[1::2], strict=True):
            yield self._spill.read(Slot(offset, length))
        if (last := self._last.pop(partition, None)) is not None:
            yield last

    def _park(self) -> None:
        for partition, rows in self._sorted_lot():
            self._slots.setdefault(partition, array("Q")).extend(self._spill.append(rows))

    def _sorted_lot(self) -> list[tuple[Partition, pl.DataFrame]]:
        waiting, self._waiting, self._num_bytes = self._waiting, [], 0
        return self._partitioning.groups(pl.concat(waiting, rechunk=False)) if waiting else []
