"""Runs an engine off the main thread, so that Ctrl-C, SystemExit and interpreter exit end it in order.

Measured: with a Polars sink on the main thread, Ctrl-C is raised twice and the process aborts at exit; on a thread of
its own it is raised once, and cleanly, if the engine is stopped and joined before the exception goes on.
"""

from __future__ import annotations

import atexit
import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
# An engine that is deaf for longer, in a source that blocks, is left behind: it can't show anything any more.
PATIENCE_SECONDS = 3.0


class Stopped(BaseException):
    """Raised inside an engine's source to end it; never reaches a caller."""


class Worker(Generic[T]):
    """One engine run. `stop` is called once, from another thread, when the run is to end early."""

    def __init__(self, work: Callable[[], T], stop: Callable[[BaseException], None]) -> None:
        self._work, self._stop = work, stop
        self._result: list[T] = []
        self._error: BaseException | None = None
        self.interrupted = False
        self._thread = threading.Thread(target=self._run, name="mc_sink engine", daemon=True)

    def result(self) -> T:
        """Run, wait, and give the result or raise the run's error; anything raised while waiting stops the run."""
        _running.add(self)
        self._thread.start()
        try:
            self._thread.join()
        except BaseException as interruption:
            self.interrupted = True
            self.end(interruption)
            raise
        finally:
            _running.discard(self)
        if self._error is not None:
            error, self._error = self._error, None  # no cycle: its traceback knows this worker
            raise error
        return self._result[0]

    def end(self, cause: BaseException) -> None:
        """Stop the run and wait for the engine to leave."""
        self._stop(cause)
        self._thread.join(PATIENCE_SECONDS)

    def _run(self) -> None:
        try:
            self._result.append(self._work())
        except BaseException as error:  # noqa: BLE001  handed to the waiting thread as it is
            self._error = error


_running: WeakSet[Worker[Any]] = WeakSet()


@atexit.register
def _end_all() -> None:
    """End runs that daemon threads of the caller left behind, before the interpreter goes under their feet."""
    for worker in tuple(_running):
        worker.end(SystemExit("the interpreter is exiting"))
