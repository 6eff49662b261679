"""What goes wrong unattended: runs that hang, die or don't begin, times that pass, and what the log has of it."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from mc_sink import ConfigurationError
from mc_sink.connector import history
from mc_sink.connector.cli.exit import Code
from mc_sink.connector.connections import Scheduler, deliver, load
from mc_sink.connector.history import Beginning, begin, list_runs
from tests.support.connection_files import environment, start_command, wait_until, write_connection

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mc_sink.connector.connections.scheduler import Child
    from mc_sink.sandbox.admin import Admin, Writer

HANG = 'function = "sources_of_tests:hang"'
SLEEP = "\n\ndef hang():\n    pathlib.Path(__file__).with_name('started').touch()\n    time.sleep(3600)\n"


def connection_file(folder: Path, name: str, schedule: str, source: str = 'files = "data/*.parquet"') -> Path:
    """Write a connection file of a name, beside a module with a source that sleeps for an hour."""
    file = write_connection(folder, str(folder / f"{name}-out") + "/", f"[schedule]\n{schedule}", source)
    with (folder / "sources_of_tests.py").open("a", encoding="utf-8") as module:
        module.write(SLEEP)
    return file.rename(folder / f"{name}.toml")


@contextmanager
def scheduling(files: list[Path], code: str, **options: Any) -> Iterator[list[Child]]:
    """Run a scheduler in a thread, whose children run a line of Python, and yield the children that have ended."""
    ended: list[Child] = []
    scheduler = Scheduler(
        [load(file) for file in files],
        lambda one: [sys.executable, "-c", code, one.name],
        ended=ended.append,
        **options,
    )
    thread = threading.Thread(target=scheduler.run)
    thread.start()
    try:
        yield ended
    finally:
        scheduler.stop()
        thread.join(30)
        assert not thread.is_alive()


def stop(scheduler: subprocess.Popen[str]) -> str:
    """Stop a scheduler as systemd does, and return its log."""
    scheduler.send_signal(signal.SIGTERM)
    _, err = scheduler.communicate(timeout=60)
    assert scheduler.returncode == 0, err
    assert "Traceback" not in err
    return err


def test_a_source_that_blocks_ends_at_its_timeout(tmp_path: Path) -> None:
    """The run fails with the true reason, in the record, the log and the exit code, and the next one begins."""
    file = connection_file(tmp_path, "nightly", 'every = "1s"\ntimeout = "1s"', HANG)
    scheduler = start_command("schedule", file)
    wait_until(lambda: len(list_runs(status="failed")) > 1, scheduler)
    err = stop(scheduler)
    run = list_runs(status="failed")[-1]
    assert run.error is not None
    assert (run.error.kind, run.error.text) == (
        "TimedOut",
        "The run took longer than its connection's [schedule] timeout, and was ended.",
    )
    assert f"nightly ended with exit code {int(Code.TIMED_OUT)} (it took longer than timeout = 1s)" in err
    assert run.due_at is not None
    assert run.elapsed is not None
    assert run.elapsed < timedelta(seconds=30)


@pytest.mark.long
@pytest.mark.parametrize("source", ["deaf", "holding"])
def test_a_source_that_blocks_in_native_code_ends_too(tmp_path: Path, source: str) -> None:
    """Also where no Python code runs any more, with and without Python's lock: then the child is killed."""
    file = connection_file(
        tmp_path, "nightly", 'every = "1s"\ntimeout = "1s"', f'function = "sources_of_tests:{source}"'
    )
    with (tmp_path / "sources_of_tests.py").open("a", encoding="utf-8") as module:
        module.write("\n\ndef holding():\n    ctypes.PyDLL(None).sleep(3600)\n")
    scheduler = start_command("schedule", file)
    wait_until(lambda: list_runs(status="failed"), scheduler)
    stop(scheduler)
    run = list_runs(status="failed")[-1]
    assert run.error is not None
    assert run.error.kind == "TimedOut"


