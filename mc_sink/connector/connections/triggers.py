"""Convert `[schedule]` into APScheduler's triggers.

Cron fields have the meaning of crontab, which differs from APScheduler's: there, weekday 0 is Monday, and a day of the
month and a weekday mean "both" where crontab means "either".
"""

from __future__ import annotations

import re
from datetime import UTC
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from mc_sink._display import counted
from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from datetime import datetime

    from mc_sink.connector.connections.settings import Schedule

_EVERY = re.compile(r"([1-9][0-9]{0,5})\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DAY_PART = re.compile(r"(?:\*|(?P<first>[0-7]|[a-z]{3})(?:-(?P<last>[0-7]|[a-z]{3}))?)(?:/(?P<step>[1-9]))?")
_NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
}
_FIELDS = ("minute", "hour", "day", "month", "day_of_week")


def trigger_of(schedule: Schedule, label: str) -> Any:
    """Return the trigger of a schedule, or raise `ConfigurationError` for invalid times."""
    if (schedule.cron is None) == (schedule.every is None):
        raise ConfigurationError(f"[schedule] in {label} needs exactly one of cron and every.")
    try:
        return _cron(schedule) if schedule.cron else _every(schedule.every or "")
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"[schedule] in {label} needs the library apscheduler. Install it: pip install 'mc-sink[cli]'."
        ) from error
    except (ValueError, LookupError) as error:
        raise ConfigurationError(f"[schedule] in {label} is invalid: {error}.") from error


def _every(text: str) -> Any:
    from apscheduler.triggers.interval import IntervalTrigger

    if not (found := _EVERY.fullmatch(text.strip())):
        raise ValueError(
            f'every = "{text}" is not a duration. Write a number and a unit, such as "30s", "15m", "6h" or "1d"'
        )
    # Counted from a fixed time, so that a restarted scheduler keeps the times.
    return IntervalTrigger(seconds=int(found[1]) * _SECONDS[found[2]], start_date="2000-01-01 00:00:00", timezone="UTC")


def _cron(schedule: Schedule) -> Any:
    from apscheduler.triggers.cron import CronTrigger

    text = _NICKNAMES.get((schedule.cron or "").strip(), schedule.cron or "").lower().split()
    if len(text) != len(_FIELDS):
        raise ValueError(
            f"cron has {counted(len(text), 'field')}. Write 5: minute, hour, day of the month, month and weekday, such "
            'as "0 3 * * *"'
        )
    if not text[2].startswith("*") and not text[4].startswith("*"):
        raise ValueError("cron has both a day of the month and a weekday. Write two connections, one for each")
    fields = dict(zip(_FIELDS, text, strict=True)) | {"day_of_week": _weekdays(text[4])}
    if text[1].startswith("*"):
        return CronTrigger(**fields, timezone=schedule.timezone)
    zone = ZoneInfo(schedule.timezone)

    class Once(CronTrigger):  # type: ignore[misc]  # APScheduler 3 has no types
        """Runs once at an hour of the day, as cron does, even on the night that has the hour twice."""

        def get_next_fire_time(self, before: datetime | None, now: datetime) -> datetime | None:
            found: datetime | None = super().get_next_fire_time(before, now)
            while found is not None and found.astimezone(UTC).astimezone(zone).fold:
                found = super().get_next_fire_time(found, found)
            return found

    return Once(**fields, timezone=schedule.timezone)


def _weekdays(text: str) -> str:
    """Replace the weekdays of a cron field by their names, because the numbers differ."""
    found = set()
    for part in text.split(","):
        if not (day := _DAY_PART.fullmatch(part)):
            raise ValueError(f"{part} is not a weekday. Use 0 to 7, where 0 and 7 are Sunday, or sun to sat")
        step = int(day["step"] or 1)
        first = 0 if day["first"] is None else _number(day["first"])
        last = 6 if day["first"] is None else _number(day["last"] or ("6" if day["step"] else day["first"]))
        if last < first:
            last += 7
        found |= {_DAYS[number % 7] for number in range(first, last + 1, step)}
    return "*" if len(found) == len(_DAYS) else ",".join(day for day in _DAYS if day in found)


def _number(day: str) -> int:
    return int(day) if day.isdigit() else _DAYS.index(day)
