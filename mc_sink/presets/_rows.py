"""Rows that are too large for the receiver, measured as they will be written.

First a bound from each column's longest cell, which is all that most batches need. Then, row by row, what the texts
take at least; rows that are within a few bytes of the limit are written out and measured.

In Parquet a row is taken for the bytes of its texts and binaries and 8 (of 128 bits: 16) for any other value; nested
columns are not measured.
"""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING

import polars as pl

from mc_sink.exceptions import ConfigurationError
from mc_sink.formats import Csv
from mc_sink.presets._cells import first_of, length, longest, texts

if TYPE_CHECKING:
    from mc_sink.formats import Format
    from mc_sink.presets._limit import Found, Limit

_QUOTES = 3  # two of them, and the apostrophe of an escaped formula
_WIDE = (pl.Int128, pl.UInt128, pl.Decimal)
_MOMENTS = (pl.Date, pl.Time, pl.Datetime)


def long_rows(limit: Limit, format: Format, batch: pl.DataFrame, offset: int) -> Found | None:
    """Find rows that are too long; their line's end is not counted."""
    columns = list(texts(batch, format))
    factor = 2 if isinstance(format, Csv) else 1  # each character may be a quote, which is doubled
    bound = sum(longest(column) for column in columns) * factor + _fixed(batch, format)
    if not batch.height or bound <= limit.number:
        return None
    sizes = pl.zeros(batch.height, pl.UInt64, eager=True)
    for column in columns:
        sizes += _size(column, limit, format).fill_null(0)
    if not isinstance(format, Csv):
        return first_of(sizes + _fixed(batch, format) > limit.number, "row(s)", offset)
    sizes += batch.width - 1
    long = sizes > limit.number
    near = ~long & (sizes + _fixed(batch, format) > limit.number)
    over = [row for row in near.arg_true() if _written(batch[row], limit, format) > limit.number]
    if over:
        long = long | pl.int_range(batch.height, eager=True).is_in(over)
    return first_of(long, "row(s)", offset)


def _size(column: pl.Series, limit: Limit, format: Format) -> pl.Series:
    """Give what each cell takes at least: its own length, and its quotes twice in a CSV."""
    size = length(column, unit=limit.unit).cast(pl.UInt64)
    return size + column.str.count_matches(format.quote_char, literal=True) if isinstance(format, Csv) else size


def _fixed(batch: pl.DataFrame, format: Format) -> int:
    """Give what a row takes at most besides its texts' own characters."""
    return sum(_width(dtype, format) for dtype in batch.dtypes)


def _width(dtype: pl.DataType, format: Format) -> int:
    """Give the most bytes that a cell takes, its separator included; of a text, all but its own characters."""
    if not isinstance(format, Csv):
        return (16 if isinstance(dtype, _WIDE) else 8) * (not isinstance(dtype, (pl.String, pl.Binary)))
    widest = 42 if dtype.is_numeric() else 0
    if dtype.is_float() and format.float_scientific is False:
        widest = 400
    if isinstance(dtype, _MOMENTS):
        patterns = (format.date_format, format.time_format, format.datetime_format)
        widest = 40 + 10 * max(len(pattern or "") for pattern in patterns)
    if isinstance(dtype, pl.Boolean):
        widest = max(len(text.encode()) for text in format.boolean_format)
    return widest + len((format.null_value or "").encode()) + _QUOTES + len(format.separator)


def _written(row: pl.DataFrame, limit: Limit, format: Csv) -> int:
    """Write a row and measure it, without the line's end; 0 for a row that the dialect can't hold."""
    plain = replace(format, include_header=False, include_bom=False, compression="uncompressed", compression_level=None)
    file = BytesIO()
    try:
        plain.write(row.lazy(), file, 1)
    except ConfigurationError:
        return 0  # the delivery itself will say what is wrong with it, and in which row
    line = file.getvalue().removesuffix(format.line_terminator.encode())
    return len(line.decode()) if limit.unit.startswith("characters") else len(line)
