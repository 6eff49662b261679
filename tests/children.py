"""Deliveries in a process of their own, for tests that end the process: `python -m tests.children HOW URL FORMAT`."""

from __future__ import annotations

import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import mc_sink
from tests.frames import SMALL_PARTS, endless_until, numbers
from tests.servers.rules import WRITER, Rules

if TYPE_CHECKING:
    from collections.abc import Callable


def deliver(url: str, format: Any) -> None:
    """Deliver without end to the test server at `url`."""
    options = {"key": WRITER.key, "secret": WRITER.secret, "endpoint_url": url} | SMALL_PARTS
    target = f"s3://{Rules().buckets[0]}/p/x.{format}"
    mc_sink.sink_madconnect(
        endless_until(numbers(50_000), lambda: False), target, format=format, storage_options=options
    )


def interrupted(url: str, format: str) -> None:
    """Deliver on the main thread until a signal comes; SIGTERM raises SystemExit, as services have it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    deliver(url, format)


def abandoned(url: str, format: str) -> None:
    """Deliver on a daemon thread, and leave the interpreter while it is at it."""
    threading.Thread(target=deliver, args=(url, format), daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    while True:  # a signal may reach an engine's thread, and then ends no sleep of this one
        time.sleep(0.05)


HOW: dict[str, Callable[[str, str], None]] = {"interrupted": interrupted, "abandoned": abandoned}

if __name__ == "__main__":
    HOW[sys.argv[1]](sys.argv[2], sys.argv[3])
