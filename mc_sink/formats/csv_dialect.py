"""Check that a CSV dialect keeps its cells apart, and that its date formats lose nothing.

Judged by having Polars write samples and looking for two that read alike, because `%D` holds slashes that nobody sees,
`%y` makes 1926 of 2026, and `%I` makes morning of evening.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import cache
from itertools import product, takewhile
from operator import mul
from typing import TYPE_CHECKING, Any

import polars as pl

from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from polars.datatypes import DataTypeClass

# Words that Polars' `dt.to_string` knows; its CSV encoder writes them as they stand.
ISO = frozenset({"iso", "iso:strict"})
OPTIONS: dict[DataTypeClass, str] = {pl.Date: "date_format", pl.Time: "time_format", pl.Datetime: "datetime_format"}
_LINE_ENDS = frozenset("\r\n")
# Ends a sample; no format can write it.
_END = "\x00"
_SECOND = 10**9
STEPS = {"day": 86_400 * _SECOND, "hour": 3_600 * _SECOND, "minute": 60 * _SECOND, "second": _SECOND}

_UNITS = {"ms": "millisecond", "us": "microsecond", "ns": "nanosecond"}
_FEW, _SIXTY, _THOUSAND = (0, 1, 12, 13), range(60), (0, 1, 10, 99, 100, 999)
# Hours, minutes, seconds and so on down to nanoseconds that a format must tell apart to keep each step.
_CLOCKS: dict[str, list[Iterable[int]]] = {
    "hour": [range(24)],
    "minute": [_FEW, _SIXTY],
    "second": [_FEW, (0, 1, 30), _SIXTY],
    "millisecond": [(0, 12), (0, 1), (0, 1, 30), _THOUSAND],
    "microsecond": [(0, 12), (0,), (0, 1), (0, 1, 10), _THOUSAND],
    "nanosecond": [(0, 12), (0,), (0,), (0, 1), (0, 1, 10), _THOUSAND],
}
STEPS |= {"millisecond": 10**6, "microsecond": 1_000, "nanosecond": 1}

_CLOCK_STEPS = [STEPS[name] for name in _CLOCKS]
# The same reading on the clock: in Berlin when clocks go back, and under zones that share the abbreviation CST.
_ALIKE: list[list[tuple[datetime, str]]] = [
    [(datetime(2026, 10, 25, hour, 30, tzinfo=UTC), "Europe/Berlin") for hour in (0, 1)],
    [(datetime(2026, 1, 15, hour, tzinfo=UTC), zone) for hour, zone in ((18, "America/Chicago"), (4, "Asia/Shanghai"))],
]
_IN_NUMBERS = frozenset(".-+:")


def check_formats(formats: dict[DataTypeClass, str | None], ends: str) -> None:
    """Refuse formats that Polars can't write, that write one of `ends`, or that drop more than a fraction of a day."""
    for kind, pattern in formats.items():
        if pattern is None:
            continue
        told = f"Csv({OPTIONS[kind]}={pattern!r})"
        if not isinstance(pattern, str):
            raise ConfigurationError(f"{told}: use text, such as '%Y-%m-%d'.")
        if pattern not in ISO:
            _check_pattern(told, kind, pattern, ends)


def finest(kind: DataTypeClass, pattern: str) -> str:
    """Name the finest step that the format keeps, from "day" to "nanosecond"; empty if it keeps none."""
    if pattern in ISO:
        return "nanosecond"
    kept = list(takewhile(lambda step: _tells_apart(kind, pattern, step), _steps(kind)))
    return kept[-1] if kept else ""


def finest_of(dtype: pl.DataType) -> int:
    """Give the finest step that values of the dtype can have, in nanoseconds."""
    if isinstance(dtype, pl.Datetime):
        return STEPS[_UNITS[dtype.time_unit]]
    return STEPS["day" if isinstance(dtype, pl.Date) else "nanosecond"]


@cache
def keeps_zones(pattern: str) -> bool:
    """Whether two moments that share their reading on the clock are written differently."""
    return pattern in ISO or all(
        len({text for moment in alike for text in _written_zoned(pattern, *moment)}) == len(alike) for alike in _ALIKE
    )


@cache
def takes_naive(pattern: str) -> bool:
    """Whether the format can write a datetime without a zone; `%z` can't."""
    return pattern in ISO or bool(_written(pl.Datetime, pattern, _days().head(1).cast(pl.Datetime("ns"))))


def _check_pattern(told: str, kind: DataTypeClass, pattern: str, ends: str) -> None:
    written = _written_anyhow(kind, pattern, _steps(kind)[0])
    if not written or not all(written):
        raise ConfigurationError(f"{told} is not one that Polars can write: use %Y, %m and so on.")
    if found := first_cell_end(ends, "".join(written)):
        raise ConfigurationError(
            f"{told} writes {found!r}, as in {written[0]!r}, and dates are written without quotes: "
            "choose another separator or format."
        )
    if not finest(kind, pattern):
        twice = next(text for text in written if written.count(text) > 1)
        raise ConfigurationError(
            f"{told} writes {twice!r} for more than one {_steps(kind)[0]}: no reader could tell them apart."
        )


