"""From a Pandera schema and a frame to a plan that judges itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from mc_sink.exceptions import ConfigurationError
from mc_sink.validation.checks import Checks, sort_checks
from mc_sink.validation.coercion import Coercion, as_it_came, matching, opaque, shaped
from mc_sink.validation.failure_report import Failures
from mc_sink.validation.judge import QUIET, VERDICT, Tolerance, Validated
from mc_sink.validation.pandera_backend import PanderaSchema, python_only, shaped_already, without_checks, without_sets

if TYPE_CHECKING:
    from pandera.polars import DataFrameSchema

_RESERVED = "__mc_sink_"


def compiled(schema: DataFrameSchema, frame: pl.LazyFrame, tolerance: Tolerance, depth: Any) -> Validated:
    """Compile `schema` for `frame`; raise what is wrong already, which is `ValidationError` for the columns."""
    name = schema.name or "unnamed"
    _refuse(schema, frame, tolerance)
    failures = Failures(name, _personal(schema, frame))
    delivered = _delivered(schema, frame, failures, depth)
    _refuse_two_types(schema, delivered)
    by_pandera = opaque(schema, frame)
    if by_pandera and tolerance.on_invalid == "reject":
        raise ConfigurationError(_no_rejects(name, by_pandera))
    shape = as_it_came(frame) if by_pandera else shaped(schema, frame)
    _refuse_two_minds(schema, shape)
    checks = sort_checks(schema, delivered, shape.added, depth)
    failures.read = checks.read
    judged = without_sets(schema)
    doubts = PanderaSchema(shaped_already(judged, shape.added), depth)
    python = PanderaSchema(python_only(doubts.schema), depth) if checks.python else None
    return Validated(
        name=name,
        frame=frame if by_pandera else _with_verdicts(shape, checks),
        delivered=delivered,
        validated=depth.name == "SCHEMA_AND_DATA",
        notes=_notes(name, checks, by_pandera),
        shape=shape,
        doubts=doubts,
        every_row=PanderaSchema(judged, depth) if by_pandera else python,
        unique=checks.unique,
        tolerance=tolerance,
        failures=failures,
    )


def _refuse(schema: DataFrameSchema, frame: pl.LazyFrame, tolerance: Tolerance) -> None:
    drops = schema.drop_invalid_rows or any(column.drop_invalid_rows for column in schema.columns.values())
    if drops and tolerance.on_invalid == "fail":
        raise ConfigurationError(
            f"Schema {schema.name!r} drops invalid rows, and no row may get lost without an account: "
            'deliver with on_invalid="reject", or take drop_invalid_rows out of the schema.'
        )
    _refuse_pydantic(schema)
    taken = [name for name in frame.collect_schema() if name.startswith(_RESERVED)]
    if taken:
        raise ConfigurationError(f"Column {taken[0]!r} begins with {_RESERVED!r}, which is reserved: rename it.")


def _refuse_pydantic(schema: DataFrameSchema) -> None:
    from pandera.engines.polars_engine import PydanticModel

    if any(isinstance(each.dtype, PydanticModel) for each in (schema, *schema.columns.values())):
        raise ConfigurationError(
            f"Schema {schema.name!r} judges rows by a pydantic model, which gives every batch column types of its own: "
            "describe the columns with Pandera."
        )


def _refuse_two_types(schema: DataFrameSchema, delivered: pl.Schema) -> None:
    """Refuse defaults of a schema with a dtype of its own: Pandera fills them in a second time, lifting a column to it.

    That column would be judged as one type and delivered as another.
    """
    if schema.dtype is None:
        return
    with_default = (column for column in schema.columns.values() if column.default is not None)
    names = [name for column in with_default for name in matching(column, delivered)]
    filled = [name for name in names if delivered[name] != schema.dtype.type]
    if filled:
        raise ConfigurationError(
            f"Schema {schema.name!r} has the dtype {schema.dtype}, and {len(filled)} column(s) with a default would be "
            f"delivered as another, {', '.join(filled)}: cast in the query, or take `default` or `dtype` off."
        )


def _refuse_two_minds(schema: DataFrameSchema, shape: Coercion) -> None:
    """Refuse a pattern that takes a column which the schema adds: Pandera asks it before that column is there."""
    added = shape.schema.to_frame().select(shape.added).schema
    patterns = [(column.name, matching(column, added)) for column in schema.columns.values() if column.regex]
    if taken := [f"{name} by {pattern!r}" for pattern, names in patterns for name in names]:
        raise ConfigurationError(
            f"Schema {schema.name!r} adds {len(taken)} column(s) that one of its own patterns takes too, or doesn't, "
            f"depending on when it is asked: {', '.join(taken)}. Take the pattern or `add_missing_columns` off."
        )


def _no_rejects(name: str, columns: list[str]) -> str:
    return (
        f"Schema {name!r} coerces {', '.join(columns)} in a way that only Pandera can, for a batch at a time and not "
        'row by row: with on_invalid="reject", cast in the query and take `coerce` off, or use on_invalid="fail".'
    )


def _delivered(schema: DataFrameSchema, frame: pl.LazyFrame, failures: Failures, depth: Any) -> pl.Schema:
    """Let Pandera judge the columns, on a frame without rows, and return what it would deliver."""
    empty = frame.collect_schema().to_frame()
    judged = without_checks(schema)
    missing = _missing(schema, frame)
    judged.columns = {name: column for name, column in judged.columns.items() if name not in missing}
    try:
        delivered, findings = PanderaSchema(judged, depth).judge(empty)
    except Exception as error:
        raise ConfigurationError(f"Schema {schema.name!r} can't be applied to this frame: {error}") from error
    for name, expected in missing.items():
        failures.add(name, f"missing, expected {expected}", [(None, None)], count=1)
    for finding in findings:
        failures.add(finding.column, finding.check, [(None, finding.detail)], count=1)
    if failures:
        raise failures.error(advice="Select, rename or cast in the query, or correct the schema")
    if not delivered.width:
        raise ConfigurationError(f"Schema {schema.name!r} leaves no column of this frame to deliver.")
    return delivered.schema


def _missing(schema: DataFrameSchema, frame: pl.LazyFrame) -> dict[str, str]:
    """Return the columns, or patterns of columns, that the schema requires and the frame lacks, with expected types.

    Pandera reports them only where it doesn't coerce them first: coercion breaks down over a column that isn't there.
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


def _personal(schema: DataFrameSchema, frame: pl.LazyFrame) -> frozenset[str]:
    """Name the columns that the schema marks with `metadata={"personal_data": True}`."""
    columns = frame.collect_schema()
    marked = [column for column in schema.columns.values() if (column.metadata or {}).get("personal_data")]
    return frozenset(name for column in marked for name in (column.name, *matching(column, columns)))


def _with_verdicts(shape: Coercion, checks: Checks) -> pl.LazyFrame:
    clean = [*shape.convertible(), *checks.clean]
    verdicts = [pl.all_horizontal(*clean).alias(VERDICT)] if clean else []
    if checks.quiet:
        verdicts.append(pl.all_horizontal(*checks.quiet).alias(QUIET))
    return shape.frame.with_columns(*verdicts) if verdicts else shape.frame


def _notes(name: str, checks: Checks, by_pandera: list[str]) -> tuple[str, ...]:
    if not by_pandera:
        return (f"Schema {name!r}:", *checks.notes)
    why = f"  Pandera judges every batch, because only it can coerce {', '.join(by_pandera)}."
    return (f"Schema {name!r}:", why, *(note.replace("in the query", "by Pandera") for note in checks.notes))
