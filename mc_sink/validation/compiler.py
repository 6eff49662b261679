"""Compile a Pandera schema and a frame into a plan that judges itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from mc_sink.exceptions import ConfigurationError
from mc_sink.validation.checks import sort_checks
from mc_sink.validation.coercion import coerced
from mc_sink.validation.failure_report import Failures
from mc_sink.validation.judge import QUIET, VERDICT, Tolerance, Validated
from mc_sink.validation.pandera_backend import matching, row_wise, uses_pydantic

if TYPE_CHECKING:
    from pandera.config import ValidationDepth
    from pandera.polars import DataFrameSchema

    from mc_sink.validation.pandera_backend import PanderaSchema

_RESERVED = "__mc_sink_"


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
    plan = coercion.frame
    if opaque:
        why = f"  Pandera judges every batch, because only it can coerce {opaque}."
        notes = [why, *(note.replace("in the query", "by Pandera") for note in notes)]
    else:
        clean = [*coercion.convertible(), *checks.clean]
        verdicts = [(VERDICT, clean), (QUIET, checks.quiet)]
        plan = plan.with_columns(pl.all_horizontal(*exprs).alias(column) for column, exprs in verdicts if exprs)
    doubts = judged.shaped(coercion.added)
    return Validated(
        name=name,
        frame=plan,
        delivered=delivered,
        validated=depth.name == "SCHEMA_AND_DATA",
        notes=(f"Schema {name!r}:", *notes),
        coercion=coercion,
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
