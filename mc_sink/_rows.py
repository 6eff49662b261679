"""The rows of a delivery on their way: judged, and, of a change set, compared with the last delivery."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mc_sink import validation
from mc_sink._batches import check_num_rows, pull
from mc_sink.exceptions import NOTHING_VISIBLE, UploadError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    import polars as pl

    from mc_sink._order import Order
    from mc_sink.changed import Changes
    from mc_sink.changes import Comparison
    from mc_sink.formats import Format
    from mc_sink.staged import Staged
    from mc_sink.validation import Compiled


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """What comes out of a plan: rows that are valid, or those of them that differ from the last delivery."""

    compiled: Compiled
    comparison: Comparison | None
    expected: int | None = None

    @property
    def delivered(self) -> pl.Schema:
        """The columns of what is delivered."""
        return self.comparison.delivered if self.comparison else self.compiled.delivered

    @property
    def changes(self) -> Changes | None:
        """What differed, counted, when all batches have come."""
        return self.comparison.counts if self.comparison else None

    def batches(self, row_group_size: int) -> Generator[pl.DataFrame, None, None]:
        """Pull the rows, in batches of at most so many; whatever ends this ends the query too."""
        with closing(self.compiled.judge(pull(self.compiled.frame, row_group_size))) as judged:
            yield from self.comparison.changed(judged, row_group_size) if self.comparison else judged

    def account_for(self, staged: Staged) -> None:
        """Hold a delivery to its count: rows in are rows staged and rows rejected, or, of changes, as many as were.

        Where the number of rows that a frame holds was known beforehand, as many must have come.
        """
        check_num_rows(self.compiled.num_rows, self.expected)
        rejected = staged.rejects.num_rows if staged.rejects else 0
        found, valid = self.changes, self.compiled.num_rows - rejected
        if staged.num_rows != (found.num_rows if found else valid) or (found and found.num_rows_now != valid):
            raise UploadError(
                f"{self.compiled.num_rows:,} rows came, and {staged.num_rows:,} were staged and {rejected:,} rejected"
                f"{f' ({found})' if found else ''}. {NOTHING_VISIBLE} This should not happen: please report it."
            )


@contextmanager
def rows_of(plan: pl.LazyFrame, order: Order, format: Format, expected: int | None = None) -> Iterator[Rows]:
    """Prepare to judge and compare the rows of a plan, `expected` of them; raises what contradicts in it.

    Runs nothing.
    """
    with closing(
        validation.compile(order.schema, plan, on_invalid=order.on_invalid, max_rejects=order.max_rejects)
    ) as compiled:
        yield Rows(compiled, order.comparison(compiled.delivered, format), expected)
