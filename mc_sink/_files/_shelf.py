"""Rows of many partitions, parked until all have come, and given back partition by partition.

Rows wait in memory until they make a lot of `LOT_BYTES`, so that what a partition writes to the disk at once is worth
it: with a thousand partitions, 32 KiB. While a lot is sorted into its partitions there are two copies of it. The last
lot, which is the only one of a small delivery, stays in memory.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import polars as pl

from mc_sink._spill import Slot, Spill, compact

if TYPE_CHECKING:
    from typing import Self

    from mc_sink._files._feed import BatchGenerator
    from mc_sink.partitions import Partition, Partitioning

LOT_BYTES = 32 * 2**20


class Shelf:
    """Takes batches, and then gives the rows of each partition in the order in which they came.

    Memory: two lots, and 16 bytes for each lot of each partition. Disk: the rows once, as Arrow has them.
    """

    def __init__(self, partitioning: Partitioning, folder: str | None, *, lot_bytes: int = LOT_BYTES) -> None:
        self._partitioning, self._spill, self._lot_bytes = partitioning, Spill(folder), lot_bytes
        self._waiting: list[pl.DataFrame] = []
        self._num_bytes = 0
        self._slots: dict[Partition, array[int]] = {}
        self._last: dict[Partition, pl.DataFrame] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._spill.close()

    def fill(self, batches: BatchGenerator) -> BatchGenerator:
        """Park all batches, passing each on when it is parked."""
        for batch in batches:
            self._waiting.append(compact(batch))
            self._num_bytes += int(batch.estimated_size())
            if self._num_bytes > self._lot_bytes:
                self._park()
            yield batch
        self._last = dict(self._sorted_lot())

    @property
    def partitions(self) -> list[Partition]:
        """The partitions that have rows here, by their keys."""
        return sorted({**self._slots, **self._last}, key=lambda partition: partition.folder)

    def rows(self, partition: Partition) -> BatchGenerator:
        """Yield the rows of one partition, once."""
        places = self._slots.pop(partition, array("Q"))
        for offset, length in zip(places[::2], places[1::2], strict=True):
            yield self._spill.read(Slot(offset, length))
        if (last := self._last.pop(partition, None)) is not None:
            yield last

    def _park(self) -> None:
        for partition, rows in self._sorted_lot():
            self._slots.setdefault(partition, array("Q")).extend(self._spill.append(rows))

    def _sorted_lot(self) -> list[tuple[Partition, pl.DataFrame]]:
        waiting, self._waiting, self._num_bytes = self._waiting, [], 0
        return self._partitioning.groups(pl.concat(waiting, rechunk=False)) if waiting else []
