"""Write batches into staged files, or name the files that they would fill.

batches ──► one file
batches ──► split by rows or by bytes ──► encoded, and uploaded a few at a time ──► staged
batches ──► partitions, one after the other ──► split ──► …
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from mc_sink._runtime.batches import regrouped
from mc_sink.writing.encoding import promised, write_file
from mc_sink.writing.partitioned import write_partitions
from mc_sink.writing.plan import DeliveryPlan, FilePlan, check_files_apart
from mc_sink.writing.splitting import SplitByBytes, SplitByRows
from mc_sink.writing.upload_queue import UploadQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import polars as pl

    from mc_sink.staged import StagedFile
    from mc_sink.storage import Store
    from mc_sink.writing.encoding import BatchGenerator
    from mc_sink.writing.splitting import Split

__all__ = ["DeliveryPlan", "FilePlan", "check_files_apart", "foreseen", "write_file", "write_files"]

# Bytes of a batch that is held for a file that may be encoded again: small batches are soon read and dropped.
_HELD_BATCH_BYTES = 8 * 2**20


def write_files(
    batches: BatchGenerator, plan: DeliveryPlan, store: Store, advance: Callable[[int, int], None]
) -> tuple[StagedFile, ...]:
    """Stage all of `batches`, or raise the first error, leaving nothing visible or staged.

    Without partitions at least one file is made, also of no rows; with them, none without rows. The files are in the
    order of their partitions' keys, and then of their rows. They and their names depend on the rows alone.

    Memory, beyond that of the engine and the parts in flight: 32 MiB and a batch of rows for `max_bytes`, and two lots
    of 32 MiB and two batches for `partition_by`. One upload is open, and at most 32 more, of 64 MiB together, are being
    stored.
    """
    if plan.is_one_file:
        return (write_file(batches, next(plan.files(plan.schema)), store, advance),)
    try:
        with UploadQueue(store, advance) as queue:
            split: Split
            if plan.spec.max_bytes_per_file is None:
                split = SplitByRows(queue, plan.spec.max_rows_per_file)
            else:
                split = SplitByBytes(queue, plan.spec.max_bytes_per_file, plan.spec.max_rows_per_file, plan.folder)
            if plan.spec.partition_by:
                write_partitions(batches, plan, split)
            else:
                even = (
                    batches
                    if plan.spec.max_bytes_per_file is None
                    else regrouped(promised(batches, plan.schema), plan.spec.row_group_size, _HELD_BATCH_BYTES)
                )
                split.write(even, plan.files(plan.schema))
            return queue.files()
    finally:
        with suppress(ValueError):  # an engine that was left behind is still inside it
            batches.close()


class _NamedFiles:
    """Counts rows instead of writing them, and collects the files that they would fill."""

    def __init__(self, max_rows: int | None) -> None:
        self._max_rows = max_rows
        self.files: list[FilePlan] = []

    def write(self, batches: BatchGenerator, plans: Iterator[FilePlan]) -> None:
        """Count all of `batches`, and take as many of `plans` as their files need."""
        num_rows = sum(batch.height for batch in batches)
        num_files = -(-num_rows // self._max_rows) if self._max_rows else 1
        self.files += [next(plans) for _ in range(num_files)]


def foreseen(frame: pl.DataFrame, plan: DeliveryPlan) -> tuple[str, ...]:
    """Return the URLs of the files of all partitions of a frame, in the order of a delivery's receipt.

    Only the key columns are read; they are buffered as in a delivery.
    """
    keys = frame.select(plan.spec.partition_by)
    named = _NamedFiles(plan.spec.max_rows_per_file)
    batches = (batch for batch in keys.iter_slices(plan.spec.row_group_size) if batch.height)
    keeping = replace(plan.spec, include_key=True)  # or no column would be left
    write_partitions(batches, replace(plan, spec=keeping, schema=keys.schema), named)
    files = sorted(named.files, key=lambda file: file.partition.folder if file.partition else "")
    return tuple(file.target.url for file in files)
