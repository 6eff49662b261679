"""Copy rows that outlive their batch into memory of their own, so that they keep nothing else alive."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

import polars as pl

from mc_sink._nested import inner_dtypes, leaf_dtypes
from mc_sink._polars import GATHER_COPIES_NESTED

if TYPE_CHECKING:
    from polars.datatypes import DataTypeClass

    AnyType = pl.DataType | DataTypeClass

# A nested column that keeps more than this multiple of its own rows alive is copied.
_SLACK = 1.25


def owned(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the same rows in memory of their own, which nothing else can change.

    Measured on batches of 100,000 rows: 12 to 13 GB/s for numbers, 0.2 to 2 GB/s for texts.
    """
    return pl.DataFrame([_owned(values) for values in frame.get_columns()]) if frame.height else frame


def _owned(values: pl.Series) -> pl.Series:
    if isinstance(values.dtype, pl.Object):  # every format refuses it
        return values
    # Two pieces become one, which is new; only the bytes of texts stay shared. Nested values are gathered instead:
    # beside one row with an empty list, the values inside the lists would stay shared as well.
    if values.dtype.is_nested() or isinstance(values.dtype, pl.BaseExtension):
        if not GATHER_COPIES_NESTED:
            return _through_ipc(values, pl.CompatLevel.oldest())
        fresh = values.gather(pl.int_range(len(values), eager=True))
    else:
        fresh = pl.concat([values, values.head(1)], rechunk=True).head(len(values))
    return _with_own_bytes(fresh) if has_bytes(values.dtype) else fresh


def _with_own_bytes(values: pl.Series) -> pl.Series:
    """Return texts and binaries with bytes of their own: Arrow's older layout has them in one buffer, which is new."""
    import pyarrow as pa

    if not has_nul(values.dtype):
        try:
            copied = pl.Series(values.name, values.to_arrow(compat_level=pl.CompatLevel.oldest()))
        except (pa.ArrowException, pl.exceptions.PolarsError):  # such as 128-bit integers beside a text
            pass
        else:
            if copied.dtype == values.dtype:
                return copied
    return _through_ipc(values)


def _through_ipc(values: pl.Series, layout: pl.CompatLevel | None = None) -> pl.Series:
    """Return the values as they are read back from Arrow's IPC format; the oldest layout has no bytes of other rows."""
    encoded = io.BytesIO()
    values.to_frame().write_ipc_stream(encoded, compat_level=layout)
    encoded.seek(0)
    return pl.read_ipc_stream(encoded).to_series()


def has_bytes(dtype: AnyType) -> bool:
    """Return whether the dtype has texts or binaries at any depth, whose bytes slices and copies share."""
    return any(leaf.base_type() in {pl.String, pl.Binary} for leaf in leaf_dtypes(dtype))


def has_nul(dtype: AnyType) -> bool:
    """Return whether the name of a field has a NUL, at which Polars' export to Arrow panics."""
    named = isinstance(dtype, pl.Struct) and any("\x00" in field.name for field in dtype.fields)
    return named or any(map(has_nul, inner_dtypes(dtype)))


def compact(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame, copied if it keeps more than twice its own rows alive, as filtered rows do.

    A few filtered rows keep the texts of all rows alive. Measured: a copy takes a hundred times as long as this check.
    """
    return frame if kept_alive(frame) <= 2 * frame.estimated_size() else copied(frame)


def copied(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame in memory of its own."""
    encoded = io.BytesIO()
    dense(frame).write_ipc_stream(encoded)
    encoded.seek(0)
    return pl.read_ipc_stream(encoded)


def dense(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame for Arrow's IPC: without the texts inside nested values that no row has any more.

    Measured, Polars 2.1.0: its writer leaves such bytes out of columns of texts, and writes all of those in lists,
    arrays and structs, which for one partition of three is three times what its rows take.
    """
    columns = []
    for values in frame:
        column = values.to_frame()
        has_others = values.dtype.is_nested() and has_bytes(values.dtype)
        if has_others and kept_alive(column) > _SLACK * column.estimated_size():
            column = owned(column)
        columns.append(column.to_series())
    return pl.DataFrame(columns)


def kept_alive(frame: pl.DataFrame) -> int:
    """Return the bytes of all buffers that a frame keeps alive; `sys.maxsize` where Arrow has no such dtype."""
    import pyarrow as pa

    if has_nul(pl.Struct(frame.schema)):
        return sys.maxsize
    try:
        return int(frame.to_arrow(compat_level=pl.CompatLevel.newest()).get_total_buffer_size())
    except pa.ArrowInvalid:  # 128-bit integers
        return sys.maxsize
