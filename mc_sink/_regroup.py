"""Batches → the same rows in batches of another size, which depends on the rows alone: so many rows, so many bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from mc_sink._spill import compact, copied, kept_alive

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

# A batch of wide rows ends here, before it has all the rows that it may have: from 168 bytes a row on, of 100,000.
# About ten are alive at once on the longest way through, and allocators keep as much again.
BATCH_BYTES = 16 * 2**20
# From so many pieces on, a batch is copied into one: engines handle each piece on its own.
_MANY_PIECES = 5
# A piece is small that has less than this part of a batch's rows.
_SMALL = 16
_LABELS = (pl.Categorical, pl.Enum)


class Regroup:
    """Takes rows as they come and returns them in batches, cut by the rows alone, however they came.

    Each batch is the longest run of rows that has at most `num_rows` rows and at most `num_bytes` of values, or one row
    that is larger. Memory: two batches, and the rows that were added last.
    """

    def __init__(self, num_rows: int, num_bytes: int) -> None:
        self._num_rows, self._num_bytes = num_rows, num_bytes
        self._waiting: list[pl.DataFrame] = []
        self._height = self._most = 0

    def add(self, rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """Yield the batches that are complete with these rows; after one of fewer than `num_rows`, rows follow."""
        for piece in rows.iter_slices(self._num_rows):  # an engine may hand over millions at once
            if piece.height:
                yield from self._add(piece)

    def _add(self, piece: pl.DataFrame) -> Iterator[pl.DataFrame]:
        self._wait(piece)
        if self._height < self._num_rows and self._most <= self._num_bytes:
            return
        rows = pl.concat(self._take(), rechunk=False)
        start = 0
        for end in _cuts(rows, self._num_rows, self._num_bytes):
            yield _in_few_pieces(rows[start:end])
            start = end
        if rows.height - start == self._num_rows:
            yield _in_few_pieces(rows[start:])
        else:
            self._wait(rows[start:])

    def rest(self) -> Iterator[pl.DataFrame]:
        """Yield the last batch, if any rows are left."""
        if self._waiting:
            yield _in_few_pieces(pl.concat(self._take(), rechunk=False))

    def _wait(self, rows: pl.DataFrame) -> None:
        self._waiting.append(rows)
        self._height += rows.height
        self._most += most_bytes(rows)
        number = len(self._waiting)
        # Pieces that are large have lost few rows to a filter, and looking at them would load pyarrow: 0.2 s, 40 MB.
        are_small = self._height * _SMALL < self._num_rows * number
        if are_small and number > 1 and not number & (number - 1):
            self._let_go()

    def _let_go(self) -> None:
        """Copy what waits, where it keeps more alive: rows that were filtered hold on to those from beside them.

        Slices of one frame keep no more alive together than each of them does, and are no reason for a copy.
        """
        waiting = pl.concat(self._waiting, rechunk=False)
        if kept_alive(waiting) - kept_alive(self._waiting[-1]) > 2 * self._num_bytes:
            self._waiting = [copied(waiting)]

    def _take(self) -> list[pl.DataFrame]:
        waiting, self._waiting = self._waiting, []
        self._height = self._most = 0
        return waiting


def regrouped(
    batches: Iterable[pl.DataFrame], num_rows: int, num_bytes: int = BATCH_BYTES
) -> Generator[pl.DataFrame, None, None]:
    """Yield the same rows in the batches of `Regroup`, each of one piece.

    Measured: gzip's blocks, and so its bytes, depend on how the batches that feed the encoder are cut. Cut like this,
    the same rows give the same bytes, in whatever batches they came.
    """
    regroup = Regroup(num_rows, num_bytes)
    for batch in map(compact, batches):
        for group in regroup.add(batch):
            yield group.rechunk()
    for group in regroup.rest():
        yield group.rechunk()


def most_bytes(frame: pl.DataFrame) -> int:
    """Return what the values of `frame` take at most: Polars' estimate, which costs little, and counts bitmaps too."""
    # Column by column, because a frame's own estimate has a value that is the same in all rows once.
    return int(sum(_sizes(column).sum() if _has_labels(column.dtype) else column.estimated_size() for column in frame))


def _cuts(frame: pl.DataFrame, num_rows: int, num_bytes: int) -> Iterator[int]:
    """Yield the row numbers at which batches begin, but for the first."""
    if most_bytes(frame) <= num_bytes:
        yield from range(num_rows, frame.height, num_rows)
        return
    sizes = pl.zeros(frame.height, pl.UInt64, eager=True)
    for column in frame:
        sizes += _sizes(column)
    sums = sizes.cum_sum()
    start = before = 0
    while (end := _end(sums, start, before + num_bytes, num_rows)) < frame.height:
        yield end
        start, before = end, sums[end - 1]


def _end(sums: pl.Series, start: int, most: int, num_rows: int) -> int:
    return min(max(start + 1, int(sums.search_sorted(most, side="right"))), start + num_rows)


def _in_few_pieces(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.rechunk() if rows.n_chunks() >= _MANY_PIECES else rows


def _sizes(column: pl.Series) -> pl.Series:
    """Return the bytes of each value, whatever the slices, bitmaps and buffers that hold it; a null has none."""
    column = column.alias("")  # a Series that is called "*" or "^a$" takes that for a pattern in its own methods
    if isinstance(column.dtype, pl.String):
        sizes = column.str.len_bytes()
    elif isinstance(column.dtype, pl.Binary):
        sizes = column.bin.size()
    elif isinstance(column.dtype, _LABELS):
        sizes = column.cat.len_bytes()
    elif isinstance(column.dtype, pl.Map):
        sizes = _sizes(column.map.entries())
    elif isinstance(column.dtype, pl.Array):
        sizes = _sizes(column.arr.to_list())
    elif isinstance(column.dtype, pl.List):
        sizes = _sizes_of_lists(column)
    elif isinstance(column.dtype, pl.Struct):
        sizes = pl.zeros(len(column), pl.UInt64, eager=True)
        for field in column.struct.unnest():
            sizes += _sizes(field)
    elif isinstance(column.dtype, pl.BaseExtension):
        sizes = _sizes(column.ext.storage())
    else:
        sizes = pl.Series([_width(column.dtype)]).new_from_index(0, len(column))
    return sizes.cast(pl.UInt64).fill_null(0)


def _sizes_of_lists(column: pl.Series) -> pl.Series:
    lengths = column.list.len().cast(pl.UInt64).fill_null(0)
    ends = lengths.cum_sum()
    items = _sizes(column.filter(lengths > 0).explode())
    sums = pl.concat([pl.Series([0], dtype=pl.UInt64), items.cum_sum()])
    return sums.gather(ends) - sums.gather(ends - lengths)


def _width(dtype: pl.DataType) -> int:
    """Return the bytes of a value whose dtype says how many; for less than one byte, none."""
    return int(pl.Series([None] * 8, dtype=dtype).estimated_size()) // 8


def _has_labels(dtype: object) -> bool:
    """Return whether there are categories at any depth, whose text a column has once."""
    if isinstance(dtype, (pl.List, pl.Array)):
        return _has_labels(dtype.inner)
    if isinstance(dtype, pl.Struct):
        return any(_has_labels(field.dtype) for field in dtype.fields)
    if isinstance(dtype, pl.Map):
        return _has_labels(dtype.key) or _has_labels(dtype.value)
    return isinstance(dtype, _LABELS) or dtype in _LABELS
