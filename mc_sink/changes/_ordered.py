"""Rows that come in any order and go out in the order of their numbers, in bounded memory.

rows ─► a lot in memory ─(full)─► ranges of numbers on disk ─► one range at a time, sorted
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from typing import TYPE_CHECKING

import polars as pl

from mc_sink._regroup import BATCH_BYTES, Regroup
from mc_sink._spill import Slot, Spill, compact
from mc_sink.changes._keys import ROW

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

_RANGE = "range"
# A range that is too large is cut into so many.
_FINER = 64


class Ordered:
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
        with Ordered(max(1, self._rows_in_range // _FINER), self._lot) as finer:
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
