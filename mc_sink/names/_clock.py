"""The time of a run, read out of its run id: there is no other clock, so that a retry has the same names."""

from __future__ import annotations

import re
from datetime import UTC, datetime

FORMAT = "%Y%m%dT%H%M%SZ"
_TIME = re.compile(r"([1-9][0-9]{7}T[0-9]{6}Z)(?:[-._].*)?")


def time_of(run_id: str) -> datetime | None:
    """Give the UTC time that a run id begins with, to the second, in the form of a generated one; None without one."""
    found = _TIME.fullmatch(run_id)
    if found is None:
        return None
    try:
        return datetime.strptime(found[1], FORMAT).replace(tzinfo=UTC)
    except ValueError:  # a 13th month
        return None