def first_cell_end(ends: str, text: str) -> str:
    """Give the first character that ends a cell which isn't quoted; empty if none does."""
    return next((letter for letter in text if letter in _LINE_ENDS or letter in ends), "")


def _steps(kind: DataTypeClass) -> list[str]:
    return ["day"] if kind == pl.Date else [*_CLOCKS] if kind == pl.Time else ["day", *_CLOCKS]


@cache
def _tells_apart(kind: DataTypeClass, pattern: str, step: str) -> bool:
    written = _written_anyhow(kind, pattern, step)
    return bool(written) and len(set(written)) == len(written)


def _written_anyhow(kind: DataTypeClass, pattern: str, step: str) -> list[str]:
    """Write the samples of a step, as datetimes in UTC where the format wants a zone."""
    values = _samples(kind, step)
    zoned = values.dt.replace_time_zone("UTC") if kind == pl.Datetime else values
    return _written(kind, pattern, values) or _written(kind, pattern, zoned)


def _samples(kind: DataTypeClass, step: str) -> pl.Series:
    if step == "day":
        return _days().cast(kind)
    clocks = [sum(map(mul, parts, _CLOCK_STEPS)) for parts in product(*_CLOCKS[step])]
    if kind == pl.Time:
        return pl.Series("x", clocks).cast(pl.Time)
    days = _days().gather([0, -1]).cast(pl.Datetime("ns")).to_physical()
    return pl.Series("x", [day + clock for day in days for clock in clocks]).cast(pl.Datetime("ns"))


@cache
def _days() -> pl.Series:
    years = [pl.date_range(date(year, 1, 1), date(year, 12, 31), eager=True) for year in (1926, 2025, 2026)]
    return pl.concat(years).alias("x")


def _written_zoned(pattern: str, moment: datetime, zone: str) -> list[str]:
    return _written(pl.Datetime, pattern, pl.Series("x", [moment]).dt.convert_time_zone(zone))


def _written(kind: DataTypeClass, pattern: str, values: pl.Series) -> list[str]:
    """Have Polars write each value; nothing where it can't, as a zone where there is none."""
    option: dict[str, Any] = {OPTIONS[kind]: pattern}
    try:
        text: str = values.to_frame().write_csv(include_header=False, line_terminator=_END, separator="\x01", **option)
    except pl.exceptions.ComputeError:
        return []
    return text.split(_END)[:-1]


def check_characters(separator: str, quote_char: str) -> None:
    """Refuse what can't set cells apart, or stands in cells that are never quoted."""
    for name, value in (("separator", separator), ("quote_char", quote_char)):
        if not _is_one_ascii(value) or value in _LINE_ENDS or value == "\x00":
            raise ConfigurationError(f"Csv({name}={value!r}): use one ASCII character that is no line end and no NUL.")
        if value.isalnum() or value in _IN_NUMBERS:
            raise ConfigurationError(
                f"Csv({name}={value!r}) stands in numbers and dates too, which are written without quotes: use "
                "one ASCII character that is no letter, no digit and none of . - + :"
            )
    if separator == quote_char:
        raise ConfigurationError(f"Csv: separator and quote_char are both {separator!r}.")


def check_null_value(null_value: str | None, ends: str) -> None:
    """Refuse a null that a reader would cut at one of `ends`, trim, or take for a number, a date or JSON."""
    if null_value is None:
        return
    if not isinstance(null_value, str):
        raise ConfigurationError(f"Csv(null_value={null_value!r}): use text, such as 'NULL'.")
    if found := first_cell_end(ends, null_value):
        raise ConfigurationError(
            f"Csv(null_value={null_value!r}) holds {found!r}, and nulls are written without quotes: leave it out."
        )
    if null_value != null_value.strip() or null_value.startswith(("[", "{")) or _reads_as_number(null_value):
        raise ConfigurationError(
            f"Csv(null_value={null_value!r}) can be taken for a number, a date or JSON, or gets trimmed: "
            "use a word, such as 'NULL'."
        )


def check_boolean_format(boolean_format: object, null_value: str | None) -> None:
    """Refuse two texts that readers can't tell apart, from each other or from a null."""
    if not (isinstance(boolean_format, tuple) and [type(text) for text in boolean_format] == [str, str]):
        raise ConfigurationError(f"Csv(boolean_format={boolean_format!r}): use two texts, such as ('true', 'false').")
    readings = {*boolean_format, null_value or ""}
    if len(readings) != len(boolean_format) + 1 or any(text != text.strip() for text in readings):
        raise ConfigurationError(
            f"Csv(boolean_format={boolean_format!r}): true, false and null need three texts without spaces around them."
        )


def _is_one_ascii(value: object) -> bool:
    return isinstance(value, str) and len(value) == 1 and value.isascii()


def _reads_as_number(text: str) -> bool:
    """Whether it may be a number's, a date's or a time's text: it holds a digit, or is NaN or an infinity."""
    return any(letter.isdigit() for letter in text) or text.lower().lstrip("+-") in {"nan", "inf", "infinity"}
