"""Values that CSV can't hold as they are: nested values, formulas, dates and times out of range.

**Nested values.** Polars encodes JSON of structs only, so a column is wrapped as the one field of a struct, and the
text around it is cut off. What JSON can't express is refused: binary, durations, keys that are not text, and NaN, which
the encoder would write as null. Decimals and dates are written as JSON strings, integers of any width in full.

**Formulas.** https://owasp.org/www-community/attacks/CSV_Injection names = + - @, tab, carriage return and line feed,
and the full-width forms of the first four. Measured on 8 million rows with three text columns: finding them by a
regular expression takes 21 % of the time that encoding takes. Comparing texts by their order takes under 3 %, because
Polars stores the first bytes of a text beside its length, and it leaves few texts to the regular expression.

**Dates and times.** Polars writes years before 0 and after 9999 with a sign, which neither pyarrow nor DuckDB reads.
Before clocks were standardised, zones followed the sun: Berlin was 53 minutes and 28 seconds ahead of UTC, and an
offset in a CSV has no seconds. The last such zone, Monrovia's, ended in 1972.
"""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Any

import polars as pl

from mc_sink._nested import without_categories
from mc_sink._polars import ENCODES_NULL_ARRAYS, Map
from mc_sink.formats.csv_dialect import STEPS
from mc_sink.formats.format import column_named

if TYPE_CHECKING:
    from collections.abc import Callable

    from polars.datatypes import DataTypeClass

_BEFORE, _AFTER = '{"x":', "}"
_TEXTS = (pl.String, pl.Categorical, pl.Enum)
ASCII_STARTS, FULL_WIDTH_STARTS = "=+-@\t\r\n", "＝＋－＠"
_PATTERN = rf"^[=+\-@\t\r\n{FULL_WIDTH_STARTS}]"
# In the order of texts: before it comes every text that starts with one of ASCII_STARTS, or with nothing; between these
# two is none; and from this one on come those that start with a full-width character.
_ABOVE_ASCII, _HARMLESS, _FULL_WIDTH = "A", (".", "="), "\uf000"
_EPOCH = date(1970, 1, 1)
# Days from 1970 to the first of the year 0 (a leap year before year 1), the last of 9999, and 1973.
_FIRST, _LAST = (date(1, 1, 1) - _EPOCH).days - 366, (date.max - _EPOCH).days
_STANDARD = (date(1973, 1, 1) - _EPOCH).days
_PER_DAY = {"ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}


def has_json(dtype: pl.DataType | DataTypeClass, leaves: tuple[type[pl.DataType], ...]) -> bool:
    """Return True if JSON can hold the dtype, given that it can hold `leaves`."""
    if isinstance(dtype, (pl.List, pl.Array)):
        return has_json(dtype.inner, leaves)
    if isinstance(dtype, pl.Struct):
        return all(has_json(field.dtype, leaves) for field in dtype.fields)
    if isinstance(dtype, Map):
        return dtype.key.base_type() in _TEXTS and has_json(dtype.value, leaves)
    return dtype.base_type() in leaves


def as_json(column: str, dtype: pl.DataType) -> pl.Expr:
    """Return the expression that writes a nested column as JSON text; a null stays null.

    Enums and Categoricals become text before: Polars' encoder panics over lists of them (measured, 1.44).
    """
    values = column_named(column)
    texts = without_categories(dtype)
    if not ENCODES_NULL_ARRAYS:
        texts = _with_lists(texts)
    plain = values if texts == dtype else values.cast(texts, strict=False)  # it never fails
    text = pl.struct(plain.alias("x")).struct.json_encode().str.strip_prefix(_BEFORE).str.strip_suffix(_AFTER)
    return pl.when(values.is_not_null()).then(text).alias(column)


def _with_lists(dtype: Any) -> Any:
    """Return the dtype with lists in place of arrays, at any depth; for a Polars without maps."""
    if isinstance(dtype, pl.List | pl.Array):
        return pl.List(_with_lists(dtype.inner))
    if isinstance(dtype, pl.Struct):
        return pl.Struct({field.name: _with_lists(field.dtype) for field in dtype.fields})
    return dtype


def quoted_text(name: str, separator: str, quote: str, escape: str) -> pl.Expr:
    """Return the text of a column in quotes where it needs them, with `escape` before quotes and before itself."""
    column = column_named(name).cast(pl.String)
    escaped_quotes = column.str.replace_all(escape, escape * 2, literal=True).str.replace_all(
        quote, escape + quote, literal=True
    )
    needs = (column == "") | column.str.contains("[" + re.escape(separator + quote + escape) + "\r\n]")
    return pl.when(needs).then(quote + escaped_quotes + quote).otherwise(column).alias(name)


def starts_like_formula(text: str) -> bool:
    """Return True if a spreadsheet may execute a cell with this text."""
    return text.startswith((*ASCII_STARTS, *FULL_WIDTH_STARTS))


def find_formulas(values: pl.Series) -> pl.Series | None:
    """Find cells that a spreadsheet may execute; None if no cell is one."""
    texts = values.cast(pl.String)
    suspects, early = texts >= _FULL_WIDTH, texts < _ABOVE_ASCII
    if early.any():
        suspects |= early & ((texts < _HARMLESS[0]) | (texts >= _HARMLESS[1]))
    if not suspects.any():
        return None
    found = pl.select(pl.when(suspects).then(texts)).to_series().str.contains(_PATTERN).fill_null(value=False)
    return found if found.any() else None


def escaped(texts: pl.Series, formulas: pl.Series) -> pl.Series:
    """Return the cells with an apostrophe before each formula, which makes a spreadsheet treat it as text."""
    frame = texts.to_frame("text").with_columns(formula=formulas)
    text = pl.col("text")
    return frame.select(pl.when("formula").then(pl.lit("'") + text).otherwise(text)).to_series().alias(texts.name)


def find_far_years(values: pl.Series) -> pl.Series | None:
    """Find dates and datetimes whose year, in their zone, is not from 0 to 9999."""
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
    """Find datetimes at which their zone was not whole minutes away from UTC."""
    dtype = values.dtype
    if not isinstance(dtype, pl.Datetime) or dtype.time_zone in {None, "UTC"}:
        return None
    per_day = _PER_DAY[dtype.time_unit]
    moments = values.to_physical()
    if not _any_outside(moments, _STANDARD * per_day, None):
        return None
    return (_local(values) - moments) % (per_day // (24 * 60)) != 0


def find_dropped(step: str) -> Callable[[pl.Series], pl.Series]:
    """Return a function that finds times and datetimes that aren't whole steps on the clock of their zone."""

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
