"""Runs an engine off the main thread, so that Ctrl-C, SystemExit and interpreter exit end it in order.

Measured: with a Polars sink on the main thread, Ctrl-C is raised twice and the process aborts at exit; on a thread of
its own it is raised once, and cleanly, if the engine is stopped and joined before the exception goes on.
"""

from __future__ import annotations

import atexit
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
PATIENCE_SECONDS = 3.0
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
        self._thread = threading.Thread(target=self._run, name="mc_sink engine", daemon=True)
        self._left = threading.Event()
        self.interrupted = False

    def __enter__(self) -> Self:
        _running.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        _running.discard(self)
        self._left.set()

    def result(self) -> T:
        """Run, wait, and give the result or raise the run's error; anything raised while waiting stops the run."""
        self._thread.start()
        try:
            self._thread.join()
        except BaseException as interruption:
            self.interrupted = True
            self._end(interruption)
            raise
        if self._error is not None:
            error, self._error = self._error, None  # no cycle: its traceback knows this worker
            raise error
        return self._result[0]

    def leave(self, cause: BaseException) -> None:
        """End the run from a thread that isn't its caller's, and wait until the caller has cleaned up."""
        self._end(cause)
        self._left.wait(PATIENCE_SECONDS)

    def _end(self, cause: BaseException) -> None:
        """Stop the run and wait for the engine to leave."""
        _ended_early.set()
        self._stop(cause)
        self._thread.join(PATIENCE_SECONDS)

    def _run(self) -> None:
        try:
            self._result.append(self._work())
        except BaseException as error:  # noqa: BLE001  handed to the waiting thread as it is
            self._error = error
            _ended_early.set()


_running: WeakSet[Worker[Any]] = WeakSet()
_ended_early = threading.Event()


@atexit.register
def _leave_all() -> None:
    """Leave the interpreter in order: end the runs that daemon threads wait for, and let engines that were stopped go.

    An engine thread that comes back into a Python source while the interpreter goes away would abort the process.
    """
    for worker in tuple(_running):
        worker.leave(SystemExit("the interpreter is exiting"))
    now = time.monotonic()
    deadline, quiet_since = now + PATIENCE_SECONDS, now
    while _ended_early.is_set() and now < deadline and now - quiet_since < QUIET_SECONDS:
        time.sleep(0.005)
        now = time.monotonic()
        quiet_since = now if _engine_threads_in_python() else quiet_since


def _engine_threads_in_python() -> set[int]:
    """Threads that Python did not start and that are running its code now."""
    return sys._current_frames().keys() - {thread.ident for thread in threading.enumerate()}  # noqa: SLF001
