"""Fifty connections for minutes, around the changes of the clock in three zones, with a kill in the middle.

`MC_SINK_SOAK_SECONDS` is how long it takes, 600 by default.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING

import pytest

from mc_sink.connector.connections import load
from mc_sink.connector.connections.triggers import trigger_of
from mc_sink.connector.history import list_runs
from tests.support.connection_files import ROOT, environment, write_connection

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mc_sink.sandbox.admin import Admin, Writer

SECONDS = float(os.environ.get("MC_SINK_SOAK_SECONDS", "600"))
ZONES = ("Europe/London", "America/Sao_Paulo", "America/New_York")
# Both changes of the clock are within half a day of each of these for at least one of the zones.
BEGINNINGS = ("2018-10-28T00:00+00:00", "2018-11-04T02:00+00:00", "2018-03-11T05:00+00:00", "2018-03-25T00:00+00:00")
SOURCES = """

def slow():
    time.sleep(4)
    return some()


def blocking():
    time.sleep(3600)
"""
NUMBER = re.compile(r"(At least )?([0-9,]+) runs? that")


def write_files(folder: Path, writer: Writer) -> list[Path]:
    """Write 50 connection files: 20 to S3, 25 local ones, 3 that fail, one that is slow and one that blocks."""
    files = []
    for number in range(50):
        zone = ZONES[number % 3]
        cron = ("@daily", "30 1 * * *", "0 2 * * *", "15 * * * *", "0 */3 * * *")[number % 5]
        schedule = f'[schedule]\ncron = "{cron}"\ntimezone = "{zone}"\ntimeout = "8s"'
        source = {45: "broken", 46: "broken", 47: "missing", 48: "slow", 49: "blocking"}.get(number, "some")
        target = writer.target(f"c{number}/") if number < 20 else f"{folder}/out{number}/"
        file = write_connection(folder, target, schedule, f'function = "sources_of_tests:{source}"')
        files.append(file.rename(folder / f"c{number}.toml"))
    with (folder / "sources_of_tests.py").open("a", encoding="utf-8") as module:
        module.write(SOURCES)
    return files


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_fifty_connections_around_every_change_of_the_clock(
    tmp_path: Path, writer: Writer, seaweed: Admin, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every time that was due is in one record, nothing is lost by a kill, and nothing grows."""
    files, each = write_files(tmp_path, writer), SECONDS / len(BEGINNINGS)
    figures, lines = tmp_path / "figures", []
    speed = 10 * 3600 / each  # ten hours in each part
    for number, beginning in enumerate(BEGINNINGS):
        moment, log = datetime.fromisoformat(beginning), tmp_path / f"log{number}"
        state = tmp_path / f"state{number}"
        env = os.environ | environment(writer) | {"MC_SINK_STATE_DIR": str(state)}

        def start(
            moment: datetime, seconds: float, log: Path = log, env: dict[str, str] = env
        ) -> subprocess.Popen[bytes]:
            words = [moment.isoformat(), str(speed), str(seconds), str(figures), *map(str, files)]
            with log.open("ab") as file:
                program = [sys.executable, "-m", "tests.support.soak", *words]
                return subprocess.Popen(program, stderr=file, cwd=ROOT, env=env)

        first = start(moment, each)
        with pytest.raises(subprocess.TimeoutExpired):
            first.wait(each / 2)
        first.send_signal(signal.SIGKILL)
        first.wait()
        killed = moment + timedelta(seconds=each / 2 * speed)
        second = start(killed, each / 2)
        assert second.wait(each + 60) == 0, log.read_text("utf-8")
        assert "Traceback" not in log.read_text("utf-8")
        lines.append(_account(files, state, moment, killed + timedelta(seconds=each / 2 * speed)))
    delivered = sum(line["delivered"] for line in lines)
    assert delivered > 20
    lines.append(Counter(_growth(figures)))
    with capsys.disabled():
        print(*lines, sep="\n")  # noqa: T201  the figures
    assert seaweed.listing(writer.bucket)


def _account(files: list[Path], state: Path, begin: datetime, end: datetime) -> Counter[str]:
    """Return how many due times ended how; fails for a time without a record, and for one with two."""
    os.environ["MC_SINK_STATE_DIR"], earlier = str(state), os.environ["MC_SINK_STATE_DIR"]
    try:
        runs = list_runs(limit=None)
    finally:
        os.environ["MC_SINK_STATE_DIR"] = earlier
    ends: Counter[str] = Counter()
    for file in files:
        settings = load(file).settings
        assert settings.schedule is not None
        trigger, due, previous = trigger_of(settings.schedule, "c"), [], begin
        beyond = end + timedelta(hours=6)
        while (found := trigger.get_next_fire_time(previous, previous)) is not None and found < beyond:
            due.append(found)
            previous = found
        own = [run for run in runs if run.file == str(file)]
        served = [run.due_at for run in own if run.status != "missed"]
        texts = [run.error.text for run in own if run.status == "missed" and run.error]
        missed = sum(int(found[2].replace(",", "")) for found in map(NUMBER.match, texts) if found)
        assert all(one in due for one in served), file
        # What is due in the last moments waits for a slot, and the next scheduler accounts for it.
        last = max((run.due_at for run in own if run.due_at), default=None)
        accounted = [one for one in due if last is not None and one <= last]
        assert len(set(served)) + missed == len(accounted), (file, served, missed, accounted)
        ends.update(run.status for run in own if run.status != "missed")
        ends.update({"missed": missed, "waiting": sum(accounted[-1:] < [one] for one in due if one < end)})
    assert ends["running"] == 0
    return ends


def _growth(figures: Path) -> dict[str, int]:
    """Return the highest numbers of a scheduler; fails where the last third is higher than the first."""
    found = [json.loads(line) for line in figures.read_text("utf-8").splitlines()]
    highest: Callable[[str], int] = lambda name: max(one[name] for one in found)  # noqa: E731  short
    third = max(one["at"] for one in found) / 3
    for name, allowed in (("threads", 0), ("descriptors", 4), ("memory", 8 * 2**20)):
        early = median(one[name] for one in found if 2 < one["at"] < third)
        late = median(one[name] for one in found if one["at"] > 2 * third)
        assert late <= early + allowed, (name, early, late)
    return {name: highest(name) for name in ("threads", "descriptors", "memory")}


def test_the_soak_has_changes_of_the_clock() -> None:
    """Each beginning is within ten hours of a change in one of its zones, forward and back."""
    from zoneinfo import ZoneInfo

    directions = set()
    for beginning in BEGINNINGS:
        begin = datetime.fromisoformat(beginning).astimezone(UTC)
        for zone in map(ZoneInfo, ZONES):
            before, after = (one.astimezone(zone).utcoffset() for one in (begin, begin + timedelta(hours=10)))
            assert before is not None
            assert after is not None
            directions.add((after > before) - (after < before))
    assert directions == {-1, 0, 1}
