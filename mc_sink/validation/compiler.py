"""Compile a Pandera schema and a frame into a plan that judges itself, or refuse checks that can't run over a stream.

Pandera's built-in checks, and checks in its documented style, are functions `data -> data.lazyframe.select(expr)`. They
are called with an object that records the arguments of `select`. An expression is used only if the engine itself treats
it as one that looks at one row at a time. Every other check is refused, with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from mc_sink.exceptions import ConfigurationError
from mc_sink.validation.coercion import coerced
from mc_sink.validation.failure_report import Failures
from mc_sink.validation.judge import Tolerance, Validated
from mc_sink.validation.pandera_backend import (
    argument_of,
    call_check,
    governed,
    matching,
    row_wise,
    uses_pydantic,
)
from mc_sink.validation.row_checks import Anything, Between, OneOf, Proof, RowCheck, TextShape, pattern_proof
from mc_sink.validation.unique import Uniqueness

if TYPE_CHECKING:
    from pandera.config import ValidationDepth
    from pandera.polars import Check, Column, DataFrameSchema

    from mc_sink.validation.pandera_backend import PanderaSchema

_RESERVED = "__mc_sink_"
_OUTPUT = "__mc_sink_verdict__"
FEW = 8
# Pandera's checks with one bound, and those that include it.
_BOUNDS = {
    "greater_than": "min_value",
    "greater_than_or_equal_to": "min_value",
    "less_than": "max_value",
    "less_than_or_equal_to": "max_value",
}
_INCLUDED = {"greater_than_or_equal_to", "less_than_or_equal_to"}
# Whole numbers up to this are the same as floats.
_EXACT = 2**53
_BY_EXPRESSION = "by an expression on every batch"


def compiled(schema: DataFrameSchema, frame: pl.LazyFrame, tolerance: Tolerance, depth: ValidationDepth) -> Validated:
    """Compile `schema` for `frame`. Raises `ValidationError` for its columns, `ConfigurationError` for the schema."""
    name = schema.name or "unnamed"
    _refuse(schema, frame, tolerance)
    marked = [column for column in schema.columns.values() if (column.metadata or {}).get("personal_data")]
    columns = frame.collect_schema()
    personal = frozenset(each for column in marked for each in (column.name, *matching(column, columns)))
    judged = row_wise(schema, depth)
    delivered = _judge_columns(schema, judged, frame, Failures(name, personal))
    coercion = coerced(schema, frame, delivered)
    opaque = ", ".join(coercion.opaque)
    if opaque and tolerance.on_invalid == "reject":
        raise ConfigurationError(
            f'Schema {name!r} can\'t be used with on_invalid="reject": only Pandera can coerce {opaque}, a batch at a '
            'time and not row by row. Cast in the query and remove `coerce`, or use on_invalid="fail".'
        )
    checks = sort_checks(schema, delivered, coercion.added, depth)
    notes = checks.notes
    if opaque:
        why = f"  Pandera judges every batch, because only it can coerce {opaque}."
        notes = [why, *(note.replace(_BY_EXPRESSION, "by Pandera") for note in notes)]
    doubts = judged.shaped(coercion.added)
    return Validated(
        name=name,
        frame=coercion.frame,
        delivered=delivered,
        validated=depth.name == "SCHEMA_AND_DATA",
        notes=(f"Schema {name!r}:", *notes),
        coercion=coercion,
        clean=[] if opaque else [*map(RowCheck, coercion.convertible()), *checks.clean],
        quiet=[] if opaque else checks.quiet,
        doubts=doubts,
        every_row=judged if opaque else doubts.python_only() if checks.python else None,
        unique=checks.unique,
        tolerance=tolerance,
        failures=Failures(name, personal, checks.read),
    )


def _refuse(schema: DataFrameSchema, frame: pl.LazyFrame, tolerance: Tolerance) -> None:
    drops = schema.drop_invalid_rows or any(column.drop_invalid_rows for column in schema.columns.values())
    if drops and tolerance.on_invalid == "fail":
        raise ConfigurationError(
            f"Schema {schema.name!r} drops invalid rows, which would not be accounted for. "
            'Use on_invalid="reject", or remove drop_invalid_rows from the schema.'
        )
    if uses_pydantic(schema):
        raise ConfigurationError(
            f"Schema {schema.name!r} judges rows by a pydantic model, which gives every batch column types of its own. "
            "Describe the columns with Pandera."
        )
    reserved = [name for name in frame.collect_schema() if name.startswith(_RESERVED)]
    if reserved:
        raise ConfigurationError(
            f"Column {reserved[0]!r} can't be delivered: names that begin with {_RESERVED!r} are reserved. Rename it."
        )


def _judge_columns(
    schema: DataFrameSchema, judged: PanderaSchema, frame: pl.LazyFrame, failures: Failures
) -> pl.Schema:
    """Judge the columns by Pandera, on a frame without rows, and return the schema that it would deliver."""
    columns = judged.without_checks()
    missing = _missing(schema, frame)
    kept = {name: column for name, column in columns.schema.columns.items() if name not in missing}
    columns.schema.columns = kept
    try:
        delivered, findings = columns.judge(frame.collect_schema().to_frame())
    except Exception as error:
        raise ConfigurationError(f"Schema {schema.name!r} can't be applied to this frame: {error}") from error
    for name, expected in missing.items():
        failures.add(name, f"missing, expected {expected}", [(None, None)], count=1)
    for finding in findings:
        failures.add(finding.column, finding.check, [(None, finding.detail)], count=1)
    if failures:
        raise failures.error(advice="Select, rename or cast in the query, or correct the schema")
    if not delivered.width:
        raise ConfigurationError(
            f"Schema {schema.name!r} leaves no column of this frame to deliver. Correct the schema or the query."
        )
    return delivered.schema


def _missing(schema: DataFrameSchema, frame: pl.LazyFrame) -> dict[str, str]:
    """Return the columns, or patterns, that the schema requires and the frame lacks, with the expected types.

    Pandera reports them only where it doesn't coerce them first: its coercion fails for a column that is missing.
    """
    present = frame.collect_schema()
    missing = {}
    for name, column in schema.columns.items():
        is_added = schema.add_missing_columns and (column.default is not None or column.nullable)
        if column.required and not is_added and not matching(column, present):
            dtype = column.dtype or schema.dtype
            pattern = " of a column that matches" if column.regex else ""
            missing[name] = f"{'any type' if dtype is None else dtype}{pattern}"
    return missing


@dataclass(slots=True)
class Checks:
    """The checks of a schema.

    - `clean`: those that a row must pass.
    - `quiet`: those that only warn.
    - `unique`: what must be unique over the whole delivery.
    - `read`: the columns that each whole-row check reads, by its number.
    - `python`: whether some check must run as Python on every row.
    - `notes`: a line for each check that says where it runs.
    """

    clean: list[RowCheck] = field(default_factory=list)
    quiet: list[RowCheck] = field(default_factory=list)
    unique: list[Uniqueness] = field(default_factory=list)
    read: dict[int, tuple[str, ...]] = field(default_factory=dict)
    python: bool = False
    notes: list[str] = field(default_factory=list)

    def add_unique(self, columns: tuple[str, ...], check: str) -> None:
        """Add the requirement that the values of `columns` are unique."""
        self.unique.append(Uniqueness(columns, check))
        self.notes.append(f"  {', '.join(columns)}: {check}: over the whole delivery")

    def add(self, check: Check, visible: pl.Schema, *, column: str | None, number: int) -> None:
        """Compile a check that sees the columns `visible`; raise `ConfigurationError` if it can't run over a stream."""
        label = f"{column or 'whole rows'}: {check.error or check.name}"
        if check.element_wise:
            self.python = True
            self.notes.append(f"  {label}: by Pandera on every batch, because it is a Python function of one value")
            return
        try:
            row_check = captured(check, visible, column=column)
        except NotRowWise as why:
            raise ConfigurationError(
                f"Check {label} can't be judged in a stream: {why}. Write it with an expression of single rows, "
                "`lambda data: data.lazyframe.select(expr)`, or with element_wise=True. Or check the frame before "
                "delivering it."
            ) from why
        (self.quiet if check.raise_warning else self.clean).append(row_check)
        self.notes.append(f"  {label}: {_BY_EXPRESSION}{', and only warns' if check.raise_warning else ''}")
        if column is None:
            self.read[number] = tuple(dict.fromkeys(row_check.expr.meta.root_names()))