def test_runs_that_block_hold_no_slot_for_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also without a timeout: a run whose connection is due again gives its slot to others."""
    monkeypatch.setattr("mc_sink.connector.connections.scheduler.LENT_SECONDS", 1.5)
    files = [connection_file(tmp_path, name, 'every = "1s"') for name in ("hang1", "hang2", "good")]
    code = "import sys, time; time.sleep(3600 if sys.argv[1].startswith('hang') else 0)"
    with scheduling(files, code, at_once=2) as ended:
        wait_until(lambda: sum(child.code == 0 for child in ended) > 1)
        assert {child.connection.name for child in ended} == {"good"}


@pytest.mark.parametrize("how", ["removed", "broken", "killed"])
def test_a_run_that_does_not_begin_leaves_a_record(tmp_path: Path, how: str) -> None:
    """A connection file that became unreadable, and a child that dies at once, are failures in the history."""
    file = connection_file(tmp_path, "nightly", 'every = "1s"')
    loaded = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)" if how == "killed" else None
    connection = load(file)
    command = [sys.executable, "-c", loaded] if loaded else [sys.executable, "-m", "mc_sink.connector.cli", "run"]
    if how == "removed":
        file.unlink()
    elif how == "broken":
        file.write_text("target = ", encoding="utf-8")
    ended: list[Child] = []
    scheduler = Scheduler([connection], lambda one: [*command, str(one.file)], ended=ended.append)
    thread = threading.Thread(target=scheduler.run)
    thread.start()
    try:
        wait_until(lambda: ended)
    finally:
        scheduler.stop()
        thread.join(30)
    run = list_runs(status="failed")[-1]
    assert run.error is not None
    assert run.error.kind == "NotStarted"
    assert f"ended with exit code {ended[0].code} before it began" in run.error.text
    assert (run.connection, run.file, run.trigger) == ("nightly", str(file), "schedule")


def missed(runs: list[history.Run]) -> list[str]:
    """Return what the records say of times that passed, the oldest first."""
    return [run.error.text for run in reversed(runs) if run.status == "missed" and run.error]


@pytest.mark.parametrize("how", ["once", "skip"])
def test_every_time_that_passed_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """A machine that slept for a week: one run or none, and a record of the others."""
    monkeypatch.setattr("mc_sink.connector.connections.scheduler.LOOK_SECONDS", 0.05)
    file = connection_file(tmp_path, "nightly", f'cron = "@daily"\nmissed = "{how}"')
    noon = datetime(2026, 11, 1, 12, tzinfo=UTC)
    slept = timedelta(0)
    with scheduling([file], "", clock=lambda: noon + slept) as ended:
        time.sleep(0.3)
        assert list_runs() == []
        slept = timedelta(days=7)
        wait_until(lambda: list_runs(status="missed"))
        if how == "once":
            wait_until(lambda: ended)
    assert missed(list_runs()) == [
        "6 runs that were due did not take place: one run makes up for all of them."
        if how == "once"
        else "7 runs that were due did not take place, because the scheduler was not running, or had no free slot."
    ]
    assert len(ended) == (how == "once")


def test_a_scheduler_that_was_killed_goes_on_where_its_records_end(tmp_path: Path) -> None:
    """Times that passed between the last record and the start are accounted for, and no time twice."""
    file = connection_file(tmp_path, "nightly", 'cron = "@daily"')
    facts = Beginning(
        run_id="r",
        connection="nightly",
        target="out/",
        file=str(file),
        trigger="schedule",
        due_at=datetime(2026, 11, 1, tzinfo=UTC),
    )
    begin(facts).failed(ValueError())
    with scheduling([file], "", clock=lambda: datetime(2026, 11, 4, 12, tzinfo=UTC)) as ended:
        wait_until(lambda: ended)
    assert missed(list_runs()) == ["2 runs that were due did not take place: one run makes up for all of them."]


def test_a_scheduler_that_was_killed_before_the_first_run_loses_nothing(tmp_path: Path) -> None:
    """The time from which a connection is planned is kept, also before it has a record."""
    file = connection_file(tmp_path, "nightly", 'cron = "@daily"')
    history.plan_from([str(file)], datetime(2026, 11, 1, 12, tzinfo=UTC))
    with scheduling([file], "", clock=lambda: datetime(2026, 11, 4, 12, tzinfo=UTC)) as ended:
        wait_until(lambda: ended)
    assert missed(list_runs()) == ["2 runs that were due did not take place: one run makes up for all of them."]


def test_a_run_that_is_stopped_before_it_begins_is_made_up_for(tmp_path: Path) -> None:
    """A child that SIGTERM ends while Python is loading leaves no record, and its time stays due."""
    file = connection_file(tmp_path, "nightly", 'cron = "@daily"')
    history.plan_from([str(file)], datetime(2026, 11, 3, 12, tzinfo=UTC))
    noon, started = datetime(2026, 11, 4, 12, tzinfo=UTC), tmp_path / "begun"
    code = f"import pathlib, time; pathlib.Path({str(started)!r}).touch(); time.sleep(3600)"
    with scheduling([file], code, clock=lambda: noon) as ended:
        wait_until(started.exists)
    assert [child.code for child in ended] == [-signal.SIGTERM]
    assert list_runs() == []
    with scheduling([file], "", clock=lambda: noon) as ended:
        wait_until(lambda: ended)


def test_times_beyond_counting_take_no_time(tmp_path: Path) -> None:
    """A second's schedule that stood still for ten years begins one run at once."""
    file = connection_file(tmp_path, "nightly", 'every = "1s"')
    facts = Beginning(
        run_id="r",
        connection="nightly",
        target="out/",
        file=str(file),
        trigger="schedule",
        due_at=datetime(2016, 11, 1, tzinfo=UTC),
    )
    begin(facts).failed(ValueError())
    clock = datetime(2026, 11, 4, 12, tzinfo=UTC)
    with scheduling([file], "", clock=lambda: clock) as ended:
        began = time.monotonic()
        wait_until(lambda: ended)
        assert time.monotonic() - began < 10
    assert missed(list_runs()) == [
        "At least 999 runs that were due did not take place: one run makes up for all of them."
    ]


