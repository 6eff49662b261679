"""The report of a check: a row for each question, and the status that the rows result in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003  a fact's own type
from typing import Literal

from mc_sink import _display
from mc_sink._display import lines
from mc_sink.platforms.platform import Status  # noqa: TC001  a fact's own type

# The questions that only the requests of a delivery answer.
DELIVERED = ("objects", "uploads")
Verdict = Literal["yes", "no", "unknown", "documented", "not needed"]
COLUMNS = ("question", "verdict", "tried", "found", "fix")


@dataclass(frozen=True, slots=True)
class CheckRow:
    """One question of a check and its answer.

    - `verdict`: "documented" was not tried, because AWS promises it. "not needed" does not occur in this platform's
      deliveries.
    - `tried`: the request. `found`: its answer.
    - `fix`: a policy statement to add, or another remedy.
    - `required`: whether a delivery depends on it.
    - `unkept`: how a promise of mc_sink is weakened on this store.
    """

    question: str
    verdict: Verdict
    tried: str
    found: str
    fix: str = ""
    required: bool = False
    unkept: str = ""

    @property
    def stands(self) -> bool:
        """Whether a delivery may rely on the answer."""
        return self.verdict in {"yes", "documented", "not needed"}


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The result of a check of a platform at a target.

    `left` lists the objects and uploads that the check left behind, usually none.
    """

    platform: str
    target: str
    status: Status
    reason: str
    checked_at: datetime
    rows: tuple[CheckRow, ...]
    left: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether credentials, permissions and everything else that a delivery needs were verified."""
        return self.status == "Configured"

    @property
    def missing(self) -> tuple[str, ...]:
        """The questions that a delivery depends on and that the store refused."""
        return tuple(row.question for row in self.rows if row.required and row.verdict == "no")

    @property
    def unkept(self) -> tuple[str, ...]:
        """A sentence for each promise of mc_sink that this store weakens."""
        return tuple(dict.fromkeys(row.unkept for row in self.rows if row.unkept))

    def __getitem__(self, question: str) -> CheckRow:
        return next(row for row in self.rows if row.question == question)

    @property
    def heading(self) -> str:
        """The platform, the target and the result, in one line."""
        return f"{self.platform} at {self.target}: {self.status}. {self.reason}"

    @property
    def remarks(self) -> tuple[str, ...]:
        """The lines that follow the rows: weakened promises, and what the check left behind."""
        return (*(f"Not kept: {text}" for text in self.unkept), *(f"Left behind: {text}" for text in self.left))

    def __str__(self) -> str:
        answers = (f"{row.question}: {row.verdict} ({row.tried}: {row.found})" for row in self.rows)
        return lines(self.heading, *(f"  {text}" for text in (*answers, *self.remarks)))

    def _repr_html_(self) -> str:
        """Return the report as a table, for notebooks."""
        answers = _display.rows(COLUMNS, [[getattr(row, name) for name in COLUMNS] for row in self.rows])
        return _display.line(self.heading, strong=True) + answers + "".join(map(_display.line, self.remarks))


def judged(rows: tuple[CheckRow, ...]) -> tuple[Status, str]:
    """Return the status that the rows result in, with its reason."""
    needed = [row for row in rows if row.required]
    if refused := [row for row in needed if row.verdict == "no"]:
        return "Failing", f"{', '.join(row.question for row in refused)}: {refused[0].found}"
    if open_ones := [row for row in needed if not row.stands]:
        return "Unverified", f"{', '.join(row.question for row in open_ones)} not known: {open_ones[0].found}"
    reason = "Credentials, permissions and the requests of a delivery were verified."
    if {row.verdict for row in needed if row.question in DELIVERED} != {"yes"}:
        reason = "Credentials and permissions were verified. A delivery's requests were not sent: AWS documents them."
    unkept = [row.question for row in rows if row.verdict == "no" and row.unkept]
    return "Configured", reason + (f" Not kept by this store: {', '.join(unkept)}." if unkept else "")