def sort_checks(
    schema: DataFrameSchema, delivered: pl.Schema, added: tuple[str, ...], depth: ValidationDepth
) -> Checks:
    """Sort the checks of `schema` on a frame with columns `delivered`.

    Raises `ConfigurationError` for a check that can't run over a stream. The columns that were `added` are not checked;
    Pandera doesn't check them either.
    """
    checks = Checks()
    if depth.name == "SCHEMA_ONLY":
        checks.notes.append("  only the columns are checked: Pandera's validation depth is SCHEMA_ONLY")
        return checks
    for column, name in governed(schema, delivered):
        if column.regex or name not in added:
            _refuse_nested_sets(column, name, delivered[name], depth)
            _sort_column(checks, column, name, delivered)
    for number, check in enumerate(schema.checks):
        checks.add(check, delivered, column=None, number=number)
    declared: Any = schema.unique or []
    for columns in [declared] if all(isinstance(name, str) for name in declared) else declared:
        if names := tuple(name for name in columns if name in delivered):
            checks.add_unique(names, "multiple_fields_uniqueness")
    return checks


def _refuse_nested_sets(column: Column, name: str, dtype: pl.DataType, depth: ValidationDepth) -> None:
    """Refuse a schema inside a struct column that asks for uniqueness: Pandera would check it within one batch only."""
    nested = getattr(column.dtype, "schema", None)
    if nested is None or not isinstance(dtype, pl.Struct):
        return
    inner = sort_checks(nested, pl.Schema({field.name: field.dtype for field in dtype.fields}), (), depth)
    if inner.unique:
        raise ConfigurationError(
            f"The schema inside column {name!r} can't be used: unique values are not supported within structs. "
            "Unnest the column in the query, and ask for unique values there."
        )


