"""Dates and times that a CSV can't hold: years without four digits, offsets with seconds, and what a format drops.

Polars writes years before 0 and after 9999 with a sign, which neither pyarrow nor DuckDB reads. Before clocks were
standardised, zones kept the sun's time: Berlin was 53 minutes and 28 seconds ahead, and an offset in a CSV has no
seconds. The last such zone, Monrovia's, ended in 1972.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import polars as pl

from mc_sink.formats._moments import STEPS

if TYPE_CHECKING:
    from collections.abc import Callable

_EPOCH = date(1970, 1, 1)
# Days from 1970 to the first of the year 0 (a leap year before year 1), the last of 9999, and 1973.
_FIRST, _LAST = (date(1, 1, 1) - _EPOCH).days - 366, (date.max - _EPOCH).days
_STANDARD = (date(1973, 1, 1) - _EPOCH).days
_PER_DAY = {"ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}


def find_far_years(values: pl.Series) -> pl.Series | None:
    """Find dates and datetimes whose year, on their own clock, is not from 0 to 9999."""
    per_day = _per_day(values.dtype)
    if per_day is None:
        return None
    moments = values.to_physical()
    if not _any_outside(moments, (_FIRST + 1) * per_day, _LAST * per_day - 1):
        return None
    first, end = _FIRST * per_day, (_LAST + 1) * per_day
    far = (moments < first - per_day) | (moments >= end + per_day)
    if far.any():
        return far
    local = _local(values)
    return (local < first) | (local >= end)


def find_odd_offsets(values: pl.Series) -> pl.Series | None:
    """Find datetimes in zones that were not whole minutes away from UTC."""
    dtype = values.dtype
    if not isinstance(dtype, pl.Datetime) or dtype.time_zone in {None, "UTC"}:
        return None
    per_day = _PER_DAY[dtype.time_unit]
    moments = values.to_physical()
    if not _any_outside(moments, _STANDARD * per_day, None):
        return None
    return (_local(values) - moments) % (per_day // (24 * 60)) != 0


def find_dropped(step: str) -> Callable[[pl.Series], pl.Series]:
    """Find times and datetimes that aren't whole steps, on their own clock: what is less, their format would drop."""

    def find(values: pl.Series) -> pl.Series:
        per_day = _per_day(values.dtype) or STEPS["day"]
        return _local(values) % (per_day * STEPS[step] // STEPS["day"]) != 0

    return find


def _per_day(dtype: pl.DataType) -> int | None:
    if isinstance(dtype, pl.Datetime):
        return _PER_DAY[dtype.time_unit]
    return 1 if isinstance(dtype, pl.Date) else None


def _local(values: pl.Series) -> pl.Series:
    zoned = isinstance(values.dtype, pl.Datetime) and values.dtype.time_zone is not None
    return (values.dt.replace_time_zone(None) if zoned else values).to_physical()


def _any_outside(moments: pl.Series, low: int, high: int | None) -> bool:
    lowest, highest = moments.min(), moments.max()
    if not isinstance(lowest, int) or not isinstance(highest, int):
        return False
    return lowest < low or (high is not None and highest > high)
