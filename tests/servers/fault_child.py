"""The test server in a process of its own, where it doesn't share the interpreter's lock with the client."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.servers.lifeline import Child
from tests.servers.rules import MIB, WRITER, Rules
from tests.servers.s3_admin import Admin, Writer

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).parents[2]


@contextmanager
def fault_child(*, latency: float = 0.0, bandwidth: float | None = None) -> Iterator[Writer]:
    """Serve from another process for the length of a `with`, counting bodies and dropping them.

    Give the bucket and the key to write with; `listing` shows what arrived. It never fails on purpose.
    """
    options = ["--discard", f"--latency-ms={latency * 1000}"]
    if bandwidth is not None:
        options.append(f"--mib-per-second={bandwidth / MIB}")
    command = [sys.executable, "-m", "tests.servers.fault", *options]
    with Child(lambda _: command, env={**os.environ, "PYTHONPATH": str(_ROOT)}) as child:
        url = child.wait_for(lambda: child.output().strip(), seconds=30)
        yield Writer(url, Rules().buckets[0], WRITER)


def owner_of(writer: Writer) -> Admin:
    """Give the verbs for looking at what arrived."""
    return Admin(writer.url, writer.credentials, "The test server, in another process; it knows no users.")
