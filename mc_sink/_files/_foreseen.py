"""The files that rows would make, told without making them: the same cuts, with nothing encoded or stored."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mc_sink._files._partitions import write_partitions

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

    from mc_sink._files._delivery_plan import DeliveryPlan
    from mc_sink._files._feed import BatchGenerator
    from mc_sink._files._file import FilePlan


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
    keys = frame.select(plan.partition_by)
    counted = _Counted(plan.max_rows)
    batches = (batch for batch in keys.iter_slices(plan.row_group_size) if batch.height)
    write_partitions(batches, replace(plan, schema=keys.schema, include_key=True), counted)
    return tuple(file.target.url for file in sorted(counted.files, key=_folder))


def _folder(file: FilePlan) -> str:
    return file.partition.folder if file.partition else ""
