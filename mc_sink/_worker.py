"""Runs an engine off the main thread, so that Ctrl-C, SystemExit and interpreter exit end it in order.

Measured: with a Polars sink on the main thread, Ctrl-C is raised twice and the process aborts at exit; on a thread of
its own it is raised once, and cleanly, if the engine is stopped and joined before the exception goes on. Polars answers
SIGINT itself, too, by ending every query in the process; then it is the run that raises KeyboardInterrupt.
"""

from __future__ import annotations

import atexit
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

T = TypeVar("T")
# An engine that is deaf for longer, in a source that blocks, is left behind: it can't show anything any more.
PATIENCE_SECONDS = 1.5
STEP_SECONDS = 0.1
# An engine that was stopped notices at its next batch; one that isn't in Python for so long has gone.
QUIET_SECONDS = 0.1


class Stopped(BaseException):
    """Raised inside an engine's source to end it; never reaches a caller."""


class Worker(Generic[T]):
    """One engine run. `stop` is called, from another thread, when the run is to end early.

    The `with` around it lasts until its caller has cleaned up behind it; leaving the interpreter waits for that.
    """

    def __init__(self, work: Callable[[], T], stop: Callable[[BaseException], None]) -> None:
        self._work, self._stop = work, stop
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._done, self._left = threading.Event(), threading.Event()
        self._leaving: BaseException | None = None
        self.interrupted = False

    def __enter__(self) -> Self:
        _running.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        _running.discard(self)
        self._left.set()

    def result(self) -> T:
        """Run, wait, and give the result or raise the run's error; anything raised while waiting stops the run."""
        try:
            threading.Thread(target=self._run, name="mc_sink engine", daemon=True).start()
            # In steps, because a signal may reach a thread of the engine's instead of this one; and not by joining,
            # because an interrupted join takes a thread that runs for one that has ended (measured, Python 3.11).
            while not self._done.wait(STEP_SECONDS):
                self._check_leaving()
        except BaseException as interruption:
            self.interrupted = True
            self._end(interruption)
            raise
        if self._error is not None:
            error, self._error = self._error, None  # no cycle: its traceback knows this worker
            raise error
        return self._result[0]

    def leave(self, cause: BaseException, timeout: float) -> None:
        """Have the thread that waits for the run end it and clean up, and wait until it has."""
        self._leaving = cause
        self._left.wait(timeout)

    def _check_leaving(self) -> None:
        if self._leaving is not None:
            raise self._leaving

    def _end(self, cause: BaseException) -> None:
        """Stop the run and wait for the engine to leave."""
        _ended_early.set()
        self._stop(cause)
        self._done.wait(PATIENCE_SECONDS)

    def _run(self) -> None:
        try:
            self._result.append(self._work())
        except BaseException as error:  # noqa: BLE001  handed to the waiting thread as it is
            self._error = error
            _ended_early.set()
        finally:
            self._done.set()


_running: WeakSet[Worker[Any]] = WeakSet()
_ended_early = threading.Event()


@atexit.register
def _leave_all() -> None:
    """Leave the interpreter in order: end the runs that daemon threads wait for, and let engines that were stopped go.

    An engine thread that comes back into a Python source while the interpreter goes away would abort the process.
    """
    if not _running and not _ended_early.is_set():
        return
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would cut this short
    deadline = time.monotonic() + 2 * PATIENCE_SECONDS
    for worker in tuple(_running):
        worker.leave(SystemExit("the interpreter is exiting"), max(0.0, deadline - time.monotonic()))
    now = quiet_since = time.monotonic()
    while now < deadline and now - quiet_since < QUIET_SECONDS:
        time.sleep(0.005)
        now = time.monotonic()
        quiet_since = now if _engine_threads_in_python() else quiet_since


def _engine_threads_in_python() -> set[int]:
    """Threads that Python did not start and that are running its code now."""
    return sys._current_frames().keys() - {thread.ident for thread in threading.enumerate()}  # noqa: SLF001
