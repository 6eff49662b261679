"""Rows of a delivery by their keys, in buckets on disk where they are many, and the order that they came in.

    batches ─► a lot in memory ─(full)─► 256 buckets on disk ─► as many buckets at a time as fit
                                                                └─(one alone doesn't fit)─► 256 finer buckets ─► …

The hash only says in which bucket a row lies; what decides are the keys themselves.

rows ─► a lot in memory ─(full)─► ranges of numbers on disk ─► one range at a time, sorted
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from mc_sink._runtime.batches import BATCH_BYTES, Regroup
from mc_sink._runtime.kept_rows import Slot, Spill, compact
from mc_sink.comparison.join import ROW, Duplicates, hashed, refuse_duplicates

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Self

_BUCKET = "bucket"
_BUCKETS = 256
# Three splits give 16 M buckets: whatever doesn't fit then is one key over and over, or a few huge rows.
_DEEPEST = 2
_RANGE = "range"
# A range that is too large is cut into so many.
_FINER = 64


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many bytes of rows are held: `lot` before they are parked, `pair` of both sides when they are compared."""

    lot: int = 32 * 2**20
    pair: int = 64 * 2**20


class KeyBuckets:
    """Takes the rows of one side; each column called by its place, and `ROW`, the row's number in that side.

    Memory: two lots, and 16 bytes for each lot and bucket. Disk: the rows once, as Arrow has them, and those of buckets
    that have to be split again once more.
    """

    def __init__(self, empty: pl.DataFrame, duplicates: Duplicates, bounds: Bounds, *, depth: int = 0) -> None:
        self.empty, self.duplicates, self.bounds, self.depth = empty, duplicates, bounds, depth
        self.num_rows = 0
        self._spill = Spill()
        self._waiting: list[pl.DataFrame] = []
        self._num_waiting = 0
        self._slots = [array("Q") for _ in range(_BUCKETS)]
        self._sizes = [0] * _BUCKETS

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._waiting.clear()
        self._spill.close()

    def fill(self, batches: Iterable[pl.DataFrame]) -> None:
        """Take all rows of the side; without `ROW`, they are numbered as they come."""
        for batch in map(compact, batches):
            self._waiting.append(batch if ROW in batch.columns else numbered(batch, self.num_rows))
            self.num_rows += batch.height
            self._num_waiting += int(batch.estimated_size())
            if self._num_waiting > self.bounds.lot:
                self.park()

    @property
    def num_bytes(self) -> int:
        """Bytes of all rows, about."""
        return self._spill.num_bytes + self._num_waiting

    @property
    def parked(self) -> bool:
        """Whether anything is on the disk; else all rows are in memory."""
        return self._spill.num_bytes > 0

    def park(self) -> None:
        """Put the rows that wait on the disk."""
        if not self._waiting:
            return
        rows = pl.concat(self._waiting, rechunk=False)
        self._waiting, self._num_waiting = [], 0
        bucket = (hashed(self.duplicates.keys, self.depth) % _BUCKETS).cast(pl.UInt16).alias(_BUCKET)
        for (number,), found in rows.with_columns(bucket).partition_by(_BUCKET, as_dict=True).items():
            found.drop_in_place(_BUCKET)
            slot = self._spill.append(found)
            self._slots[int(number)].extend(slot)
            self._sizes[int(number)] += slot.length

    def size(self, number: int) -> int:
        """Bytes in a bucket."""
        return self._sizes[number]

    def pieces(self, numbers: Iterable[int]) -> Iterator[pl.DataFrame]:
        """Read buckets, piece by piece."""
        for number in numbers:
            places = self._slots[number]
            for offset, length in zip(places[::2], places[1::2], strict=True):
                yield self._spill.read(Slot(offset, length))

    def read(self, numbers: Iterable[int]) -> pl.DataFrame:
        """Read buckets whole, counting duplicates; what waits is in none, and there while nothing was parked."""
        pieces = [*self._waiting, *self.pieces(numbers)]
        rows = pl.concat(pieces, rechunk=False) if pieces else self.empty
        self.duplicates.look(rows)
        return rows

    def refuse_one_key(self, numbers: Iterable[int]) -> None:
        """Refuse a bucket that is too large because few keys fill it, without reading all of it."""
        held: list[pl.DataFrame] = []
        num_held = 0
        for piece in self.pieces(numbers):
            held.append(piece.select(*self.duplicates.keys, ROW))
            num_held += int(piece.estimated_size())
            if num_held > self.bounds.pair:
                self.duplicates.look(pl.concat(held, rechunk=False))
                refuse_duplicates(self.duplicates, partly=True)
                num_held = 0

    def finer(self) -> KeyBuckets:
        """Make a side for the rows of one bucket, which parts them by another hash."""
        return KeyBuckets(self.empty, self.duplicates, self.bounds, depth=self.depth + 1)


