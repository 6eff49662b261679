"""Run ids: create and check them, and read the time that they begin with."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime
from functools import lru_cache

from mc_sink.exceptions import ConfigurationError

FORMAT = "%Y%m%dT%H%M%SZ"
_TIME = re.compile(r"([1-9][0-9]{7}T[0-9]{6}Z)(?:[-._].*)?")
_RUN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@lru_cache(maxsize=64)
def time_of(run_id: str) -> datetime | None:
    """Return the UTC time that a run id begins with, to the second, as generated ids do; None without one."""
    found = _TIME.fullmatch(run_id)
    if found is None:
        return None
    try:
        return datetime.strptime(found[1], FORMAT).replace(tzinfo=UTC)
    except ValueError:  # a 13th month
        return None


def new_run_id() -> str:
    """Generate a run id from the UTC time, to the second, and six random hex digits."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def check_run_id(run_id: str) -> str:
    """Return a caller's own run id as it is, or refuse one that can't stand in a key."""
    if not _RUN_ID.fullmatch(run_id) or run_id in {".", ".."}:
        raise ConfigurationError(
            f"The run id {run_id!r} can't be part of a key. Use 1 to 64 of the characters A-Z a-z 0-9 . _ - only."
        )
    return run_id
