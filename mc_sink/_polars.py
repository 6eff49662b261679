"""What differs between Polars 1 (since 1.40) and Polars 2, in one place.

`Map`: Polars 1 has no such dtype, so a class without columns stands in for it. It imports an Arrow map as a list of
structs, and 1.40.1 a null map as an empty list, so it is given lists.

Arrays in JSON: 1.40.1 writes another row's values for an array after a null one, and so is given lists.

Errors of a Python source: Polars 2 raises them as they are, and Polars 1 raises a ComputeError with their text alone.
`keeps_errors` and `source_error` bring the exception itself across such an engine, for the sources made here.

Polars before 1.40 is not supported: 1.37 casts unsigned integers of 39 digits to other decimals without an error.
"""

from __future__ import annotations

import re
from functools import wraps
from itertools import count
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from polars import Map
else:
    Map = getattr(pl, "Map", None) or type("Map", (pl.DataType,), {"__doc__": "No column is a Map here."})

__all__ = ["ENCODES_NULL_ARRAYS", "GATHER_COPIES_NESTED", "HAS_MAP", "Map", "keeps_errors", "source_error"]

P = ParamSpec("P")
T = TypeVar("T")

HAS_MAP = hasattr(pl, "Map")
_IS_FIRST = pl.__version__.startswith("1.")
# Measured on Polars 1.40.1: JSON of an array after a null one has another row's values; 1.44.2 writes its own.
ENCODES_NULL_ARRAYS = not _IS_FIRST
# Gathering the rows of a nested column copies its values. Measured on Polars 1.44: some stay shared with their source.
GATHER_COPIES_NESTED = not _IS_FIRST
# An engine that fails for two sources reports one of them, so the other would stay here: the oldest make way.
_MOST_KEPT = 64
_kept: dict[int, BaseException] = {}
_numbers = count()
_KEPT = re.compile(r"caught exception during execution of a Python source, exception: _KeptError: (\d+)")


class _KeptError(Exception):
    """Stands for the exception of a Python source on its way through an engine that would lose it."""


def keeps_errors(source: Callable[P, Iterator[T]]) -> Callable[P, Iterator[T]]:
    """Make a Python source keep the exception that ends it, until `source_error` asks for it."""
    if not _IS_FIRST:
        return source

    @wraps(source)
    def keeping(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        batches = source(*args, **kwargs)
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except BaseException as error:
                number = next(_numbers)
                _kept[number] = error
                for oldest in list(_kept)[:-_MOST_KEPT]:
                    _kept.pop(oldest, None)
                raise _KeptError(number) from error
            yield batch  # outside, because an engine that wants no more rows raises GeneratorExit here

    return keeping


def source_error(error: BaseException) -> BaseException | None:
    """Return the exception of a Python source that an engine has reported as an error of its own; else None."""
    if isinstance(error, pl.exceptions.PolarsError) and (found := _KEPT.search(str(error))):
        return _kept.pop(int(found.group(1)), None)
    return None
