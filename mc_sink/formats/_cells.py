"""What is looked at in the batches on their way into a CSV, and only where a dtype or an option asks for it.

A step takes a batch and the numbers of its rows, and gives the batch to be written, or raises: the engine hands on what
is raised here as it is. Batches arrive on several threads at once.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING

import polars as pl

from mc_sink.exceptions import NOTHING_VISIBLE, ConfigurationError
from mc_sink.formats._format import column_named
from mc_sink.formats._formulas import escaped, formulas_among
from mc_sink.formats._nested import leaves_of
from mc_sink.receipt import CountedWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mc_sink.receipt import WarningKind

    Step = Callable[[pl.DataFrame, pl.Series | None], pl.DataFrame]
    Find = Callable[[pl.Series], pl.Series | None]

_TOLD_ROWS = 5


class Tally:
    """Counts cells for the receipt, from several threads."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[WarningKind, str]] = Counter()
        self._lock = Lock()

    def add(self, kind: WarningKind, column: str, num_cells: int) -> None:
        """Count so many more cells."""
        with self._lock:
            self._counts[kind, column] += num_cells

    def warnings(self) -> tuple[CountedWarning, ...]:
        """Give what was counted, a warning for each kind and column, in an order that doesn't depend on the run."""
        return tuple(CountedWarning(kind, column, number) for (kind, column), number in sorted(self._counts.items()))


@dataclass(frozen=True, slots=True, eq=False)
class Refusal:
    """A step that raises as soon as `find` finds cells in one of the columns, or at the ends of a nested one."""

    columns: Sequence[str]
    find: Find
    what: str
    advice: str

    def __call__(self, batch: pl.DataFrame, rows: pl.Series | None) -> pl.DataFrame:
        """Pass the batch on as it is, or refuse it with counts, columns and, where they are known, row numbers."""
        found = {name: masks for name in self.columns if (masks := _found(self.find, batch.get_column(name)))}
        if found:
            number = sum(map(_number, found.values()))
            nested = {name for name in found if batch.schema[name].is_nested()}  # whose ends are not rows
            where = ", ".join(_told(name, masks[0], None if name in nested else rows) for name, masks in found.items())
            raise ConfigurationError(
                f"{number:,} cell(s) in a batch {self.what}: {where}. {self.advice} {NOTHING_VISIBLE}"
            )
        return batch


def look_at(frame: pl.LazyFrame, steps: Sequence[Step], *, first_row: int | None) -> pl.LazyFrame:
    """Pass every batch through the steps, with the numbers of its rows, counted from `first_row`, if they want them."""
    if not steps:
        return frame
    schema = frame.collect_schema()
    row = next(name for number in count() if (name := f"row {number}") not in schema)

    def look(batch: pl.DataFrame) -> pl.DataFrame:
        rows = None if first_row is None else batch.get_column(row)
        batch = batch if first_row is None else batch.drop(row)
        for step in steps:
            batch = step(batch, rows)
        return batch

    numbered = frame if first_row is None else frame.with_row_index(row, offset=first_row)
    return numbered.map_batches(look, schema=schema, streamable=True)


def count_formulas(columns: Sequence[str], tally: Tally) -> Step:
    """Count cells that a spreadsheet would execute, and let them pass."""

    def look(batch: pl.DataFrame, _rows: pl.Series | None) -> pl.DataFrame:
        for name in columns:
            if found := _found(find_formulas, batch.get_column(name)):
                tally.add("formula", name, _number(found))
        return batch

    return look


def escape_formulas(columns: Sequence[str], tally: Tally) -> Step:
    """Give cells that a spreadsheet would execute an apostrophe, and count them."""

    def look(batch: pl.DataFrame, _rows: pl.Series | None) -> pl.DataFrame:
        for name in columns:
            if found := _found(find_formulas, texts := batch.get_column(name)):
                tally.add("escaped", name, _number(found))
                batch = batch.with_columns(escaped(texts, found[0]))
        return batch

    return look


def null_non_finite(columns: Sequence[str], tally: Tally) -> Step:
    """Make NaN and infinities null, and count them; at the ends of nested columns the JSON encoder makes them null."""

    def look(batch: pl.DataFrame, _rows: pl.Series | None) -> pl.DataFrame:
        for name in columns:
            if masks := _found(find_non_finite, batch.get_column(name)):
                tally.add("nulled", name, _number(masks))
                if batch.schema[name].is_float():
                    values = column_named(name)
                    batch = batch.with_columns(pl.when(values.is_finite()).then(values))
        return batch

    return look


def refuse_blank_lines(column: str) -> Step:
    """Refuse a null in the only column, as soon as there is one."""

    def look(batch: pl.DataFrame, _rows: pl.Series | None) -> pl.DataFrame:
        if nulls := batch.get_column(column).null_count():
            raise ConfigurationError(
                f"{nulls:,} null(s) in a batch of {column!r}, the only column: each would be a blank line, which "
                f"readers skip. Use Csv(null_value='NULL'), or add a column. {NOTHING_VISIBLE}"
            )
        return batch

    return look


def find_formulas(values: pl.Series) -> pl.Series | None:
    """Find cells that a spreadsheet would execute."""
    return formulas_among(values.cast(pl.String))


def find_non_finite(values: pl.Series) -> pl.Series | None:
    """Find NaN and infinities."""
    return ~values.is_finite() if values.dtype.is_float() else None


def find_text(text: str) -> Find:
    """Find cells that read as the text."""
    return lambda values: values.cast(pl.String) == text


def find_start(text: str) -> Find:
    """Find cells that start with the text."""
    return lambda values: values.cast(pl.String).str.starts_with(text)


def _found(find: Find, values: pl.Series) -> list[pl.Series]:
    masks = (find(leaf) for leaf in leaves_of(values))
    return [mask for mask in masks if mask is not None and mask.any()]


def _number(masks: Sequence[pl.Series]) -> int:
    return sum(int(mask.sum()) for mask in masks)


def _told(name: str, mask: pl.Series, rows: pl.Series | None) -> str:
    if rows is None:
        return f"{name!r}"
    numbers = rows.filter(mask)
    first = ", ".join(f"{number:,}" for number in numbers.head(_TOLD_ROWS))
    return f"{name!r} (row {first}{', …' if len(numbers) > _TOLD_ROWS else ''})"
