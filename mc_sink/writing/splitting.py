"""Split rows into several files, by rows or by bytes, and replay those that must be split differently.

Nobody can tell what rows will come to before they are encoded: text is quoted, columns are compressed, Parquet adds a
page header here and a footer there, and engines write long after they were fed. So a file is made, and looked at.
"""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mc_sink._runtime.kept_rows import Slot, Spill, compact
from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    import polars as pl

    from mc_sink.writing.encoding import BatchGenerator
    from mc_sink.writing.plan import FilePlan
    from mc_sink.writing.upload_queue import UploadQueue

# What the first file is guessed from, encoded once for nothing.
SAMPLE_ROWS = 10_000
# The next file is aimed at so much of its bound: rows may take a tenth more than those before them.
AIM = 0.9
# A smaller file is made anew with more rows, where there are more.
LEAST = 0.5
# S3 takes no smaller part, so that nothing of a smaller file has been sent before it is finished.
UNSENT_BYTES = 5 * 2**20
# Guesses, and then halvings of what is left to guess, before any number of rows that fits will do.
GUESSES, HALVINGS = 4, 4
# What is held in memory of the rows of one file; the rest of them waits on the disk.
HELD_BYTES = 32 * 2**20


class Rolls(Protocol):
    """A way to cut rows into files."""

    def write(self, batches: BatchGenerator, plans: Iterator[FilePlan]) -> None:
        """Make one file or more of the rows, by the next plans; all of `batches` is pulled where the encoder runs."""


class SplitByRows:
    """Files of at most `max_rows` rows each, all full but the last; of all rows where that is None."""

    def __init__(self, staging: UploadQueue, max_rows: int | None) -> None:
        self._staging, self._max_rows = staging, max_rows or sys.maxsize

    def write(self, batches: BatchGenerator, plans: Iterator[FilePlan]) -> None:
        """Make at least one file, and no empty one after it."""
        lots = _Lots(batches, self._max_rows)
        while not lots.ended:
            self._staging.keep(self._staging.encode(lots.lot(), next(plans)))


class SplitByBytes:
    """Files of at most `max_bytes` bytes each, as stored, and of at most `max_rows` rows.

    A file that came out larger is thrown away before it is finished, and made anew of fewer rows; so is one that came
    out under half its bound, of more rows, as long as nothing of it was sent. Where a file is cut depends on the rows
    alone, and so it is the same on every run.
    """

    def __init__(self, staging: UploadQueue, max_bytes: int, max_rows: int | None, folder: str | None) -> None:
        self._staging, self._max_bytes, self._folder = staging, max_bytes, folder
        self._max_rows = max_rows or sys.maxsize
        self._empty = 0
        self._bytes_per_row = 0.0

    def write(self, batches: BatchGenerator, plans: Iterator[FilePlan]) -> None:
        """Make at least one file, and no empty one after it."""
        with ReplayableRows(batches, self._folder) as rows:
            ended = False
            while not ended:
                plan = next(plans)
                if not self._bytes_per_row:
                    self._learn(rows, plan)
                ended = self._write_one(rows, plan)

    def _learn(self, rows: ReplayableRows, plan: FilePlan) -> None:
        """Measure a file without rows, and one of a few."""
        _, self._empty = self._staging.measure(_nothing(), plan)
        if self._empty > self._max_bytes:
            raise self._too_large("A file without any rows", self._empty, plan)
        num_rows, num_bytes = self._staging.measure(rows.sample(SAMPLE_ROWS), plan)
        self._bytes_per_row = max(1.0, (num_bytes - self._empty) / max(1, num_rows))

    def _write_one(self, rows: ReplayableRows, plan: FilePlan) -> bool:
        """Keep the first try that is worth it, and say whether there are no more rows."""
        search = Search(self._max_bytes, self._empty, self._bytes_per_row, self._max_rows)
        while True:
            file = self._staging.encode(rows.take(search.num_rows), plan, self._max_bytes)
            search.note(file.num_rows, file.num_bytes)
            ended = rows.ends_with(file.num_rows)
            if search.is_full or (search.fits and ended):
                break
            self._staging.redo(file)
            if file.num_rows == 1 and not search.fits:
                row = f"Row {self._staging.num_rows:,} (from 0, in the order of the files)"
                raise self._too_large(f"{row} alone", file.num_bytes, plan)
        if not ended:  # the last file of all says little: it is as small as it happens to be
            self._bytes_per_row = search.bytes_per_row
        rows.drop(file.num_rows)
        self._staging.keep(file)
        return ended

    def _too_large(self, what: str, num_bytes: int, plan: FilePlan) -> ConfigurationError:
        return ConfigurationError(
            f"{what} takes {num_bytes:,} bytes as {plan.format.extension}, and max_bytes_per_file is "
            f"{self._max_bytes:,} ({plan.target.url}). Raise it."
        )


