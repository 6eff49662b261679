"""Schedules: the times that they mean, and the scheduler as a process of its own against a real bucket."""

from __future__ import annotations

import json
import signal
import sqlite3
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from mc_sink import ConfigurationError
from mc_sink.connector.cli.exit import Code
from mc_sink.connector.connections import Scheduler, load
from mc_sink.connector.connections.settings import Schedule
from mc_sink.connector.connections.triggers import trigger_of
from mc_sink.connector.history import Beginning, begin, list_runs
from tests.support.connection_files import environment, start_command, wait_until, write_connection

if TYPE_CHECKING:
    from pathlib import Path

    from mc_sink.connector.connections.scheduler import Child
    from mc_sink.sandbox.admin import Admin, Writer

SUNDAY = datetime(2026, 11, 22, 10, 15, 30, tzinfo=UTC)


def times(schedule: Schedule, number: int = 3) -> list[str]:
    """Give the first times of a schedule after a Sunday morning."""
    trigger, found, now = trigger_of(schedule, "nightly"), [], SUNDAY
    for _ in range(number):
        due = trigger.get_next_fire_time(None, now)
        assert due is not None
        found.append(f"{due.astimezone(UTC):%a %d %b %H:%M:%S}")
        now = due + timedelta(seconds=1)
    return found


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("*/20 * * * *", ["Sun 22 Nov 10:20:00", "Sun 22 Nov 10:40:00", "Sun 22 Nov 11:00:00"]),
        ("0 2 * * 0", ["Sun 29 Nov 02:00:00", "Sun 06 Dec 02:00:00", "Sun 13 Dec 02:00:00"]),
        ("0 2 * * 7", ["Sun 29 Nov 02:00:00", "Sun 06 Dec 02:00:00", "Sun 13 Dec 02:00:00"]),
        ("30 4 * * 1-5", ["Mon 23 Nov 04:30:00", "Tue 24 Nov 04:30:00", "Wed 25 Nov 04:30:00"]),
        ("0 0 * * fri-mon", ["Mon 23 Nov 00:00:00", "Fri 27 Nov 00:00:00", "Sat 28 Nov 00:00:00"]),
        ("0 0 * * 5-7", ["Fri 27 Nov 00:00:00", "Sat 28 Nov 00:00:00", "Sun 29 Nov 00:00:00"]),
        ("0 0 * * */3", ["Wed 25 Nov 00:00:00", "Sat 28 Nov 00:00:00", "Sun 29 Nov 00:00:00"]),
        ("@monthly", ["Tue 01 Dec 00:00:00", "Fri 01 Jan 00:00:00", "Mon 01 Feb 00:00:00"]),
    ],
)
def test_cron_means_what_crontab_means(cron: str, expected: list[str]) -> None:
    """Fields are those of crontab, its weekdays too, whose 0 and 7 are Sunday."""
    assert times(Schedule(cron=cron)) == expected


def test_zones_and_intervals() -> None:
    """Cron fields are in the zone that is named; an interval keeps its times whenever a scheduler is started."""
    assert times(Schedule(cron="0 2 * * *", timezone="America/New_York"), 1) == ["Mon 23 Nov 07:00:00"]
    assert times(Schedule(every="6h"), 2) == ["Sun 22 Nov 12:00:00", "Sun 22 Nov 18:00:00"]
    assert times(Schedule(every="90s"), 1) == ["Sun 22 Nov 10:16:30"]


def test_an_hour_that_comes_twice_runs_once() -> None:
    """On the night that clocks are set back, a time of the day is due once, and every half an hour is every one."""
    zone, evening = "Europe/London", datetime(2026, 10, 24, 23, 0, 0, 1, tzinfo=UTC)

    def times_of(cron: str) -> list[str]:
        trigger, found = trigger_of(Schedule(cron=cron, timezone=zone), "nightly"), [evening]
        for _ in range(4):
            due = trigger.get_next_fire_time(found[-1], found[-1])
            assert due is not None
            found.append(due)
        return [f"{due.astimezone(UTC):%d %H:%M}" for due in found[1:]]

    assert times_of("30 1 * * *") == ["25 00:30", "26 01:30", "27 01:30", "28 01:30"]
    assert times_of("30 * * * *") == ["24 23:30", "25 00:30", "25 01:30", "25 02:30"]


