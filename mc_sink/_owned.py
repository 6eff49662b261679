"""Copy rows out of memory that their source may refill: a batch is delivered as it was when the source yielded it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from polars.datatypes import DataTypeClass

    AnyType = pl.DataType | DataTypeClass


def owned(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the same rows in memory of their own, which nothing else can change.

    Measured on batches of 100,000 rows: 12 to 13 GB/s for numbers, 0.2 to 2 GB/s for texts.
    """
    return pl.DataFrame([_owned(values) for values in frame.get_columns()]) if frame.height else frame


def _owned(values: pl.Series) -> pl.Series:
    if isinstance(values.dtype, pl.Object):  # refused by every format
        return values
    # Two pieces become one, which is new; only the bytes of texts stay shared. Nested values are gathered instead: beside
    # one row with an empty list, the values inside the lists would stay shared as well.
    if values.dtype.is_nested() or isinstance(values.dtype, pl.BaseExtension):
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
    encoded = io.BytesIO()
    values.to_frame().write_ipc_stream(encoded)
    encoded.seek(0)
    return pl.read_ipc_stream(encoded).to_series()


def has_bytes(dtype: AnyType) -> bool:
    """Return whether there are texts or binaries at any depth, whose bytes slices and copies share."""
    return dtype.base_type() in {pl.String, pl.Binary} or any(map(has_bytes, _inner(dtype)))


def has_nul(dtype: AnyType) -> bool:
    """Return whether the name of a field has a NUL, at which Polars' export to Arrow panics."""
    named = isinstance(dtype, pl.Struct) and any("\x00" in field.name for field in dtype.fields)
    return named or any(map(has_nul, _inner(dtype)))


def _inner(dtype: AnyType) -> list[AnyType]:
    """Return the types that a type is made of."""
    if isinstance(dtype, (pl.List, pl.Array)):
        return [dtype.inner]
    if isinstance(dtype, pl.Struct):
        return [field.dtype for field in dtype.fields]
    if isinstance(dtype, pl.Map):
        return [dtype.key, dtype.value]
    return [dtype.ext_storage()] if isinstance(dtype, pl.BaseExtension) else []
