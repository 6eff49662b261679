"""Find the rows added, changed and removed since the last delivery, by their keys, in data larger than memory.

    this run's batches ─► buckets by key ─┐
                                          ├─► pairs of buckets ─► differences ─► added, then changed, then removed
    previous= ─► recast ─► buckets by key ┘

Both sides are parked on the local disk, once. Rows that differ are parked once more if they are more than a lot.
Memory: two lots of 32 MiB, and one pair of buckets of 64 MiB with its join; it does not grow with the data.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

from mc_sink._display import counted
from mc_sink._frames import ROW_GROUP_SIZE
from mc_sink._nested import dtype_shown
from mc_sink._runtime.batches import check_num_rows, known_num_rows, pull
from mc_sink.comparison.buckets import (
    ROW,
    Bounds,
    Duplicates,
    KeyBuckets,
    RowOrderBuffer,
    numbered,
    pairs,
    refuse_duplicates,
)
from mc_sink.comparison.previous import Recast, open_previous
from mc_sink.exceptions import ConfigurationError
from mc_sink.receipt import ACTIONS, Changes

if TYPE_CHECKING:
    import os
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from mc_sink._frames import Frame
    from mc_sink.formats import Csv
    from mc_sink.receipt import Action

__all__ = ["Comparison", "compare"]

_BEFORE = "before:"
# The actions in a column of the frame's own, as the `audience` feed has them. Rows that changed keep their own.
OWN_ACTIONS = ("add", "remove")
_INTEGERS = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.Int128, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64, pl.UInt128)
_NUMBERS = (*_INTEGERS, pl.Float16, pl.Float32, pl.Float64, pl.Decimal, pl.Boolean)
_TEXTS = (pl.String, pl.Binary, pl.Categorical, pl.Enum)
_COMPARED = (*_NUMBERS, *_TEXTS, pl.Date, pl.Time, pl.Datetime, pl.Duration)


def compare(  # noqa: PLR0913  the options of a delivery
    previous: Frame | str | os.PathLike[str],
    schema: pl.Schema,
    *,
    keys: str | Sequence[str],
    action: str = "action",
    dialect: Csv | None = None,
    bounds: Bounds | None = None,
) -> Comparison:
    """Prepare to compare this run, whose columns are `schema`, with the last delivery; read only its header.

    `previous` is a frame, or the path or glob of local files: Parquet, CSV, csv.gz, Arrow IPC or JSON lines. `dialect`
    is the dialect of CSV files, by default `Csv()`. `action` names the column with the action of each row. If the frame
    has a column of that name, it is the action: its values are "add" and "remove", and removed rows get "remove".

    Raises `ConfigurationError` for keys that don't identify rows, other columns than the run's, dtypes that can't be
    cast, a URL, and a column of the frame that can't be the action.
    """
    names = check_keys(keys, schema)
    if action in schema and (action in names or not _takes_actions(schema[action])):
        reason = (
            "it is one of keys=" if action in names else f"its dtype is {dtype_shown(schema[action])}, and not text"
        )
        raise ConfigurationError(
            f"The frame's column {action!r} can't have the action of each row: {reason}. Rename it, or name another "
            "column in action_column=."
        )
    if objects := [name for name, dtype in schema.items() if isinstance(dtype, pl.Object)]:
        raise ConfigurationError(
            f"{counted(len(objects), 'column')} can't be compared: {objects} (Object). Drop or cast them."
        )
    opened = open_previous(previous, schema, dialect)
    recast = Recast(opened.frame.collect_schema(), schema, opened.dialect)
    expected = known_num_rows(previous)
    return Comparison(opened.frame, schema, names, action, recast, bounds or Bounds(), expected)


def _takes_actions(dtype: pl.DataType) -> bool:
    if isinstance(dtype, pl.Enum):
        return set(OWN_ACTIONS) <= set(dtype.categories)
    return isinstance(dtype, (pl.String, pl.Categorical))


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
    if wrong := [
        f"{name!r} ({dtype_shown(schema[name])})" for name in names if not isinstance(schema[name], _COMPARED)
    ]:
        raise ConfigurationError(
            f"{counted(len(wrong), 'column')} of keys= can't be compared: {', '.join(wrong)}. "
            "Use columns of numbers, texts or times."
        )
    return names


@dataclass(slots=True)
class Comparison:
    """The comparison of one run with the last delivery. Iterate `changed` first; then `counts` is set."""

    frame: pl.LazyFrame
    schema: pl.Schema
    keys: tuple[str, ...]
    action: str
    recast: Recast
    bounds: Bounds
    expected: int | None = None
    _counts: Changes | None = field(default=None, init=False)

    @property
    def delivered(self) -> pl.Schema:
        """The columns that are delivered: the action first, unless it is one of the run's, then the run's."""
        return self.schema if self.has_own_action else pl.Schema({self.action: pl.String(), **self.schema})

    @property
    def has_own_action(self) -> bool:
        """Whether the action is a column of the frame."""
        return self.action in self.schema

    @property
    def counts(self) -> Changes:
        """How many rows were added, changed, removed and not changed; `ValueError` before they are known."""
        if self._counts is None:
            raise ValueError("Nothing was compared yet.")
        return self._counts

    def changed(
        self, batches: Iterable[pl.DataFrame], row_group_size: int = ROW_GROUP_SIZE
    ) -> Generator[pl.DataFrame, None, None]:
        """Yield the rows that differ, of one action in each batch: all added, then all changed, then all removed.

        Rows added and changed come in the order of `batches`, and removed ones in that of the last delivery, for any
        bounds. Nothing is yielded before both sides were read to their ends. Closing returns the disk to the system.

        Raises `ConfigurationError` for keys that occur twice on a side and for values that can't be cast, and
        `UploadError` for a full disk. Errors of the sources are raised unchanged.
        """
        with ExitStack() as stack:
            sides = [stack.enter_context(side) for side in self._sides()]
            self._fill(sides, batches)
            ordered = {name: stack.enter_context(self._ordered(*sides)) for name in ACTIONS}
            self._compare(sides, ordered)
            for name, rows in ordered.items():
                yield from self._named(name, rows.batches(row_group_size))

    def _sides(self) -> list[KeyBuckets]:
        places = tuple(str(list(self.schema).index(key)) for key in self.keys)
        empty = numbered(_by_place(pl.DataFrame(schema=self.schema)), 0)
        labels = ("this run", "previous=")
        return [KeyBuckets(empty, Duplicates(label, self.keys, places), self.bounds) for label in labels]

    def _fill(self, sides: list[KeyBuckets], batches: Iterable[pl.DataFrame]) -> None:
        now, before = sides
        now.fill(map(_by_place, map(self._checked, batches)))
        before.fill(self.recast.batches(pull(self.frame, ROW_GROUP_SIZE)))
        check_num_rows(before.buckets.num_rows, self.expected)

    def _ordered(self, now: KeyBuckets, before: KeyBuckets) -> RowOrderBuffer:
        num_bytes = now.buckets.num_bytes + before.buckets.num_bytes
        return RowOrderBuffer(
            (now.buckets.num_rows + before.buckets.num_rows) * self.bounds.lot // max(num_bytes, 1) + 1, self.bounds.lot
        )

    def _compare(self, sides: list[KeyBuckets], ordered: dict[Action, RowOrderBuffer]) -> None:
        """Sort the rows of all pairs by action; all keys are counted before duplicates are refused."""
        now, before = sides
        unchanged = 0
        for pair in pairs(now, before):
            if now.duplicates or before.duplicates:
                continue
            found = difference(*pair, now.duplicates.keys)
            unchanged += found.unchanged
            for name, rows in found.rows.items():
                ordered[name].add(rows)
        refuse_duplicates(now.duplicates, before.duplicates)
        self._counts = Changes(**{name: rows.num_rows for name, rows in ordered.items()}, unchanged=unchanged)

    def _checked(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Return a batch; raise if the frame has the action of its rows, and one is neither "add" nor "remove"."""
        if self.has_own_action:
            found = batch.get_column(self.action).cast(pl.String).is_in(OWN_ACTIONS).fill_null(value=False)
            if wrong := batch.height - int(found.sum()):
                raise ConfigurationError(
                    f"The frame's column {self.action!r} has the action of each row, and "
                    f"{counted(wrong, 'value', 'are')} neither 'add' nor 'remove'. Rename the column, or name another "
                    "one in action_column=."
                )
        return batch

    def _named(self, action: Action, batches: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        own = list(self.schema).index(self.action) if self.has_own_action else -1
        for batch in batches:
            if self.has_own_action:
                columns = list(batch)
                if action == "removed":
                    columns[own] = pl.Series([OWN_ACTIONS[1]], dtype=columns[own].dtype).new_from_index(0, batch.height)
                yield pl.DataFrame(dict(zip(self.delivered, columns, strict=True)))
                continue
            actions = pl.Series([action], dtype=pl.String).new_from_index(0, batch.height)
            yield pl.DataFrame(dict(zip(self.delivered, [actions, *batch], strict=True)))


def _by_place(batch: pl.DataFrame) -> pl.DataFrame:
    """Rename the columns to their positions, so that no name is one that we add, or a pattern."""
    return pl.DataFrame([values.alias(str(place)) for place, values in enumerate(batch)])


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
    values = [name for name in now.columns if name not in {*keys, ROW}]
    is_now, was_before = pl.col(ROW).is_not_null(), pl.col(old[ROW]).is_not_null()
    differs = pl.any_horizontal(pl.lit(value=False), *(pl.col(name).ne_missing(pl.col(old[name])) for name in values))
    verdict = joined.select(
        added=~was_before,
        changed=is_now & was_before & differs,
        removed=~is_now,
        unchanged=is_now & was_before & ~differs,
    )
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
