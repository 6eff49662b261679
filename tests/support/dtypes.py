"""The dtype Map, which only Polars 2 has, for tests that also run on Polars 1.

Where Polars lacks it, a case of it can't exist. tests/conftest.py skips the cases that have one among their parameters;
`existing` leaves it out of tables that a test file builds itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl
import pytest

if TYPE_CHECKING:
    from polars import Map
elif hasattr(pl, "Map"):
    Map = pl.Map
else:

    class Map(pl.DataType):
        """The dtype that this Polars lacks."""

        def __init__(self, key: object, value: object) -> None:
            self._text = f"Map({key}, {value})"

        def __str__(self) -> str:
            return self._text


__all__ = ["HAS_MAP", "Map", "existing", "existing_by_name", "has_absent_dtype", "needs_map"]

T = TypeVar("T")
# Without it, an Arrow map is imported as a list of structs of `key` and `value`.
HAS_MAP = hasattr(pl, "Map")
needs_map = pytest.mark.skipif(not HAS_MAP, reason=f"Polars {pl.__version__} has no Map")


def has_absent_dtype(value: Any) -> bool:
    """Return whether the value is or has, at any depth, a dtype that this Polars lacks."""
    if not HAS_MAP and (value is Map or isinstance(value, Map)):
        return True
    if isinstance(value, pl.Struct):
        parts: Any = [field.dtype for field in value.fields]
    elif isinstance(value, pl.List | pl.Array):
        parts = [value.inner]
    else:
        parts = value if isinstance(value, list | tuple) else ()
    return any(map(has_absent_dtype, parts))


def existing(cases: list[T]) -> list[T]:
    """Return the cases whose dtypes this Polars has."""
    return [case for case in cases if not has_absent_dtype(case)]


def existing_by_name(cases: dict[str, T]) -> dict[str, T]:
    """Return the named cases whose dtypes this Polars has."""
    return {name: case for name, case in cases.items() if not has_absent_dtype(case)}
