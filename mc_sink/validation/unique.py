"""Check that keys are unique over the whole delivery, in bounded memory.

    batches ─► keys in memory ─(over 32 MiB)─► partitions by hash, on disk ─► equal keys within one partition at a time

The hash only chooses a key's partition. Within a partition the keys themselves are compared, so two keys that share a
hash are never reported as duplicates, and equal keys always meet. Null equals null and NaN equals NaN, as in Pandera.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

from mc_sink._runtime.kept_rows import Slot, Spill, compact

if TYPE_CHECKING:
    from collections.abc import Iterator

ROW = "__mc_sink_row__"
_PART = "__mc_sink_part__"
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
    _kept: list[pl.DataFrame] = field(default_factory=list, init=False)
    _kept_bytes: int = field(default=0, init=False)
    _slots: dict[int, list[Slot]] = field(default_factory=lambda: defaultdict(list), init=False)
    _spill: Spill = field(default_factory=Spill, init=False)

    def add(self, batch: pl.DataFrame, rows: pl.Series) -> None:
        """Keep the keys of `batch`, whose rows have the numbers `rows` in the delivery."""
        keys = compact(batch.select(*self.columns, rows.alias(ROW)))
        self._kept.append(keys)
        self._kept_bytes += int(keys.estimated_size())
        if self._kept_bytes > self.memory:
            self._spill_kept()

    def duplicates(self) -> Iterator[pl.DataFrame]:
        """Yield every row whose key occurs more than once, as frames of the key columns and the row number (`ROW`)."""
        for keys in self._partitions():
            one = len(self.columns) == 1
            repeated = keys[self.columns[0]].is_duplicated() if one else keys.select(*self.columns).is_duplicated()
            if repeated.any():
                yield keys.filter(repeated)

    def close(self) -> None:
        """Drop the keys, and free memory and disk."""
        self._kept.clear()
        self._spill.close()

    def _partitions(self) -> Iterator[pl.DataFrame]:
        if not self._slots:
            yield from [pl.concat(self._kept)] if self._kept else []
            return
        self._spill_kept()
        for slots in self._slots.values():
            yield pl.concat([self._spill.read(slot) for slot in slots])

    def _spill_kept(self) -> None:
        if not self._kept:
            return
        keys = pl.concat(self._kept)
        self._kept, self._kept_bytes = [], 0
        part = (_hashed(self.columns) % _PARTITIONS).cast(pl.UInt8).alias(_PART)
        for frame in keys.with_columns(part).partition_by(_PART):
            number = int(frame[_PART][0])
            self._slots[number].append(self._spill.append(frame.drop(_PART)))


def _hashed(columns: tuple[str, ...]) -> pl.Expr:
    return pl.col(columns[0]).hash(seed=7) if len(columns) == 1 else pl.struct(*columns).hash(seed=7)
