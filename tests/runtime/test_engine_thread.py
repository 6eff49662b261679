"""Runs off the main thread: results and errors as they are, and an end in order at every interruption."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import polars as pl
import pytest

from mc_sink import sink_madconnect
from mc_sink._runtime.engine_thread import PATIENCE_SECONDS, Stopped, Worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import FrameType

# In seconds: long for a busy machine, and shorter than any wait that the tests forbid.
IN_TIME = 30.0
# A child that waits for its engine when it must not would do so for longer than `IN_TIME`.
PATIENT = """
from mc_sink._runtime import engine_thread

engine_thread.LEAVING_SECONDS = 60.0
"""
CHILD = """
import signal, sys, threading, time
import polars as pl
import mc_sink

frame = pl.DataFrame({"n": range(100_000)})

def endless():
    while True:
        yield frame
        print("running", flush=True)

def blocking():
    yield frame
    print("running", flush=True)
    time.sleep(60)

def deliver(source):
    mc_sink.sink_madconnect(source(), sys.argv[1], progress=False)

signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
"""
ON_MAIN = "deliver({source})"
CAUGHT = """
try:
    deliver({source})
except KeyboardInterrupt as error:
    print(error.__notes__)
    raise SystemExit(3)
"""
ON_DAEMON = """
threading.Thread(target=deliver, args=({source},), daemon=True).start()
while True:  # a signal may reach an engine's thread, and then ends no sleep of this one
    time.sleep(0.05)
"""
TOLD = """
import atexit, os, signal, sys, threading, time

@atexit.register  # first, and so the last to be called
def report():
    print(time.monotonic() - left, flush=True)
"""
FORKED = """
from mc_sink._runtime.engine_thread import Worker

ended = threading.Event()

def deliver():
    with Worker(ended.wait, lambda _: None) as worker:
        begun.set()
        worker.result()

begun, delivery = threading.Event(), threading.Thread(target=deliver)
delivery.start()
begun.wait()
child, left = os.fork(), time.monotonic()
if child:
    os.waitpid(child, 0)
    ended.set()
    delivery.join()
"""
BLOCKED = """
import polars as pl
import mc_sink

def source():
    yield pl.DataFrame({"n": [1]})
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(600)

try:
    mc_sink.sink_madconnect(source(), sys.argv[1], progress=False)
except KeyboardInterrupt:
    left = time.monotonic()
"""
SLOW = """
import os, signal, sys, threading, time
from mc_sink._runtime.engine_thread import PATIENCE_SECONDS, Worker

def work():
    time.sleep(PATIENCE_SECONDS + 1)
    print("the engine has left", flush=True)

threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
Worker(work, lambda _: print("stopped", flush=True)).result()
"""
FORMATS = ["csv", "csv.gz", "parquet"]


class Interruption(BaseException):
    """Raised by a signal, as KeyboardInterrupt is."""


class Run:
    """A run that goes on until it is stopped, and remembers how often and why."""

    def __init__(self) -> None:
        self.causes: list[BaseException] = []
        self.ended = threading.Event()
        self.left = False

    def work(self) -> None:
        """Go on until `stop`, and take a while to leave."""
        assert self.ended.wait(20)
        time.sleep(0.2)
        self.left = True
        raise Stopped

    def stop(self, cause: BaseException) -> None:
        """End the run."""
        self.causes.append(cause)
        self.ended.set()


@contextmanager
def interrupted_after(seconds: float) -> Iterator[Interruption]:
    """Raise an exception on this thread by a signal, as Ctrl-C does."""
    interruption = Interruption("now")

    def raise_it(_number: int, _frame: FrameType | None) -> NoReturn:
        raise interruption

    before = signal.signal(signal.SIGUSR1, raise_it)
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        yield interruption
    finally:
        timer.cancel()
        timer.join()
        signal.signal(signal.SIGUSR1, before)


def test_the_result_comes_back_from_another_thread() -> None:
    """The work runs off the caller's thread, and what it returns, None too, is given back."""
    threads: list[threading.Thread] = []
    run = Run()

    def work() -> None:
        threads.append(threading.current_thread())

    Worker(work, run.stop).result()
    assert threads[0] is not threading.current_thread()
    assert Worker(lambda: 7, run.stop).result() == 7
    assert run.causes == []


