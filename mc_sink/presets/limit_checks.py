"""Check a schema, its columns and headers, and then every cell and row, against a receiver's limits.

Three steps measure rows. A bound from each column's longest cell is enough for most batches. Then the text cells are
measured row by row, and for rows that may still be too long all other cells are written out together. Rows within a few
bytes of the limit are written out completely, because quotes may decide.

A row in Parquet has the bytes of its texts and binaries, and 8 for any other value (16 for one of 128 bits). Nested
columns are not measured.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING

import polars as pl

from mc_sink._nested import leaf_dtypes
from mc_sink.exceptions import ConfigurationError
from mc_sink.formats import Csv, OneRun, as_json, headers_of
from mc_sink.presets.limit import CHARACTERS, DTYPES, Excess, refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mc_sink.formats import Format
    from mc_sink.presets.limit import Limit, Unit

_MAX_SHOWN, _MAX_NAME = 5, 50
_DIGITS = {pl.Int64: 19, pl.UInt64: 20, pl.Int128: 39, pl.UInt128: 39, pl.Float64: 17}
_TEXT_OPTIONS = ("separator", "quote_char", "null_value", "boolean_format")
# What divides cells and surrounds them may be what no cell can hold.
_OWN = {"separator": "\t", "quote_char": '"'}
_ESCAPED = (
    "Replace them in the query, choose Parquet, or give a format=Csv(escape_char='\\\\', …), which writes them as the "
    "receiver reads them."
)
_LINE_END = r"\r\n|\n|\r"
_QUOTES = 3  # two of them, and the apostrophe of an escaped formula
_WIDE = (pl.Int128, pl.UInt128, pl.Decimal)
_TEXTS = (pl.String, pl.Binary, pl.Categorical, pl.Enum)
_MOMENTS = (pl.Date, pl.Time, pl.Datetime)


def check_schema(
    preset: str, limits: Sequence[Limit], schema: pl.Schema, format: Format, in_folders: Sequence[str] = ()
) -> None:
    """Raise `LimitError` for the first limit that the schema, the names in folders or the format breaks."""
    has_header = not isinstance(format, Csv) or format.include_header
    headers = [*(headers_of(format, schema) if has_header else ()), *in_folders]
    for limit in limits:
        if limit.holds_for(format) and (found := _excess_of(limit, schema, headers, format)) is not None:
            raise refusal(preset, limit, found)


def _excess_of(limit: Limit, schema: pl.Schema, headers: Sequence[str], format: Format) -> Excess | None:
    """Return what breaks a limit on the format, the columns or the headers; None also for a limit on cells and rows."""
    noun, most, advice = "header", 0, ""
    match limit.name:
        case "format":
            return None if format.extension in limit.texts else Excess(1, "format", format.extension)
        case "columns":
            nested = limit.unit == "columns, nested ones included"
            number = sum(1 + (_fields(dtype) if nested else 0) for dtype in schema.dtypes())
            return Excess(number, "column") if number > limit.number else None
        case "nested columns":
            is_text = isinstance(format, Csv) and format.nested == "json"
            names = [name for name, dtype in schema.items() if dtype.is_nested() and not is_text]
            noun, most = "nested column", limit.number
        case "header length":
            sizes = {name: len(name if limit.unit == "characters" else name.encode()) for name in headers}
            names = [name for name, size in sizes.items() if size > limit.number]
        case "header characters":
            names = [name for name in headers if not re.fullmatch(str(limit.value), name)]
        case "header prefixes":
            names = [name for name in headers if name.lower().startswith(tuple(map(str.lower, limit.texts)))]
        case "duplicate headers":
            seen = Counter(map(str.lower, headers))
            names, most = [name for name in headers if seen[name.lower()] > 1], limit.number
        case "dtypes":
            refused = {name: found for name, dtype in schema.items() if (found := _refused_in(dtype, limit.texts))}
            names, noun = list(refused), "column"
            casts = sorted({kind for found in refused.values() for kind in found})
            advice = f"Cast {', '.join(f'{kind} to {DTYPES[kind]}' for kind in casts)}, or drop the columns."
        case "forbidden characters":
            options = {name: getattr(format, name) for name in _TEXT_OPTIONS} if isinstance(format, Csv) else {}
            characters = set(_characters(limit, format))
            wrong = [n for n, value in options.items() if any(c in str(value) for c in characters - {_OWN.get(n)})]
            other = "Use other values in format=."
            return Excess(len(wrong), "option", ", ".join(wrong), " of the CSV", other) if wrong else None
        case _:
            return None
    shown = [repr(name if len(name) <= _MAX_NAME else f"{name[:_MAX_NAME]}…") for name in names[:_MAX_SHOWN]]
    more = [f"{len(names) - _MAX_SHOWN:,} more"] if len(names) > _MAX_SHOWN else []
    return Excess(len(names), noun, ", ".join([*shown, *more]), advice=advice) if len(names) > most else None


def _refused_in(dtype: pl.DataType, refused: Sequence[str]) -> set[str]:
    """Return those of the refused dtypes that are in a dtype, at any depth."""
    kinds = (
        "Datetime(ns)" if isinstance(leaf, pl.Datetime) and leaf.time_unit == "ns" else leaf.base_type().__name__
        for leaf in leaf_dtypes(dtype)
    )
    return {kind for kind in kinds if kind in refused}


def _characters(limit: Limit, format: Format) -> list[str]:
    """Return the forbidden characters, but for the one that a CSV writes as an escape, and escapes."""
    escape = format.escape_char if isinstance(format, Csv) else None
    return [CHARACTERS[name] for name in limit.texts if CHARACTERS[name] != escape]


def _fields(dtype: pl.DataType) -> int:
    """Count the fields inside a dtype, at any depth."""
    if isinstance(dtype, (pl.List, pl.Array)):
        return _fields(dtype.inner) if isinstance(dtype.inner, pl.DataType) else 0
    if isinstance(dtype, pl.Struct):
        return sum(1 + (_fields(field.dtype) if isinstance(field.dtype, pl.DataType) else 0) for field in dtype.fields)
    return 0


def texts(batch: pl.DataFrame, format: Format) -> dict[str, pl.Series]:
    """Return the columns that are text in the file by name, also nested ones that a CSV has as JSON.

    The Series are unnamed: the methods of a Series named "*" or "^a$" would use its name as a pattern.
    """
    found = {}
    for column in batch.get_columns():
        text, dtype = column.alias(""), column.dtype
        if isinstance(dtype, (pl.Categorical, pl.Enum)):
            found[column.name] = text.cast(pl.String)
        elif dtype.is_nested() and isinstance(format, Csv):  # JSON, and null for a null
            found[column.name] = text.to_frame("cell").select(as_json("cell", dtype)).to_series().alias("")
        elif isinstance(dtype, pl.String) or (isinstance(dtype, pl.Binary) and not isinstance(format, Csv)):
            found[column.name] = text
    return found


def length(text: pl.Series, *, unit: Unit = "bytes") -> pl.Series:
    """Measure each cell in characters if that is the unit, else in bytes."""
    if isinstance(text.dtype, pl.Binary):
        return text.bin.size()
    return text.str.len_chars() if unit == "characters" else text.str.len_bytes()


def longest(text: pl.Series) -> int:
    """Return the bytes of a column's longest cell, never fewer than its characters or line ends."""
    most = length(text).max()
    return most if isinstance(most, int) else 0


