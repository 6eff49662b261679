"""What a delivery of changes held: frozen facts for the receipt and the manifest, and the words for the actions."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Literal

from mc_sink import _html

if TYPE_CHECKING:
    from collections.abc import Iterable

Action = Literal["added", "changed", "removed"]
# In the order in which they are delivered.
ACTIONS: tuple[Action, ...] = ("added", "changed", "removed")


@dataclass(frozen=True, slots=True)
class Changes:
    """How this run's rows differ from the last delivery's, in rows.

    This run had `added + changed + unchanged` rows, the last delivery `changed + unchanged + removed`; what is
    delivered is `num_rows` of them.
    """

    added: int
    changed: int
    removed: int
    unchanged: int

    @property
    def num_rows(self) -> int:
        """Rows that differ: those added, changed and removed."""
        return self.added + self.changed + self.removed

    @property
    def num_rows_now(self) -> int:
        """Rows that this run had."""
        return self.added + self.changed + self.unchanged

    @property
    def num_rows_before(self) -> int:
        """Rows that the last delivery had."""
        return self.changed + self.removed + self.unchanged

    def __add__(self, other: Changes) -> Changes:
        """Count what two parts of one run hold together."""
        return Changes(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    def __str__(self) -> str:
        return f"{self.added:,} added, {self.changed:,} changed, {self.removed:,} removed, {self.unchanged:,} unchanged"

    def _repr_html_(self) -> str:
        return _html.rows(
            ("added", "changed", "removed", "unchanged"), [(self.added, self.changed, self.removed, self.unchanged)]
        )


def added_up(parts: Iterable[Changes | None]) -> Changes | None:
    """Count what all parts of one run hold; None where nothing was compared."""
    return reduce(add, found) if (found := [changes for changes in parts if changes]) else None
