"""Many deliveries at once: all of them end, though Polars has fewer threads than they would hold."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import polars as pl
import pytest

from mc_sink import UploadError, sink_madconnect
from mc_sink._runtime import turns

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# With 16 threads of Polars', 12 deliveries held all of them for their outer engines. The barrier lets all begin first.
MANY = """
import sys, threading, time
import polars as pl
import mc_sink

def source():
    for number in range(3):
        yield pl.DataFrame({"n": [number]})
        time.sleep(0.05)

def deliver(number):
    begin.wait()
    frame = source() if number % 3 else pl.scan_parquet(sys.argv[1] + "/in.parquet")
    mc_sink.sink_madconnect(frame, f"{sys.argv[1]}/{number}.csv", progress=False)

pl.DataFrame({"n": range(3)}).write_parquet(sys.argv[1] + "/in.parquet")
begin = threading.Barrier(40)
deliveries = [threading.Thread(target=deliver, args=(number,)) for number in range(40)]
for each in deliveries:
    each.start()
for each in deliveries:
    each.join()
"""


def test_more_deliveries_than_polars_has_threads_for_end(tmp_path: Path) -> None:
    """They take turns; without a bound each waits for a thread that another holds."""
    command = [sys.executable, "-c", MANY, str(tmp_path)]
    subprocess.run(command, timeout=60, check=True, env={**os.environ, turns.NUM_THREADS: "16"})
    files = list(tmp_path.glob("*.csv"))
    assert len(files) == 40
    assert {file.read_text() for file in files} == {"n\n0\n1\n2\n"}


def test_a_delivery_that_waits_for_its_turn_for_too_long_is_told_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A source that delivers is in turn itself: its own delivery could wait for ever. The log says so before."""
    monkeypatch.setenv(turns.NUM_THREADS, "8")
    monkeypatch.setattr(turns, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(turns, "QUIET_SECONDS", 0.1)
    frame = pl.DataFrame({"n": [1]})

    def source() -> Iterator[pl.DataFrame]:
        yield frame
        sink_madconnect(frame, tmp_path / "inner.csv", progress=False)

    with pytest.raises(UploadError, match=r"as can at once \(1\), and none ended for .* POLARS_MAX_BLOCKING"):
        sink_madconnect(source(), tmp_path / "outer.csv", progress=False)
    (told,) = [record.getMessage() for record in caplog.records if "waits for its turn" in record.getMessage()]
    assert "as can at once (1)" in told
    assert list(tmp_path.iterdir()) == []
    sink_madconnect(frame, tmp_path / "later.csv", progress=False)


def test_a_turn_passes_on_at_each_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deliveries that fail end too, and those that wait are patient as long as others end."""
    monkeypatch.setenv(turns.NUM_THREADS, "8")
    frame = pl.DataFrame({"n": [1]})
    outcomes: list[object] = []

    def deliver(number: int) -> None:
        target = tmp_path / f"{number // 2}.csv"  # the second delivery to each finds the file of the first
        try:
            outcomes.append(sink_madconnect(frame, target, progress=False))
        except FileExistsError as error:
            outcomes.append(error)

    deliveries = [threading.Thread(target=deliver, args=(number,)) for number in range(8)]
    for each in deliveries:
        each.start()
    for each in deliveries:
        each.join(60)
    assert len(outcomes) == 8
    assert len(list(tmp_path.iterdir())) == 4
