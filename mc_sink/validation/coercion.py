"""The input in the shape that Pandera would deliver, as a plan: columns added, dropped, ordered, coerced, filled in.

Pandera's own steps are used where they are lazy. Only the strict cast is replaced, by one that leaves null where a
value can't be converted: a strict one would end the query at the first such value, with no row number. The values as
they came stay beside, under a reserved name, for the reports and the rejects.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from mc_sink.validation.pandera_backend import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pandera.polars import DataFrameSchema

RAW = "__mc_sink_raw__"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Coercion:
    """`frame` is the shaped plan, with columns `schema`; where values change it also holds `RAW`, a struct of these.

    `came` are the input's columns that take part, `casts` says which are coerced and to what, `added` are the columns
    that were missing. `opaque` is true where only Pandera can give the shape: then the plan is the input.
    """

    frame: pl.LazyFrame
    schema: pl.Schema
    came: pl.Schema
    casts: dict[str, pl.DataType] = field(default_factory=dict)
    added: tuple[str, ...] = ()
    opaque: bool = False

    def convertible(self) -> list[pl.Expr]:
        """Return what is true where the values that came could be converted; for the shaped plan."""
        return [~self._unconverted(column) for column in self.casts]

    def findings(self, batch: pl.DataFrame) -> list[Finding]:
        """Return the values of a shaped batch that could not be converted."""
        found = ((column, batch.select(self._unconverted(column)).to_series().arg_true()) for column in self.casts)
        return [Finding(c, f"coerce_dtype('{self.casts[c]}')", None, rows) for c, rows in found if len(rows)]

    def to_show(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Return a shaped batch with the values that came."""
        return batch.with_columns(pl.col(RAW).struct.unnest()) if RAW in batch.columns else batch

    def as_came(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Return a shaped batch with the values and the columns that came, in their order."""
        return self.to_show(batch).select(*self.came)

    def _unconverted(self, column: str) -> pl.Expr:
        came = pl.col(RAW).struct.field(column)
        return came.is_not_null() & came.cast(self.casts[column], strict=False).is_null()


def as_it_came(frame: pl.LazyFrame) -> Coercion:
    """Leave `frame` as it is: Pandera shapes each batch."""
    schema = frame.collect_schema()
    return Coercion(frame=frame, schema=schema, came=schema, opaque=True)


def shaped(schema: DataFrameSchema, frame: pl.LazyFrame) -> Coercion:
    """Shape `frame` as `schema` says, without reading any of it."""
    backend: Any = schema.get_backend(frame)
    found = backend.collect_column_info(frame, schema)
    input_schema = frame.collect_schema()
    arranged = backend.strict_filter_columns(backend.add_missing_columns(frame, schema, found), schema, found)
    before = arranged.collect_schema()
    came = pl.Schema({name: dtype for name, dtype in input_schema.items() if name in before})
    casts = _casts(backend, schema, before)
    changed = {*casts, *_defaults(schema, before)} & {*came}
    raw = [pl.struct(*(name for name in came if name in changed)).alias(RAW)] if changed else []
    arranged = arranged.with_columns(*raw, *(pl.col(c).cast(t, strict=False) for c, t in casts.items()))
    filled = backend.set_default(arranged, schema)
    shape = pl.Schema({name: dtype for name, dtype in filled.collect_schema().items() if name != RAW})
    added = tuple(name for name in shape if name not in came)
    return Coercion(
        frame=filled, schema=shape, came=came, casts={c: t for c, t in casts.items() if c in came}, added=added
    )


def opaque(schema: DataFrameSchema, frame: pl.LazyFrame) -> list[str]:
    """Name the columns whose coercion is no plain cast: nested types, decimals, models, categories of Pandera's own."""
    before = frame.collect_schema()
    return [name for name, dtype in _coerced(schema, before) if not _castable(dtype, before[name])]


def _castable(dtype: Any, before: pl.DataType) -> bool:
    """Whether a plain cast gives what Pandera gives, and tells apart the values that can't be converted."""
    from pandera.engines.polars_engine import DataType

    if type(dtype).coerce is not DataType.coerce or dtype.type.is_nested() or before.is_nested():
        return False
    try:
        _example(before).cast(dtype.type, strict=False)
    except pl.exceptions.PolarsError:  # some pairs of types are refused outright, but only once there is a value
        return False
    return True


def _example(dtype: pl.DataType) -> pl.Series:
    """Return one value of a type."""
    if isinstance(dtype, pl.Enum):
        return dtype.categories.head(1).cast(dtype)
    textual = dtype in {pl.String, pl.Categorical, pl.Binary}
    return pl.Series(["a" if textual else 0]).cast(dtype)


def _casts(backend: Any, schema: DataFrameSchema, before: pl.Schema) -> dict[str, pl.DataType]:
    """Ask Pandera what it would make of a frame without rows, and take the differences."""
    from pandera.config import config_context

    with config_context(validation_enabled=True, validation_depth="SCHEMA_ONLY"):
        after = backend.coerce_dtype(before.to_frame().lazy(), schema).collect_schema()
    return {name: dtype for name, dtype in after.items() if dtype != before[name]}


def _coerced(schema: DataFrameSchema, before: pl.Schema) -> Iterator[tuple[str, Any]]:
    columns = schema.columns.values()
    if schema.dtype is not None:
        anything = schema.coerce or any(column.coerce for column in columns)
        yield from ((name, schema.dtype) for name in before if anything)
        return
    for column in columns:
        if schema.coerce or column.coerce:
            yield from ((name, column.dtype) for name in matching(column, before))


def _defaults(schema: DataFrameSchema, before: pl.Schema) -> set[str]:
    with_default = (column for column in schema.columns.values() if column.default is not None)
    return {name for column in with_default for name in matching(column, before)}


def matching(column: Any, schema: pl.Schema) -> list[str]:
    """Name the columns of `schema` that the Pandera column governs; several for a regex."""
    if column.regex:
        return pl.DataFrame(schema=schema).select(pl.col(column.selector)).columns
    return [column.name] if column.name in schema else []
