"""Cells of a CSV, which are all text, back to what they were: by the rules of the dialect that wrote them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from mc_sink.formats import Csv

_DATE, _TIME = "%F", "%T%.f"
_PARSED = (pl.Boolean, pl.Date, pl.Time, pl.Datetime, pl.Decimal)
_NEVER_TEXT = (pl.Binary, pl.Duration)
_MOST_DIGITS = 38


def has_text(dtype: pl.DataType) -> bool:
    """Whether the formats have a text for values of the dtype."""
    return not isinstance(dtype, _NEVER_TEXT)


def parsed(text: pl.Expr, dtype: pl.DataType, dialect: Csv) -> pl.Expr:
    """Make the dtype of text; what isn't such a text becomes null."""
    if isinstance(dtype, pl.Boolean):
        true, false = map(pl.lit, dialect.boolean_format)
        return pl.when(text == true).then(statement=True).when(text == false).then(statement=False)
    if isinstance(dtype, pl.Date):
        return text.str.to_date(_pattern(dialect.date_format, _DATE), strict=False)
    if isinstance(dtype, pl.Time):
        return text.str.to_time(_pattern(dialect.time_format, _TIME), strict=False)
    if isinstance(dtype, pl.Datetime):
        return _moments(text, dtype, dialect)
    if dtype.is_nested():
        return text.str.json_decode(_with_lists(dtype)).cast(dtype)
    point = text.str.replace(",", ".", literal=True) if dialect.decimal_comma and dtype.is_numeric() else text
    return _decimals(point, dtype) if isinstance(dtype, pl.Decimal) else point.cast(dtype, strict=False)


def _moments(text: pl.Expr, dtype: pl.Datetime, dialect: Csv) -> pl.Expr:
    zoned = dtype.time_zone is not None
    default = f"{_DATE}T{_TIME}" + "%z" * zoned
    pattern = _pattern(dialect.datetime_format, default, iso=default.replace("T", " ", 1))
    moments = text.str.to_datetime(
        pattern, time_unit=dtype.time_unit, time_zone="UTC" if zoned else None, strict=False, ambiguous="null"
    )
    return moments.dt.convert_time_zone(dtype.time_zone) if dtype.time_zone is not None else moments


def _decimals(text: pl.Expr, dtype: pl.Decimal) -> pl.Expr:
    """Take no more digits than the dtype has; a plain cast would round."""
    exact = text.cast(
        pl.Decimal(_MOST_DIGITS, _MOST_DIGITS - ((dtype.precision or _MOST_DIGITS) - dtype.scale)), strict=False
    )
    values = text.cast(dtype, strict=False)
    return pl.when(exact.is_null() | (exact == values)).then(values)


def _pattern(pattern: str | None, default: str, *, iso: str | None = None) -> str:
    """Give the pattern in which Polars wrote; "iso" differs from the default for datetimes, by a space."""
    return {None: default, "iso:strict": default, "iso": iso or default}.get(pattern) or str(pattern)


def _with_lists(dtype: Any) -> Any:
    """Give the dtype with lists for arrays, which Polars doesn't decode from JSON."""
    if isinstance(dtype, (pl.List, pl.Array)):
        return pl.List(_with_lists(dtype.inner))
    if isinstance(dtype, pl.Struct):
        return pl.Struct({field.name: _with_lists(field.dtype) for field in dtype.fields})
    return pl.Map(dtype.key, _with_lists(dtype.value)) if isinstance(dtype, pl.Map) else dtype
