"""The type of each dtype in the dialects of SQL that declare columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from mc_sink._polars import Map

if TYPE_CHECKING:
    from collections.abc import Callable

# In the order of the dialects below. Where a type is missing, the next wider one that keeps every value.
_DIALECTS = ("duckdb", "clickhouse", "bigquery", "spark")
_TYPES: dict[Any, tuple[str, str, str, str]] = {
    pl.Int8: ("TINYINT", "Int8", "INT64", "TINYINT"),
    pl.Int16: ("SMALLINT", "Int16", "INT64", "SMALLINT"),
    pl.Int32: ("INTEGER", "Int32", "INT64", "INT"),
    pl.Int64: ("BIGINT", "Int64", "INT64", "BIGINT"),
    pl.Int128: ("HUGEINT", "Int128", "BIGNUMERIC", "DECIMAL(38, 0)"),
    pl.UInt8: ("UTINYINT", "UInt8", "INT64", "SMALLINT"),
    pl.UInt16: ("USMALLINT", "UInt16", "INT64", "INT"),
    pl.UInt32: ("UINTEGER", "UInt32", "INT64", "BIGINT"),
    pl.UInt64: ("UBIGINT", "UInt64", "NUMERIC", "DECIMAL(20, 0)"),
    pl.UInt128: ("UHUGEINT", "UInt128", "BIGNUMERIC", "DECIMAL(38, 0)"),
    pl.Float16: ("FLOAT", "Float32", "FLOAT64", "FLOAT"),
    pl.Float32: ("FLOAT", "Float32", "FLOAT64", "FLOAT"),
    pl.Float64: ("DOUBLE", "Float64", "FLOAT64", "DOUBLE"),
    pl.Boolean: ("BOOLEAN", "Bool", "BOOL", "BOOLEAN"),
    pl.Date: ("DATE", "Date32", "DATE", "DATE"),
    pl.Time: ("TIME", "String", "TIME", "STRING"),
    pl.Binary: ("BLOB", "String", "BYTES", "BINARY"),
    pl.Duration: ("BIGINT", "Int64", "INT64", "BIGINT"),
}
_TEXT = ("VARCHAR", "String", "STRING", "STRING")
TEXTS = dict(zip(_DIALECTS, _TEXT, strict=True))
# BigQuery's NUMERIC holds 29 digits before the point and 9 behind it.
_NUMERIC_DIGITS, _NUMERIC_SCALE = 29, 9


def type_of(dtype: pl.DataType, dialect: str) -> str:
    """Return the type that a dialect has for a dtype."""
    if isinstance(dtype, pl.Decimal):
        return _decimal(dtype.precision or 38, dtype.scale, dialect)
    if isinstance(dtype, pl.Datetime):
        return _datetime(dtype, dialect)
    if dtype.is_nested():
        return _nested(dtype, lambda inner: type_of(inner, dialect), dialect)
    return _TYPES.get(type(dtype), _TEXT)[_DIALECTS.index(dialect)]


def _decimal(precision: int, scale: int, dialect: str) -> str:
    if dialect != "bigquery":
        return f"{'Decimal' if dialect == 'clickhouse' else 'DECIMAL'}({precision}, {scale})"
    fits = scale <= _NUMERIC_SCALE and precision - scale <= _NUMERIC_DIGITS
    return f"{'NUMERIC' if fits else 'BIGNUMERIC'}({precision}, {scale})"


def _datetime(dtype: pl.Datetime, dialect: str) -> str:
    is_naive = dtype.time_zone is None
    if dialect == "clickhouse":
        digits = {"ms": 3, "us": 6, "ns": 9}[dtype.time_unit]
        return f"DateTime64({digits}, '{dtype.time_zone or 'UTC'}')"
    if dialect == "bigquery":
        return "DATETIME" if is_naive else "TIMESTAMP"
    if dialect == "spark":
        return "TIMESTAMP_NTZ" if is_naive else "TIMESTAMP"
    unit = "_NS" if dtype.time_unit == "ns" else ""
    return ("TIMESTAMP" if is_naive else "TIMESTAMPTZ") + unit


def _nested(dtype: Any, inner: Callable[[Any], str], dialect: str) -> str:
    """Return the type of a nested dtype; only Athena, whose types are Spark's, declares them."""
    if isinstance(dtype, pl.Struct):
        return f"STRUCT<{', '.join(f'`{field.name}`: {inner(field.dtype)}' for field in dtype.fields)}>"
    if isinstance(dtype, Map):
        return f"MAP<{inner(dtype.key)}, {inner(dtype.value)}>"
    return f"ARRAY<{inner(dtype.inner)}>" if dialect == "spark" else _TEXT[_DIALECTS.index(dialect)]
