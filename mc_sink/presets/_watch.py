"""Batches on their way: looked at only where a limit needs it, and passed on as they are."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from mc_sink.presets._cells import long_cells, long_numbers, many_line_ends
from mc_sink.presets._limit import Found, refusal
from mc_sink.presets._rows import long_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from mc_sink.formats import Format
    from mc_sink.presets._limit import Limit, LimitName

    Look = Callable[[Limit, Format, pl.DataFrame, int], Found | None]

_LOOKS: dict[LimitName, Look] = {
    "cell size": long_cells,
    "line ends in a cell": many_line_ends,
    "digits of a number": long_numbers,
    "row size": long_rows,
}


def watched(  # noqa: PLR0913  what a receiver says, and what the delivery does
    preset: str,
    limits: Sequence[Limit],
    batches: Iterable[pl.DataFrame],
    format: Format,
    max_rows: int | None,
    *,
    left_out: Sequence[str] = (),
) -> Iterator[pl.DataFrame]:
    """Pass batches on, and raise `LimitError` before one that breaks a limit, or at the end for too few rows."""
    limits = [limit for limit in limits if limit.holds_for(format)]
    looks = [(limit, partial(_LOOKS[limit.name], limit, format)) for limit in limits if limit.name in _LOOKS]
    most = [limit for limit in limits if limit.name == "rows per file" and not _cut_in_time(limit, max_rows)]
    num_rows = 0
    for batch in batches:
        seen = pl.DataFrame([column for column in batch.get_columns() if column.name not in left_out])
        for limit, look in looks:
            if (found := look(seen, num_rows)) is not None:
                raise refusal(preset, limit, found)
        num_rows += batch.height
        for limit in most:
            if num_rows > limit.number:
                raise refusal(preset, limit, Found(num_rows, "rows", "or more, for one file"))
        yield batch
    least = (num_rows % max_rows or max_rows) if max_rows and num_rows > max_rows else num_rows
    for limit in limits:
        if limit.name == "fewest rows per file" and least < limit.number:
            raise refusal(preset, limit, Found(least, "row(s)", "in the smallest file" if least < num_rows else ""))


def _cut_in_time(limit: Limit, max_rows: int | None) -> bool:
    return max_rows is not None and max_rows <= limit.number
