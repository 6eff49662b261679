"""Which values each option takes: anything else is refused by name, before it can mean something by chance.

`True` is not a number of rows, a set has no order of partition columns, and `"no"` is not False.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any

from mc_sink.exceptions import NOTHING_VISIBLE, ConfigurationError
from mc_sink.object_options import ObjectOptions
from mc_sink.platforms import Platform

Fits = Callable[[Any], bool]
# As many rows, or bytes, as Polars counts in a signed number.
_MOST = 2**63 - 1
# Polars' row groups and batches are counted in 32 bits.
_MOST_IN_A_BATCH = 2**32 - 1
_LONGEST_TOLD = 80
_NEVER_NONE = {"on_invalid", "on_empty", "if_exists", "stale", "changes", "success_marker"}


def check_types(options: Mapping[str, Any]) -> None:
    """Raise `ConfigurationError` for the first option that has a value of another kind than it takes."""
    for name, value in options.items():
        if name not in _TAKEN or (value is None and name not in _NEVER_NONE):
            continue
        fits, takes = _TAKEN[name]
        if not fits(value):
            raise ConfigurationError(f"{name}={_told(value)} won't do: give {takes}. {NOTHING_VISIBLE}")


def _told(value: object) -> str:
    """Return a value as an error shows it: short, and nothing of what may hold a secret."""
    is_plain = isinstance(value, str | bool | int | float) and len(repr(value)) <= _LONGEST_TOLD
    return repr(value) if is_plain or value is None else f"a {type(value).__name__}"


def _is_count(value: Any, most: int = _MOST) -> bool:
    """Return whether a value is a whole number that isn't too large; numpy's are, and True, 2.0 and "2" aren't."""
    if isinstance(value, bool):
        return False
    return isinstance(value, Integral) and int(value) <= most


def _are_names(value: Any) -> bool:
    is_list = isinstance(value, Sequence) and not isinstance(value, bytes | bytearray)
    return isinstance(value, str) or (is_list and all(isinstance(name, str) for name in value))


def _one_of(*choices: object) -> tuple[Fits, str]:
    told = [f'"{choice}"' if isinstance(choice, str) else repr(choice) for choice in choices]
    takes = f"{', '.join(told[:-1])} or {told[-1]}"
    return lambda value: value in choices if isinstance(value, str) else any(value is one for one in choices), takes


_TEXT: tuple[Fits, str] = (lambda value: isinstance(value, str), "text")
_PLACE: tuple[Fits, str] = (lambda value: isinstance(value, str | os.PathLike), "a target: text or a path")
_NAMES: tuple[Fits, str] = (_are_names, "a column's name, or a list of them")
_TAKEN: dict[str, tuple[Fits, str]] = {
    "on_invalid": _one_of("fail", "reject"),
    "rejects": _PLACE,
    "max_rejects": (
        lambda value: isinstance(value, int | float) and not isinstance(value, bool),
        "a count of rows, or a fraction from 0.0 to 1.0",
    ),
    "min_rows": (lambda value: _is_count(value) and value >= 0, "a number of rows, 0 or more"),
    "on_empty": _one_of("deliver", "skip", "fail"),
    "if_exists": _one_of("fail", "overwrite"),
    "name": _TEXT,
    "partition_by": _NAMES,
    "include_key": _one_of(True, False),
    "keys": _NAMES,
    "changes": _one_of("files", "column"),
    "max_rows_per_file": (_is_count, "a number of rows, 1 or more"),
    "max_bytes_per_file": (_is_count, "a number of bytes, 1 or more"),
    "row_group_size": (
        lambda value: _is_count(value, _MOST_IN_A_BATCH),
        f"a number of rows, from 1 to {_MOST_IN_A_BATCH:,}",
    ),
    "manifest": _one_of(True, False, "redshift"),
    "stale": _one_of("fail", "keep"),
    "success_marker": _one_of(True, False),
    "run_id": (lambda value: isinstance(value, str), "text: 1 to 64 of A-Z a-z 0-9 . _ -"),
    "platform": (lambda value: isinstance(value, str | Platform), "a saved platform's name, or a Platform"),
    "object_options": (lambda value: isinstance(value, ObjectOptions), "ObjectOptions(acl=…, tags=…, …)"),
    "storage_options": (lambda value: isinstance(value, Mapping), "a mapping of s3fs' or fsspec's names"),
    "progress": _one_of(True, False),
}