@pytest.mark.parametrize(
    "error", [ValueError("v"), OSError(5, "o"), KeyboardInterrupt("k"), SystemExit(3), GeneratorExit(), Stopped("s")]
)
def test_an_error_of_the_run_is_raised_as_the_object_it_is(error: BaseException) -> None:
    """Its type, identity and the line that raised it are kept, and the run isn't stopped a second time."""
    run = Run()

    def work() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        Worker(work, run.stop).result()
    assert raised.value is error
    assert "work" in [entry.name for entry in raised.traceback]
    assert run.causes == []


def test_an_interruption_stops_the_run_once_and_is_raised_after_its_end() -> None:
    """The exception of the waiting thread goes on only when the engine has left, and is the cause of the stop."""
    run = Run()
    worker = Worker(run.work, run.stop)
    with interrupted_after(0.1) as interruption, pytest.raises(Interruption) as raised:
        worker.result()
    assert raised.value is interruption
    assert run.causes == [interruption]
    assert worker.interrupted
    assert run.left


def test_a_deaf_engine_is_left_behind_after_a_time() -> None:
    """A run that doesn't hear the stop holds the caller for the patience and no longer."""
    ended, left = threading.Event(), threading.Event()

    def deaf() -> None:
        ended.wait(60)
        left.set()

    begun = time.monotonic()
    with interrupted_after(0.1), pytest.raises(Interruption):
        Worker(deaf, lambda _: None).result()
    held = time.monotonic() - begun
    ended.set()
    assert left.wait(60)
    assert PATIENCE_SECONDS <= held < IN_TIME


def test_a_run_that_cannot_begin_is_not_waited_for() -> None:
    """Where the system has no thread left, its error comes at once, and the run counts as ended."""
    run = Run()
    worker = Worker(run.work, run.stop)
    before = threading.stack_size(2**47)  # more than the address space has
    try:
        with pytest.raises(RuntimeError, match="thread"):
            worker.result()
    finally:
        threading.stack_size(before)
    assert worker.done
    assert not run.left


def test_a_cancelled_task_ends_its_run() -> None:
    """A task that is cancelled while it waits for an engine ends: Ctrl-C under `asyncio.run` does no more."""
    run = Run()

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        threading.Timer(0.1, task.cancel).start()
        Worker(run.work, run.stop).result()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert [type(cause) for cause in run.causes] == [asyncio.CancelledError]
    assert run.left


def test_a_fork_does_not_wait_for_its_parents_runs() -> None:
    """The child of a fork leaves its interpreter at once; the runs it knows of have no threads there."""
    child = subprocess.run(
        [sys.executable, "-c", TOLD + PATIENT + FORKED], capture_output=True, text=True, timeout=120, check=True
    )
    seconds = [float(line) for line in child.stdout.splitlines()]
    assert len(seconds) == 2
    assert seconds[0] < IN_TIME


def test_a_run_that_was_stopped_reads_no_more_of_its_source(tmp_path: Path) -> None:
    """A source that gives a row now and then is left soon, and not when a batch of 100,000 rows is full."""
    seconds, num_rows = 0.05, 0

    def source() -> Iterator[pl.DataFrame]:
        nonlocal num_rows
        while True:
            num_rows += 1
            yield pl.DataFrame({"n": [num_rows]})
            time.sleep(seconds)

    with interrupted_after(0.5), pytest.raises(Interruption):
        sink_madconnect(source(), tmp_path / "x.csv", progress=False)
    time.sleep(10 * seconds)
    read = num_rows
    time.sleep(10 * seconds)
    assert num_rows == read


def test_an_engine_that_was_left_behind_is_waited_for_at_the_end() -> None:
    """Leaving the interpreter while an engine still computes would abort it: it is given some more time then."""
    child = subprocess.run(
        [sys.executable, "-c", PATIENT + SLOW], capture_output=True, text=True, timeout=120, check=False
    )
    assert child.stdout == "stopped\nthe engine has left\n"
    assert child.returncode == -signal.SIGINT, child.stderr
    assert child.stderr.count("\nKeyboardInterrupt") == 1


