"""The times of schedules in every zone, around every change of its clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest

from mc_sink import ConfigurationError
from mc_sink.connector.connections.settings import Schedule
from mc_sink.connector.connections.triggers import trigger_of

FIRST, LAST = datetime(2010, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def changes(zone: ZoneInfo) -> list[datetime]:
    """Return the hours within which the offset of a zone changes."""
    found, begin, week = [], FIRST, 7 * 24
    while begin < LAST:
        if begin.astimezone(zone).utcoffset() != (begin + week * HOUR).astimezone(zone).utcoffset():
            offsets = [(begin + hour * HOUR).astimezone(zone).utcoffset() for hour in range(week + 1)]
            found += [begin + hour * HOUR for hour in range(week) if offsets[hour] != offsets[hour + 1]]
        begin += week * HOUR
    return found


def due_times(schedule: Schedule, begin: datetime, end: datetime) -> list[datetime]:
    """Return all moments from `begin` to `end`."""
    trigger, found, previous = trigger_of(schedule, "nightly"), [], None
    while (due := trigger.get_next_fire_time(previous, begin)) is not None and due < end:
        found.append(due)
        previous = due
    return found


def first_moments(zone: ZoneInfo, begin: datetime, end: datetime) -> list[datetime]:
    """Return the first minute of each day in a zone, found by looking at every minute."""
    found, minute, last = [], begin, (begin - timedelta(minutes=1)).astimezone(zone).date()
    while minute < end:
        if (day := minute.astimezone(zone).date()) > last:  # a clock that is set back at midnight repeats no day
            found.append(minute)
            last = day
        minute += timedelta(minutes=1)
    return found


@pytest.mark.parametrize("recent", [1, pytest.param(12, marks=pytest.mark.long)])
def test_every_zone_is_due_once_on_every_day(recent: int) -> None:
    """`@daily` is the first minute of each day, and each hour's minute is what the wall clock shows, in all zones."""
    looked_at: dict[tuple[object, ...], str] = {}
    for name in sorted(available_timezones()):
        zone = ZoneInfo(name)
        key = tuple((hour, (hour + HOUR).astimezone(zone).utcoffset()) for hour in changes(zone))
        looked_at.setdefault(key, name)  # zones that are set alike count once
    assert len(looked_at) > 100
    num_gaps = 0
    for name in looked_at.values():
        zone = ZoneInfo(name)
        for hour in [*changes(zone)[:1], *changes(zone)[-recent:]]:
            begin, end = hour - 5 * HOUR, hour + 25 * HOUR
            daily = due_times(Schedule(cron="0 0 * * *", timezone=name), begin, end)
            assert daily == first_moments(zone, begin, end), (name, hour)
            num_gaps += any((one.astimezone(zone).hour, one.astimezone(zone).minute) != (0, 0) for one in daily)
            minutes = due_times(Schedule(cron="15 * * * *", timezone=name), begin, end)
            shown = [begin + timedelta(minutes=number) for number in range(1800)]
            assert minutes == [one for one in shown if one.astimezone(zone).minute == 15], (name, hour)
    assert num_gaps > 5


@pytest.mark.parametrize(
    ("zone", "cron", "begin", "expected"),
    [
        ("America/Sao_Paulo", "@daily", "2018-11-03T12:00", ["2018-11-04T03:00", "2018-11-05T02:00"]),
        ("Africa/Cairo", "0 0 * * 5", "2024-04-25T12:00", ["2024-04-25T22:00", "2024-05-02T21:00"]),
        ("America/Havana", "@weekly", "2024-03-09T12:00", ["2024-03-10T05:00", "2024-03-17T04:00"]),
        ("America/Havana", "@daily", "2024-11-02T12:00", ["2024-11-03T04:00", "2024-11-04T05:00"]),
        ("Pacific/Apia", "@daily", "2011-12-29T12:00", ["2011-12-30T10:00", "2011-12-31T10:00"]),
        ("Europe/London", "*/20 1 * * *", "2026-03-29T00:30", ["2026-03-29T01:00", "2026-03-30T00:00"]),
        ("Europe/London", "*/30 1 * * *", "2026-10-25T00:00", ["2026-10-25T00:00", "2026-10-25T00:30"]),
        ("Australia/Lord_Howe", "45 * * * *", "2026-04-04T14:00", ["2026-04-04T14:45", "2026-04-04T15:15"]),
        ("Europe/London", "@monthly", "2026-11-02T00:00", ["2026-12-01T00:00", "2027-01-01T00:00"]),
    ],
)
def test_clocks_that_are_set(zone: str, cron: str, begin: str, expected: list[str]) -> None:
    """A time that the clock skips is due right after the gap, and one that it shows twice is due the first time."""
    start = datetime.fromisoformat(begin).replace(tzinfo=UTC)
    found = due_times(Schedule(cron=cron, timezone=zone), start, start + timedelta(days=80))
    assert [f"{due:%Y-%m-%dT%H:%M}" for due in found[:2]] == expected


def test_a_day_that_never_comes_is_refused() -> None:
    """A cron that no day matches would never run, and no record would say so."""
    with pytest.raises(ConfigurationError, match="no day matches cron"):
        trigger_of(Schedule(cron="0 0 30 2 *"), "nightly")
