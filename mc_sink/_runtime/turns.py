"""Bound how many deliveries of a process run at once, because Polars has few threads for calls that block.

A delivery holds 3 of these 512 threads while it waits for its source, and the outer of its two engines waits for the
inner one (measured, Polars 2.1.0). 600 deliveries at once held all threads for their outer engines: no inner engine
could begin, and none of the deliveries ended.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from threading import Condition
from typing import TYPE_CHECKING

from mc_sink._display import logger
from mc_sink._runtime.engine_thread import STEP_SECONDS
from mc_sink.exceptions import UploadError

if TYPE_CHECKING:
    from collections.abc import Iterator

# How many such threads Polars has, its default, and how many of them are reckoned for a delivery: one with previous=
# has a third engine, and the engine's own reading and writing needs some at times.
NUM_THREADS, _DEFAULT, _PER_DELIVERY = "POLARS_MAX_BLOCKING_THREAD_COUNT", 512, 8
# A delivery that waits fails once no other has ended for so long: those may be waiting for it.
PATIENCE_SECONDS = 600.0
# A delivery that waits says so once no other has ended for so long.
QUIET_SECONDS = 10.0
_log = logger(__name__)


class _Turns:
    """The deliveries that run, and how many have ended."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Remove all deliveries, as the child of a fork must: its parent's don't run there."""
        self.changed = Condition()
        self.num_running = self.num_ended = 0


_turns = _Turns()


@contextmanager
def turn() -> Iterator[None]:
    """Wait until one more delivery can run, and count as one that does.

    Raises `UploadError` if as many run as can, and none of them ends for `PATIENCE_SECONDS`.
    """
    turns = _turns
    with turns.changed:
        ended, since, is_told = turns.num_ended, time.monotonic(), False
        while turns.num_running >= _at_once():
            turns.changed.wait(STEP_SECONDS)  # in steps, because a signal may reach another thread
            if ended != turns.num_ended:
                ended, since = turns.num_ended, time.monotonic()
            elif not is_told and time.monotonic() - since > QUIET_SECONDS:
                is_told = True
                _log.warning("A delivery waits for its turn: %s", _reason(turns, QUIET_SECONDS))
            elif time.monotonic() - since > PATIENCE_SECONDS:
                raise UploadError(f"The delivery can't begin: {_reason(turns, PATIENCE_SECONDS)}")
        turns.num_running += 1
    try:
        yield
    finally:
        with turns.changed:
            turns.num_running -= 1
            turns.num_ended += 1
            turns.changed.notify()


def _reason(turns: _Turns, seconds: float) -> str:
    """Return why a delivery waits, and what to do."""
    return (
        f"as many deliveries run in this process as can at once ({turns.num_running}), and none ended for "
        f"{seconds:,.0f} s. Start fewer at once, deliver from several processes, or set {NUM_THREADS} higher than "
        f"{_num_threads()} before Polars is first used."
    )


def _at_once() -> int:
    return max(1, _num_threads() // _PER_DELIVERY)


def _num_threads() -> int:
    given = os.environ.get(NUM_THREADS, "")
    return int(given) if given.isdecimal() else _DEFAULT


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_turns.clear)
