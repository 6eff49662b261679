"""Which values Python can hold, and how those that it can't are shown.

A Polars moment may be of any year; Python's years end at 9999, and Polars raises or panics where such a value becomes a
Python object. Out of range, the number that is stored is shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterator

_PER_SECOND = {"ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_DAY = 86_400
# The days of Python's first and last date from 1970, and of its longest timedelta. A moment keeps a day's distance: its
# zone may move it.
_FIRST_DAY, _LAST_DAY, _MOST_DAYS = -719_162, 2_932_896, 999_999_998


def fits_python(values: pl.Series) -> pl.Series:
    """Return, for each value, whether Python can hold it; a null it can."""
    if not values.dtype.is_nested() and not isinstance(values.dtype, pl.BaseExtension):
        bounds = _bounds(values.dtype)
        if bounds is None:
            return pl.repeat(value=True, n=len(values), eager=True)
        first, last = bounds
        return values.to_physical().is_between(max(first, -(2**63)), min(last, 2**63 - 1)).fill_null(value=True)
    if all(fits_python(leaf).all() for leaf in _leaves(values)):
        return pl.repeat(value=True, n=len(values), eager=True)
    rows = (values.slice(row, 1) for row in range(len(values)))
    return pl.Series([all(fits_python(leaf).all() for leaf in _leaves(row)) for row in rows], dtype=pl.Boolean)


def shown(values: pl.Series) -> list[Any]:
    """Return the values as Python has them; a value that it can't hold as text, with the number that is stored."""
    fits = fits_python(values)
    if fits.all():
        return values.to_list()
    held = iter(values.filter(fits).to_list())
    stored = iter(_stored(values.filter(~fits)).to_list())
    unit = _unit(values.dtype)
    return [next(held) if fit else f"{next(stored)}{unit}" for fit in fits]


def _bounds(dtype: pl.DataType) -> tuple[int, int] | None:
    if isinstance(dtype, pl.Datetime):
        second = _PER_SECOND[dtype.time_unit]
        return (_FIRST_DAY + 1) * _DAY * second, _LAST_DAY * _DAY * second - 1
    if isinstance(dtype, pl.Duration):
        most = _MOST_DAYS * _DAY * _PER_SECOND[dtype.time_unit]
        return -most, most
    if isinstance(dtype, pl.Date):
        return _FIRST_DAY, _LAST_DAY
    return (0, _DAY * _PER_SECOND["ns"] - 1) if isinstance(dtype, pl.Time) else None


def _unit(dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.Datetime):
        return f" {dtype.time_unit} since 1970-01-01"
    if isinstance(dtype, pl.Duration):
        return f" {dtype.time_unit}"
    if isinstance(dtype, pl.Date):
        return " days since 1970-01-01"
    return " ns since midnight" if isinstance(dtype, pl.Time) else ""


def _stored(values: pl.Series) -> pl.Series:
    return (values.ext.storage() if isinstance(values.dtype, pl.BaseExtension) else values).to_physical()


def _leaves(values: pl.Series) -> Iterator[pl.Series]:
    """Yield the values at the ends of a column; without their names, which its methods may take for patterns."""
    values = values.alias("")
    dtype = values.dtype
    if isinstance(dtype, pl.BaseExtension):
        yield from _leaves(values.ext.storage())
    elif isinstance(dtype, pl.Map):
        yield from _leaves(values.map.entries())
    elif isinstance(dtype, (pl.List, pl.Array)):
        yield from _leaves(values.explode())
    elif isinstance(dtype, pl.Struct):
        for field in values.struct.unnest().get_columns():
            yield from _leaves(field)
    else:
        yield values
