"""Keys that occur more than once on a side: then nobody can say which row became which, and the run ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import nsmallest
from typing import TYPE_CHECKING

from mc_sink.changes._keys import ROW, hashed
from mc_sink.exceptions import NOTHING_VISIBLE, ConfigurationError

if TYPE_CHECKING:
    import polars as pl

_EXAMPLES = 5


@dataclass(slots=True)
class Duplicates:
    """The rows of one side that share their key with another; counted, and the first few by number.

    `told` names the side, `names` the keys as the caller knows them, `keys` their columns.
    """

    told: str
    names: tuple[str, ...]
    keys: tuple[str, ...]
    count: int = 0
    first: list[int] = field(default_factory=list)

    def __bool__(self) -> bool:
        return self.count > 0

    def look(self, rows: pl.DataFrame) -> None:
        """Count the rows of a frame that share their key; a frame without equal hashes has none."""
        if rows.select(hashed(self.keys)).to_series().n_unique() == rows.height:
            return
        found = rows.filter(rows.select(self.keys).is_duplicated())[ROW]
        self.count += len(found)
        self.first = nsmallest(_EXAMPLES, [*self.first, *found.bottom_k(_EXAMPLES).to_list()])

    def __str__(self) -> str:
        rows = ", ".join(f"{row:,}" for row in self.first) + (", …" if self.count > len(self.first) else "")
        return f"{self.count:,} rows of {self.told} share their key with another (rows {rows})"


def refuse_duplicates(*sides: Duplicates, partly: bool = False) -> None:
    """Raise `ConfigurationError` where a side has duplicates; it names rows and never shows a key."""
    found = [side for side in sides if side]
    if not found:
        return
    told, names = "; ".join(map(str, found)), ", ".join(map(repr, found[0].names))
    raise ConfigurationError(
        f"{'At least ' if partly else ''}{told}; the keys are {names}, and rows are counted from "
        "0. Nobody can say which of them became which: add columns to keys= until they are unique, or drop the "
        f"duplicates. {NOTHING_VISIBLE}"
    )
