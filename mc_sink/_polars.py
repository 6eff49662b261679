"""What differs between Polars 1 (since 1.40) and Polars 2, in one place.

`Map`: Polars 1 has no such dtype, so a class without columns stands in for it.

Errors of a Python source: Polars 2 raises them as they are, and Polars 1 raises a ComputeError with their text alone.
`keep_source_error` and `source_error` bring the exception itself across such an engine.

Polars before 1.40 is not supported: 1.37 casts unsigned integers of 39 digits to other decimals without an error.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polars import Map
else:
    Map = getattr(pl, "Map", None) or type("Map", (pl.DataType,), {"__doc__": "No column is a Map here."})

__all__ = ["GATHER_COPIES_NESTED", "Map", "keep_source_error", "source_error"]

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
