"""Check that a CSV dialect keeps its cells apart, and that its date and time formats lose nothing."""

from __future__ import annotations

import re
from itertools import combinations, takewhile
from typing import TYPE_CHECKING, Any

import polars as pl

from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from polars.datatypes import DataTypeClass

# Names that Polars' `dt.to_string` resolves; its CSV encoder would write them as literal text.
ISO = frozenset({"iso", "iso:strict"})
OPTIONS: dict[DataTypeClass, str] = {pl.Date: "date_format", pl.Time: "time_format", pl.Datetime: "datetime_format"}
# Steps from coarse to fine, in nanoseconds.
STEPS = {
    "day": 86_400 * 10**9,
    "hour": 3_600 * 10**9,
    "minute": 60 * 10**9,
    "second": 10**9,
    "millisecond": 10**6,
    "microsecond": 1_000,
    "nanosecond": 1,
}
_UNITS = {"ms": "millisecond", "us": "microsecond", "ns": "nanosecond"}

# The supported specifiers of chrono's formats, without their "%", and the fields that each writes: a letter for each
# field, digits for fractions of a second. They write letters, digits and . - + : only. Each has a fixed width, is a
# name, or is matched by _UNPADDED. Left out are those that drop the century (%y, %D), pad with spaces (%e, %k), depend
# on a locale (%c, %x) or count in ISO weeks (%G).
_DAYS = {"Y": "Y", "m": "m", "b": "m", "h": "m", "B": "m", "d": "d", "j": "md", "a": "", "A": "", "F": "Ymd"}
_DAYS |= {"-m": "m", "-d": "d", "-j": "md"}
_CLOCK = {"H": "H", "I": "I", "p": "p", "P": "p", "M": "M", "S": "S", "T": "HMS", "R": "HM", "f": "369", ".f": "369"}
_CLOCK |= {"-H": "H", "-I": "I", "-M": "M", "-S": "S"}
_CLOCK |= {f"{dot}{digits}f": "369"[: digits // 3] for dot in ("", ".") for digits in (3, 6, 9)}
_ZONES = {"z": "z", ":z": "z"}
_INSTEAD = {"y": "%Y", "D": "%m/%d/%Y", "e": "%d or %-d", "k": "%H", "l": "%I", "r": "%I:%M:%S %p", "Z": "%z"}
_SPECIFIERS: dict[DataTypeClass, dict[str, str]] = {
    pl.Date: {"%": "", **_DAYS},
    pl.Time: {"%": "", **_CLOCK},
    pl.Datetime: {"%": "", **_DAYS, **_CLOCK, **_ZONES, "s": "YmdHMS"},
}
# The fields that a format must write to keep a step, besides those of all coarser steps.
_FIELDS = dict(zip(STEPS, ("Ymd", "H", "M", "S", "3", "6", "9"), strict=True))
_NEEDED = {"day": "a day needs %Y, %m and %d, or %F", "hour": "an hour needs %H, or %I and %p"}

_SPECIFIER = re.compile(r"%((?:-|[.:]?\d?)\w|%)?")
_UNPADDED = re.compile(r"(%(?:-[mdjHIMS]|s|\.f))(?:\d|%(?:-?[mdjHIMSYFTRs]|\d?f))")
_LINE_ENDS = "\r\n"
_IN_NUMBERS = frozenset(".-+:")


def check_formats(formats: dict[DataTypeClass, str | None], ends: str) -> None:
    """Refuse formats with an unsupported specifier, with one of `ends`, or in which two days or hours read alike."""
    for kind, pattern in formats.items():
        option = f"Csv({OPTIONS[kind]}={pattern!r})"
        if not isinstance(pattern, str | None):
            raise ConfigurationError(f"{option} is not a text. Use a format such as '%Y-%m-%d'.")
        if pattern is None or pattern in ISO:
            continue
        unknown = [name for name in _SPECIFIER.findall(pattern) if name not in _SPECIFIERS[kind]]
        if unknown:
            raise ConfigurationError(
                f"{option} uses %{unknown[0]}, which {OPTIONS[kind]} doesn't support. "
                f"Use {_INSTEAD.get(unknown[0], 'one of the specifiers that docs/csv.md lists')}."
            )
        if found := first_cell_end(ends, _SPECIFIER.sub(lambda match: "%" * (match[1] == "%"), pattern)):
            raise ConfigurationError(
                f"{option} writes {found!r}, and dates are written without quotes. Use another separator or format."
            )
        if unpadded := _UNPADDED.search(pattern):
            raise ConfigurationError(
                f"{option} writes {unpadded[1]}, which has no fixed width, directly before another number. "
                "Put a character between them, or use the specifier that pads with zeros."
            )
        if not finest(kind, pattern):
            step = next(iter(_steps(kind)))
            raise ConfigurationError(
                f"{option} writes the same text for more than one {step}: {_NEEDED[step]}. Complete the format."
            )


def finest(kind: DataTypeClass, pattern: str) -> str:
    """Return the finest step that the format keeps, from "day" to "nanosecond"; empty if it keeps none."""
    if pattern in ISO:
        return "nanosecond"
    written = {field for name in _SPECIFIER.findall(pattern) for field in _SPECIFIERS[kind][name]}
    if written >= {"I", "p"}:
        written.add("H")
    kept = list(takewhile(lambda step: written.issuperset(_FIELDS[step]), _steps(kind)))
    return kept[-1] if kept else ""


def finest_of(dtype: pl.DataType) -> int:
    """Return the finest step that values of the dtype can have, in nanoseconds."""
    if isinstance(dtype, pl.Datetime):
        return STEPS[_UNITS[dtype.time_unit]]
    return STEPS["day" if isinstance(dtype, pl.Date) else "nanosecond"]


def keeps_zones(pattern: str) -> bool:
    """Return True if moments that show the same clock time in their zones are written differently."""
    return pattern in ISO or "s" in _SPECIFIER.findall(pattern) or not takes_naive(pattern)


def takes_naive(pattern: str) -> bool:
    """Return True if the format can write a datetime without a zone; an offset can't be written then."""
    return pattern in ISO or not _ZONES.keys() & set(_SPECIFIER.findall(pattern))


def _steps(kind: DataTypeClass) -> list[str]:
    steps = list(STEPS)
    return steps[:1] if kind == pl.Date else steps[1:] if kind == pl.Time else steps


def first_cell_end(ends: str, text: str) -> str:
    """Return the first character that ends an unquoted cell; empty if none does."""
    return next((letter for letter in text if letter in _LINE_ENDS or letter in ends), "")


def check_characters(separator: str, quote_char: str, escape_char: str | None) -> None:
    """Refuse characters that can't separate cells, or that occur in cells that are never quoted."""
    characters: dict[str, Any] = {"separator": separator, "quote_char": quote_char}  # callers may pass anything
    characters |= {} if escape_char is None else {"escape_char": escape_char}
    for name, value in characters.items():
        is_one_ascii = isinstance(value, str) and len(value) == 1 and value.isascii()
        if not is_one_ascii or value in _LINE_ENDS or value == "\x00":
            raise ConfigurationError(
                f"Csv({name}={value!r}) is not possible. Use one ASCII character, but not a line end or NUL."
            )
        if value.isalnum() or value in _IN_NUMBERS:
            raise ConfigurationError(
                f"Csv({name}={value!r}) is not possible: numbers and dates contain it and are written without quotes. "
                "Use one ASCII character that isn't a letter, a digit or one of . - + :"
            )
    for (one, value), (other, same) in combinations(characters.items(), 2):
        if value == same:
            raise ConfigurationError(f"Csv({one}=, {other}=) are both {value!r}. Use two different characters.")


def check_null_value(null_value: str | None, ends: str) -> None:
    """Refuse a null text that a reader would cut at one of `ends`, trim, or take for a number, a date or JSON."""
    if null_value is None:
        return
    option = f"Csv(null_value={null_value!r})"
    if not isinstance(null_value, str):
        raise ConfigurationError(f"{option} is not a text. Use a word, such as 'NULL'.")
    if found := first_cell_end(ends, null_value):
        raise ConfigurationError(
            f"{option} contains {found!r}, and nulls are written without quotes. Leave the character out."
        )
    number = any(map(str.isdigit, null_value)) or null_value.lower().lstrip("+-") in {"nan", "inf", "infinity"}
    if number or null_value != null_value.strip() or null_value.startswith(("[", "{")):
        raise ConfigurationError(
            f"{option} can be read as a number, a date or JSON, or is trimmed by readers. Use a word, such as 'NULL'."
        )


def check_boolean_format(boolean_format: object, null_value: str | None) -> None:
    """Refuse two texts that readers can't distinguish from each other or from a null."""
    option = f"Csv(boolean_format={boolean_format!r})"
    if not (isinstance(boolean_format, tuple) and [type(text) for text in boolean_format] == [str, str]):
        raise ConfigurationError(f"{option} is not a pair of texts. Use a tuple such as ('true', 'false').")
    readings = {*boolean_format, null_value or ""}
    if len(readings) != len(boolean_format) + 1 or any(text != text.strip() for text in readings):
        raise ConfigurationError(
            f"{option} is ambiguous: true, false and null need three different texts without spaces around them."
        )
