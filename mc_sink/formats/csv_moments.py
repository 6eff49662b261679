"""Dates and datetimes as the texts that Polars' CSV encoder writes for them by default, in about half of its time.

Only an offset from UTC is written otherwise: as `+00:00`, because many receivers can't parse `+0000`.

The encoder formats every value by itself: measured on eight columns of an audience, one datetime takes half of the time
that encoding takes. Here a text is put together from tables: the days that occur, the 86,400 seconds of a day, and the
thousands of a fraction. Times alone are left to the encoder, which takes no longer.
"""

from __future__ import annotations

from functools import cache

import polars as pl

# How Polars writes dates by default. A datetime is a date, this letter, a time, and an offset where it has a zone.
_DATE, _CLOCK, _BETWEEN = "%Y-%m-%d", "%H:%M:%S", "T"
_DAY = 86_400
_DIGITS = {"ms": 3, "us": 6, "ns": 9}
_THOUSANDS = 1_000
# From so many values on, the tables pay.
MANY = 2_000


def has_moments(dtype: pl.DataType) -> bool:
    """Return True for dates and datetimes."""
    return isinstance(dtype, (pl.Date, pl.Datetime))


def moments_as_text(values: pl.Series) -> pl.Series:
    """Return dates or datetimes as text; a null stays null.

    Years are from 0 to 9999, and offsets from UTC whole minutes: `csv_cells.py` refuses others.
    """
    name, values = values.name, values.alias("")  # the methods of a Series named "*" or "^a$" take it for a pattern
    dtype = values.dtype
    if not isinstance(dtype, pl.Datetime):
        return _days(values.to_physical(), _DATE).alias(name)
    digits = _DIGITS[dtype.time_unit]
    if len(values) < MANY:
        pattern = f"{_DATE}{_BETWEEN}{_CLOCK}%.{digits}f{'%:z' if dtype.time_zone else ''}"
        return values.dt.to_string(pattern).alias(name)
    local = (values.dt.replace_time_zone(None) if dtype.time_zone else values).to_physical()
    seconds = local // 10**digits
    days = seconds // _DAY
    pieces = [_days(days, _DATE + _BETWEEN), _clock_texts().gather(_places(seconds - days * _DAY))]
    pieces += _fractions(local - seconds * 10**digits, digits)
    if dtype.time_zone:
        pieces.append(_offsets((local - values.to_physical()) // (60 * 10**digits)))
    return pl.select(pl.concat_str(pieces)).to_series().alias(name)


def _days(days: pl.Series, pattern: str) -> pl.Series:
    """Return the texts of days since 1970."""
    first, last = days.min(), days.max()
    if not isinstance(first, int) or not isinstance(last, int) or last - first >= len(days):
        return days.cast(pl.Int32).cast(pl.Date).dt.to_string(pattern)
    texts = pl.int_range(first, last + 1, dtype=pl.Int32, eager=True).cast(pl.Date).dt.to_string(pattern)
    return texts.gather(_places(days - first))


def _fractions(fractions: pl.Series, digits: int) -> list[pl.Series]:
    """Return the pieces of the texts of fractions of a second: a point and three digits, and three digits in each."""
    if not fractions.max():  # whole seconds, or no value at all
        return [pl.Series(["." + "0" * digits])]
    pieces: list[pl.Series] = []
    for left in range(digits - 3, -1, -3):
        thousands = fractions // 10**left
        fractions -= thousands * 10**left
        pieces.append(_thousand_texts("" if pieces else ".").gather(_places(thousands)))
    return pieces


def _offsets(minutes: pl.Series) -> pl.Series:
    """Return the texts of offsets from UTC, in minutes."""
    first, last = minutes.min(), minutes.max()
    if not isinstance(first, int) or not isinstance(last, int):
        return minutes.cast(pl.String)  # nulls
    texts = pl.Series(
        [f"{'-' if each < 0 else '+'}{abs(each) // 60:02}:{abs(each) % 60:02}" for each in range(first, last + 1)]
    )
    return texts.gather(_places(minutes - first))


def _places(numbers: pl.Series) -> pl.Series:
    return numbers.cast(pl.UInt32)


@cache
def _clock_texts() -> pl.Series:
    """Return the texts of all seconds of a day."""
    return (pl.int_range(0, _DAY, eager=True) * 10**9).cast(pl.Time).dt.to_string(_CLOCK)


@cache
def _thousand_texts(before: str) -> pl.Series:
    """Return the texts of 0 to 999, in three digits."""
    return pl.Series([f"{before}{number:03}" for number in range(_THOUSANDS)])
