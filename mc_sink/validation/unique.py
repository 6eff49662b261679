"""Check that keys are unique over the whole delivery, in bounded memory.

    batches ─► keys in memory ─(over 32 MiB)─► partitions by hash, on disk ─► equal keys within one partition at a time

    batches ─► the buckets of their keys, one bit each ─► shares whose buckets are disjoint have no key in common

The hash only chooses a key's partition. Within a partition the keys themselves are compared, so two keys that share a
hash are never reported as duplicates, and equal keys always meet. Null equals null and NaN equals NaN, as in Pandera.

Several processes compare buckets, so equal keys must have one bucket everywhere: the text of the key is hashed, and
`bucket_check` shows whether two processes hash alike. Polars promises that only within one version.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

from mc_sink._nested import dtype_shown
from mc_sink._runtime.spill import Buckets, divide_by
from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROW = "__mc_sink_row__"
_PARTITIONS = 64
_MEMORY = 32 * 1024 * 1024  # bytes of keys kept before they are spilled
NUM_BUCKETS = 4096
# Dtypes of which equal values have one text. Floats don't: 0.0 equals -0.0.
_TEXTUAL = (pl.String, pl.Boolean, pl.Date, pl.Datetime, pl.Time, pl.Decimal, pl.Categorical, pl.Enum)


@dataclass(slots=True)
class Uniqueness:
    """A requirement that the values of `columns`, taken together, occur once in the whole delivery.

    `check` is Pandera's name for it. `memory` is how many bytes of keys are held before they are spilled. Finding
    duplicates holds about a 64th of all keys at a time. `seen` has a bit for each bucket of the keys; it is None where
    no other process has rows of the delivery.
    """

    columns: tuple[str, ...]
    check: str
    memory: int = _MEMORY
    seen: bytearray | None = None
    _buckets: Buckets[int] = field(init=False)

    def __post_init__(self) -> None:
        self._buckets = Buckets(divide_by(_hashed(self.columns) % _PARTITIONS), self.memory)

    def add(self, batch: pl.DataFrame, rows: pl.Series) -> None:
        """Keep the keys of `batch`, whose rows have the numbers `rows` in the delivery."""
        self._buckets.add(batch.select(*self.columns, rows.alias(ROW)))
        if self.seen is not None:
            for bucket in buckets_of(batch, self.columns).unique():
                self.seen[bucket // 8] |= 1 << bucket % 8

    def duplicates(self) -> Iterator[pl.DataFrame]:
        """Yield every row whose key occurs more than once, as frames of the key columns and the row number (`ROW`)."""
        for keys in self._partitions():
            one = len(self.columns) == 1
            repeated = keys[self.columns[0]].is_duplicated() if one else keys.select(*self.columns).is_duplicated()
            if repeated.any():
                yield keys.filter(repeated)

    def close(self) -> None:
        """Drop the keys, and free memory and disk."""
        self._buckets.close()

    def _partitions(self) -> Iterator[pl.DataFrame]:
        if self._buckets.is_parked:
            self._buckets.park()
            yield from (pl.concat(self._buckets.read(key)) for key in self._buckets.keys)
        elif (keys := self._buckets.take_lot()) is not None:
            yield keys


def _hashed(columns: tuple[str, ...]) -> pl.Expr:
    return pl.col(columns[0]).hash(seed=7) if len(columns) == 1 else pl.struct(*columns).hash(seed=7)


def buckets_of(frame: pl.DataFrame, columns: Sequence[str]) -> pl.Series:
    """Return the bucket of each row's key, from 0 to 4,095 (UInt16)."""
    # Each text is preceded by its length, or two keys of several columns might have one text.
    texts = [pl.col(name).cast(pl.String) for name in columns]
    parts = [pl.format("{}:{}", text.str.len_bytes(), text).fill_null("null") for text in texts]
    key = pl.concat_str(parts, separator=",")
    return frame.select((key.hash(seed=7) % NUM_BUCKETS).cast(pl.UInt16).alias("bucket")).to_series()


def check_bucketed(columns: Sequence[str], schema: Mapping[str, pl.DataType]) -> None:
    """Raise `ConfigurationError` for key columns of which equal values may have several texts."""
    for name in columns:
        if not (schema[name].is_integer() or isinstance(schema[name], _TEXTUAL)):
            raise ConfigurationError(
                f"Column {name!r} can't be shown to be unique over several shares: its dtype is "
                f"{dtype_shown(schema[name])}. Cast it to a whole number, a decimal or text in the query."
            )


def bucket_check() -> int:
    """Return a number that two processes share if they give keys the same buckets."""
    sample = pl.DataFrame({"key": [str(number) * (number % 40) for number in range(200)]})
    return sum(number * bucket for number, bucket in enumerate(buckets_of(sample, ["key"]), start=1))
