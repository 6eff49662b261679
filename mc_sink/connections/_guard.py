"""How far the number of rows may be from the last delivery's, as `[guard]` of a connection file says it."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from mc_sink import history
from mc_sink._rows import Guard
from mc_sink.exceptions import NOTHING_VISIBLE, ConfigurationError

if TYPE_CHECKING:
    from mc_sink.connections._settings import Settings

_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?%")


def check_guard(settings: Settings, told: str) -> None:
    """Raise `ConfigurationError` for a `[guard]` that contradicts itself; reads no history."""
    fraction_of(settings.guard.max_change, told)
    if settings.min_rows is not None and settings.guard.min_rows is not None:
        raise ConfigurationError(f"{told} has min_rows and guard.min_rows: write one of them. {NOTHING_VISIBLE}")


def guard_of(settings: Settings, beginning: history.Beginning) -> Guard | None:
    """Return the guard of a run that begins, with the last delivery's rows from the history; None without one."""
    fraction = fraction_of(settings.guard.max_change, beginning.connection)
    return None if fraction is None else Guard(fraction, history.last_rows(beginning))


def fraction_of(value: float | str | None, told: str) -> float | None:
    """Return a change as a fraction: 0.5 and "50%" are the same, and 50 is refused because it could be either."""
    if value is None:
        return None
    if isinstance(value, str):
        found = _PERCENT.fullmatch(value.strip())
        fraction = float(found.group(1)) / 100 if found else math.nan
    else:
        fraction = value if not isinstance(value, bool) and value <= 1 else math.nan
    if not 0 <= fraction < math.inf:
        raise ConfigurationError(
            f"guard.max_change of {told} won't do: write a fraction from 0.0 to 1.0, such as 0.5, or percent as text, "
            f'such as "50%". {NOTHING_VISIBLE}'
        )
    return fraction
