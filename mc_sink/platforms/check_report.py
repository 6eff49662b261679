"""Judge the answers of a check, and report a row for each question."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003  a fact's own type
from typing import Literal

from mc_sink import _display
from mc_sink._display import lines
from mc_sink.platforms.platform import Status  # noqa: TC001  a fact's own type

# The questions that only a delivery's own requests answer.
DELIVERED = ("objects", "uploads")
Verdict = Literal["yes", "no", "unknown", "documented", "not needed"]
COLUMNS = ("question", "verdict", "tried", "found", "mend")


@dataclass(frozen=True, slots=True)
class CheckRow:
    """One question; `tried` is the request, `found` the answer, `mend` a policy statement or what else to do.

    "documented" is what AWS promises and was not tried; "not needed" is no part of this platform's deliveries.
    `required` says whether a delivery depends on it. `unkept` is what a promise of mc_sink comes to where the store
    does not keep this.
    """

    question: str
    verdict: Verdict
    tried: str
    found: str
    mend: str = ""
    required: bool = False
    unkept: str = ""

    @property
    def stands(self) -> bool:
        """Whether a delivery may rely on it."""
        return self.verdict in {"yes", "documented", "not needed"}


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check found of a platform at a target; `left` is what it left behind, which is nothing as a rule."""

    platform: str
    target: str
    status: Status
    reason: str
    checked_at: datetime
    rows: tuple[CheckRow, ...]
    left: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether credentials and permissions were verified."""
        return self.status == "Configured"

    @property
    def missing(self) -> tuple[str, ...]:
        """What a delivery depends on and was refused, by the names of their questions."""
        return tuple(row.question for row in self.rows if row.required and row.verdict == "no")

    @property
    def unkept(self) -> tuple[str, ...]:
        """A sentence for each promise of mc_sink that the store does not keep its part of."""
        return tuple(dict.fromkeys(row.unkept for row in self.rows if row.unkept))

    def __getitem__(self, question: str) -> CheckRow:
        return next(row for row in self.rows if row.question == question)

    def __str__(self) -> str:
        answers = [f"{self.platform} at {self.target}: {self.status}. {self.reason}"]
        answers += [f"  {row.question}: {row.verdict} ({row.tried}: {row.found})" for row in self.rows]
        answers += [f"  Not kept: {one}" for one in self.unkept]
        return lines(*answers, *(f"  Left behind: {one}" for one in self.left))

    def _repr_html_(self) -> str:
        """Return the report as a table, for notebooks."""
        first = _display.line(f"{self.platform} at {self.target}: {self.status}. {self.reason}", strong=True)
        answers = _display.rows(COLUMNS, [[getattr(row, name) for name in COLUMNS] for row in self.rows])
        answers += "".join(_display.line(f"Not kept: {one}") for one in self.unkept)
        return first + answers + "".join(_display.line(f"Left behind: {one}") for one in self.left)


def judged(rows: tuple[CheckRow, ...]) -> tuple[Status, str]:
    """Give the status that rows come to, with its reason."""
    needed = [row for row in rows if row.required]
    if refused := [row for row in needed if row.verdict == "no"]:
        return "Failing", f"{', '.join(row.question for row in refused)}: {refused[0].found}"
    if open_ones := [row for row in needed if not row.stands]:
        return "Unverified", f"{', '.join(row.question for row in open_ones)} could not be told: {open_ones[0].found}"
    tried = {row.verdict for row in needed if row.question in DELIVERED} == {"yes"}
    told = "Credentials, permissions and the requests of a delivery were verified."
    if not tried:
        told = "Credentials and permissions were verified. What a delivery sends was not tried: AWS documents it."
    unkept = [row.question for row in rows if row.verdict == "no" and row.unkept]
    return "Configured", told + (f" Not kept by this store: {', '.join(unkept)}." if unkept else "")
