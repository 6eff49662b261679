"""Rows that come in any order and go out in the order of their numbers, in bounded memory.

rows ─► a lot in memory ─(full)─► ranges of numbers on disk ─► one range at a time, sorted
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from typing import TYPE_CHECKING

import polars as pl

from mc_sink._spill import Slot, Spill, compact
from mc_sink.changes._keys import ROW

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

_RANGE = "range"


class Ordered:
    """Takes rows with their numbers (`ROW`), and gives them back sorted, without the numbers.

    `rows_in_range` is how many numbers lie in a range; one range is held and sorted at a time. Memory beside it: two
    lots. Nothing goes to the disk until a lot is full.
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
        """Yield all rows in order, `row_group_size` of them at a time; once."""
        held: list[pl.DataFrame] = []
        num_held = 0
        for rows in self._ranges():
            held.append(rows)
            num_held += rows.height
            if num_held < row_group_size:
                continue
            *whole, rest = pl.concat(held, rechunk=False).iter_slices(row_group_size)
            yield from whole
            held, num_held = [rest], rest.height
        if held:
            yield pl.concat(held, rechunk=False)

    def _ranges(self) -> Iterator[pl.DataFrame]:
        if self._slots:
            self._park()
            for number in sorted(self._slots):
                places = self._slots.pop(number)
                slots = zip(places[::2], places[1::2], strict=True)
                yield _sorted([self._spill.read(Slot(offset, length)) for offset, length in slots])
        elif self._waiting:
            waiting, self._waiting = self._waiting, []
            yield _sorted(waiting)

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
    return pl.concat(pieces, rechunk=False).sort(ROW).drop(ROW)
