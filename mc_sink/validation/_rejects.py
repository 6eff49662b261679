"""Rows that leave the delivery: kept on the local disk as they came, each with its number and every reason."""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from mc_sink._plan import from_batches
from mc_sink._spill import Slot, Spill


@dataclass(slots=True)
class Spool:
    """Rejected rows in the order in which they were judged.

    A rejected row keeps the values it came with, personal data included: that is what a reject is for. Its number
    (UInt64, counted from 0 over the whole run) stands in `row`, and `reasons` is a JSON list of `{"column", "check"}`.
    Where the input already has such a name, ours gets an underscore in front.
    """

    schema: pl.Schema
    num_rows: int = field(default=0, init=False)
    _spill: Spill = field(default_factory=Spill, init=False)
    _slots: list[Slot] = field(default_factory=list, init=False)

    def add(self, frame: pl.DataFrame, rows: pl.Series, reasons: pl.Series) -> None:
        """Keep the rows of `frame`, numbered `rows`, with the reasons of each as text."""
        row, reason = self.names
        self._slots.append(self._spill.append(frame.select(rows.alias(row), reasons.alias(reason), *self.schema)))
        self.num_rows += frame.height

    @property
    def names(self) -> tuple[str, str]:
        """The names of the two columns that are ours."""
        row, reasons = "row", "reasons"
        while row in self.schema:
            row = f"_{row}"
        while reasons in self.schema:
            reasons = f"_{reasons}"
        return row, reasons

    def scan(self) -> pl.LazyFrame:
        """Return the rejected rows as a plan that reads them back a batch at a time; it ends with `close`."""
        row, reasons = self.names
        schema = pl.Schema({row: pl.UInt64(), reasons: pl.String(), **self.schema})
        return from_batches(lambda: map(self._spill.read, self._slots), schema)

    def close(self) -> None:
        """Give the disk back."""
        self._spill.close()
