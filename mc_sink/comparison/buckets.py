"""Divide the rows of a delivery by their keys, on disk where they are many, and restore the order that they came in.

    batches ─► a lot in memory ─(full)─► 256 buckets on disk ─► as many buckets at a time as fit
                                                                └─(one alone doesn't fit)─► 256 finer buckets ─► …

A hash chooses the bucket of a row; the keys themselves decide which rows are equal.

Keys that occur twice on a side are counted on the way: their rows can't be matched.

    rows ─► a lot in memory ─(full)─► ranges of row numbers on disk ─► one range at a time, sorted
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import reduce
from heapq import nsmallest
from operator import xor
from typing import TYPE_CHECKING

import polars as pl

from mc_sink._runtime.batches import BATCH_BYTES, Regroup
from mc_sink._runtime.spill import Buckets, divide_by
from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Self

# The column with the number of a row.
ROW = "row"
_EXAMPLES = 5
_MOST_KEYS = 10_000
_BUCKETS = 256
# Three splits give 16 M buckets. A bucket that doesn't fit then has one key over and over, or a few huge rows.
_DEEPEST = 2
# A range that is too large is divided into this many.
_FINER = 64


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many bytes of rows are held: `lot` before they are parked, `pair` of both sides when they are compared."""

    lot: int = 32 * 2**20
    pair: int = 64 * 2**20


def hashed(keys: Sequence[str], depth: int = 0) -> pl.Expr:
    """Hash the keys. Equal keys have equal hashes, NaN and both zeros included; each depth has another hash."""
    return reduce(xor, (pl.col(key).hash(seed=depth * _MOST_KEYS + place) for place, key in enumerate(keys)))


@dataclass(slots=True)
class Duplicates:
    """The rows of one side that share their key with another: their count, and the numbers of the first few.

    `label` names the side, `names` the keys as the caller knows them, `keys` their columns.
    """

    label: str
    names: tuple[str, ...]
    keys: tuple[str, ...]
    count: int = 0
    first: list[int] = field(default_factory=list)

    def __bool__(self) -> bool:
        return self.count > 0

    def look(self, rows: pl.DataFrame) -> None:
        """Count the rows of a frame that share their key; a frame without equal hashes has none."""
        if rows.select(hashed(self.keys)).to_series().n_unique() == rows.height:
            return
        found = rows.filter(rows.select(self.keys).is_duplicated())[ROW]
        self.count += len(found)
        self.first = nsmallest(_EXAMPLES, [*self.first, *found.bottom_k(_EXAMPLES).to_list()])

    def __str__(self) -> str:
        rows = ", ".join(f"{row:,}" for row in self.first) + (", …" if self.count > len(self.first) else "")
        return f"{self.count:,} rows of {self.label} share their key with another (rows {rows})"


def refuse_duplicates(*sides: Duplicates, partly: bool = False) -> None:
    """Raise `ConfigurationError` if a side has duplicates. The message has row numbers, and never a key."""
    found = [side for side in sides if side]
    if not found:
        return
    sides_text, names = "; ".join(map(str, found)), ", ".join(map(repr, found[0].names))
    raise ConfigurationError(
        f"{'At least ' if partly else ''}{sides_text}; the keys are {names}, and rows are counted from 0. "
        "Rows cannot be matched. Add columns to keys= until they are unique, or drop the duplicates."
    )


class KeyBuckets:
    """The rows of one side. Each column is named by its position, and `ROW` is the row's number in that side.

    Memory and disk are those of `Buckets`. Buckets that have to be divided again are on disk once more.
    """

    def __init__(self, empty: pl.DataFrame, duplicates: Duplicates, bounds: Bounds, *, depth: int = 0) -> None:
        self.empty, self.duplicates, self.bounds, self.depth = empty, duplicates, bounds, depth
        self.buckets = Buckets(divide_by(hashed(duplicates.keys, depth) % _BUCKETS), bounds.lot)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.buckets.close()

    def fill(self, batches: Iterable[pl.DataFrame]) -> None:
        """Add all rows of the side; rows without `ROW` are numbered as they come."""
        for batch in batches:
            self.buckets.add(batch if ROW in batch.columns else numbered(batch, self.buckets.num_rows))

    def pieces(self, numbers: Iterable[int]) -> Iterator[pl.DataFrame]:
        """Yield the rows of buckets on disk, a lot at a time."""
        for number in numbers:
            yield from self.buckets.read(number)

    def read(self, numbers: Iterable[int]) -> pl.DataFrame:
        """Return the rows of buckets, or the rows in memory where nothing was parked; count duplicates among them."""
        lot = self.buckets.take_lot()
        pieces = [*([] if lot is None else [lot]), *self.pieces(numbers)]
        rows = pl.concat(pieces, rechunk=False) if pieces else self.empty
        self.duplicates.look(rows)
        return rows

    def refuse_one_key(self, numbers: Iterable[int]) -> None:
        """Raise for a bucket that is too large because few keys fill it, without reading all of it."""
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
        """Return buckets for the rows of one of these, divided by another hash."""
        return KeyBuckets(self.empty, self.duplicates, self.bounds, depth=self.depth + 1)


