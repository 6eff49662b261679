"""Two frames that hold all rows of their keys: which rows were added, changed and removed, and how many stayed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from mc_sink.changes._keys import ROW

if TYPE_CHECKING:
    from mc_sink.changed import Action

_BEFORE = "before:"


@dataclass(frozen=True, slots=True, eq=False)
class Difference:
    """Rows by action, each with its number on its side: changed ones as they are now, removed ones as they were."""

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
    mine = joined.select(now.columns)
    theirs = joined.select(pl.col(old[name]).alias(name) for name in now.columns)
    return Difference(
        {
            "added": mine.filter(verdict["added"]),
            "changed": mine.filter(verdict["changed"]),
            "removed": theirs.filter(verdict["removed"]),
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
