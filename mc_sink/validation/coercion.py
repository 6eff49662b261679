"""Shape the input as Pandera would deliver it, as a plan: columns added, dropped, ordered, coerced, filled in.

Pandera's own steps are used where they are lazy. Only its strict cast is replaced: it would end the query at the first
value that can't be converted, without a row number. A cast that leaves null there takes its place. The values as they
came are kept under a reserved name, for reports and rejects.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from mc_sink._display import counted
from mc_sink.exceptions import ConfigurationError
from mc_sink.validation.pandera_backend import Finding, arranged, coerced_types, coerces_by_cast, filled, matching

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pandera.polars import DataFrameSchema

RAW = "__mc_sink_raw__"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Coercion:
    """A plan that shapes the input.

    - `frame`: the shaped plan. Where values change it also has the column `RAW`, a struct of the values that came.
    - `schema`: the columns of the shaped plan, without `RAW`.
    - `came`: the input's columns that take part.
    - `casts`: the columns that are coerced, with their new dtypes.
    - `added`: the columns that were missing.
    - `opaque`: the columns that only Pandera can coerce. If it isn't empty, the plan is the input, and Pandera shapes
      each batch.
    """

    frame: pl.LazyFrame
    schema: pl.Schema
    came: pl.Schema
    casts: dict[str, pl.DataType] = field(default_factory=dict)
    added: tuple[str, ...] = ()
    opaque: tuple[str, ...] = ()

    def convertible(self) -> list[pl.Expr]:
        """Return expressions for the shaped plan that are true where the values that came could be converted."""
        return [~self._unconverted(column) for column in self.casts]

    def findings(self, batch: pl.DataFrame) -> list[Finding]:
        """Return the values of a shaped batch that could not be converted."""
        found = ((column, batch.select(self._unconverted(column)).to_series().arg_true()) for column in self.casts)
        return [Finding(c, f"coerce_dtype('{self.casts[c]}')", None, rows) for c, rows in found if len(rows)]

    def with_raw_values(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Return a shaped batch with the values that came."""
        return batch.with_columns(pl.col(RAW).struct.unnest()) if RAW in batch.columns else batch

    def _unconverted(self, column: str) -> pl.Expr:
        came = pl.col(RAW).struct.field(column)
        return came.is_not_null() & came.cast(self.casts[column], strict=False).is_null()


def coerced(schema: DataFrameSchema, frame: pl.LazyFrame, delivered: pl.Schema) -> Coercion:
    """Return the plan that shapes `frame` as `schema` requires, without reading any of it.

    `delivered` is the schema that Pandera delivers. Raises `ConfigurationError` where Pandera's result would depend on
    when it is asked.
    """
    _refuse_second_fill(schema, delivered)
    input_schema = frame.collect_schema()
    if opaque := [name for name, dtype in _coerced(schema, input_schema) if not _castable(dtype, input_schema[name])]:
        return Coercion(frame=frame, schema=input_schema, came=input_schema, opaque=tuple(opaque))
    plan = arranged(schema, frame)
    before = plan.collect_schema()
    came = pl.Schema({name: dtype for name, dtype in input_schema.items() if name in before})
    casts = coerced_types(schema, before)
    changed = {*casts, *_with_default(schema, before)} & {*came}
    raw = [pl.struct(*(name for name in came if name in changed)).alias(RAW)] if changed else []
    plan = filled(schema, plan.with_columns(*raw, *(pl.col(c).cast(t, strict=False) for c, t in casts.items())))
    shape = pl.Schema({name: dtype for name, dtype in plan.collect_schema().items() if name != RAW})
    added = tuple(name for name in shape if name not in came)
    made = shape.to_frame().select(added).schema
    patterns = [(column.name, matching(column, made)) for column in schema.columns.values() if column.regex]
    if taken := [f"{name} by {pattern!r}" for pattern, names in patterns for name in names]:
        raise ConfigurationError(
            f"Schema {schema.name!r} can't be used: it adds {counted(len(taken), 'column')} that its own patterns also "
            f"match, and Pandera may match them first: {', '.join(taken)}. Remove the pattern or `add_missing_columns`."
        )
    return Coercion(
        frame=plan, schema=shape, came=came, casts={c: t for c, t in casts.items() if c in came}, added=added
    )


def _refuse_second_fill(schema: DataFrameSchema, delivered: pl.Schema) -> None:
    """Refuse a default in a schema with a dtype of its own: Pandera fills it in a second time, in another dtype.

    The column would be judged with one dtype and delivered with the other.
    """
    if schema.dtype is None:
        return
    filled_otherwise = [name for name in _with_default(schema, delivered) if delivered[name] != schema.dtype.type]
    if filled_otherwise:
        raise ConfigurationError(
            f"Schema {schema.name!r} can't be used: it has the dtype {schema.dtype}, and "
            f"{counted(len(filled_otherwise), 'column')} with a default would be delivered in another dtype: "
            f"{', '.join(filled_otherwise)}. Cast in the query, or remove `default` or `dtype`."
        )


def _castable(dtype: Any, before: pl.DataType) -> bool:
    """Return True if a plain cast has Pandera's result, and leaves null where a value can't be converted."""
    if not coerces_by_cast(dtype) or dtype.type.is_nested() or before.is_nested():
        return False
    if isinstance(before, pl.Enum):
        example = before.categories.head(1).cast(before)
    else:
        example = pl.Series(["a" if before in {pl.String, pl.Categorical, pl.Binary} else 0]).cast(before)
    try:
        example.cast(dtype.type, strict=False)
    except pl.exceptions.PolarsError:  # Polars refuses some pairs of types, but only once it has a value
        return False
    return True


def _coerced(schema: DataFrameSchema, before: pl.Schema) -> Iterator[tuple[str, Any]]:
    columns = schema.columns.values()
    if schema.dtype is not None:
        anything = schema.coerce or any(column.coerce for column in columns)
        yield from ((name, schema.dtype) for name in before if anything)
        return
    for column in columns:
        if schema.coerce or column.coerce:
            yield from ((name, column.dtype) for name in matching(column, before))


def _with_default(schema: DataFrameSchema, columns: pl.Schema) -> list[str]:
    with_default = (column for column in schema.columns.values() if column.default is not None)
    return [name for column in with_default for name in matching(column, columns)]
