"""Rows that are too large for the receiver, measured as they will be written.

First a bound from each column's longest cell, which is all that most batches need. Then the cells of text, row by row,
and for rows that may still be too long the line of all other cells, written out together. Rows that are within a few
bytes of the limit, which is whether texts get quotes, are written out as they are.

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
    from collections.abc import Iterable, Mapping

    from mc_sink.formats import Format
    from mc_sink.presets._limit import Found, Limit

_QUOTES = 3  # two of them, and the apostrophe of an escaped formula
_WIDE = (pl.Int128, pl.UInt128, pl.Decimal)
_MOMENTS = (pl.Date, pl.Time, pl.Datetime)


def long_rows(limit: Limit, format: Format, batch: pl.DataFrame, offset: int) -> Found | None:
    """Find rows that are too long; their line's end is not counted."""
    columns = texts(batch, format)
    if isinstance(format, Csv):
        # Each character may be a quote, which is doubled.
        bound = sum(2 * longest(text) for text in columns.values()) + _widths(batch, format)
        return _long_lines(limit, format, batch, offset) if bound > limit.number else None
    others = sum(_bytes(dtype) for dtype in batch.dtypes)
    if sum(map(longest, columns.values())) + others <= limit.number:
        return None
    return first_of(_sum(batch, map(length, columns.values())) + others > limit.number, "row(s)", offset)


def _long_lines(limit: Limit, format: Csv, batch: pl.DataFrame, offset: int) -> Found | None:
    """Find the lines that are too long, by as little writing as can be."""
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
    return first_of(pl.Series([True] * number), "row(s)", offset + first) if number else None


def _sum(batch: pl.DataFrame, sizes: Iterable[pl.Series]) -> pl.Series:
    """Add up sizes row by row; a null has none."""
    total = pl.zeros(batch.height, pl.Int64, eager=True)
    for size in sizes:
        total += size.cast(pl.Int64).fill_null(0)
    return total


def _others(batch: pl.DataFrame, columns: Mapping[str, pl.Series], format: Csv, limit: Limit) -> pl.Series | int:
    """Give what each line has besides its texts: separators, and the cells that never need quotes."""
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

    Rows that the dialect can't hold are taken for empty: the delivery will say what is wrong with them, and where.
    """
    if not rows.height:
        return []
    plain = replace(format, include_header=False, include_bom=False, compression="uncompressed", compression_level=None)
    file = BytesIO()
    try:
        plain.write(rows.lazy(), file, rows.height)
    except ConfigurationError:
        return [0] * rows.height
    text, end = file.getvalue(), format.line_terminator.encode()
    lines = [text.removesuffix(end)] if rows.height == 1 else text.split(end)[:-1]
    if len(lines) != rows.height:
        return [_measure(row, format, limit)[0] for row in rows.iter_slices(1)]
    return [len(line.decode()) if limit.unit.startswith("characters") else len(line) for line in lines]


def _widths(batch: pl.DataFrame, format: Csv) -> int:
    return sum(_width(column.alias(""), format) for column in batch.get_columns())


def _width(column: pl.Series, format: Csv) -> int:
    """Give the most bytes that a cell takes, its separator included; of a text, all but its own characters."""
    dtype, widest = column.dtype, 0
    if dtype.is_integer():
        widest = max(len(str(column.min())), len(str(column.max())))
    elif dtype.is_numeric():
        widest = 400 if format.float_scientific is False else 42
    elif isinstance(dtype, _MOMENTS):
        patterns = (format.date_format, format.time_format, format.datetime_format)
        widest = 40 + 10 * max(len(pattern or "") for pattern in patterns)
    elif isinstance(dtype, pl.Boolean):
        widest = 2 * max(len(text.encode()) for text in format.boolean_format)  # they may have quotes too
    return widest + len((format.null_value or "").encode()) + _QUOTES + len(format.separator)


def _bytes(dtype: pl.DataType) -> int:
    """Give the bytes of a value in Parquet, of a text none but its own."""
    if isinstance(dtype, (pl.String, pl.Binary, pl.Categorical, pl.Enum)) or dtype.is_nested():
        return 0
    return 16 if isinstance(dtype, _WIDE) else 8