def long_cells(limit: Limit, format: Format, batch: pl.DataFrame, offset: int) -> Excess | None:
    """Find a column with cells that are too long."""
    for name, text in texts(batch, format).items():
        if longest(text) > limit.number:
            long = length(text, unit=limit.unit) > limit.number
            if found := first_excess(long, "cell", offset, f" of column {name!r}"):
                return found
    return None


def many_line_ends(limit: Limit, format: Format, batch: pl.DataFrame, offset: int) -> Excess | None:
    """Find a column with cells that have too many line ends."""
    for name, text in texts(batch, format).items():
        if longest(text) > limit.number and not isinstance(text.dtype, pl.Binary):
            has_some = text.str.contains("[\r\n]")
            if not has_some.any():
                continue
            many = has_some & (text.str.count_matches(_LINE_END) > limit.number)
            if found := first_excess(many, "cell", offset, f" of column {name!r}"):
                return found
    return None


def forbidden_characters(limit: Limit, format: Format, batch: pl.DataFrame, offset: int) -> Excess | None:
    """Find a column with cells that contain a character which the receiver reads otherwise."""
    for name, text in texts(batch, format).items():
        if isinstance(text.dtype, pl.Binary):
            continue
        for character in _characters(limit, format):
            has_some = text.str.contains(character, literal=True)
            if found := first_excess(has_some, "cell", offset, f" of column {name!r}"):
                return replace(found, advice=_ESCAPED if character == CHARACTERS["backslash"] else "")
    return None


def long_numbers(limit: Limit, _: Format, batch: pl.DataFrame, offset: int) -> Excess | None:
    """Find a column of numbers with more digits than the receiver keeps."""
    for name, dtype in batch.schema.items():
        if _digits_of(dtype) <= limit.number:
            continue
        column = batch.get_column(name).alias("")
        if dtype.is_integer():
            long = (column >= 10**limit.number) | (column <= -(10**limit.number))
        else:  # the zeros at both ends are not among the digits
            digits = column.cast(pl.String).str.replace("[eE].*$", "").str.replace_all("[^0-9]", "")
            long = digits.str.strip_chars("0").str.len_bytes() > limit.number
            if dtype.is_float():  # far from 1, a float that has been rounded may still have a digit more
                long &= column != column.round_sig_figs(limit.number)
        if found := first_excess(long, "number", offset, f" of column {name!r}"):
            return found
    return None


def _digits_of(dtype: pl.DataType) -> int:
    """Return the most digits that numbers of a dtype have; 0 for other dtypes, and for those with few."""
    if isinstance(dtype, pl.Decimal):
        return dtype.precision
    return next((digits for kind, digits in _DIGITS.items() if isinstance(dtype, kind)), 0)