def numbered(batch: pl.DataFrame, first: int) -> pl.DataFrame:
    """Return the batch with its rows numbered from `first` on."""
    return batch.with_columns(pl.int_range(first, first + batch.height, dtype=pl.UInt64, eager=True).alias(ROW))


def pairs(now: KeyBuckets, before: KeyBuckets) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Yield the rows of both sides, equal keys together, no more at a time than the bounds allow; count duplicates.

    Only rows that are huge themselves exceed the bounds. One key over and over raises `ConfigurationError`.
    """
    mine, other, most = now.buckets, before.buckets, now.bounds.pair
    if not mine.is_parked and not other.is_parked and mine.num_bytes + other.num_bytes <= most:
        yield now.read(()), before.read(())
        return
    mine.park()
    other.park()
    for numbers in _groups(now, before):
        fits = sum(mine.size(number) + other.size(number) for number in numbers) <= most
        if not fits and now.depth < _DEEPEST:
            with ExitStack() as stack:
                sides = [stack.enter_context(side.finer()) for side in (now, before)]
                for coarse, fine in zip((now, before), sides, strict=True):
                    fine.fill(coarse.pieces(numbers))
                yield from pairs(*sides)
            continue
        if not fits:
            now.refuse_one_key(numbers)
            before.refuse_one_key(numbers)
        yield now.read(numbers), before.read(numbers)


def _groups(now: KeyBuckets, before: KeyBuckets) -> Iterator[list[int]]:
    """Yield groups of neighbouring buckets that fit together; a bucket that doesn't fit is alone."""
    group: list[int] = []
    held = 0
    for number in range(_BUCKETS):
        size = now.buckets.size(number) + before.buckets.size(number)
        if group and held + size > now.bounds.pair:
            yield group
            group, held = [], 0
        if size:
            group.append(number)
            held += size
    if group:
        yield group


class RowOrderBuffer:
    """Collects rows with their numbers (`ROW`), and yields them sorted, without the numbers.

    A range has `rows_in_range` numbers. One range is read and sorted at a time, and one of more than two lots in finer
    ranges. Memory beside it and disk are those of `Buckets`.
    """

    def __init__(self, rows_in_range: int, lot: int) -> None:
        self._rows_in_range, self._lot = rows_in_range, lot
        self._buckets = Buckets(divide_by(pl.col(ROW) // rows_in_range), lot)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._buckets.close()

    @property
    def num_rows(self) -> int:
        """Rows that were added."""
        return self._buckets.num_rows

    def add(self, rows: pl.DataFrame) -> None:
        """Add rows."""
        if rows.height:
            self._buckets.add(rows)

    def batches(self, row_group_size: int) -> Iterator[pl.DataFrame]:
        """Yield all rows in order, once, in batches of `row_group_size` rows, or fewer if they are wide."""
        regroup = Regroup(row_group_size, BATCH_BYTES)
        for rows in self._ranges():
            yield from regroup.add(rows.drop(ROW))
        yield from regroup.rest()

    def _ranges(self) -> Iterator[pl.DataFrame]:
        if not self._buckets.is_parked:
            if (lot := self._buckets.take_lot()) is not None:
                yield lot.sort(ROW)
            return
        self._buckets.park()
        for number in sorted(self._buckets.keys):
            pieces = self._buckets.read(number)
            if self._buckets.size(number) > 2 * self._lot and self._rows_in_range > 1:
                yield from self._finer(pieces)
            else:
                yield pl.concat(pieces, rechunk=False).sort(ROW)

    def _finer(self, pieces: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Yield the rows of a range that has far wider rows than most, as ranges of fewer numbers."""
        with RowOrderBuffer(max(1, self._rows_in_range // _FINER), self._lot) as finer:
            for piece in pieces:
                finer.add(piece)
            yield from finer._ranges()
