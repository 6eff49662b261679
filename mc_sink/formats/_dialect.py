"""Which CSV dialects keep their cells apart: numbers, dates and nulls are written unquoted, so none may need quotes.

What a format of dates comes to is judged by having Polars write samples, because `%D` holds slashes that nobody sees.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any

import polars as pl

from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

_IN_NUMBERS = frozenset(".-+:")
_LINE_ENDS = frozenset("\r\n")
# Ends a sample; no format can write it.
_END = "\x00"
_DAYS = [date(2026, month, day) for month in range(1, 13) for day in (1, 12, 28)]
_TIMES = [time(hour, 5, 45, 123456) for hour in (0, 9, 13, 23)]
_MOMENTS = [datetime(day.year, day.month, day.day, 13, 5, 45, 123456, tzinfo=UTC) for day in _DAYS]
# Clocks in Berlin went back between these two, which read the same without their offset.
_FOLD = [datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)]


def check_characters(separator: str, quote_char: str) -> None:
    """Refuse what can't set cells apart, or stands in cells that are never quoted."""
    for name, value in (("separator", separator), ("quote_char", quote_char)):
        if not _is_one_ascii(value) or value in _LINE_ENDS:
            raise ConfigurationError(f"Csv({name}={value!r}): use one ASCII character that is no line end.")
        if value.isalnum() or value in _IN_NUMBERS:
            raise ConfigurationError(
                f"Csv({name}={value!r}) stands in numbers and dates too, which are written without quotes: use "
                "one ASCII character that is no letter, no digit and none of . - + :"
            )
    if separator == quote_char:
        raise ConfigurationError(f"Csv: separator and quote_char are both {separator!r}.")


def check_null_value(null_value: str | None, ends: str) -> None:
    """Refuse a null that a reader would cut at one of `ends`."""
    if null_value is None:
        return
    if not isinstance(null_value, str):
        raise ConfigurationError(f"Csv(null_value={null_value!r}): use text, such as 'NULL'.")
    if found := _first(ends, null_value):
        raise ConfigurationError(
            f"Csv(null_value={null_value!r}) holds {found!r}, and nulls are written without quotes: leave it out."
        )


def check_formats(date_format: str | None, time_format: str | None, datetime_format: str | None, ends: str) -> None:
    """Refuse formats that Polars can't write, writes as nothing, or writes with one of `ends`."""
    naive = [moment.replace(tzinfo=None) for moment in _MOMENTS]
    _check_format("date_format", date_format, [_DAYS], ends)
    _check_format("time_format", time_format, [_TIMES], ends)
    _check_format("datetime_format", datetime_format, [naive, _MOMENTS], ends)


def keeps_zones(datetime_format: str) -> bool:
    """Whether two moments that share their reading on the clock are written differently."""
    zoned = pl.Series(_FOLD).dt.convert_time_zone("Europe/Berlin")
    first, second = _written("datetime_format", datetime_format, zoned) or ("", "")
    return first != second


def _is_one_ascii(value: object) -> bool:
    return isinstance(value, str) and len(value) == 1 and value.isascii()


def _check_format(name: str, pattern: str | None, kinds: Sequence[Sequence[object]], ends: str) -> None:
    if pattern is None:
        return
    if not isinstance(pattern, str):
        raise ConfigurationError(f"Csv({name}={pattern!r}): use text, such as '%Y'.")
    written = [text for values in kinds for text in _written(name, pattern, pl.Series(values))]
    if not written or not all(written):
        raise ConfigurationError(f"Csv({name}={pattern!r}) is not one that Polars can write: use %Y, %m and so on.")
    if found := _first(ends, "".join(written)):
        raise ConfigurationError(
            f"Csv({name}={pattern!r}) writes {found!r}, as in {written[0]!r}, and dates are written without quotes: "
            "choose another separator or format."
        )


def _first(ends: str, text: str) -> str:
    """Give the first character that ends a cell which isn't quoted; empty if none does."""
    return next((letter for letter in text if letter in _LINE_ENDS or letter in ends), "")


def _written(name: str, pattern: str, values: pl.Series) -> list[str]:
    """Have Polars write each value; nothing where it can't, as a zone where there is none."""
    option: dict[str, Any] = {name: pattern}
    frame = values.to_frame("x")
    try:
        text: str = frame.write_csv(include_header=False, line_terminator=_END, separator="\x01", **option)
    except pl.exceptions.ComputeError:
        return []
    return text.split(_END)[:-1]
