"""Write batches into staged files, or count the files that they would make: where each file ends, and what it holds.

batches ──► one file
batches ──► rolls, by rows or by bytes ──► encoded, and stored a few at a time ──► staged
batches ──► partitions, one after the other ──► rolls ──► …
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
    from mc_sink.writing.splitting import Rolls

__all__ = ["DeliveryPlan", "FilePlan", "check_files_apart", "foreseen", "write_file", "write_files"]

# Rows that are held for a file that may be cut anew, in memory or on the disk: small batches are soon read and dropped.
_HELD_BATCH_BYTES = 8 * 2**20


def write_files(
    batches: BatchGenerator, plan: DeliveryPlan, store: Store, advance: Callable[[int, int], None]
) -> tuple[StagedFile, ...]:
    """Stage all of `batches`, or raise what went wrong first, leaving nothing visible or staged.

    Without partitions there is at least one file, also of no rows; with them, none where there is no row. The files
    are in the order of their partitions' keys, and then of their rows; they and their names depend on the rows alone.

    Memory, beyond what the engine and the parts in flight take: `max_bytes` holds 32 MiB and a batch of rows,
    `partition_by` two lots of 32 MiB and two batches. One upload is open, and 8 more are being stored at most.
    """
    if plan.is_one_file:
        return (write_file(batches, next(plan.files(plan.schema)), store, advance),)
    try:
        with UploadQueue(store, advance) as staging:
            rolls = _rolls(plan, staging)
            if plan.spec.partition_by:
                write_partitions(batches, plan, rolls)
            else:
                even = (
                    batches
                    if plan.spec.max_bytes_per_file is None
                    else regrouped(promised(batches, plan.schema), plan.spec.row_group_size, _HELD_BATCH_BYTES)
                )
                rolls.write(even, plan.files(plan.schema))
            return staging.files()
    finally:
        with suppress(ValueError):  # an engine that was left behind is still inside it
            batches.close()


def _rolls(plan: DeliveryPlan, staging: UploadQueue) -> Rolls:
    """Choose how files are cut."""
    spec = plan.spec
    if spec.max_bytes_per_file is None:
        return SplitByRows(staging, spec.max_rows_per_file)
    return SplitByBytes(staging, spec.max_bytes_per_file, spec.max_rows_per_file, plan.folder)


class _Counted:
    """Takes rows, and names the files that they would fill."""

    def __init__(self, max_rows: int | None) -> None:
        self._max_rows = max_rows
        self.files: list[FilePlan] = []

    def write(self, batches: BatchGenerator, plans: Iterator[FilePlan]) -> None:
        """Count all of `batches`, and take as many of `plans`."""
        num_rows = sum(batch.height for batch in batches)
        number = -(-num_rows // self._max_rows) if self._max_rows else 1
        self.files += [next(plans) for _ in range(number)]


def foreseen(frame: pl.DataFrame, plan: DeliveryPlan) -> tuple[str, ...]:
    """Give the URLs of the files of all partitions of a frame, in the order in which a delivery gives them.

    Looks at the columns of the key alone; parks what a delivery would park of them.
    """
    keys = frame.select(plan.spec.partition_by)
    counted = _Counted(plan.spec.max_rows_per_file)
    batches = (batch for batch in keys.iter_slices(plan.spec.row_group_size) if batch.height)
    keeping = replace(plan.spec, include_key=True)  # or no column would be left
    write_partitions(batches, replace(plan, spec=keeping, schema=keys.schema), counted)
    return tuple(file.target.url for file in sorted(counted.files, key=_folder))


def _folder(file: FilePlan) -> str:
    return file.partition.folder if file.partition else ""
