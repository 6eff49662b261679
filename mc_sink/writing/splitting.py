"""Split rows into several files, by rows or by bytes, and replay those that must be split differently.

The bytes of rows are not known before they are encoded: text is quoted, columns are compressed, Parquet adds headers
and a footer, and engines write long after they were fed. So each file is encoded first, and then measured.
"""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mc_sink._runtime.kept_rows import compact
from mc_sink._runtime.spill import Slot, Spill
from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    import polars as pl

    from mc_sink.writing.encoding import BatchGenerator
    from mc_sink.writing.plan import FilePlan
    from mc_sink.writing.upload_queue import UploadQueue

# The first estimate is made from this many rows, which are encoded once and dropped.
SAMPLE_ROWS = 10_000
# An estimate aims at this part of the bound: rows may take a tenth more than those before them.
AIM = 0.9
# A file below this part of its bound is encoded again with more rows, if more follow.
LEAST = 0.5
# S3 accepts no smaller part, so that nothing of a smaller file has been sent before it is finished.
UNSENT_BYTES = 5 * 2**20
# Try 4 estimates, then 4 bisections; after that, accept the largest row count known to fit.
ESTIMATES, BISECTIONS = 4, 4
# Bytes of one file's rows that are held in memory; the rest of them waits on disk.
HELD_BYTES = 32 * 2**20


class Split(Protocol):
    """A way to split rows into files."""

    def write(self, batches: BatchGenerator, plans: Iterator[FilePlan]) -> None:
        """Write the rows into files by the next plans; `batches` is pulled only where the encoder runs."""


class SplitByRows:
    """Writes files of exactly `max_rows` rows, and a last one of the rest; without `max_rows`, one file."""

    def __init__(self, queue: UploadQueue, max_rows: int | None) -> None:
        self._queue, self._max_rows = queue, max_rows or sys.maxsize

    def write(self, batches: BatchGenerator, plans: Iterator[FilePlan]) -> None:
        """Write at least one file, and no empty file after it."""
        rows = _RowsOfFiles(batches, self._max_rows)
        while not rows.ended:
            self._queue.keep(self._queue.encode(rows.of_next_file(), next(plans)))


class SplitByBytes:
    """Writes files of at most `max_bytes` bytes as stored, and of at most `max_rows` rows.

    A file that is too large is discarded before it is finished, and encoded again with fewer rows. A file below half
    its bound is encoded again with more rows, as long as nothing of it was sent. Where a file ends depends on the rows
    alone, and so is the same on every run; but for encrypted files, whose sizes differ by a few bytes each time.
    """

    def __init__(self, queue: UploadQueue, max_bytes: int, max_rows: int | None, folder: str | None) -> None:
        self._queue, self._max_bytes, self._folder = queue, max_bytes, folder
        self._max_rows = max_rows or sys.maxsize
        self._empty = 0
        self._bytes_per_row = 0.0

    def write(self, batches: BatchGenerator, plans: Iterator[FilePlan]) -> None:
        """Write at least one file, and no empty file after it."""
        with ReplayableRows(batches, self._folder) as rows:
            ended = False
            while not ended:
                plan = next(plans)
                if not self._bytes_per_row:
                    self._measure_sample(rows, plan)
                ended = self._write_one(rows, plan)

    def _measure_sample(self, rows: ReplayableRows, plan: FilePlan) -> None:
        """Measure a file without rows and a file of a few, for the first estimate."""
        _, self._empty = self._queue.measure(rows.sample(0), plan)
        if self._empty > self._max_bytes:
            raise self._too_large("A file without any rows", self._empty, plan)
        num_rows, num_bytes = self._queue.measure(rows.sample(SAMPLE_ROWS), plan)
        self._bytes_per_row = max(1.0, (num_bytes - self._empty) / max(1, num_rows))

    def _write_one(self, rows: ReplayableRows, plan: FilePlan) -> bool:
        """Encode one file until its size is good, and keep it; return whether it has the last rows."""
        search = RowCountSearch(self._max_bytes, self._empty, self._bytes_per_row, self._max_rows)
        while True:
            file = self._queue.encode(rows.take(search.num_rows), plan, self._max_bytes)
            search.record(file.num_rows, file.num_bytes)
            ended = rows.ends_with(file.num_rows)
            if search.is_full or (search.fits and ended):
                break
            self._queue.redo(file)
            if file.num_rows == 1 and not search.fits:
                row = f"Row {self._queue.num_rows:,} (from 0, in the order of the files)"
                raise self._too_large(f"{row} alone", file.num_bytes, plan)
        if not ended:  # the last file is as small as it happens to be, and no basis for an estimate
            self._bytes_per_row = search.bytes_per_row
        rows.drop(file.num_rows)
        self._queue.keep(file)
        return ended

    def _too_large(self, what: str, num_bytes: int, plan: FilePlan) -> ConfigurationError:
        return ConfigurationError(
            f"{what} takes {num_bytes:,} bytes as {plan.extension}, and max_bytes_per_file is "
            f"{self._max_bytes:,} ({plan.target.url}). Raise max_bytes_per_file."
        )


