"""Rows → files of one partition each, in bounded memory, whatever the order of the rows.

    sorted so far    ──► straight into the file of the one partition that is open, which closes where it ends
    no longer sorted ──► all that follows is parked, and written partition by partition when everything has come

Rows are looked at a row group ahead: a partition that comes back within it, or that was closed before, ends the
straight way for good. What was closed by then stays as it is, and more rows of it make a further file. Where a template
has no number for a further file, all rows are parked, so that a partition is one file.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from mc_sink._files._feed import consume, promised
from mc_sink._files._shelf import Shelf
from mc_sink._regroup import regrouped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import polars as pl

    from mc_sink._files._delivery_plan import DeliveryPlan
    from mc_sink._files._feed import BatchGenerator
    from mc_sink._files._file import FilePlan
    from mc_sink._files._rolls import Rolls
    from mc_sink.partitions import Partition, Partitioning

    Run = tuple[Partition, pl.DataFrame]


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
    partitioning, schema, batch_rows = plan.partitioning, plan.schema, plan.row_group_size
    begun: dict[Partition, Iterator[FilePlan]] = {}

    def plans(partition: Partition) -> Iterator[FilePlan]:
        return begun.setdefault(partition, plan.files(partitioning.file_schema, partition))

    windows = regrouped(promised(batches, schema), batch_rows)
    runs = _Runs(windows, partitioning)
    if plan.names.are_numbered:
        consume(runs.start(), schema)
    while (partition := runs.current) is not None:
        rolls.write(runs.run(partition), plans(partition))
    with Shelf(partitioning, plan.folder) as shelf:
        consume(shelf.fill(runs.rest() if plan.names.are_numbered else windows), schema)
        for partition in shelf.partitions:
            rows = regrouped(shelf.rows(partition), batch_rows)
            rolls.write(rows, plans(partition))
