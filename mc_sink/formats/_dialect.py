"""Which CSV dialects keep their cells apart: numbers, dates and nulls are written unquoted, so none may need quotes."""

from __future__ import annotations

from mc_sink.exceptions import ConfigurationError
from mc_sink.formats._moments import first_of

_IN_NUMBERS = frozenset(".-+:")
_LINE_ENDS = frozenset("\r\n")


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
    if found := first_of(ends, null_value):
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