def first_excess(breaks: pl.Series, noun: str, offset: int, owner: str = "") -> Excess | None:
    """Return the number of cells or rows that break a limit, and the first one's row, from 0 over the whole run."""
    if not (number := int(breaks.sum() or 0)):
        return None
    first = "in row" if number == 1 else "the first in row"
    return Excess(number, noun, f"{first} {offset + breaks.arg_true()[0]:,}, counted from 0", owner)


def long_rows(limit: Limit, format: Format, batch: pl.DataFrame, offset: int) -> Excess | None:
    """Find rows that are too long, without their line ends."""
    columns = texts(batch, format)
    if isinstance(format, Csv):
        # Each character may be a quote, which is doubled.
        bound = sum(2 * longest(text) for text in columns.values()) + _widths(batch, format)
        return _long_lines(limit, format, batch, offset) if bound > limit.number else None
    others = sum(
        0 if isinstance(dtype, _TEXTS) or dtype.is_nested() else 16 if isinstance(dtype, _WIDE) else 8
        for dtype in batch.dtypes
    )
    if sum(map(longest, columns.values())) + others <= limit.number:
        return None
    return first_excess(_sum(batch, map(length, columns.values())) + others > limit.number, "row", offset)


def _long_lines(limit: Limit, format: Csv, batch: pl.DataFrame, offset: int) -> Excess | None:
    """Find the lines that are too long, and write out as few rows as possible."""
    columns = texts(batch, format)
    quotes = [text.str.count_matches(format.quote_char, literal=True) for text in columns.values()]
    sizes = _sum(batch, [*(length(text, unit=limit.unit) for text in columns.values()), *quotes])
    rows = (sizes + _widths(batch, format) > limit.number).arg_true()
    near = batch[rows]
    sizes = sizes[rows] + _others(near, columns, format, limit)
    long = sizes > limit.number
    slack = len(columns) * (_QUOTES + len((format.null_value or "").encode()))
    close = (~long & (sizes + slack > limit.number)).arg_true()
    long[close] = pl.Series(_measure(near[close], format, limit), dtype=pl.Int64) > limit.number
    number = int(long.sum())
    first = batch.height if not number else rows[long.arg_true()[0]]
    return first_excess(pl.Series([True] * number), "row", offset + first) if number else None


def _sum(batch: pl.DataFrame, sizes: Iterable[pl.Series]) -> pl.Series:
    """Return the sum of sizes per row; a null counts as 0."""
    total = pl.zeros(batch.height, pl.Int64, eager=True)
    for size in sizes:
        total += size.cast(pl.Int64).fill_null(0)
    return total


def _others(batch: pl.DataFrame, columns: Mapping[str, pl.Series], format: Csv, limit: Limit) -> pl.Series | int:
    """Return the size of each line without its texts: separators, and cells that never need quotes."""
    others = [column for column in batch.get_columns() if column.name not in columns]
    separators = len(columns) - 1
    if not others or not batch.height:
        return separators
    # With a column in front, a null isn't a blank line.
    front = pl.Series(max((column.name for column in others), key=len) + "_", [0], dtype=pl.Int8)
    zero = 3 if format.quote_style == "always" else 1
    sizes = _measure(pl.DataFrame([front.new_from_index(0, batch.height), *others]), format, limit)
    return pl.Series(sizes, dtype=pl.Int64) - zero + separators


def _measure(rows: pl.DataFrame, format: Csv, limit: Limit) -> list[int]:
    """Write rows and measure their lines, without the ends; rows with line ends in their cells are written alone.

    Rows that the dialect can't represent count as empty: the delivery raises for them.
    """
    if not rows.height:
        return []
    plain = replace(format, include_header=False, include_bom=False, compression="uncompressed", compression_level=None)
    plain = replace(plain, encoding="utf-8")
    file = BytesIO()
    try:
        plain.write(OneRun(iter([rows]), rows.schema), file, rows.height)
    except ConfigurationError:
        return [0] * rows.height
    text, end = file.getvalue(), format.line_terminator.encode()
    lines = [text.removesuffix(end)] if rows.height == 1 else text.split(end)[:-1]
    if len(lines) != rows.height:
        return [_measure(row, format, limit)[0] for row in rows.iter_slices(1)]
    return [len(line.decode()) if limit.unit == "characters" else len(line) for line in lines]


def _widths(batch: pl.DataFrame, format: Csv) -> int:
    """Return the largest size of a row with its separators; for text, without its own characters."""
    patterns = (format.date_format, format.time_format, format.datetime_format)
    total = 0
    for column in batch.get_columns():
        values, dtype, widest = column.alias(""), column.dtype, 0
        if dtype.is_integer():
            widest = max(len(str(values.min())), len(str(values.max())))
        elif dtype.is_numeric():
            widest = 400 if format.float_scientific is False else 42
        elif isinstance(dtype, _MOMENTS):
            widest = 40 + 10 * max(len(pattern or "") for pattern in patterns)
        elif isinstance(dtype, pl.Boolean):
            widest = 2 * max(len(text.encode()) for text in format.boolean_format)  # they may have quotes too
        total += widest + len((format.null_value or "").encode()) + _QUOTES + len(format.separator)
    return total