class _RowsOfFiles:
    """Divides batches into files of at most `max_rows` rows; looks one batch ahead, so that no file is empty.

    Batches are pulled only through `of_next_file`, so that all of the query runs where the encoder does.
    """

    def __init__(self, batches: BatchGenerator, max_rows: int) -> None:
        self._batches, self._max_rows = batches, max_rows
        self._ahead: pl.DataFrame | None = None
        self.ended = False

    def of_next_file(self) -> BatchGenerator:
        """Yield the batches of the next file."""
        left = self._max_rows
        while left and (batch := self._take()) is not None:
            taken = batch.head(left)
            left -= taken.height
            self._ahead = batch.slice(taken.height) if taken.height < batch.height else None
            yield taken
        self._ahead = self._take()
        self.ended = self._ahead is None

    def _take(self) -> pl.DataFrame | None:
        """Return the rest of a batch, or the next batch that has rows."""
        ahead, self._ahead = self._ahead, None
        return ahead if ahead is not None else next((batch for batch in self._batches if batch.height), None)


@dataclass(slots=True)
class RowCountSearch:
    """The search for the number of rows of one file.

    `empty` is the bytes of a file without rows, `bytes_per_row` the first estimate.
    """

    max_bytes: int
    empty: int
    bytes_per_row: float
    max_rows: int = sys.maxsize
    _fits: tuple[int, int] = (0, 0)
    _too_large: tuple[int, int] | None = None
    _last: tuple[int, int] = (0, 0)
    _attempts: int = 0

    @property
    def num_rows(self) -> int:
        """Rows of the next attempt; the largest number known to fit, after all estimates and bisections."""
        least, most = self._fits[0] + 1, self._most
        if self._attempts >= ESTIMATES + BISECTIONS and self._fits[0]:
            return self._fits[0]
        if self._attempts >= ESTIMATES and self._too_large:
            return max(1, (self._fits[0] + most) // 2)
        return max(1, min(max(self._estimate(), least), most))

    def record(self, num_rows: int, num_bytes: int) -> None:
        """Record the rows and bytes of an attempt."""
        self._attempts += 1
        self._last = num_rows, num_bytes
        if num_bytes > self.max_bytes:
            self._too_large = self._last
            if num_rows <= self._fits[0]:  # an encryption of the same rows may be some bytes larger the next time
                self._fits = (0, 0)
        else:
            self._fits = self._last
        self.bytes_per_row = max((num_bytes - self.empty) / max(1, num_rows), 1 / 1024)

    @property
    def fits(self) -> bool:
        """Whether the last attempt is within the bound."""
        return self._last[1] <= self.max_bytes

    @property
    def is_full(self) -> bool:
        """Whether the last attempt fits, and is large enough or can't well be made larger."""
        num_rows, num_bytes = self._last
        is_large = num_bytes >= min(LEAST * self.max_bytes, UNSENT_BYTES)
        return self.fits and (is_large or num_rows >= self._most or self._attempts >= ESTIMATES + BISECTIONS)

    @property
    def _most(self) -> int:
        return min(self._too_large[0] - 1 if self._too_large else sys.maxsize, self.max_rows)

    def _estimate(self) -> int:
        """Estimate by interpolation between the rows that fit and those that don't, or by extrapolation."""
        rows, num_bytes = self._fits if self._fits[0] else (0, self.empty)
        slope = self.bytes_per_row
        if self._too_large:
            slope = max((self._too_large[1] - num_bytes) / (self._too_large[0] - rows), 1 / 1024)
        return rows + int((AIM * self.max_bytes - num_bytes) / slope)


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """A batch in memory, or in a slot on disk, with its number of rows and its bytes in memory."""

    batch: pl.DataFrame | Slot
    num_rows: int
    num_bytes: int


class ReplayableRows:
    """The rows of a source, which can be taken repeatedly until they are dropped; pulled when they are first taken.

    At most `HELD_BYTES` and a batch are in memory; other rows that were taken and not dropped are on disk.
    """

    def __init__(self, batches: BatchGenerator, folder: str | None, *, held_bytes: int = HELD_BYTES) -> None:
        self._batches, self._spill, self._held_bytes = batches, Spill(folder), held_bytes
        self._held: deque[_Held] = deque()
        self._num_rows = self._in_memory = 0
        self._exhausted = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._spill.close()

    def ends_with(self, num_rows: int) -> bool:
        """Return whether no rows follow the next `num_rows`, which have been taken."""
        return self._exhausted and self._num_rows == num_rows

    def take(self, num_rows: int) -> BatchGenerator:
        """Yield at most `num_rows` of the next rows, and look ahead for more."""
        left = num_rows
        for held in tuple(self._held):
            if not left:
                break
            batch = self._load(held).head(left)
            left -= batch.height
            yield batch
        while left and (pulled := self._pull()) is not None:
            batch = pulled.head(left)
            left -= batch.height
            yield batch
        while self._num_rows <= num_rows and self._pull() is not None:
            pass

    def sample(self, num_rows: int) -> BatchGenerator:
        """Yield at most `num_rows` rows of the next batch."""
        if self._held or self._pull() is not None:
            yield self._load(self._held[0]).head(num_rows)

    def drop(self, num_rows: int) -> None:
        """Drop the next `num_rows` rows."""
        while num_rows:
            held = self._forget()
            if held.num_rows > num_rows:
                self._hold(self._load(held).slice(num_rows), first=True)
            num_rows -= min(num_rows, held.num_rows)
        if not any(isinstance(held.batch, Slot) for held in self._held):
            self._spill.close()

    def _pull(self) -> pl.DataFrame | None:
        """Pull, hold and return another batch; return None at the end of the source."""
        batch = None if self._exhausted else next((batch for batch in self._batches if batch.height), None)
        if batch is None:
            self._exhausted = True
        else:
            self._hold(batch)
        return batch

    def _hold(self, batch: pl.DataFrame, *, first: bool = False) -> None:
        num_bytes = int(batch.estimated_size())
        parked = not first and self._in_memory + num_bytes > self._held_bytes
        held = _Held(self._spill.append(batch) if parked else compact(batch), batch.height, num_bytes)
        self._in_memory += 0 if parked else num_bytes
        self._num_rows += batch.height
        if first:
            self._held.appendleft(held)
        else:
            self._held.append(held)

    def _forget(self) -> _Held:
        held = self._held.popleft()
        self._num_rows -= held.num_rows
        self._in_memory -= 0 if isinstance(held.batch, Slot) else held.num_bytes
        return held

    def _load(self, held: _Held) -> pl.DataFrame:
        return self._spill.read(held.batch) if isinstance(held.batch, Slot) else held.batch
