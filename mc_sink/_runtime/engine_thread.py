"""Runs an engine off the main thread, so that Ctrl-C, SystemExit and interpreter exit end it in order.

Measured: with a Polars sink on the main thread, Ctrl-C is raised twice and the process aborts at exit; on a thread of
its own it is raised once, and cleanly, if the engine is stopped and joined before the exception goes on. Polars answers
SIGINT itself, too, by ending every query in the process; then it is the run that raises KeyboardInterrupt.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from ctypes import c_ulong, py_object, pythonapi
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType
    from typing import Self

T = TypeVar("T")
# An engine that doesn't react for longer, in a source that blocks, is left behind: it can't publish anything any more.
PATIENCE_SECONDS = 1.0
STEP_SECONDS = 0.1
# Leaving the interpreter takes at most 3 s. Treat an engine as finished after 0.1 s without Python frames.
LEAVING_SECONDS, QUIET_SECONDS = 3.0, 0.1


class Stopped(BaseException):
    """Raised inside an engine's source to end it; never reaches a caller."""


class _Reading(threading.local):
    """The run that this thread reads rows for: its event is set once that run is stopped."""

    stopped: threading.Event | None = None


_reading = _Reading()


def next_of(batches: Iterator[T], stopped: threading.Event) -> T | None:
    """Return the next item, or None after the last; a wait inside for another engine ends when `stopped` is set."""
    outer, _reading.stopped = _reading.stopped, stopped
    try:
        return next(batches, None)
    finally:
        _reading.stopped = outer


def check_stopped() -> None:
    """Raise `Stopped` if this thread reads rows for a run that was stopped."""
    if _reading.stopped is not None and _reading.stopped.is_set():
        raise Stopped


class Worker(Generic[T]):
    """One engine run. `stop` is called, from another thread, when the run is to end early.

    Its `with` block lasts until the caller has cleaned up; leaving the interpreter waits for that.
    """

    def __init__(self, work: Callable[[], T], stop: Callable[[BaseException], None]) -> None:
        self._work, self._stop = work, stop
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._done = threading.Event()
        self._leaving: BaseException | None = None
        self._cancelled = _count_cancels()
        self.interrupted = False

    def __enter__(self) -> Self:
        _running.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        _running.discard(self)

    def result(self) -> T:
        """Run, wait, and return the result or raise the run's error; an exception while waiting stops the run."""
        try:
            self.start()
            # In steps, because a signal may reach a thread of the engine's instead of this one; and not by joining,
            # because an interrupted join takes a thread that runs for one that has ended (measured, Python 3.11).
            while not self._done.wait(STEP_SECONDS):
                self._check_leaving()
                check_stopped()
            if self._error is not None:  # an engine that was interrupted reports that as an error of its own
                self._check_leaving()
        except BaseException as interruption:
            self.interrupted = True
            self.end(interruption)
            raise
        if self._error is not None:
            error, self._error = self._error, None  # no cycle: its traceback knows this worker
            raise error
        return self._result[0]

    @property
    def done(self) -> bool:
        """Whether the engine has left."""
        return self._done.is_set()

    def leave(self, cause: BaseException) -> None:
        """Ask the thread that waits for the run to end it and clean up."""
        self._leaving = cause

    def start(self) -> None:
        """Start the run without waiting; `result` calls it."""
        try:
            threading.Thread(target=self._run, name="mc_sink engine", daemon=True).start()
        except RuntimeError:  # the system has no thread left, and so no run to wait for
            self._done.set()
            raise

    def _check_leaving(self) -> None:
        if self._leaving is not None:
            raise self._leaving
        if _count_cancels() > self._cancelled:
            raise sys.modules["asyncio"].CancelledError

    def end(self, cause: BaseException) -> None:
        """Stop the run and wait for the engine to leave; after `PATIENCE_SECONDS` it is left behind."""
        _ended_early.set()
        self._stop(cause)
        if not self._done.wait(PATIENCE_SECONDS):
            _left_behind.add(self)

    def _run(self) -> None:
        try:
            self._result.append(self._work())
        except BaseException as error:  # noqa: BLE001  raised in the waiting thread
            self._error = error
            _ended_early.set()
        finally:
            self._done.set()


_running: WeakSet[Worker[Any]] = WeakSet()
_left_behind: WeakSet[Worker[Any]] = WeakSet()
_ended_early = threading.Event()


@atexit.register
def _leave_all() -> None:
    """End the runs that daemon threads wait for, and wait for engines that were stopped, before the interpreter exits.

    An engine thread that comes back into Python while the interpreter goes away aborts the process: Python ends such a
    thread by unwinding it, through frames of Rust. So a source that sleeps for less than 3 s is waited for. One that
    sleeps longer aborts the process only if it wakes in the milliseconds in which the interpreter goes away;
    `leave_at_once` has no such risk.
    """
    if not _running and not _ended_early.is_set():
        return
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would cut this short
    for worker in tuple(_running):
        worker.leave(SystemExit("the interpreter is exiting"))
    _wait_for_engines()


def leave_at_once(code: int) -> None:
    """End the process with a code if an engine is in a source that blocks; do nothing if none is, seconds later."""
    if not _ended_early.is_set() or _wait_for_engines():
        return
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # None, broken, or closed
            stream.flush()
    os._exit(code)


def _wait_for_engines() -> bool:
    """Wait until no engine has run for a while, at most `LEAVING_SECONDS`; return whether that was so.

    Each call of an engine's into Python is interrupted once, where it next runs: a source that gives a row now and
    then, or a function that is called for each row, would go on for longer than this waits.
    """
    now = quiet_since = time.monotonic()
    deadline = now + LEAVING_SECONDS
    interrupted: set[FrameType] = set()
    while now < deadline and now - quiet_since < QUIET_SECONDS:
        time.sleep(0.005)
        now = time.monotonic()
        calls = _calls_of_engines()
        for thread, call in calls.items():
            if call not in interrupted:
                pythonapi.PyThreadState_SetAsyncExc(c_ulong(thread), py_object(Stopped))
                interrupted.add(call)
        if calls or _running or not all(worker.done for worker in _left_behind):
            quiet_since = now
    return now - quiet_since >= QUIET_SECONDS


def _calls_of_engines() -> dict[int, FrameType]:
    """Return the outermost Python frame of each thread that Python did not start, by thread."""
    calls = {}
    for thread, frame in sys._current_frames().items():  # noqa: SLF001  the documented way to see other threads
        while frame.f_back is not None:
            frame = frame.f_back  # noqa: PLW2901
        # Not by `threading.enumerate`, which lists an engine's thread too once its source has logged.
        if thread != threading.main_thread().ident and frame.f_globals.get("__name__") != "threading":
            calls[thread] = frame
    return calls


def _count_cancels() -> int:
    """Count the cancellations of the asyncio task that is running on this thread, if any.

    Under `asyncio.run` Ctrl-C only cancels the task, and a task that waits for an engine would not notice.
    """
    asyncio = sys.modules.get("asyncio")
    try:
        task = asyncio.current_task() if asyncio else None
    except RuntimeError:  # no event loop is running here
        return 0
    return task.cancelling() if task else 0


if sys.platform != "win32":
    for runs in (_running, _left_behind):  # the parent's runs are not a child's to end
        os.register_at_fork(after_in_child=runs.clear)
