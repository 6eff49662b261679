"""Check and rewrite cells on their way into a CSV, only where a dtype or an option requires it.

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

from mc_sink.exceptions import ConfigurationError
from mc_sink.formats.csv_dialect import OPTIONS, STEPS, finest, finest_of
from mc_sink.formats.csv_values import (
    dtypes_of,
    escaped,
    find_dropped,
    find_far_years,
    find_odd_offsets,
    formulas_among,
    leaves_of,
    starts_like_formula,
)
from mc_sink.formats.format import column_named
from mc_sink.receipt import CountedWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from polars.datatypes import DataTypeClass

    from mc_sink.receipt import WarningKind

    Step = Callable[[pl.DataFrame, pl.Series | None], pl.DataFrame]
    Find = Callable[[pl.Series], pl.Series | None]

_TOLD_ROWS = 5
_BOM = "\ufeff"
_CAST = "Correct them in the query, or use Parquet."


class CellCounts:
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
            raise ConfigurationError(f"{number:,} cell(s) in a batch {self.what}: {where}. {self.advice}")
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


def count_formulas(columns: Sequence[str], tally: CellCounts) -> Step:
    """Count cells that a spreadsheet would execute, and let them pass."""

    def look(batch: pl.DataFrame, _rows: pl.Series | None) -> pl.DataFrame:
        for name in columns:
            if found := _found(find_formulas, batch.get_column(name)):
                tally.add("formula", name, _number(found))
        return batch

    return look


def escape_formulas(columns: Sequence[str], tally: CellCounts) -> Step:
    """Give cells that a spreadsheet would execute an apostrophe, and count them."""

    def look(batch: pl.DataFrame, _rows: pl.Series | None) -> pl.DataFrame:
        for name in columns:
            if found := _found(find_formulas, texts := batch.get_column(name)):
                tally.add("escaped", name, _number(found))
                batch = batch.with_columns(escaped(texts, found[0]))
        return batch

    return look


def null_non_finite(columns: Sequence[str], tally: CellCounts) -> Step:
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
                f"readers skip. Use Csv(null_value='NULL'), or add a column."
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


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class CellRules:
    """What the options of a CSV say about its cells."""

    formulas: str
    non_finite: str
    null_value: str | None
    formats: Mapping[DataTypeClass, str | None]
    shows_nulls: bool
    starts_with_cell: bool


def steps_for(schema: pl.Schema, rules: CellRules, tally: CellCounts) -> tuple[list[Step], bool]:
    """Give the steps that every batch has to pass, and whether they want to know row numbers."""
    texts = [name for name in schema if _may_hold_text(schema[name])]
    suspects = [name for name in texts if _may_hold_formula(schema[name])]
    floats = _having(schema, lambda dtype: dtype.is_float())
    steps = [*_formula_steps(suspects, rules, tally), *_float_steps(schema, floats, rules, tally)]
    steps += [*_time_steps(schema), *_format_steps(schema, rules), *_ambiguous_steps(schema, texts, rules)]
    numbered = bool((rules.formulas == "raise" and suspects) or (rules.non_finite == "raise" and floats))
    return steps, numbered


def _formula_steps(suspects: list[str], rules: CellRules, tally: CellCounts) -> Iterator[Step]:
    if suspects and rules.formulas == "allow":
        yield count_formulas(suspects, tally)
    elif suspects and rules.formulas == "escape":
        yield escape_formulas(suspects, tally)
    elif suspects:
        what = "start like a formula, which a spreadsheet would execute"
        advice = "Correct them in the query, or use Csv(formulas='escape') or Csv(formulas='allow')."
        yield Refusal(suspects, find_formulas, what, advice)


def _float_steps(schema: pl.Schema, floats: list[str], rules: CellRules, tally: CellCounts) -> Iterator[Step]:
    nested = [name for name in floats if schema[name].is_nested()]
    if floats and rules.non_finite == "null":
        yield null_non_finite(floats, tally)
    elif floats and rules.non_finite == "raise":
        advice = "Correct them in the query, or use Csv(non_finite='null') or Csv(non_finite='write')."
        yield Refusal(floats, find_non_finite, "are NaN or infinite", advice)
    elif nested:
        what = "hold NaN or an infinity, for which JSON has no word"
        yield Refusal(nested, find_non_finite, what, "Correct them in the query, or use Csv(non_finite='null').")


def _time_steps(schema: pl.Schema) -> Iterator[Step]:
    if dated := _having(schema, lambda dtype: isinstance(dtype, (pl.Date, pl.Datetime))):
        yield Refusal(dated, find_far_years, "are of a year that isn't from 0 to 9999, which readers can't read", _CAST)
    if zoned := _having(schema, lambda dtype: isinstance(dtype, pl.Datetime) and dtype.time_zone not in {None, "UTC"}):
        what = "are from when their zone was not whole minutes from UTC, which an offset can't say"
        yield Refusal(zoned, find_odd_offsets, what, "Convert them to UTC.")


def _format_steps(schema: pl.Schema, rules: CellRules) -> Iterator[Step]:
    for kind, pattern in rules.formats.items():
        if pattern is None:
            continue
        step = finest(kind, pattern)
        columns = [name for name in schema if schema[name] == kind and finest_of(schema[name]) < STEPS[step]]
        if columns:
            what = f"hold less than a {step}, which {OPTIONS[kind]}={pattern!r} would drop"
            yield Refusal(columns, find_dropped(step), what, "Truncate them in the query, or take a finer format.")


def _ambiguous_steps(schema: pl.Schema, texts: list[str], rules: CellRules) -> Iterator[Step]:
    first = next(iter(schema), "")
    if rules.null_value and texts:
        what = f"read {rules.null_value!r}, as nulls are written"
        yield Refusal(texts, find_text(rules.null_value), what, "Choose another null_value.")
    if rules.starts_with_cell and first in texts:
        what = "start with a byte order mark, which readers would drop from the first"
        yield Refusal([first], find_start(_BOM), what, "Write a header.")
    if len(schema) == 1 and not rules.shows_nulls:
        yield refuse_blank_lines(first)


def _may_hold_text(dtype: pl.DataType) -> bool:
    return isinstance(dtype, (pl.String, pl.Categorical, pl.Enum))


def _may_hold_formula(dtype: pl.DataType) -> bool:
    return not isinstance(dtype, pl.Enum) or any(map(starts_like_formula, dtype.categories))


def _having(schema: pl.Schema, has: Callable[[pl.DataType], bool]) -> list[str]:
    return [name for name in schema if any(map(has, dtypes_of(schema[name])))]
