"""The dtypes that only newer versions of Polars have, for tests that also run on an older one.

Where Polars lacks a dtype, a case of it can't exist. tests/conftest.py skips the cases that have one among their
parameters; `existing` leaves it out of tables that a test file builds itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl
import pytest

if TYPE_CHECKING:
    from polars import BaseExtension, Extension, Float16, Map
else:

    class _Absent(pl.DataType):
        """A dtype that this Polars lacks; its name is that of the class."""

        def __init__(self, *_arguments: object) -> None:
            pass

    def _dtype(name: str) -> type[pl.DataType]:
        """Return Polars' dtype of a name, or a class that stands for its absence."""
        return getattr(pl, name, None) or type(name, (_Absent,), {})

    BaseExtension, Extension, Float16, Map = map(_dtype, ("BaseExtension", "Extension", "Float16", "Map"))

__all__ = ["BaseExtension", "Extension", "Float16", "Map", "absent_dtype", "existing", "existing_by_name"]

T = TypeVar("T")
_NAMES = ("BaseExtension", "Extension", "Float16", "Map")
_ABSENT: dict[str, Any] = {name: globals()[name] for name in _NAMES if not hasattr(pl, name)}


def absent_dtype(value: Any) -> str | None:
    """Return the name of a dtype in the value, at any depth, that this Polars lacks."""
    for name, kind in _ABSENT.items():
        if value is kind or isinstance(value, kind):
            return name
    if isinstance(value, pl.Struct):
        parts: Any = [field.dtype for field in value.fields]
    elif isinstance(value, pl.List | pl.Array):
        parts = [value.inner]
    else:
        parts = value if isinstance(value, list | tuple) else ()
    return next(filter(None, map(absent_dtype, parts)), None)


def existing(cases: list[T]) -> list[T]:
    """Return the cases whose dtypes this Polars has."""
    return [case for case in cases if not absent_dtype(case)]


def existing_by_name(cases: dict[str, T]) -> dict[str, T]:
    """Return the named cases whose dtypes this Polars has."""
    return {name: case for name, case in cases.items() if not absent_dtype(case)}


def needs(name: str) -> pytest.MarkDecorator:
    """Mark a test that is about a dtype as skipped where this Polars lacks it."""
    return pytest.mark.skipif(name in _ABSENT, reason=f"Polars {pl.__version__} has no {name}")
