"""The counted changes since a previous delivery."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Literal

from mc_sink import _display

if TYPE_CHECKING:
    from collections.abc import Iterable

Action = Literal["added", "changed", "removed"]
# In the order in which they are delivered.
ACTIONS: tuple[Action, ...] = ("added", "changed", "removed")


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes between the last delivery and this run, counted in rows.

    This run had `added + changed + unchanged` rows, and the last delivery `changed + unchanged + removed`. `num_rows`
    of them are delivered.
    """

    added: int
    changed: int
    removed: int
    unchanged: int

    @property
    def num_rows(self) -> int:
        """The number of rows that were added, changed or removed."""
        return self.added + self.changed + self.removed

    @property
    def num_rows_now(self) -> int:
        """The number of rows of this run."""
        return self.added + self.changed + self.unchanged

    @property
    def num_rows_before(self) -> int:
        """The number of rows of the last delivery."""
        return self.changed + self.removed + self.unchanged

    def __add__(self, other: Changes) -> Changes:
        """Add the counts of another part of the run."""
        return Changes(*(one + another for one, another in zip(astuple(self), astuple(other), strict=True)))

    def __str__(self) -> str:
        return f"{self.added:,} added, {self.changed:,} changed, {self.removed:,} removed, {self.unchanged:,} unchanged"

    def _repr_html_(self) -> str:
        return _display.rows(
            ("added", "changed", "removed", "unchanged"), [(self.added, self.changed, self.removed, self.unchanged)]
        )


def added_up(parts: Iterable[Changes | None]) -> Changes | None:
    """Add up the changes of all parts of a run; None without changes."""
    return reduce(add, found) if (found := [changes for changes in parts if changes]) else None
