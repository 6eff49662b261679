"""Values that Polars can hold and Python can't: dates and times of far years, and long durations.

A Polars moment can be of any year, and Python's years end at 9999. Polars raises or panics where such a value is
converted to a Python object. Such values are shown as the number that Polars stores.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from mc_sink._nested import leaves

_PER_SECOND = {"ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_DAY = 86_400
# Days from 1970 to Python's first and last date, and days of its longest timedelta. Datetimes are kept a day away from
# these bounds, because their zone may move them.
_FIRST_DAY, _LAST_DAY, _MOST_DAYS = -719_162, 2_932_896, 999_999_998


def fits_python(values: pl.Series) -> pl.Series:
    """Return True for each value that Python can hold, nulls included."""
    if not values.dtype.is_nested() and not isinstance(values.dtype, pl.BaseExtension):
        first, last, _ = _stored(values.dtype)
        if first is None or last is None:
            return pl.repeat(value=True, n=len(values), eager=True)
        return values.to_physical().is_between(max(first, -(2**63)), min(last, 2**63 - 1)).fill_null(value=True)
    if all(fits_python(leaf).all() for leaf in leaves(values)):
        return pl.repeat(value=True, n=len(values), eager=True)
    rows = (values.slice(row, 1) for row in range(len(values)))
    return pl.Series([all(fits_python(leaf).all() for leaf in leaves(row)) for row in rows], dtype=pl.Boolean)


def shown_values(values: pl.Series) -> list[Any]:
    """Return the values as Python objects; for a value that Python can't hold, a text with the stored number."""
    fits = fits_python(values)
    if fits.all():
        return values.to_list()
    held = iter(values.filter(fits).to_list())
    far = values.filter(~fits)
    storage = far.ext.storage() if isinstance(far.dtype, pl.BaseExtension) else far
    stored = iter(storage.to_physical().to_list())
    *_, unit = _stored(values.dtype)
    return [next(held) if fit else f"{next(stored)}{unit}" for fit in fits]


def blanked(frame: pl.DataFrame, columns: list[str]) -> tuple[pl.DataFrame, pl.Series | None]:
    """Return the frame with null for what Python can't hold in `columns`, and True for each row without such a value.

    The second is None where every value fits; then the frame is returned unchanged.
    """
    unfit = {name: fits for name in columns if not (fits := fits_python(frame[name])).all()}
    if not unfit:
        return frame, None
    nulls = [pl.select(pl.when(fits).then(frame[name])).to_series().alias(name) for name, fits in unfit.items()]
    return frame.with_columns(nulls), pl.select(pl.all_horizontal(*unfit.values())).to_series()


def _stored(dtype: pl.DataType) -> tuple[int, int, str] | tuple[None, None, str]:
    """Return the least and greatest stored number that Python can hold, if it can't hold all, and their unit."""
    if isinstance(dtype, pl.Datetime):
        second = _PER_SECOND[dtype.time_unit]
        since = f" {dtype.time_unit} since 1970-01-01"
        return (_FIRST_DAY + 1) * _DAY * second, _LAST_DAY * _DAY * second - 1, since
    if isinstance(dtype, pl.Duration):
        most = _MOST_DAYS * _DAY * _PER_SECOND[dtype.time_unit]
        return -most, most, f" {dtype.time_unit}"
    if isinstance(dtype, pl.Date):
        return _FIRST_DAY, _LAST_DAY, " days since 1970-01-01"
    if isinstance(dtype, pl.Time):
        return 0, _DAY * _PER_SECOND["ns"] - 1, " ns since midnight"
    return None, None, ""