class _Lots:
    """Batches, dealt out in lots of at most `max_rows` rows; looks one batch ahead, so that no lot is empty.

    Only lots are pulled from, and so all of the query runs where the encoder does.
    """

    def __init__(self, batches: BatchGenerator, max_rows: int) -> None:
        self._batches, self._max_rows = batches, max_rows
        self._ahead: pl.DataFrame | None = None
        self.ended = False

    def lot(self) -> BatchGenerator:
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
        """Give what is left of a batch, or the next one that has rows."""
        ahead, self._ahead = self._ahead, None
        return ahead if ahead is not None else next((batch for batch in self._batches if batch.height), None)


def _nothing() -> BatchGenerator:
    yield from ()


@dataclass(slots=True)
class Search:
    """The search for one file's rows; `empty` is the bytes of a file without any, `bytes_per_row` is a first guess."""

    max_bytes: int
    empty: int
    bytes_per_row: float
    max_rows: int = sys.maxsize
    _fits: tuple[int, int] = (0, 0)
    _too_large: tuple[int, int] | None = None
    _last: tuple[int, int] = (0, 0)
    _tries: int = 0

    @property
    def num_rows(self) -> int:
        """Rows to try next; what is known to fit again, when guessing and halving were of no use."""
        least, most = self._fits[0] + 1, self._most
        if self._tries >= GUESSES + HALVINGS and self._fits[0]:
            return self._fits[0]
        if self._tries >= GUESSES and self._too_large:
            return max(1, (self._fits[0] + most) // 2)
        return max(1, min(max(self._guess(), least), most))

    def note(self, num_rows: int, num_bytes: int) -> None:
        """Learn what so many rows came to."""
        self._tries += 1
        self._last = num_rows, num_bytes
        if num_bytes > self.max_bytes:
            self._too_large = self._last
        else:
            self._fits = self._last
        self.bytes_per_row = max((num_bytes - self.empty) / max(1, num_rows), 1 / 1024)

    @property
    def fits(self) -> bool:
        """Whether the last try is within the bound."""
        return self._last[1] <= self.max_bytes

    @property
    def is_full(self) -> bool:
        """Whether the last try fits and is worth being a file, or can't well be made larger."""
        num_rows, num_bytes = self._last
        worth = num_bytes >= min(LEAST * self.max_bytes, UNSENT_BYTES)
        return self.fits and (worth or num_rows >= self._most or self._tries >= GUESSES + HALVINGS)

    @property
    def _most(self) -> int:
        return min(self._too_large[0] - 1 if self._too_large else sys.maxsize, self.max_rows)

    def _guess(self) -> int:
        """Draw a line: between what fits and what doesn't, or on from what is known."""
        rows, num_bytes = self._fits if self._fits[0] else (0, self.empty)
        slope = self.bytes_per_row
        if self._too_large:
            slope = max((self._too_large[1] - num_bytes) / (self._too_large[0] - rows), 1 / 1024)
        return rows + int((AIM * self.max_bytes - num_bytes) / slope)


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """A batch that is held, in memory or in a slot on the disk, and its rows and its bytes in memory."""

    batch: pl.DataFrame | Slot
    num_rows: int
    num_bytes: int


class ReplayableRows:
    """Rows of a source, taken as often as need be, and dropped when they are done with; pulled when they are taken.

    At most `HELD_BYTES` and a batch are held in memory; the rest of what was taken and not dropped is on the disk.
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
        """Whether so many rows, which have been taken, are all that are left."""
        return self._exhausted and self._num_rows == num_rows

    def take(self, num_rows: int) -> BatchGenerator:
        """Yield the next rows, at most so many, and look ahead whether there are more."""
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
        """Yield the first rows of the next batch, at most so many."""
        if self._held or self._pull() is not None:
            yield self._load(self._held[0]).head(num_rows)

    def drop(self, num_rows: int) -> None:
        """Be done with so many rows."""
        while num_rows:
            held = self._forget()
            if held.num_rows > num_rows:
                self._hold(self._load(held).slice(num_rows), first=True)
            num_rows -= min(num_rows, held.num_rows)
        if not any(isinstance(held.batch, Slot) for held in self._held):
            self._spill.close()

    def _pull(self) -> pl.DataFrame | None:
        """Hold one batch more, and give it, if there is one."""
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
