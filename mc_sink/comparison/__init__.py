"""What changed since the last delivery: rows added, changed and removed, found by their keys, larger than memory.

    this run's batches ─► buckets by key ─┐
                                          ├─► pairs of buckets ─► differences ─► added, then changed, then removed
    previous= ─► recast ─► buckets by key ┘

Both sides are parked on the local disk, once; what differs is parked once more where it is more than a lot. Memory:
two lots of 32 MiB, and one pair of buckets of 64 MiB with its join; nothing of that grows with the data.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

from mc_sink._frames import ROW_GROUP_SIZE
from mc_sink._runtime.batches import check_num_rows, known_num_rows, pull
from mc_sink.comparison.buckets import Bounds, KeyBuckets, RowOrderBuffer, numbered, pairs
from mc_sink.comparison.join import Duplicates, check_keys, difference, refuse_duplicates
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


def compare(  # noqa: PLR0913  what the caller of a delivery may say about it
    previous: Frame | str | os.PathLike[str],
    schema: pl.Schema,
    *,
    keys: str | Sequence[str],
    action: str = "action",
    dialect: Csv | None = None,
    bounds: Bounds | None = None,
) -> Comparison:
    """Prepare to compare this run, whose columns are `schema`, with the last delivery; reads no more than a header.

    `previous` is a frame, or the path or glob of local files: Parquet, CSV, csv.gz, Arrow IPC or JSON lines. `dialect`
    is how CSV were written, by default as `Csv()` does. `action` names the column that says what became of a row.

    Raises `ConfigurationError` for keys that can't tell rows apart, columns that aren't the run's, dtypes that can't be
    cast, a URL, and an action column that is there already.
    """
    names = check_keys(keys, schema)
    if action in schema:
        raise ConfigurationError(f"1 column is called {action!r} already, and the actions are to be: rename one.")
    if objects := [name for name, dtype in schema.items() if isinstance(dtype, pl.Object)]:
        raise ConfigurationError(f"{len(objects)} column(s) can't be compared: {objects} (Object).")
    opened = open_previous(previous, schema, dialect)
    recast = Recast(opened.frame.collect_schema(), schema, opened.dialect)
    expected = known_num_rows(previous)
    return Comparison(opened.frame, schema, names, action, recast, bounds or Bounds(), expected)


@dataclass(slots=True)
class Comparison:
    """One run against the last delivery: `delivered` are the columns of what differs, `counts` are there at the end."""

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
        """The columns of what is delivered: the action first, then the run's."""
        return pl.Schema({self.action: pl.String(), **self.schema})

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

        Rows added and changed come in the order of `batches`, removed ones in that of the last delivery, whatever the
        bounds. Nothing is yielded before both sides were read to their ends. Closing gives the disk back.

        Raises `ConfigurationError` for keys that occur twice on a side and for values that can't be cast, `UploadError`
        for a full disk; what the sources raise arrives as it is.
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
        told = ("this run", "previous=")
        return [KeyBuckets(empty, Duplicates(side, self.keys, places), self.bounds) for side in told]

    def _fill(self, sides: list[KeyBuckets], batches: Iterable[pl.DataFrame]) -> None:
        now, before = sides
        now.fill(map(_by_place, batches))
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

    def _named(self, action: Action, batches: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        for batch in batches:
            actions = pl.Series([action], dtype=pl.String).new_from_index(0, batch.height)
            yield pl.DataFrame(dict(zip(self.delivered, [actions, *batch], strict=True)))


def _by_place(batch: pl.DataFrame) -> pl.DataFrame:
    """Call the columns by their places: no name of the caller's is then one of ours, or a pattern."""
    return pl.DataFrame([values.alias(str(place)) for place, values in enumerate(batch)])
