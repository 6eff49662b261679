"""SIGTERM and SIGINT while a slow source is read: the run ends in seconds, with its exit code and its record."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from mc_sink.connector.cli.exit import Code

if TYPE_CHECKING:
    from pathlib import Path

SOURCES = """
import pathlib
import time

import polars as pl
import pyarrow as pa


def mark():
    pathlib.Path(__file__).with_name("begun").touch()


def frames():
    for number in range(1_000):
        yield pl.DataFrame({"x": range(1_000)})
        mark()
        time.sleep(1.2)


def reader():
    schema = pa.schema([("x", pa.int64())])
    batches = (batch.to_arrow().to_batches()[0].cast(schema) for batch in frames())
    return pa.RecordBatchReader.from_batches(schema, batches)


def blocks():
    mark()
    time.sleep(3_600)
"""
SECONDS = 20


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize("source", ["frames", "reader", "blocks"])
def test_a_slow_source_is_left_in_seconds(tmp_path: Path, source: str, number: signal.Signals) -> None:
    """No thread of the engine comes back into Python while the interpreter goes away, which would abort it."""
    (tmp_path / "slow.py").write_text(SOURCES, encoding="utf-8")
    (tmp_path / "c.toml").write_text(f'target = "out/"\n[source]\nfunction = "slow:{source}"\n', encoding="utf-8")
    child = subprocess.Popen(
        [sys.executable, "-m", "mc_sink.connector.cli", "run", "c.toml"],
        cwd=tmp_path,
        env={**os.environ, "MC_SINK_STATE_DIR": str(tmp_path / "state")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.3)
    child.send_signal(number)
    _, printed = child.communicate(timeout=SECONDS)
    terminated = number == signal.SIGTERM
    assert child.returncode == (Code.TERMINATED if terminated else Code.INTERRUPTED), printed
    assert ("Terminated by SIGTERM." if terminated else "Interrupted.") in printed
    assert "ended as interrupted" in printed
    assert "FATAL" not in printed
    assert not [path for path in tmp_path.rglob("*.csv*") if path.is_file()]