def _sort_column(checks: Checks, column: Column, name: str, delivered: pl.Schema) -> None:
    dtype = delivered[name]
    if not column.nullable:
        present = pl.col(name).is_not_null()
        is_float = dtype in {pl.Float32, pl.Float64}
        given = present & pl.col(name).is_not_nan() if is_float else present
        proof = Between() if dtype == pl.Float64 else None if is_float else Anything()
        checks.clean.append(RowCheck(given, name, proof, needs_values=True))
        checks.notes.append(f"  {name}: not_nullable: {_BY_EXPRESSION}")
    if column.unique:
        checks.add_unique((name,), "field_uniqueness")
    # The checks of a column that a regex matches see that column alone, those of other columns see all.
    visible = pl.Schema({name: dtype}) if column.regex else delivered
    for number, check in enumerate(column.checks):
        checks.add(check, visible, column=name, number=number)


class NotRowWise(Exception):  # noqa: N818  it states a property of a check, which the caller turns into an error
    """The check can't be written as an expression that looks at one row at a time; the message is the reason."""


@dataclass(frozen=True, slots=True, eq=False)
class _Selected:
    exprs: tuple[Any, ...]
    named: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Recorder:
    """Takes the place of the LazyFrame that a check expects: it knows the schema and records one `select`."""

    schema: pl.Schema

    def select(self, *exprs: Any, **named: Any) -> _Selected:
        return _Selected(exprs, named)

    def collect_schema(self) -> pl.Schema:
        return self.schema


