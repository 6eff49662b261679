"""Columns that Polars writes to Parquet as nobody else reads them, or not at all: cast on the way.

128-bit integers, which Parquet has no type for, become Decimal(38, 0), at any depth: Polars would write sixteen bytes,
which pyarrow refuses and DuckDB takes for bytes. Lists of maps are cast to what they are: that drops what may hide
under a null list, at which Polars' writer fails ("a missing value to required parquet column 'key'").

Enums become text: Polars would write all their categories, into the pages and into the Arrow schema in the footer, and
so values of rows that were filtered out, rejected, or went to another file. So do Categoricals inside lists and other
dtypes, whose pages have the categories of what is hidden under a null list. A Categorical column has only its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from mc_sink.exceptions import NOTHING_VISIBLE, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from polars.datatypes import DataTypeClass

    AnyType = pl.DataType | DataTypeClass

WIDE = (pl.Int128, pl.UInt128)


def narrowed(dtype: AnyType) -> AnyType:
    """Return the dtype with decimals in place of 128-bit integers."""
    return _mapped(dtype, lambda leaf, _nested: pl.Decimal(38, 0) if leaf in WIDE else leaf)


def without_categories(dtype: AnyType) -> AnyType:
    """Return the dtype with text in place of every Enum, and of every Categorical inside another dtype."""
    return _mapped(dtype, lambda leaf, nested: pl.String() if _keeps_categories(leaf, nested=nested) else leaf)


def _keeps_categories(dtype: AnyType, *, nested: bool) -> bool:
    return dtype.base_type() is pl.Enum or (nested and dtype.base_type() is pl.Categorical)


def _mapped(dtype: AnyType, leaf: Callable[[AnyType, bool], AnyType], *, nested: bool = False) -> AnyType:
    """Return the dtype with its ends replaced by what `leaf` makes of them; it learns whether they are nested."""

    def inner(each: AnyType) -> AnyType:
        return _mapped(each, leaf, nested=True)

    if isinstance(dtype, pl.List):
        return pl.List(inner(dtype.inner))
    if isinstance(dtype, pl.Array):
        return pl.Array(inner(dtype.inner), dtype.size)
    if isinstance(dtype, pl.Struct):
        return pl.Struct([pl.Field(field.name, inner(field.dtype)) for field in dtype.fields])
    if isinstance(dtype, pl.Map):
        return pl.Map(inner(dtype.key), inner(dtype.value))
    return leaf(dtype, nested)


def recast(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Cast what has to be; an integer of more than 38 digits raises `ConfigurationError`."""
    schema = frame.collect_schema()
    casts: dict[str, Any] = {
        name: to
        for name, dtype in schema.items()
        if (to := without_categories(narrowed(dtype))) != dtype or _lists_maps(dtype)
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
