"""The keys that a run would make, as far as its rows are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from mc_sink._files import DeliveryPlan, foreseen

if TYPE_CHECKING:
    from mc_sink._order import Order, Resolved

# As many names as tell how they go on, where nobody knows how many there will be.
FIRST = 3


def keys_of(frame: object, order: Order, to: Resolved) -> tuple[tuple[str, ...], int | None]:
    """Give the URLs of all files, with their number; or of the first ones, where nobody knows how many there will be.

    Of partitions nothing is known but by their rows, and these are looked at only where they are in memory already and
    neither a schema nor a comparison has a say in them.
    """
    known = order.on_invalid == "fail" and order.previous is None and to.max_bytes_per_file is None
    if to.names.columns:
        if not known or order.schema is not None or not isinstance(frame, pl.DataFrame):
            return (), None
        files = foreseen(frame, _plan(to, frame))
        return files, len(files)
    number = _number(to, _height(frame) if known else None)
    return tuple(to.names.file(part).url for part in range(FIRST if number is None else number)), number


def _number(to: Resolved, height: int | None) -> int | None:
    if not to.names.several:
        return 1
    most = to.max_rows_per_file
    return None if most is None or height is None else max(1, -(-height // most))


def _height(frame: object) -> int | None:
    """Give the number of rows, where a frame knows it."""
    rows = frame.height if isinstance(frame, pl.DataFrame) else getattr(frame, "num_rows", None)
    return rows if isinstance(rows, int) else None


def _plan(to: Resolved, frame: pl.DataFrame) -> DeliveryPlan:
    return DeliveryPlan(
        to.names,
        frame.schema,
        to.format,
        to.row_group_size,
        to.max_rows_per_file,
        there=frozenset(),
        partition_by=to.partition_by,
    )