def captured(check: Check, schema: pl.Schema, *, column: str | None) -> RowCheck:
    """Return `check` as an expression, with a proof where it has one; raise `NotRowWise` where it isn't row by row.

    `schema` is that of the frame that the check would be given. `column` is None for a check of the whole frame.
    """
    if check.groupby is not None:
        raise NotRowWise("it groups rows, and a group can span the whole delivery")
    try:
        selected = call_check(check, _Recorder(schema), column)
    except Exception as error:
        raise NotRowWise(f"it does more than `data.lazyframe.select(...)` ({type(error).__name__})") from error
    if not isinstance(selected, _Selected):
        raise NotRowWise(f"it returns one {type(selected).__name__} for all rows, not a verdict for each row")
    try:
        outputs = schema.to_frame().select(*selected.exprs, **selected.named)
    except Exception as error:
        raise NotRowWise(f"it can't be applied to these columns ({type(error).__name__})") from error
    if not outputs.is_empty() or set(outputs.dtypes) != {pl.Boolean}:
        raise NotRowWise("it does not return one boolean for each row")
    proof = _proof(check, schema[column]) if column is not None else None
    # Comparisons with a few texts take less than half the time of `is_in` (measured).
    if column is not None and isinstance(proof, OneOf):
        expr = pl.any_horizontal(pl.col(column) == text for text in proof.texts)
    else:
        expr = pl.all_horizontal(*selected.exprs, *selected.named.values())
    # The engine moves a slice below an expression only if each row's value depends on that row alone.
    if schema.to_frame().lazy().with_columns(expr.alias(_OUTPUT)).slice(1, 1).explain().startswith("SLICE"):
        raise NotRowWise("it compares rows with each other, and a stream never holds all of them")
    # In Pandera an unknown result passes if the check ignores nulls, and fails otherwise.
    return RowCheck(expr.fill_null(check.ignore_na), column or "", proof, needs_values=not check.ignore_na)


def _proof(check: Check, dtype: pl.DataType) -> Proof | None:
    """Return a proof by the values of a column for one of Pandera's own checks, or else None."""
    if dtype.is_integer() or dtype == pl.Float64:
        return _proof_of_numbers(check, dtype)
    if dtype != pl.String:
        return None
    values = argument_of(check, "isin", "allowed_values")
    if values is not None and 0 < len(values) <= FEW and all(isinstance(value, str) for value in values):
        return OneOf(tuple(values))
    pattern = argument_of(check, "str_matches", "pattern")
    if pattern is not None:
        text = str(getattr(pattern, "pattern", pattern))
        return pattern_proof(text if text.startswith("^") else f"^{text}")
    shortest, longest = (argument_of(check, "str_length", name) for name in ("min_value", "max_value"))
    is_exact = argument_of(check, "str_length", "exact_value") is not None
    if is_exact or (shortest is None and longest is None):
        return None
    # A character has one byte to four.
    return TextShape(max(0, 4 * shortest - 3) if shortest else 0, longest)


def _proof_of_numbers(check: Check, dtype: pl.DataType) -> Proof | None:
    least = most = None
    included = True, True
    for name, bound in _BOUNDS.items():
        if (value := argument_of(check, name, bound)) is not None:
            least, most = (value, None) if bound == "min_value" else (None, value)
            included = (name in _INCLUDED,) * 2
    if (value := argument_of(check, "in_range", "min_value")) is not None:
        least, most = value, argument_of(check, "in_range", "max_value")
        included = (
            bool(argument_of(check, "in_range", "include_min")),
            bool(argument_of(check, "in_range", "include_max")),
        )
    given = [bound for bound in (least, most) if bound is not None]
    exact = (int,) if dtype.is_integer() else (int, float)
    if not given or not all(type(bound) in exact and abs(bound) <= _EXACT for bound in given):
        return None
    return Between(least, most, included)
