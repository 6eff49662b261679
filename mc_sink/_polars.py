"""What differs between the supported versions of Polars, in one place.

Dtypes: the package imports from here those that not every version has. An older Polars has no column of a dtype that it
lacks, so a stand-in class takes its name. No dtype is an instance of it.

Errors of a Python source: Polars 2 raises them as they are, and Polars 1 raises a ComputeError with their text alone.
`keep_source_error` and `source_error` bring the exception itself across such an engine.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polars import BaseExtension, Float16, Int128, Map, UInt128
else:

    def _dtype(name: str) -> type[pl.DataType]:
        """Return Polars' dtype of a name; where it lacks one, a class that stands in for it."""
        return getattr(pl, name, None) or type(name, (pl.DataType,), {"__doc__": f"No column is a {name} here."})

    BaseExtension = _dtype("BaseExtension")
    Float16 = _dtype("Float16")
    Int128 = _dtype("Int128")
    Map = _dtype("Map")
    UInt128 = _dtype("UInt128")

__all__ = [
    "GATHER_COPIES_NESTED",
    "BaseExtension",
    "Float16",
    "Int128",
    "Map",
    "UInt128",
    "keep_source_error",
    "source_error",
]

_IS_FIRST = pl.__version__.startswith("1.")
# Gathering the rows of a nested column copies its values. Measured on Polars 1.44: some stay shared with their source.
GATHER_COPIES_NESTED = not _IS_FIRST
# An engine that fails for two sources reports one of them, so the other would stay here: the oldest make way.
_MOST_KEPT = 64
_kept: dict[int, BaseException] = {}
_numbers = count()
_KEPT = re.compile(r"caught exception during execution of a Python source, exception: _KeptError: (\d+)")


class _KeptError(Exception):
    """Stands for the exception of a Python source on its way through an engine that would lose it."""


@contextmanager
def keep_source_error() -> Iterator[None]:
    """Keep the exception that a Python source raises to its engine, until `source_error` asks for it."""
    try:
        yield
    except Exception as error:
        if not _IS_FIRST:
            raise
        number = next(_numbers)
        _kept[number] = error
        for oldest in list(_kept)[:-_MOST_KEPT]:
            _kept.pop(oldest, None)
        raise _KeptError(number) from error


def source_error(error: BaseException) -> BaseException | None:
    """Return the exception of a Python source that an engine has reported as an error of its own; else None."""
    if isinstance(error, pl.exceptions.PolarsError) and (found := _KEPT.search(str(error))):
        return _kept.pop(int(found.group(1)), None)
    return None
