"""A check, as the native expression it would have evaluated.

Pandera's built-in checks, and checks written in its documented style, are functions
`data -> data.lazyframe.select(expr)`. They are called with an object whose `select` records what it is given. An
expression is used only when the engine itself says that it looks at one row at a time; everything else is given back
with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Callable

    from pandera.polars import Check

_OUTPUT = "__mc_sink_verdict__"
FEW = 8


class NotRowWise(Exception):  # noqa: N818  it says what the check is, and the caller decides what that means
    """The check can't be written as an expression that looks at one row at a time; the message says why."""


@dataclass(frozen=True, slots=True, eq=False)
class _Selected:
    exprs: tuple[Any, ...]
    named: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Recorder:
    """Stands where the check expects a LazyFrame: it knows the schema and remembers a `select`, and nothing else."""

    schema: pl.Schema

    def select(self, *exprs: Any, **named: Any) -> _Selected:
        return _Selected(exprs, named)

    def collect_schema(self) -> pl.Schema:
        return self.schema


def captured(check: Check, schema: pl.Schema, *, column: str | None) -> pl.Expr:
    """Return the expression that is true where a row passes `check`, never null, or raise `NotRowWise`.

    `schema` is that of the frame the check would be given; `column` is None for a check of the whole frame.
    """
    if check.groupby is not None:
        raise NotRowWise("it groups rows, and a group can span the whole delivery")
    selected = _recorded(check, schema, column)
    expr = _one_column(selected, schema) if (few := _one_of_few(check, schema, column)) is None else few
    if not _looks_at_one_row(expr, schema):
        raise NotRowWise("it compares rows with each other, and a stream never holds all of them")
    # Pandera lets an unknown result pass when the check ignores nulls, and fails it otherwise.
    return expr.fill_null(check.ignore_na)


def _one_of_few(check: Check, schema: pl.Schema, column: str | None) -> pl.Expr | None:
    """Write "is one of a few texts" as comparisons, which take less than half the time (measured); None elsewhere."""
    values = check._check_kwargs.get("allowed_values", ())  # noqa: SLF001  Pandera's own name for them
    few = check.is_builtin_check("isin") and check.name == "isin" and 0 < len(values) <= FEW
    if not few or column is None or schema[column] != pl.String or not all(isinstance(value, str) for value in values):
        return None
    return pl.any_horizontal(pl.col(column) == value for value in values)


def _recorded(check: Check, schema: pl.Schema, column: str | None) -> _Selected:
    from pandera.api.polars.types import PolarsData

    data = PolarsData(_Recorder(schema), column or "*")  # type: ignore[arg-type]
    try:
        result = _function(check)(data)
    except Exception as error:
        raise NotRowWise(f"it does more than `data.lazyframe.select(...)` ({type(error).__name__})") from error
    if not isinstance(result, _Selected):
        raise NotRowWise(f"it gives one {type(result).__name__} for all rows, not a verdict for each row")
    return result


def _function(check: Check) -> Callable[..., Any]:
    """Return what Pandera would call. It takes a built-in from its registry, for a copied check knows no Polars."""
    import pandera.backends.polars.builtin_checks  # noqa: F401  its import fills the registry

    function = check._check_fn  # noqa: SLF001  as Pandera's own backend reads it
    name = getattr(function, "__name__", "")
    found = check.get_builtin_check_fn(name) if check.is_builtin_check(name) else function
    return partial(found, **check._check_kwargs)  # noqa: SLF001  the same


def _one_column(selected: _Selected, schema: pl.Schema) -> pl.Expr:
    try:
        outputs = schema.to_frame().select(*selected.exprs, **selected.named)
    except Exception as error:
        raise NotRowWise(f"it can't be applied to these columns ({type(error).__name__})") from error
    if outputs.is_empty() and set(outputs.dtypes) == {pl.Boolean}:
        return pl.all_horizontal(*selected.exprs, *selected.named.values())
    raise NotRowWise("it does not give one boolean for each row")


def _looks_at_one_row(expr: pl.Expr, schema: pl.Schema) -> bool:
    """Ask the engine: it moves a slice below an expression only if each row's value depends on that row alone."""
    plan = schema.to_frame().lazy().with_columns(expr.alias(_OUTPUT)).slice(1, 1).explain()
    return not plan.startswith("SLICE")
