"""Facts of a delivery that its report shows: failed checks, and the time of each stage."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    import polars as pl

StageName = Literal["prepare", "rows", "upload", "check", "publish"]
MAX_CHECKS = 50  # failed checks that are kept; the first ones


@dataclass(frozen=True, slots=True)
class FailedCheck:
    """How often one check of a schema failed: its `column`, None for a check of whole rows, its name, and the count."""

    column: str | None
    check: str
    num_failures: int


@dataclass(frozen=True, slots=True)
class Stage:
    """The time that one stage of a delivery took.

    - "prepare": look for files of the run, and compile the schema and the query.
    - "rows": read, validate and encode the rows, and upload while they come.
    - "upload": upload the rest after the last row.
    - "check": write the rejected rows, and check the files.
    - "publish": make the files visible.
    """

    name: StageName
    seconds: float


def failed_checks(table: pl.DataFrame | None) -> tuple[FailedCheck, ...]:
    """Return the rows of `ValidationError.checks`, without the examples."""
    if table is None:
        return ()
    rows = table.select("column", "check", "failures").rows()
    return added_checks(FailedCheck(*row) for row in rows)


def added_checks(checks: Iterable[FailedCheck]) -> tuple[FailedCheck, ...]:
    """Add up the failures of equal checks of several parts, the most frequent first, and at most `MAX_CHECKS`."""
    counts: Counter[tuple[str | None, str]] = Counter()
    for one in checks:
        counts[one.column, one.check] += one.num_failures
    return tuple(FailedCheck(column, check, number) for (column, check), number in counts.most_common(MAX_CHECKS))
