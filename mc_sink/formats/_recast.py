"""Columns that Polars writes to Parquet as nobody else reads them, or not at all: cast on the way.

128-bit integers, which Parquet has no type for, become Decimal(38, 0), at any depth: Polars would write sixteen bytes,
which pyarrow refuses and DuckDB takes for bytes. Lists of maps are cast to what they are: that drops what may hide
under a null list, at which Polars' writer fails ("a missing value to required parquet column 'key'").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from mc_sink.exceptions import NOTHING_VISIBLE, ConfigurationError

if TYPE_CHECKING:
    from polars.datatypes import DataTypeClass

    AnyType = pl.DataType | DataTypeClass

WIDE = (pl.Int128, pl.UInt128)


def narrowed(dtype: AnyType) -> AnyType:
    """Give the dtype with decimals in place of 128-bit integers."""
    if isinstance(dtype, pl.List):
        return pl.List(narrowed(dtype.inner))
    if isinstance(dtype, pl.Array):
        return pl.Array(narrowed(dtype.inner), dtype.size)
    if isinstance(dtype, pl.Struct):
        return pl.Struct([pl.Field(field.name, narrowed(field.dtype)) for field in dtype.fields])
    if isinstance(dtype, pl.Map):
        return pl.Map(narrowed(dtype.key), narrowed(dtype.value))
    return pl.Decimal(38, 0) if dtype in WIDE else dtype


def recast(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Cast what has to be; an integer of more than 38 digits raises `ConfigurationError`."""
    schema = frame.collect_schema()
    casts: dict[str, Any] = {
        name: to for name, dtype in schema.items() if (to := narrowed(dtype)) != dtype or _lists_maps(dtype)
    }
    if not casts:
        return frame

    def cast(batch: pl.DataFrame) -> pl.DataFrame:
        try:
            return batch.with_columns([batch.get_column(name).cast(dtype) for name, dtype in casts.items()])
        except pl.exceptions.InvalidOperationError as error:
            raise ConfigurationError(
                f"1 batch holds integers of more than 38 digits in {', '.join(map(repr, casts))}, and a decimal has no "
                f"more. Write them as text, or as CSV. {NOTHING_VISIBLE}"
            ) from error

    return frame.map_batches(cast, schema=pl.Schema({**schema, **casts}), streamable=True)


def _lists_maps(dtype: AnyType, *, listed: bool = False) -> bool:
    """Whether there are maps anywhere inside a list."""
    if isinstance(dtype, (pl.List, pl.Array)):
        return _lists_maps(dtype.inner, listed=True)
    if isinstance(dtype, pl.Struct):
        return any(_lists_maps(field.dtype, listed=listed) for field in dtype.fields)
    return isinstance(dtype, pl.Map) and (listed or _lists_maps(dtype.value))
