"""The keys: which columns can be some, and how rows are told apart by them."""

from __future__ import annotations

from functools import reduce
from operator import xor
from typing import TYPE_CHECKING

import polars as pl

from mc_sink.exceptions import NOTHING_VISIBLE, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

ROW = "row"
_MOST_KEYS = 10_000
_INTEGERS = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.Int128, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64, pl.UInt128)
_NUMBERS = (*_INTEGERS, pl.Float16, pl.Float32, pl.Float64, pl.Decimal, pl.Boolean)
_TEXTS = (pl.String, pl.Binary, pl.Categorical, pl.Enum)
_COMPARED = (*_NUMBERS, *_TEXTS, pl.Date, pl.Time, pl.Datetime, pl.Duration)


def check_keys(keys: str | Sequence[str], schema: pl.Schema) -> tuple[str, ...]:
    """Give the keys as a tuple, or refuse none, one twice, one that isn't there, and one that can't be compared."""
    names = (keys,) if isinstance(keys, str) else tuple(keys)
    if not names:
        raise ConfigurationError(f"keys= is empty: name the columns that tell rows apart. {NOTHING_VISIBLE}")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigurationError(f"{len(twice)} column(s) stand twice in keys=: {twice}. {NOTHING_VISIBLE}")
    if missing := [name for name in names if name not in schema]:
        raise ConfigurationError(
            f"{len(missing)} column(s) of keys= are not in the frame: {missing}; it has {list(schema)}. "
            f"{NOTHING_VISIBLE}"
        )
    if wrong := [f"{name!r} ({schema[name]})" for name in names if not isinstance(schema[name], _COMPARED)]:
        raise ConfigurationError(
            f"{len(wrong)} column(s) of keys= can't be compared: {', '.join(wrong)}. Use columns of numbers, texts or "
            f"times. {NOTHING_VISIBLE}"
        )
    return names


def hashed(keys: Sequence[str], depth: int = 0) -> pl.Expr:
    """Hash the keys: equal ones alike, NaN and both zeros too, and otherwise than at another depth."""
    return reduce(xor, (pl.col(key).hash(seed=depth * _MOST_KEYS + place) for place, key in enumerate(keys)))
