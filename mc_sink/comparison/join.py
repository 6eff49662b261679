"""Match rows by their keys. Find the rows added, changed and removed, and the keys that occur twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from heapq import nsmallest
from operator import xor
from typing import TYPE_CHECKING

import polars as pl

from mc_sink._display import counted
from mc_sink._polars import Float16, Int128, UInt128
from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mc_sink.receipt import Action

_BEFORE = "before:"
_EXAMPLES = 5
ROW = "row"
_MOST_KEYS = 10_000
_INTEGERS = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, Int128, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64, UInt128)
_NUMBERS = (*_INTEGERS, Float16, pl.Float32, pl.Float64, pl.Decimal, pl.Boolean)
_TEXTS = (pl.String, pl.Binary, pl.Categorical, pl.Enum)
_COMPARED = (*_NUMBERS, *_TEXTS, pl.Date, pl.Time, pl.Datetime, pl.Duration)


@dataclass(frozen=True, slots=True, eq=False)
class Difference:
    """Rows by action, with their numbers. Changed rows are those of this run, removed rows those of the last one."""

    rows: dict[Action, pl.DataFrame]
    unchanged: int


def difference(now: pl.DataFrame, before: pl.DataFrame, keys: tuple[str, ...]) -> Difference:
    """Compare rows of equal keys, column by column and exactly; keys must be unique on each side.

    Null equals null, NaN equals NaN and -0.0 equals 0.0, in keys and in other columns, at any depth of a nested one.
    """
    old = {name: _BEFORE + name for name in before.columns}
    joined = now.join(
        before.rename(old),
        left_on=keys,
        right_on=[old[key] for key in keys],
        how="full",
        coalesce=False,
        nulls_equal=True,
    )
    verdict = joined.select(**_verdicts([name for name in now.columns if name not in {*keys, ROW}], old))
    current = joined.select(now.columns)
    previous = joined.select(pl.col(old[name]).alias(name) for name in now.columns)
    return Difference(
        {
            "added": current.filter(verdict["added"]),
            "changed": current.filter(verdict["changed"]),
            "removed": previous.filter(verdict["removed"]),
        },
        unchanged=int(verdict["unchanged"].sum()),
    )


def _verdicts(values: list[str], old: dict[str, str]) -> dict[str, pl.Expr]:
    is_now, was_before = pl.col(ROW).is_not_null(), pl.col(old[ROW]).is_not_null()
    differs = pl.any_horizontal(pl.lit(value=False), *(pl.col(name).ne_missing(pl.col(old[name])) for name in values))
    return {
        "added": ~was_before,
        "changed": is_now & was_before & differs,
        "removed": ~is_now,
        "unchanged": is_now & was_before & ~differs,
    }


@dataclass(slots=True)
class Duplicates:
    """The rows of one side that share their key with another: their count, and the numbers of the first few.

    `label` names the side, `names` the keys as the caller knows them, `keys` their columns.
    """

    label: str
    names: tuple[str, ...]
    keys: tuple[str, ...]
    count: int = 0
    first: list[int] = field(default_factory=list)

    def __bool__(self) -> bool:
        return self.count > 0

    def look(self, rows: pl.DataFrame) -> None:
        """Count the rows of a frame that share their key; a frame without equal hashes has none."""
        if rows.select(hashed(self.keys)).to_series().n_unique() == rows.height:
            return
        found = rows.filter(rows.select(self.keys).is_duplicated())[ROW]
        self.count += len(found)
        self.first = nsmallest(_EXAMPLES, [*self.first, *found.bottom_k(_EXAMPLES).to_list()])

    def __str__(self) -> str:
        rows = ", ".join(f"{row:,}" for row in self.first) + (", …" if self.count > len(self.first) else "")
        return f"{self.count:,} rows of {self.label} share their key with another (rows {rows})"


def refuse_duplicates(*sides: Duplicates, partly: bool = False) -> None:
    """Raise `ConfigurationError` if a side has duplicates. The message has row numbers, and never a key."""
    found = [side for side in sides if side]
    if not found:
        return
    sides_text, names = "; ".join(map(str, found)), ", ".join(map(repr, found[0].names))
    raise ConfigurationError(
        f"{'At least ' if partly else ''}{sides_text}; the keys are {names}, and rows are counted from 0. "
        "Rows cannot be matched. Add columns to keys= until they are unique, or drop the duplicates."
    )


def check_keys(keys: str | Sequence[str], schema: pl.Schema) -> tuple[str, ...]:
    """Return the keys as a tuple; raise if they are empty, repeated, missing in the frame, or not comparable."""
    names = (keys,) if isinstance(keys, str) else tuple(keys)
    if not names:
        raise ConfigurationError("keys= is empty. Name the columns that identify a row.")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigurationError(
            f"{counted(len(twice), 'column')} given twice in keys=: {twice}. Name each column once."
        )
    if missing := [name for name in names if name not in schema]:
        raise ConfigurationError(
            f"{counted(len(missing), 'column')} of keys= not in the frame: {missing}. The frame has {list(schema)}."
        )
    if wrong := [f"{name!r} ({schema[name]})" for name in names if not isinstance(schema[name], _COMPARED)]:
        raise ConfigurationError(
            f"{counted(len(wrong), 'column')} of keys= can't be compared: {', '.join(wrong)}. "
            "Use columns of numbers, texts or times."
        )
    return names


def hashed(keys: Sequence[str], depth: int = 0) -> pl.Expr:
    """Hash the keys. Equal keys have equal hashes, NaN and both zeros included; each depth has another hash."""
    return reduce(xor, (pl.col(key).hash(seed=depth * _MOST_KEYS + place) for place, key in enumerate(keys)))
