"""Lists, arrays, structs and maps as JSON text in one cell (RFC 8259), by Polars' own JSON encoder.

Polars encodes structs alone, so a column goes in as the one field of a struct and what stands around it is cut off.
What JSON has no word for is refused: binary, durations, keys that are not text, and NaN, which the encoder would write
as null. Decimals and dates are written as JSON text, integers of any width in full.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from mc_sink.formats._format import column_named

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polars.datatypes import DataTypeClass

_BEFORE, _AFTER = '{"x":', "}"
_TEXTS = (pl.String, pl.Categorical, pl.Enum)


def has_json(dtype: pl.DataType | DataTypeClass, leaves: tuple[type[pl.DataType], ...]) -> bool:
    """Whether JSON can hold the dtype, if it can hold `leaves`."""
    if isinstance(dtype, (pl.List, pl.Array)):
        return has_json(dtype.inner, leaves)
    if isinstance(dtype, pl.Struct):
        return all(has_json(field.dtype, leaves) for field in dtype.fields)
    if isinstance(dtype, pl.Map):
        return dtype.key.base_type() in _TEXTS and has_json(dtype.value, leaves)
    return dtype.base_type() in leaves


def as_json(column: str) -> pl.Expr:
    """Write a nested column as JSON text; a null stays one."""
    values = column_named(column)
    text = pl.struct(values.alias("x")).struct.json_encode().str.strip_prefix(_BEFORE).str.strip_suffix(_AFTER)
    return pl.when(values.is_not_null()).then(text).alias(column)


def dtypes_of(dtype: pl.DataType) -> Iterator[pl.DataType]:
    """Give the dtypes at the ends of a dtype, which is the dtype itself where it isn't nested."""
    if isinstance(dtype, (pl.List, pl.Array)):
        yield from dtypes_of(_instance(dtype.inner))
    elif isinstance(dtype, pl.Struct):
        for field in dtype.fields:
            yield from dtypes_of(_instance(field.dtype))
    elif isinstance(dtype, pl.Map):
        yield from dtypes_of(_instance(dtype.value))
    else:
        yield dtype


def leaves_of(values: pl.Series) -> Iterator[pl.Series]:
    """Give the values at the ends of a column, which is the column itself where it isn't nested.

    They come without their names: a Series that is called "*" or "^a$" takes that for a pattern in its own methods.
    """
    values = values.alias("")
    dtype = values.dtype
    if isinstance(dtype, pl.Map):
        yield from leaves_of(values.map.entries())
    elif isinstance(dtype, (pl.List, pl.Array)):
        yield from leaves_of(values.explode())
    elif isinstance(dtype, pl.Struct):
        for field in values.struct.unnest().get_columns():
            yield from leaves_of(field)
    else:
        yield values


def _instance(dtype: pl.DataType | DataTypeClass) -> pl.DataType:
    return dtype if isinstance(dtype, pl.DataType) else dtype()
