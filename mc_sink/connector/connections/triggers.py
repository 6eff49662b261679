"""Convert `[schedule]` into the moments at which a connection is due.

Cron fields have the meaning of crontab, which differs from APScheduler's: there, weekday 0 is Monday, and a day of the
month and a weekday mean "both" where crontab means "either". Change-overs of a clock are those of cron too:

- A cron whose hour is a number is due once by the wall clock. Where the clock skips that time, it is due at the first
  moment after the gap. Where the clock shows that time twice, it is due the first time.
- A cron whose hour is `*` is due whenever the wall clock shows a matching time.
- `every` is counted from a fixed moment, so that a restarted scheduler keeps the times.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol
from zoneinfo import ZoneInfo

from mc_sink._display import counted
from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from mc_sink.connector.connections.settings import Schedule

EVERY = re.compile(r"([1-9][0-9]{0,5})\s*([smhdw])")
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
_ORIGIN = datetime(2000, 1, 1, tzinfo=UTC)
_MOMENT, _SECOND = timedelta(microseconds=1), timedelta(seconds=1)
# No zone has changed its offset and changed it back within this time.
_STEP = timedelta(hours=6)


class Trigger(Protocol):
    """The moments at which a connection is due."""

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime | None:
        """Return the first moment at or after `now`, and after `previous`, in UTC; None after the last one."""


def trigger_of(schedule: Schedule, label: str) -> Trigger:
    """Return the trigger of a schedule, or raise `ConfigurationError` for invalid times."""
    if (schedule.cron is None) == (schedule.every is None):
        raise ConfigurationError(f"[schedule] in {label} needs exactly one of cron and every.")
    try:
        if schedule.cron is None:
            return _Interval(timedelta(seconds=seconds_of(schedule.every or "", "every")))
        trigger = _cron(schedule)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"[schedule] in {label} needs the library apscheduler. Install it: pip install 'mc-sink[cli]'."
        ) from error
    except (ValueError, LookupError, OSError) as error:
        raise ConfigurationError(f"[schedule] in {label} is invalid: {error}.") from error
    if trigger.get_next_fire_time(None, _ORIGIN) is None:
        raise ConfigurationError(f"[schedule] in {label} is invalid: no day matches cron. Correct day and month.")
    return trigger


def seconds_of(text: str, key: str) -> int:
    """Return the seconds of a duration such as "15m"; `ValueError` names the key where it is not one."""
    if not (found := EVERY.fullmatch(text.strip())):
        raise ValueError(
            f'{key} = "{text}" is not a duration. Write a number and a unit, such as "30s", "15m", "6h" or "1d"'
        )
    return int(found[1]) * _SECONDS[found[2]]


@dataclass(frozen=True, slots=True)
class _Interval:
    """Due at every multiple of `step` since a fixed moment."""

    step: timedelta

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime | None:
        begin = _start(previous, now)
        try:
            return _ORIGIN - (_ORIGIN - begin) // self.step * self.step
        except OverflowError:
            return None


@dataclass(frozen=True, slots=True)
class _WallClock:
    """Due at the first moment at which the wall clock of a zone shows a matching time or has passed it."""

    fields: Any  # APScheduler's trigger in UTC, whose times stand for those of the wall clock
    zone: ZoneInfo

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime | None:
        begin = _start(previous, now)
        wall = _shown(begin, self.zone)
        while (wall := self.fields.get_next_fire_time(None, wall)) is not None:
            due = self._moment_of(wall)
            if due >= begin:
                return due
            wall += _MOMENT
        return None

    def _moment_of(self, wall: datetime) -> datetime:
        """Return the first moment at which the clock shows a time, or that follows the gap in which the time lies."""
        local = wall.replace(tzinfo=self.zone)
        moment, before_gap = local.astimezone(UTC), local.replace(fold=1).astimezone(UTC)
        if _shown(moment, self.zone) == wall:
            return moment
        return _change_between(before_gap, moment, self.zone)


@dataclass(frozen=True, slots=True)
class _EveryHour:
    """Due whenever the wall clock of a zone shows a matching time, also where it shows that time twice."""

    fields: Any
    zone: ZoneInfo

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime | None:
        begin = _start(previous, now)
        while (wall := self.fields.get_next_fire_time(None, _shown(begin, self.zone))) is not None:
            due: datetime = wall - _offset(begin, self.zone)
            if (change := _next_change(begin, due, self.zone)) is None:
                return due
            begin = change
        return None


def _start(previous: datetime | None, now: datetime) -> datetime:
    """Return the first moment that may be due, in UTC and whole seconds."""
    begin = now if previous is None else max(now, previous + _MOMENT)
    begin = begin.astimezone(UTC)
    return begin if not begin.microsecond else begin.replace(microsecond=0) + _SECOND


def _offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta(0)


def _shown(moment: datetime, zone: ZoneInfo) -> datetime:
    """Return what the wall clock shows, marked as UTC so that it is calculated with plainly."""
    return moment.astimezone(zone).replace(tzinfo=UTC, fold=0)


def _next_change(begin: datetime, end: datetime, zone: ZoneInfo) -> datetime | None:
    """Return the first moment after `begin`, up to `end`, from which another offset holds; None without a change."""
    while begin < end:
        later = min(begin + _STEP, end)
        if _offset(later, zone) != _offset(begin, zone):
            return _change_between(begin, later, zone)
        begin = later
    return None


def _change_between(begin: datetime, end: datetime, zone: ZoneInfo) -> datetime:
    """Return the second from which the offset differs from that at `begin`, by bisection."""
    before = _offset(begin, zone)
    while end - begin > _SECOND:
        middle = begin + timedelta(seconds=(end - begin) // _SECOND // 2)
        begin, end = (middle, end) if _offset(middle, zone) == before else (begin, middle)
    return end


def _cron(schedule: Schedule) -> Trigger:
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
    kind = _EveryHour if text[1].startswith("*") else _WallClock
    return kind(CronTrigger(**fields, timezone=UTC), ZoneInfo(schedule.timezone))


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
