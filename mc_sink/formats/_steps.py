"""Which columns of a CSV are looked at for what: nothing is looked at unless a dtype or an option asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from mc_sink.formats import _cells as cells
from mc_sink.formats._cells import Refusal
from mc_sink.formats._formulas import starts_like_formula
from mc_sink.formats._moments import OPTIONS, STEPS, finest, finest_of
from mc_sink.formats._nested import dtypes_of
from mc_sink.formats._times import find_dropped, find_far_years, find_odd_offsets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from polars.datatypes import DataTypeClass

    from mc_sink.formats._cells import Step, Tally

_BOM = "\ufeff"
_CAST = "Correct them in the query, or use Parquet."


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class CellRules:
    """What the options of a CSV say about its cells."""

    formulas: str
    non_finite: str
    null_value: str | None
    formats: Mapping[DataTypeClass, str | None]
    shows_nulls: bool
    starts_with_cell: bool


def steps_for(schema: pl.Schema, rules: CellRules, tally: Tally) -> tuple[list[Step], bool]:
    """Give the steps that every batch has to pass, and whether they want to know row numbers."""
    texts = [name for name in schema if _may_hold_text(schema[name])]
    suspects = [name for name in texts if _may_hold_formula(schema[name])]
    floats = _having(schema, lambda dtype: dtype.is_float())
    steps = [*_formula_steps(suspects, rules, tally), *_float_steps(schema, floats, rules, tally)]
    steps += [*_time_steps(schema), *_format_steps(schema, rules), *_ambiguous_steps(schema, texts, rules)]
    numbered = bool((rules.formulas == "raise" and suspects) or (rules.non_finite == "raise" and floats))
    return steps, numbered


def _formula_steps(suspects: list[str], rules: CellRules, tally: Tally) -> Iterator[Step]:
    if suspects and rules.formulas == "allow":
        yield cells.count_formulas(suspects, tally)
    elif suspects and rules.formulas == "escape":
        yield cells.escape_formulas(suspects, tally)
    elif suspects:
        what = "start like a formula, which a spreadsheet would execute"
        advice = "Correct them in the query, or use Csv(formulas='escape') or Csv(formulas='allow')."
        yield Refusal(suspects, cells.find_formulas, what, advice)


def _float_steps(schema: pl.Schema, floats: list[str], rules: CellRules, tally: Tally) -> Iterator[Step]:
    nested = [name for name in floats if schema[name].is_nested()]
    if floats and rules.non_finite == "null":
        yield cells.null_non_finite(floats, tally)
    elif floats and rules.non_finite == "raise":
        advice = "Correct them in the query, or use Csv(non_finite='null') or Csv(non_finite='write')."
        yield Refusal(floats, cells.find_non_finite, "are NaN or infinite", advice)
    elif nested:
        what = "hold NaN or an infinity, for which JSON has no word"
        yield Refusal(nested, cells.find_non_finite, what, "Correct them in the query, or use Csv(non_finite='null').")


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
        yield Refusal(texts, cells.find_text(rules.null_value), what, "Choose another null_value.")
    if rules.starts_with_cell and first in texts:
        what = "start with a byte order mark, which readers would drop from the first"
        yield Refusal([first], cells.find_start(_BOM), what, "Write a header.")
    if len(schema) == 1 and not rules.shows_nulls:
        yield cells.refuse_blank_lines(first)


def _may_hold_text(dtype: pl.DataType) -> bool:
    return isinstance(dtype, (pl.String, pl.Categorical, pl.Enum))


def _may_hold_formula(dtype: pl.DataType) -> bool:
    return not isinstance(dtype, pl.Enum) or any(map(starts_like_formula, dtype.categories))


def _having(schema: pl.Schema, has: Callable[[pl.DataType], bool]) -> list[str]:
    return [name for name in schema if any(map(has, dtypes_of(schema[name])))]
