"""The one way in: batches → staged files."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from mc_sink._files._feed import promised
from mc_sink._files._file import write_file
from mc_sink._files._partitions import write_partitions
from mc_sink._files._rolls import ByteRolls, RowRolls
from mc_sink._files._staging import Staging
from mc_sink._regroup import regrouped

if TYPE_CHECKING:
    from collections.abc import Callable

    from mc_sink._files._delivery_plan import DeliveryPlan
    from mc_sink._files._feed import BatchGenerator
    from mc_sink._files._rolls import Rolls
    from mc_sink.staged import StagedFile
    from mc_sink.storage import Store

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
        with Staging(store, advance) as staging:
            rolls = _rolls(plan, staging)
            if plan.partition_by:
                write_partitions(batches, plan, rolls)
            else:
                even = (
                    batches
                    if plan.max_bytes is None
                    else regrouped(promised(batches, plan.schema), plan.row_group_size, _HELD_BATCH_BYTES)
                )
                rolls.write(even, plan.files(plan.schema))
            return staging.files()
    finally:
        with suppress(ValueError):  # an engine that was left behind is still inside it
            batches.close()


def _rolls(plan: DeliveryPlan, staging: Staging) -> Rolls:
    """Choose how files are cut."""
    if plan.max_bytes is None:
        return RowRolls(staging, plan.max_rows)
    return ByteRolls(staging, plan.max_bytes, plan.max_rows, plan.folder)
