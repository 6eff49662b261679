"""Leaving the interpreter while the engine of a delivery is in Python code: the exit code is the script's own.

An engine's thread that comes back into Python meanwhile would abort the process (SIGABRT).
"""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import signal, sys, threading, time
import polars as pl, pyarrow as pa
from polars.io.plugins import register_io_source
import mc_sink

ROWS = pl.DataFrame({"n": range(1_000)})
MANY = pl.LazyFrame({"n": range(1_000_000)})

def rest(seconds, value=None):
    print("running", flush=True)
    time.sleep(seconds)
    return value

def frames():
    while True:
        yield ROWS
        rest(1.2)

def reader():
    while True:
        yield ROWS.to_arrow().to_batches()[0]
        assert threading.current_thread()  # as logging does; the engine's thread is one of Python's list from then on
        rest(0.3)

def endless(*_):
    while True:
        yield ROWS
        rest(0.3)

SOURCES = {
    "frames": frames,
    "reader": lambda: pa.RecordBatchReader.from_batches(ROWS.to_arrow().schema, reader()),
    "io source": lambda: register_io_source(endless, schema=ROWS.schema),
    "filter": lambda: register_io_source(endless, schema=ROWS.schema).filter(pl.col("n") < 0),
    "map_batches": lambda: MANY.map_batches(lambda rows: rest(1.2, rows), streamable=True),
    "map_elements": lambda: MANY.select(pl.col("n").map_elements(lambda n: rest(0.3, n), return_dtype=pl.Int64)),
}

def deliver():
    mc_sink.sink_madconnect(SOURCES[sys.argv[1]](), sys.argv[2], progress=False)

def end(*_):
    sys.exit(143)

"""
ON_MAIN = "signal.signal(signal.SIGTERM, end); deliver()"
# The script fails while daemon threads deliver.
ON_DAEMONS = """
ended = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: ended.set())
for _ in range(3):
    threading.Thread(target=deliver, daemon=True).start()
while not ended.is_set():
    time.sleep(0.05)
raise ValueError("the script's own")
"""
CASES = [
    ("frames", ON_MAIN, signal.SIGTERM, 143),
    ("reader", ON_MAIN, signal.SIGTERM, 143),
    ("io source", ON_MAIN, signal.SIGTERM, 143),
    ("filter", ON_MAIN, signal.SIGTERM, 143),
    ("map_batches", ON_MAIN, signal.SIGTERM, 143),
    ("map_elements", ON_MAIN, signal.SIGTERM, 143),
    ("reader", ON_MAIN, signal.SIGINT, -signal.SIGINT),
    ("map_elements", ON_MAIN, signal.SIGINT, -signal.SIGINT),
    ("io source", ON_DAEMONS, signal.SIGTERM, 1),
]


@pytest.mark.parametrize(
    ("source", "delivery", "number", "code"), CASES, ids=[f"{source}-{code}" for source, _, _, code in CASES]
)
def test_a_script_ends_with_its_own_exit_code(
    tmp_path: Path, source: str, delivery: str, number: signal.Signals, code: int
) -> None:
    """A source or function that sleeps again and again is interrupted when it wakes; nothing is left."""
    command = [sys.executable, "-c", SCRIPT + delivery, source, f"{tmp_path}/x.csv"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert "running" in child.stdout.readline()  # an engine calls from two threads
        child.send_signal(number)
        _, printed = child.communicate(timeout=60)
    assert child.returncode == code, printed
    assert "FATAL" not in printed
    assert printed.count("Traceback") == (code != 143), printed
    assert list(tmp_path.iterdir()) == []
