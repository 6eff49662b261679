"""Dates and datetimes as the texts that Polars' CSV encoder writes for them by default, in about half of its time.

Only an offset from UTC is written otherwise: as `+00:00`, because many receivers can't parse `+0000`.

The encoder formats every value by itself: measured on eight columns of an audience, one datetime takes half of the time
that encoding takes. Here a text is put together from tables: the days that occur, the 86,400 seconds of a day, and the
thousands of a fraction. Times alone are left to the encoder, which takes no longer.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import NamedTuple

import polars as pl

# How Polars writes dates by default. A datetime is a date, this letter, a time, and an offset where it has a zone.
_DATE, _CLOCK, _BETWEEN, _UTC = "%Y-%m-%d", "%H:%M:%S", "T", "+00:00"
_DAY = 86_400
_DIGITS = {"ms": 3, "us": 6, "ns": 9}
_THOUSANDS = 1_000
# From so many values on, the tables pay.
MANY = 2_000
# How many days a table of all their seconds has at most, and how many such tables a file has.
_SHORT, _MOST_TABLES = 2, 2


def has_moments(dtype: pl.DataType) -> bool:
    """Return True for dates and datetimes."""
    return isinstance(dtype, (pl.Date, pl.Datetime))


class MomentTexts:
    """Writes the dates and datetimes of columns as text, batch by batch.

    Events of a day or two are common. If a batch of whole seconds has the same days as the one before it, the texts of
    all their seconds are put together once, and then only looked up. Measured, that takes a fifth of the time, and no
    memory for the texts of each batch. At most `_MOST_TABLES` columns have such a table, of up to 7 MB.
    """

    def __init__(self) -> None:
        self._seen: dict[str, _Span] = {}
        self._tables: dict[str, pl.Series] = {}

    def text(self, values: pl.Series) -> pl.Series:
        """Return dates or datetimes as text; a null stays null.

        Years are from 0 to 9999, and offsets from UTC whole minutes: `csv_cells.py` refuses others.
        """
        name, values = values.name, values.alias("")  # the methods of a Series named "*" or "^a$" take it for a pattern
        dtype = values.dtype
        if not isinstance(dtype, pl.Datetime):
            return _days(values.to_physical(), _DATE).alias(name)
        digits, zone = _DIGITS[dtype.time_unit], dtype.time_zone
        if len(values) < MANY:
            return values.dt.to_string(f"{_DATE}{_BETWEEN}{_CLOCK}%.{digits}f{'%:z' if zone else ''}").alias(name)
        local = (values.dt.replace_time_zone(None) if zone else values).to_physical()
        seconds = local // 10**digits
        fractions = local - seconds * 10**digits
        if not fractions.max() and zone in {None, "UTC"}:  # whole seconds, or no value at all
            return self._whole(name, seconds, "." + "0" * digits + (_UTC if zone else "")).alias(name)
        pieces = [*_days_and_clock(seconds, ""), *_fractions(fractions, digits)]
        if zone:
            pieces.append(_offsets((local - values.to_physical()) // (60 * 10**digits)))
        return pl.select(pl.concat_str(pieces)).to_series().alias(name)

    def _whole(self, name: str, seconds: pl.Series, ending: str) -> pl.Series:
        """Return the texts of whole seconds since 1970, each with the same ending."""
        first, last = seconds.min(), seconds.max()
        if not isinstance(first, int) or not isinstance(last, int):
            return seconds.cast(pl.String)  # nulls
        span = _Span(first // _DAY, last // _DAY, ending)
        if self._seen.get(name) != span:
            self._seen[name] = span
            self._tables.pop(name, None)
        elif name not in self._tables and span.is_short and len(self._tables) < _MOST_TABLES:
            self._tables[name] = span.texts()
        if name in self._tables:
            return self._tables[name].gather(_places(seconds - span.first_day * _DAY))
        days, clock = _days_and_clock(seconds, ending)
        return days + clock


class _Span(NamedTuple):
    """Days since 1970, the last one included, and how the texts of their seconds end."""

    first_day: int
    last_day: int
    ending: str

    @property
    def is_short(self) -> bool:
        return self.last_day - self.first_day < _SHORT

    def texts(self) -> pl.Series:
        """Return the texts of all seconds, in order."""
        seconds = pl.int_range(self.first_day * _DAY, (self.last_day + 1) * _DAY, eager=True)
        days, clock = _days_and_clock(seconds, self.ending)
        return days + clock


def _days_and_clock(seconds: pl.Series, ending: str) -> tuple[pl.Series, pl.Series]:
    """Return the texts of seconds since 1970 in two pieces, the second of them with an ending."""
    days = seconds // _DAY
    return _days(days, _DATE + _BETWEEN), _clock_texts(ending).gather(_places(seconds - days * _DAY))


def _days(days: pl.Series, pattern: str) -> pl.Series:
    """Return the texts of days since 1970."""
    first, last = days.min(), days.max()
    if not isinstance(first, int) or not isinstance(last, int) or last - first >= len(days):
        return days.cast(pl.Int32).cast(pl.Date).dt.to_string(pattern)
    texts = pl.int_range(first, last + 1, dtype=pl.Int32, eager=True).cast(pl.Date).dt.to_string(pattern)
    return texts.gather(_places(days - first))


def _fractions(fractions: pl.Series, digits: int) -> list[pl.Series]:
    """Return the pieces of the texts of fractions of a second: a point and three digits, and three digits in each."""
    if not fractions.max():
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


@lru_cache(maxsize=2)
def _clock_texts(ending: str) -> pl.Series:
    """Return the texts of all seconds of a day."""
    return (pl.int_range(0, _DAY, eager=True) * 10**9).cast(pl.Time).dt.to_string(_CLOCK) + ending


@cache
def _thousand_texts(before: str) -> pl.Series:
    """Return the texts of 0 to 999, in three digits."""
    return pl.Series([f"{before}{number:03}" for number in range(_THOUSANDS)])
