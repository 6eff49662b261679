"""The checks of a schema, sorted by who can run them over a stream."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from mc_sink.exceptions import ConfigurationError
from mc_sink.validation._expressions import NotRowWise, captured
from mc_sink.validation._unique import Uniqueness

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pandera.polars import Check, Column, DataFrameSchema


@dataclass(slots=True)
class Checks:
    """`clean` fail a row, `quiet` only warn about it, `unique` hold over the whole delivery.

    `python` says whether some check must run as Python on every row; `read` are the columns that each whole-row check
    reads, by its number; `notes` say in words who runs what.
    """

    clean: list[pl.Expr] = field(default_factory=list)
    quiet: list[pl.Expr] = field(default_factory=list)
    unique: list[Uniqueness] = field(default_factory=list)
    read: dict[int, tuple[str, ...]] = field(default_factory=dict)
    python: bool = False
    notes: list[str] = field(default_factory=list)


def sort_checks(schema: DataFrameSchema, delivered: pl.Schema, added: Iterable[str], depth: Any) -> Checks:
    """Sort the checks of `schema` on a frame with columns `delivered`.

    Raises `ConfigurationError` for a check that no stream can judge. The columns that were `added` are not
    checked, as Pandera doesn't check them.
    """
    checks = Checks()
    if depth.name == "SCHEMA_ONLY":
        checks.notes.append("  only the columns are checked: Pandera's validation depth is SCHEMA_ONLY")
        return checks
    for column, name in _governed(schema, delivered, frozenset(added)):
        _refuse_nested_sets(column, name, delivered[name], depth)
        _sort_column(checks, column, name, delivered)
    for number, check in enumerate(schema.checks):
        _sort_check(checks, check, delivered, column=None, number=number)
    for columns in _unique_sets(schema, delivered):
        _note_unique(checks, columns, "multiple_fields_uniqueness")
    return checks


def _governed(schema: DataFrameSchema, delivered: pl.Schema, added: frozenset[str]) -> Iterator[tuple[Column, str]]:
    """Pair each of Pandera's column schemas with the columns it governs; it says itself which a regex may have."""
    from pandera.polars import DataFrameSchema as Schema

    frame = delivered.to_frame().lazy()
    backend: Any = Schema.get_backend(frame)
    found = backend.collect_column_info(frame, schema)
    for column in backend.collect_schema_components(frame, schema, found):
        names = backend_columns(column, frame)
        yield from ((column, name) for name in names if name not in added or column.regex)


def backend_columns(column: Column, frame: pl.LazyFrame) -> list[str]:
    """Name the columns of `frame` that a column schema selects."""
    names = frame.collect_schema().names()
    if column.regex:
        return frame.select(pl.col(str(column.selector))).collect_schema().names()
    return [str(column.name)] if column.name in names else []


def _refuse_nested_sets(column: Column, name: str, dtype: pl.DataType, depth: Any) -> None:
    """Refuse a schema inside a struct column where it asks for what Pandera would see of one batch only."""
    nested = getattr(column.dtype, "schema", None)
    if nested is None or not isinstance(dtype, pl.Struct):
        return
    inner = sort_checks(nested, pl.Schema({field.name: field.dtype for field in dtype.fields}), (), depth)
    if inner.unique:
        raise ConfigurationError(
            f"The schema inside column {name!r} asks for unique values, which is not kept track of within structs: "
            "unnest the column in the query, and ask for them there."
        )


def _sort_column(checks: Checks, column: Column, name: str, delivered: pl.Schema) -> None:
    if not column.nullable:
        checks.clean.append(_present(name, delivered[name]))
        checks.notes.append(f"  {name}: not_nullable: in the query")
    if column.unique:
        _note_unique(checks, (name,), "field_uniqueness")
    # A column found by a regex is alone before its checks, the others are among all.
    visible = pl.Schema({name: delivered[name]}) if column.regex else delivered
    for number, check in enumerate(column.checks):
        _sort_check(checks, check, visible, column=name, number=number)


def _present(name: str, dtype: pl.DataType) -> pl.Expr:
    present = pl.col(name).is_not_null()
    return present & pl.col(name).is_not_nan() if dtype in {pl.Float32, pl.Float64} else present


def _sort_check(checks: Checks, check: Check, visible: pl.Schema, *, column: str | None, number: int) -> None:
    words = f"{column or 'whole rows'}: {check.error or check.name}"
    if check.element_wise:
        checks.python = True
        checks.notes.append(f"  {words}: by Pandera on every batch, because it is a Python function of one value")
        return
    try:
        expr = captured(check, visible, column=column)
    except NotRowWise as why:
        raise ConfigurationError(_refusal(words, why)) from why
    (checks.quiet if check.raise_warning else checks.clean).append(expr)
    checks.notes.append(f"  {words}: in the query{', and only warns' if check.raise_warning else ''}")
    if column is None:
        checks.read[number] = tuple(dict.fromkeys(expr.meta.root_names()))


def _refusal(words: str, why: NotRowWise) -> str:
    return (
        f"Check {words} can't be judged in a stream: {why}. Write it as `lambda data: data.lazyframe.select(expr)` "
        "with an expression of single rows, or with element_wise=True; or check the whole frame before delivering it."
    )


def _unique_sets(schema: DataFrameSchema, delivered: pl.Schema) -> Iterator[tuple[str, ...]]:
    declared: Any = schema.unique or []
    for columns in [declared] if all(isinstance(name, str) for name in declared) else declared:
        names = tuple(name for name in columns if name in delivered)
        if names:
            yield names


def _note_unique(checks: Checks, columns: tuple[str, ...], check: str) -> None:
    checks.unique.append(Uniqueness(columns, check))
    checks.notes.append(f"  {', '.join(columns)}: {check}: over the whole delivery")
