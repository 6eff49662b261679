"""Walk nested dtypes and values down to their innermost ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from mc_sink._polars import Map

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from polars.datatypes import DataTypeClass

    AnyType = pl.DataType | DataTypeClass


def inner_dtypes(dtype: AnyType) -> list[AnyType]:
    """Return the dtypes that a dtype is made of; none for one that isn't nested."""
    if isinstance(dtype, (pl.List, pl.Array)):
        return [dtype.inner]
    if isinstance(dtype, pl.Struct):
        return [field.dtype for field in dtype.fields]
    if isinstance(dtype, Map):
        return [dtype.key, dtype.value]
    return [dtype.ext_storage()] if isinstance(dtype, pl.BaseExtension) else []


def leaf_dtypes(dtype: AnyType) -> Iterator[pl.DataType]:
    """Yield the innermost dtypes of a dtype, or the dtype itself."""
    inner = inner_dtypes(dtype)
    for each in inner:
        yield from leaf_dtypes(each)
    if not inner:
        yield dtype if isinstance(dtype, pl.DataType) else dtype()


def with_leaves(dtype: AnyType, leaf: Callable[[AnyType, bool], AnyType], *, nested: bool = False) -> AnyType:
    """Return the dtype with its innermost dtypes replaced by `leaf(dtype, is_nested)`."""

    def inner(each: AnyType) -> AnyType:
        return with_leaves(each, leaf, nested=True)

    if isinstance(dtype, pl.List):
        return pl.List(inner(dtype.inner))
    if isinstance(dtype, pl.Array):
        return pl.Array(inner(dtype.inner), dtype.size)
    if isinstance(dtype, pl.Struct):
        return pl.Struct([pl.Field(field.name, inner(field.dtype)) for field in dtype.fields])
    if isinstance(dtype, Map):
        return Map(inner(dtype.key), inner(dtype.value))
    return leaf(dtype, nested)


def without_categories(dtype: AnyType) -> AnyType:
    """Return the dtype with text in place of every Enum, and of every Categorical inside another dtype."""

    def leaf(each: AnyType, nested: bool) -> AnyType:  # noqa: FBT001  `with_leaves` calls it
        is_text = each.base_type() is pl.Enum or (nested and each.base_type() is pl.Categorical)
        return pl.String() if is_text else each

    return with_leaves(dtype, leaf)


def dtype_shown(dtype: AnyType) -> str:
    """Return a dtype's text for a message, in which an Enum is shown without its categories: they are values."""
    bare = with_leaves(dtype, lambda leaf, _: pl.Enum([]) if leaf.base_type() is pl.Enum else leaf)
    return str(bare).replace("Enum(categories=[])", "Enum")


def leaves(values: pl.Series) -> Iterator[pl.Series]:
    """Yield the innermost values of a column, or the column itself.

    They have no names: the methods of a Series called "*" or "^a$" would treat its name as a pattern.
    """
    values = values.alias("")
    dtype = values.dtype
    if isinstance(dtype, pl.BaseExtension):
        yield from leaves(values.ext.storage())
    elif isinstance(dtype, Map):
        yield from leaves(values.map.entries())
    elif isinstance(dtype, (pl.List, pl.Array)):
        yield from leaves(values.explode(empty_as_null=False))
    elif isinstance(dtype, pl.Struct):
        for field in values.struct.unnest().get_columns():
            yield from leaves(field)
    else:
        yield values