def test_a_connection_that_fails_again_and_again_is_paused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is logged once, and with the command that resumes it; then its times count as missed, and it runs again."""
    monkeypatch.setattr("mc_sink.connector.connections.scheduler.LOOK_SECONDS", 0.2)
    file = connection_file(tmp_path, "nightly", 'every = "1s"\npause_after = 2')
    code = "raise SystemExit(5)"
    with scheduling([file], code) as ended:
        wait_until(history.paused_files)
        time.sleep(1.2)
        assert len(ended) == 2
    paused = f"nightly is paused after 2 failed runs in a row. Correct the cause, then: mc-sink resume {file}"
    assert [one for one in map(logging.LogRecord.getMessage, caplog.records) if "paused after" in one] == [paused]
    with scheduling([file], code) as ended:  # a new scheduler keeps to it
        time.sleep(1.5)
        assert not ended
        resumed = start_command("resume", file)
        assert resumed.communicate(timeout=60)[0] == f"{file}: resumed\n"
        wait_until(lambda: ended, None)
    assert missed(list_runs(limit=None))
    again = start_command("resume", file)
    assert "was not paused" in again.communicate(timeout=60)[0]


def test_a_connection_that_succeeds_in_between_is_not_paused(tmp_path: Path) -> None:
    """Failures count in a row, and a stopped scheduler fails no connection."""
    file = str(tmp_path / "nightly.toml")
    facts: dict[str, Any] = {"connection": "nightly", "target": "out/", "file": file, "trigger": "schedule"}
    for number, error in enumerate([ValueError(), ValueError(), KeyboardInterrupt(), ValueError()]):
        begin(Beginning(run_id=f"r-{number}", **facts)).failed(error)
    assert history.standing_of(file).failures == 3
    deliver(load(write_connection(tmp_path, str(tmp_path / "out") + "/")), trigger="schedule")
    assert history.standing_of(file).failures == 0


@pytest.mark.parametrize(
    ("keys", "shown"),
    [
        ('[schedule]\nevery = "1h"\ntimeout = "soon"', 'timeout = "soon" is not a duration'),
        ('[schedule]\nevery = "1h"\npause_after = 0', "schedule.pause_after in .* at least 1"),
        ('[schedule]\nevery = "1h"\npause_after = true', "schedule.pause_after .* not true or false"),
        ('[schedule]\nevery = "1h"\nrun_id = "mine"', "schedule.run_id is invalid"),
        ("[history]\nkeep = 0", "history.keep in .* at least 1"),
        ("[history]\nkept = 5", "history.kept is an unknown key. Did you mean 'keep'"),
    ],
)
def test_limits_that_are_none_are_refused(tmp_path: Path, keys: str, shown: str) -> None:
    """An invalid limit is found when the file is checked, and named."""
    with pytest.raises(ConfigurationError, match=shown):
        load(write_connection(tmp_path, "out/", keys))


def test_the_history_keeps_so_many_records(tmp_path: Path, state: Path) -> None:
    """The newest, and that of the last delivery, which the guard compares with; other connections keep their own."""
    file = write_connection(tmp_path, str(tmp_path / "out") + "/", "[history]\nkeep = 3")
    delivered = deliver(load(file))
    other = Beginning(run_id="other", connection="other", target="out/")
    begin(other).failed(ValueError())
    going = begin(Beginning(run_id="going", connection="nightly", target="out/", file=str(file)), keep=3)
    for number in range(6):
        facts = Beginning(run_id=f"r-{number}", connection="nightly", target="out/", file=str(file))
        begin(facts, keep=3).failed(ValueError())
    assert [run.run_id for run in list_runs()] == ["r-5", "r-4", "r-3", "going", "other", delivered.run_id]
    assert history.last_rows(facts) == 60
    going.failed(ValueError())
    begin(facts, keep=3).failed(ValueError())
    with sqlite3.connect(state / "history.sqlite3") as table:
        assert table.execute("select count(*) from runs").fetchone()[0] == 5
    table.close()


PRINTER = """
import sys
from dataclasses import replace
from mc_sink.connector.cli import output
from mc_sink.connector.history import Beginning, begin
run = replace(begin(Beginning(run_id=sys.argv[1], connection="c" * 30_000, target="t")).failed(ValueError()))
for _ in range(30):
    output.ended(run, sys.stdout, as_json=True)
