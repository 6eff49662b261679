"""SIGTERM ends a run in order, and in any case soon."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from mc_sink.cli._ends import Code, Terminated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

# A source that is deaf in a library's own code lets no Python run; nothing is published there, so it may be left.
PATIENCE_SECONDS = 5.0


@contextmanager
def ending_soon() -> Iterator[None]:
    """Have SIGTERM raise `Terminated` here, and end the interpreter seconds later if that isn't heard."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    threading.Thread(target=_watch, args=(read,), name="mc_sink watch", daemon=True).start()
    earlier = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    try:
        with calling(_raise):
            yield
    finally:
        signal.set_wakeup_fd(earlier)
        os.close(write)


@contextmanager
def calling(function: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Have SIGTERM call a function meanwhile."""
    before = signal.signal(signal.SIGTERM, function)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _raise(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one would cut short what the first one began
    raise Terminated


def _watch(read: int) -> None:
    """Wait for SIGTERM, by the bytes that Python's own part in C writes for each signal."""
    with suppress(OSError), open(read, "rb", buffering=0) as signals:
        while heard := signals.read(1):
            if heard[0] == signal.SIGTERM:
                time.sleep(PATIENCE_SECONDS)
                os._exit(int(Code.TERMINATED))