def test_a_clock_that_was_set_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is due by the clock, however long the machine has slept or its clock was put on or back meanwhile."""
    put_on = timedelta(0)
    monkeypatch.setattr("mc_sink.connector.connections.scheduler.LOOK_SECONDS", 0.05)
    file = write_connection(tmp_path, "out/", '[schedule]\nevery = "4w"')
    ended: list[Child] = []
    scheduler = Scheduler(
        [load(file)],
        lambda _one: [sys.executable, "-c", ""],
        ended=ended.append,
        clock=lambda: datetime.now(UTC) + put_on,
    )
    thread = threading.Thread(target=scheduler.run)
    thread.start()
    try:
        time.sleep(0.5)  # it waits for weeks now
        assert not ended
        put_on = timedelta(days=28)
        wait_until(lambda: ended)
        put_on = timedelta(days=-3_000)  # by mistake, and then again what it was: nothing is due by the wrong clock
        time.sleep(0.3)
        put_on = timedelta(days=-2_972)
        wait_until(lambda: len(ended) > 1)
    finally:
        scheduler.stop()
        thread.join(20)


@pytest.mark.parametrize(
    ("schedule", "shown"),
    [
        (Schedule(), "one of cron and every"),
        (Schedule(cron="* * * * *", every="1h"), "one of cron and every"),
        (Schedule(every="soon"), "is not a duration. Write a number and a unit, such as"),
        (Schedule(cron="* * *"), "3 fields"),
        (Schedule(cron="61 * * * *"), "61"),
        (Schedule(cron="0 0 1 * 1"), "two connections"),
        (Schedule(cron="0 0 * * 8"), "8 is not a weekday"),
        (Schedule(cron="0 0 * * *", timezone="Mars/Olympus"), "Mars"),
    ],
)
def test_times_that_are_none_are_refused(schedule: Schedule, shown: str) -> None:
    """An impossible schedule is refused when the file is checked."""
    with pytest.raises(ConfigurationError, match=shown):
        trigger_of(schedule, "nightly")


def test_a_connection_without_a_schedule_is_refused(tmp_path: Path) -> None:
    """A scheduler takes only connections that say when."""
    with pytest.raises(ConfigurationError, match=r"nightly has no \[schedule\]"):
        Scheduler([load(write_connection(tmp_path, "out/"))], lambda _connection: [])


@pytest.mark.parametrize(("missed", "runs"), [("once", True), ("skip", False)])
def test_runs_that_were_missed(
    tmp_path: Path,
    state: Path,
    caplog: pytest.LogCaptureFixture,
    missed: str,
    runs: bool,  # noqa: FBT001  a row of the table
) -> None:
    """What fell due while no scheduler ran is made up for once, where the file says so, and left out where not."""
    caplog.set_level("INFO", "mc_sink")
    more = f'[schedule]\ncron = "0 0 1 1 *"\nmissed = "{missed}"'
    file = write_connection(tmp_path, "out/", more)
    facts = Beginning(run_id="r-1", connection="nightly", target="out/", file=str(file), trigger="schedule")
    begin(facts).failed(ValueError())
    with sqlite3.connect(state / "history.sqlite3") as table:
        table.execute("update runs set started_at = ?", ((datetime.now(UTC) - timedelta(days=800)).isoformat(),))
    table.close()
    ended: list[Child] = []
    scheduler = Scheduler([load(file)], lambda _one: [sys.executable, "-c", "raise SystemExit(5)"], ended=ended.append)
    thread = threading.Thread(target=scheduler.run)
    thread.start()
    try:
        wait_until(lambda: ended if runs else "runs next" in caplog.text)
    finally:
        scheduler.stop()
        thread.join(20)
    assert [child.code for child in ended] == ([5] if runs else [])
    assert ("now, because a run was missed" in caplog.text) is runs


def test_one_scheduler_runs_connections_again_and_again(writer: Writer, seaweed: Admin, tmp_path: Path) -> None:
    """Each time makes a new object and a record, a second scheduler ends at once, and SIGTERM ends the first."""
    file = write_connection(tmp_path, writer.target("p/"), '[schedule]\nevery = "1s"')
    first = start_command("schedule", file, "--json", env=environment(writer))
    wait_until(lambda: len(list_runs(status="delivered")) > 1, first)
    second = start_command("schedule", file, env=environment(writer))
    assert "A scheduler is running already, as process" in second.communicate(timeout=60)[1]
    assert second.returncode == Code.BUSY
    first.send_signal(signal.SIGTERM)
    out, err = first.communicate(timeout=60)
    assert first.returncode == 0, err
    assert "Traceback" not in err
    output = [json.loads(line) for line in out.splitlines()]
    assert {run["trigger"] for run in output} == {"schedule"}
    runs = [run for run in list_runs() if run.status == "delivered"]
    assert {file.path for run in runs for file in run.files} == {
        writer.target(key) for key in seaweed.listing(writer.bucket)
    }
    starts = sorted((run.started_at, run.ended_at) for run in runs if run.ended_at)
    assert all(ended <= began for (_, ended), (began, _) in pairwise(starts))


def test_sigterm_ends_a_scheduler_and_its_runs(writer: Writer, seaweed: Admin, tmp_path: Path) -> None:
    """A run that is going on when its scheduler is terminated shows nothing, and its record says "interrupted"."""
    source = 'function = "sources_of_tests:endless"'
    file = write_connection(tmp_path, writer.target("p/"), '[schedule]\nevery = "1s"', source)
    scheduler = start_command("schedule", file, env=environment(writer))
    wait_until((tmp_path / "started").exists, scheduler)
    scheduler.send_signal(signal.SIGTERM)
    _, err = scheduler.communicate(timeout=60)
    assert scheduler.returncode == 0, err
    assert f"exit code {int(Code.TERMINATED)}" in err
    assert seaweed.listing(writer.bucket) == {}
    assert [run.status for run in list_runs()] == ["interrupted"]
