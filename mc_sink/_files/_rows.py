"""Rows that can be read again until they are done with, for a file that has to be cut anew."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mc_sink._spill import Slot, Spill, compact

if TYPE_CHECKING:
    from typing import Self

    import polars as pl

    from mc_sink._files._feed import BatchGenerator

# What is held in memory of the rows of one file; the rest of them waits on the disk.
HELD_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """A batch that is held, in memory or in a slot on the disk, and its rows and its bytes in memory."""

    batch: pl.DataFrame | Slot
    num_rows: int
    num_bytes: int


class Rows:
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