def numbered(batch: pl.DataFrame, first: int) -> pl.DataFrame:
    """Give the batch with its rows numbered, from `first` on."""
    return batch.with_columns(pl.int_range(first, first + batch.height, dtype=pl.UInt64, eager=True).alias(ROW))


def pairs(now: KeyBuckets, before: KeyBuckets) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Yield the rows of both sides, equal keys together, no more at a time than the bounds say; count duplicates.

    Only rows that are huge themselves pass the bounds. One key over and over ends in `ConfigurationError`.
    """
    if not now.parked and not before.parked and now.num_bytes + before.num_bytes <= now.bounds.pair:
        yield now.read(()), before.read(())
        return
    now.park()
    before.park()
    for numbers in _groups(now, before):
        fits = sum(map(now.size, numbers)) + sum(map(before.size, numbers)) <= now.bounds.pair
        if not fits and now.depth < _DEEPEST:
            yield from _finer_pairs(now, before, numbers)
            continue
        if not fits:
            now.refuse_one_key(numbers)
            before.refuse_one_key(numbers)
        yield now.read(numbers), before.read(numbers)


def _finer_pairs(
    now: KeyBuckets, before: KeyBuckets, numbers: list[int]
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    with ExitStack() as stack:
        sides = [stack.enter_context(side.finer()) for side in (now, before)]
        for coarse, fine in zip((now, before), sides, strict=True):
            fine.fill(coarse.pieces(numbers))
        yield from pairs(*sides)


def _groups(now: KeyBuckets, before: KeyBuckets) -> Iterator[list[int]]:
    """Put neighbouring buckets together while they fit; one that doesn't fit is alone."""
    group: list[int] = []
    held = 0
    for number in range(_BUCKETS):
        size = now.size(number) + before.size(number)
        if group and held + size > now.bounds.pair:
            yield group
            group, held = [], 0
        if size:
            group.append(number)
            held += size
    if group:
        yield group


class RowOrderBuffer:
    """Takes rows with their numbers (`ROW`), and gives them back sorted, without the numbers.

    `rows_in_range` is how many numbers lie in a range; one range is held and sorted at a time, and one of more than two
    lots in parts. Memory beside it: two lots. Nothing goes to the disk until a lot is full.
    """

    def __init__(self, rows_in_range: int, lot: int) -> None:
        self._rows_in_range, self._lot = rows_in_range, lot
        self.num_rows = 0
        self._spill = Spill()
        self._waiting: list[pl.DataFrame] = []
        self._num_waiting = 0
        self._slots: dict[int, array[int]] = defaultdict(lambda: array("Q"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._waiting.clear()
        self._spill.close()

    def add(self, rows: pl.DataFrame) -> None:
        """Take rows."""
        if rows.is_empty():
            return
        self.num_rows += rows.height
        self._waiting.append(compact(rows))
        self._num_waiting += int(rows.estimated_size())
        if self._num_waiting > self._lot:
            self._park()

    def batches(self, row_group_size: int) -> Iterator[pl.DataFrame]:
        """Yield all rows in order, `row_group_size` of them at a time, or fewer if they are wide; once."""
        regroup = Regroup(row_group_size, BATCH_BYTES)
        for rows in self._ranges():
            yield from regroup.add(rows.drop(ROW))
        yield from regroup.rest()

    def _ranges(self) -> Iterator[pl.DataFrame]:
        if self._slots:
            self._park()
            for number in sorted(self._slots):
                places = self._slots.pop(number)
                pieces = (self._spill.read(Slot(*place)) for place in zip(places[::2], places[1::2], strict=True))
                if sum(places[1::2]) > 2 * self._lot and self._rows_in_range > 1:
                    yield from self._finer(pieces)
                else:
                    yield _sorted(list(pieces))
        elif self._waiting:
            waiting, self._waiting = self._waiting, []
            yield _sorted(waiting)

    def _finer(self, pieces: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Yield the rows of a range that has far wider rows than most, as ranges of fewer numbers."""
        with RowOrderBuffer(max(1, self._rows_in_range // _FINER), self._lot) as finer:
            for piece in pieces:
                finer.add(piece)
            yield from finer._ranges()

    def _park(self) -> None:
        if not self._waiting:
            return
        rows = pl.concat(self._waiting, rechunk=False)
        self._waiting, self._num_waiting = [], 0
        ranged = rows.with_columns((pl.col(ROW) // self._rows_in_range).alias(_RANGE))
        for (number,), found in ranged.partition_by(_RANGE, as_dict=True).items():
            found.drop_in_place(_RANGE)
            self._slots[int(number)].extend(self._spill.append(found))


def _sorted(pieces: list[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(pieces, rechunk=False).sort(ROW)