def test_an_engine_that_blocks_is_not_waited_for_at_the_end(tmp_path: Path) -> None:
    """One that stands still in its source for minutes holds the end of the interpreter for some seconds only."""
    command = [sys.executable, "-c", TOLD + BLOCKED, f"{tmp_path}/x.csv"]
    child = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert float(child.stdout) < IN_TIME
    assert list(tmp_path.iterdir()) == []


def run_child(code: str, path: Path, *signals: signal.Signals) -> tuple[int, str, str, float]:
    """Start a delivery, send signals once it runs, and give its exit code, output, errors and seconds to its end."""
    command = [sys.executable, "-X", "faulthandler", "-c", CHILD + code, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        watchdog = threading.Timer(4 * IN_TIME, child.kill)
        watchdog.start()
        assert child.stdout is not None
        assert child.stdout.readline() == "running\n"
        begun = time.monotonic()
        for number in signals:
            child.send_signal(number)
            time.sleep(0.05)
        out, err = child.communicate()
        watchdog.cancel()
        watchdog.join()
    return child.returncode, out, err, time.monotonic() - begun


def assert_clean(err: str, seconds: float, folder: Path) -> None:
    """Check an end in order: in time, without a crash, with nothing in the folder.

    Polars may say that a thread of its own panicked: that is how it ends a query on Ctrl-C, seen in 1 of some 50 runs.
    """
    assert seconds < IN_TIME
    for word in ("Fatal Python error", "Aborted", "Exception ignored", "Segmentation"):
        assert word not in err
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("format", FORMATS)
def test_ctrl_c_ends_a_delivery_in_order(tmp_path: Path, format: str) -> None:
    """SIGINT is raised once, tells that nothing became visible, and ends the interpreter as SIGINT does."""
    code, _, err, seconds = run_child(ON_MAIN.format(source="endless"), tmp_path / f"x.{format}", signal.SIGINT)
    assert_clean(err, seconds, tmp_path)
    assert code == -signal.SIGINT
    assert err.count("\nKeyboardInterrupt") == 1
    assert "Nothing became visible" in err


def test_ctrl_c_can_be_caught(tmp_path: Path) -> None:
    """A caller that catches it goes on, with the note in hand, to an exit code of its own."""
    code, out, err, seconds = run_child(CAUGHT.format(source="endless"), tmp_path / "x.csv", signal.SIGINT)
    assert_clean(err, seconds, tmp_path)
    assert code == 3
    assert "Nothing became visible" in out


def test_two_ctrl_cs_are_no_crash(tmp_path: Path) -> None:
    """An impatient second one changes nothing about what is left."""
    code, _, err, seconds = run_child(
        ON_MAIN.format(source="endless"), tmp_path / "x.parquet", signal.SIGINT, signal.SIGINT
    )
    assert_clean(err, seconds, tmp_path)
    assert code == -signal.SIGINT


def test_a_source_that_blocks_does_not_hold_ctrl_c(tmp_path: Path) -> None:
    """A source that sleeps for a minute is left behind."""
    code, _, err, seconds = run_child(ON_MAIN.format(source="blocking"), tmp_path / "x.csv", signal.SIGINT)
    assert_clean(err, seconds, tmp_path)
    assert code == -signal.SIGINT


def test_sigterm_ends_a_service(tmp_path: Path) -> None:
    """SIGTERM turned into SystemExit gives that exit's code."""
    code, _, err, seconds = run_child(ON_MAIN.format(source="endless"), tmp_path / "x.csv", signal.SIGTERM)
    assert_clean(err, seconds, tmp_path)
    assert code == 7


@pytest.mark.parametrize("source", ["endless", "blocking"])
@pytest.mark.parametrize("format", FORMATS)
def test_leaving_the_interpreter_ends_a_run_on_a_daemon_thread(tmp_path: Path, format: str, source: str) -> None:
    """A delivery that a daemon thread is at when the main thread ends neither hangs, nor crashes, nor shows a file.

    By SIGTERM: Polars answers SIGINT itself, by ending every query, and the main thread may never hear of it.
    """
    code, _, err, seconds = run_child(ON_DAEMON.format(source=source), tmp_path / f"x.{format}", signal.SIGTERM)
    assert code == 7
    assert_clean(err, seconds, tmp_path)
