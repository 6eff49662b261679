"""Cells that are too large for a receiver: found by their lengths, column by column, without a copy of the texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from mc_sink.formats import Csv
from mc_sink.presets._limit import Found

if TYPE_CHECKING:
    from mc_sink.formats import Format
    from mc_sink.presets._limit import Limit

_LONG_INTEGERS = (pl.Int64, pl.UInt64, pl.Int128, pl.UInt128)
_LINE_END = r"\r\n|\n|\r"


def texts(batch: pl.DataFrame, format: Format) -> dict[str, pl.Series]:
    """Give the columns that are text in the file by name; nested ones too where a CSV holds them as JSON.

    They come without their names: a Series that is called "*" or "^a$" takes that for a pattern in its own methods.
    """
    columns = ((column.name, _text(column.alias(""), format)) for column in batch.get_columns())
    return {name: text for name, text in columns if text is not None}


def _text(column: pl.Series, format: Format) -> pl.Series | None:
    if isinstance(column.dtype, (pl.Categorical, pl.Enum)):
        return column.cast(pl.String)
    if column.dtype.is_nested() and isinstance(format, Csv):
        return _as_json(column)
    if isinstance(column.dtype, pl.Binary) and isinstance(format, Csv):
        return None
    return column if isinstance(column.dtype, (pl.String, pl.Binary)) else None


def _as_json(column: pl.Series) -> pl.Series:
    """Give nested cells as a CSV has them: JSON text, and null for a null."""
    text = column.alias("cell").to_frame().to_struct("").struct.json_encode()
    return text.str.strip_prefix('{"cell":').str.strip_suffix("}").set(column.is_null(), None)


def length(text: pl.Series, *, unit: str = "bytes") -> pl.Series:
    """Measure each cell in bytes or characters, as the unit's first word says."""
    if isinstance(text.dtype, pl.Binary):
        return text.bin.size()
    return text.str.len_chars() if unit.startswith("characters") else text.str.len_bytes()


def longest(text: pl.Series) -> int:
    """Give the bytes of a column's longest cell, which are never fewer than its characters or line ends."""
    most = length(text).max()
    return most if isinstance(most, int) else 0


def long_cells(limit: Limit, format: Format, batch: pl.DataFrame, offset: int) -> Found | None:
    """Find a column with cells that are too long."""
    for name, text in texts(batch, format).items():
        if longest(text) > limit.number:
            long = length(text, unit=limit.unit) > limit.number
            if found := first_of(long, f"cell(s) of column {name!r}", offset):
                return found
    return None


def many_line_ends(limit: Limit, format: Format, batch: pl.DataFrame, offset: int) -> Found | None:
    """Find a column with cells that have too many line ends."""
    for name, text in texts(batch, format).items():
        if longest(text) > limit.number and not isinstance(text.dtype, pl.Binary):
            has_some = text.str.contains("[\r\n]")
            if not has_some.any():
                continue
            many = has_some & (text.str.count_matches(_LINE_END) > limit.number)
            if found := first_of(many, f"cell(s) of column {name!r}", offset):
                return found
    return None


def long_numbers(limit: Limit, _: Format, batch: pl.DataFrame, offset: int) -> Found | None:
    """Find a column of whole numbers with more digits than the receiver keeps."""
    for name, dtype in batch.schema.items():
        if isinstance(dtype, _LONG_INTEGERS):
            column = batch.get_column(name).alias("")
            long = (column >= 10**limit.number) | (column <= -(10**limit.number))
            if found := first_of(long, f"number(s) of column {name!r}", offset):
                return found
    return None


def first_of(breaks: pl.Series, what: str, offset: int) -> Found | None:
    """Count those that break a limit, and give the number of the first one's row, from 0 over the whole run."""
    number = int(breaks.sum() or 0)
    return (
        Found(number, what, f"the first in row {offset + breaks.arg_true()[0]:,}, counted from 0") if number else None
    )