"""


def test_records_that_are_printed_at_once_do_not_mix(tmp_path: Path) -> None:
    """Lines of JSON that are longer than a pipe's page come whole from several processes with one output."""
    read, write = os.pipe()
    children = [subprocess.Popen([sys.executable, "-c", PRINTER, f"r-{number}"], stdout=write) for number in range(4)]
    os.close(write)
    with open(read, encoding="utf-8") as pipe:  # noqa: PTH123  a descriptor
        found = Counter(json.loads(line)["run_id"] for line in pipe)
    assert [child.wait(60) for child in children] == [0] * 4
    assert found == {f"r-{number}": 30 for number in range(4)}
    assert tmp_path.exists()


def test_two_machines_deliver_once(writer: Writer, seaweed: Admin, tmp_path: Path) -> None:
    """With `run_id = "due"` the schedulers of two machines have one run between them, and both record it."""
    states = [tmp_path / "state-0", tmp_path / "state-1"]
    schedule = '[schedule]\nevery = "3s"\nrun_id = "due"'
    file = write_connection(tmp_path, writer.target("p/"), schedule)
    schedulers = [
        start_command("schedule", file, env=environment(writer) | {"MC_SINK_STATE_DIR": str(state)}) for state in states
    ]

    def delivered(state: Path) -> set[str]:
        if not (state / "history.sqlite3").exists():
            return set()
        table = sqlite3.connect(state / "history.sqlite3", timeout=30)
        rows = table.execute("select run_id from runs where status = 'delivered'").fetchall()
        table.close()
        return {row[0] for row in rows}

    try:
        wait_until(lambda: len(delivered(states[0]) & delivered(states[1])) > 1)
    finally:
        logs = [stop(scheduler) for scheduler in schedulers]
    codes = {int(code) for log in logs for code in re.findall(r"exit code (-?\d+)", log)}
    assert codes <= {0, int(Code.TERMINATED), -signal.SIGTERM}, logs  # the last one before its child had begun
    both = delivered(states[0]) | delivered(states[1])
    keys = seaweed.listing(writer.bucket)
    assert all(run_id.startswith("nightly-2") for run_id in both)
    assert sorted(Counter(next(one for one in both if one in key) for key in keys).values()) == [1] * len(both)


def test_a_thousand_connections(tmp_path: Path) -> None:
    """One scheduler plans them within seconds, and looking at all of them takes milliseconds."""
    file = connection_file(tmp_path, "c0", 'cron = "0 3 * * *"\ntimezone = "Europe/London"')
    text = file.read_text(encoding="utf-8")
    files = [tmp_path / f"c{number}.toml" for number in range(1_000)]
    for one in files:
        one.write_text(text, encoding="utf-8")
    loaded = [load(one) for one in files]
    looks: list[float] = []
    scheduler = Scheduler(
        loaded,
        lambda _one: [],
        clock=lambda: datetime(2026, 11, 1, tzinfo=UTC),
        looked=lambda: looks.append(time.time()),
    )
    began = time.process_time()
    thread = threading.Thread(target=scheduler.run)
    thread.start()
    wait_until(lambda: looks)
    planned = time.process_time() - began
    now = datetime(2026, 11, 1, tzinfo=UTC)
    began = time.process_time()
    for _ in range(20):
        scheduler._look(now)  # noqa: SLF001  what it costs is what is measured
    look = (time.process_time() - began) / 20
    scheduler.stop()
    thread.join(30)
    print(f"1,000 connections: planned in {planned:.2f} s, each look takes {look * 1000:.2f} ms")  # noqa: T201  a figure
    assert planned < 10
    assert look < 0.02
