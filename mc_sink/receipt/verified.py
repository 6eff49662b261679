"""The result of comparing a receipt with what the store has."""

from __future__ import annotations

from dataclasses import dataclass

from mc_sink import _display
from mc_sink._display import counted, lines


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of comparing a receipt with the store: `missing` URLs, and `changed` ones with another size or ETag.

    `uncomputed` are URLs of unchanged files whose ETag can't be computed from their bytes: they were compared by size
    and by the ETag that the store returned on delivery.
    """

    checked: int
    missing: tuple[str, ...]
    changed: tuple[str, ...]
    uncomputed: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every file of the receipt exists unchanged."""
        return not self.missing and not self.changed

    def __str__(self) -> str:
        checked = counted(self.checked, "file")
        if self.ok:
            verb = "is" if self.checked == 1 else "are"
            return f"{self.checked:,} of {checked} {verb} there, with the size and ETag of the receipt.{self._but}"
        wrong = [*(f"missing: {p}" for p in self.missing), *(f"changed: {p}" for p in self.changed)]
        how = "is not as it was delivered" if len(wrong) == 1 else "are not as they were delivered"
        return lines(f"{len(wrong):,} of {checked} {how}:", *(f"  {one}" for one in wrong))

    @property
    def _but(self) -> str:
        number = len(self.uncomputed)
        return (
            f" {number:,} of them only by the size and by what the store itself answered before: its ETags are not "
            "computed from the bytes."
            if number
            else ""
        )

    def _repr_html_(self) -> str:
        found = _display.line(str(self).splitlines()[0], strong=True)
        wrong = [*(("missing", path) for path in self.missing), *(("changed", path) for path in self.changed)]
        return found + _display.rows(("found", "file"), wrong) if wrong else found
