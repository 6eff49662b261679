"""A frame that nothing is asked of: its rows are counted, and that is all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    import polars as pl


@dataclass(slots=True)
class Unchecked:
    """See `Compiled`; here every row is delivered as it came. `name` is that of a schema which is switched off."""

    frame: pl.LazyFrame
    name: str | None = None
    num_rows: int = field(default=0, init=False)
    num_rejected: int = field(default=0, init=False)
    validated: bool = field(default=False, init=False)
    has_unique: bool = field(default=False, init=False)

    @property
    def delivered(self) -> pl.Schema:
        """The schema of the frame."""
        return self.frame.collect_schema()

    def judge(self, batches: Iterable[pl.DataFrame]) -> Generator[pl.DataFrame, None, None]:
        """Yield every batch."""
        for batch in batches:
            self.num_rows += batch.height
            yield batch

    def rejects(self) -> None:
        """Return None: nothing is rejected."""

    def nothing_left(self) -> None:
        """Return None: every row is left."""

    def explain(self) -> str:
        """Say that nothing is checked."""
        return (
            "No schema: rows are counted, not checked."
            if self.name is None
            else f"Schema {self.name!r} is switched off."
        )

    def close(self) -> None:
        """Hold nothing, so give nothing back."""
