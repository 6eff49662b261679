"""Check that keys are unique over the whole delivery, in bounded memory.

    batches ─► keys in memory ─(over 32 MiB)─► partitions by hash, on disk ─► equal keys within one partition at a time

The hash only chooses a key's partition. Within a partition the keys themselves are compared, so two keys that share a
hash are never reported as duplicates, and equal keys always meet. Null equals null and NaN equals NaN, as in Pandera.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

from mc_sink._runtime.spill import Buckets, divide_by

if TYPE_CHECKING:
    from collections.abc import Iterator

ROW = "__mc_sink_row__"
_PARTITIONS = 64
_MEMORY = 32 * 1024 * 1024  # bytes of keys kept before they are spilled


@dataclass(slots=True)
class Uniqueness:
    """A requirement that the values of `columns`, taken together, occur once in the whole delivery.

    `check` is Pandera's name for it. `memory` is how many bytes of keys are held before they are spilled. Finding
    duplicates holds about a 64th of all keys at a time.
    """

    columns: tuple[str, ...]
    check: str
    memory: int = _MEMORY
    _buckets: Buckets[int] = field(init=False)

    def __post_init__(self) -> None:
        self._buckets = Buckets(divide_by(_hashed(self.columns) % _PARTITIONS), self.memory)

    def add(self, batch: pl.DataFrame, rows: pl.Series) -> None:
        """Keep the keys of `batch`, whose rows have the numbers `rows` in the delivery."""
        self._buckets.add(batch.select(*self.columns, rows.alias(ROW)))

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
