"""Deliveries in processes of their own, which may be killed at any moment: `python -m tests.support.killed_deliveries`.

A child imports what it needs, says so, and waits for orders; so a test pays for the importing while it looks at what an
earlier child has left behind.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import deque
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

import polars as pl
import pytest

import mc_sink
from mc_sink.sandbox.admin import Writer
from tests.servers.rules import WRITER, Rules
from tests.support.frames import numbers
from tests.support.shared_deliveries import open_on, stage_all
from tests.support.small_deliveries import options, tiny_parts

ROOT = Path(__file__).parents[2]
EXIT_CODE = 7
PART_SIZE = 4096
ROWS, WIDTH = 60, 200
SECONDS, READ_TIMEOUT = 120, 20


def frame(rows: int = ROWS, changed_from: int = ROWS) -> pl.DataFrame:
    """Make the rows of a child's delivery, 20 of which fill several parts; from one row on, perhaps, other values."""
    changed = pl.when(pl.col("id") >= changed_from).then(9).otherwise("day").cast(pl.Int8)
    return numbers(rows, WIDTH).with_columns(changed.alias("day"))


def deliver(url: str, rows: int = ROWS, changed_from: int = ROWS, to: str = "p/", **how: Any) -> Any:
    """Deliver to the test server at `url`, in files of 20 rows."""
    writer = Writer(url, Rules().buckets[0], WRITER)
    return mc_sink.sink_madconnect(
        frame(rows, changed_from),
        writer.target(to),
        max_rows_per_file=20,
        storage_options=options(writer, PART_SIZE) | {"config_kwargs": {"read_timeout": READ_TIMEOUT}},
        progress=False,
        **how,
    )


def deliver_in_shares(url: str, format: str, number: int = 3) -> None:
    """Deliver the same rows to the test server at `url` in shares, unless that has been done."""
    writer = Writer(url, Rules().buckets[0], WRITER)
    with suppress(mc_sink.AlreadyDelivered):
        delivery = open_on(writer, frame().schema, PART_SIZE, format=format, success_marker=True)
        delivery.publish(stage_all(delivery, frame(), number), num_shares=number)


class Child:
    """A process that has imported everything and waits for orders."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.killed_deliveries"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def start(self, state: Path, **order: Any) -> None:
        """Send it an order; it delivers at once, with its journals under `state`."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"state": str(state)} | order) + "\n")
        self._process.stdin.flush()

    def told(self) -> Any:
        """Wait for what it says next: that it is ready, or what came of its order."""
        said = self._process.stdout.readline() if self._process.stdout else ""
        assert said, self._process.communicate()[1]
        return json.loads(said)

    def end(self) -> tuple[int, str]:
        """Wait for its end; give its exit code, and what it wrote to its standard error."""
        _, errors = self._process.communicate(timeout=SECONDS)
        return self._process.returncode, errors

    def drop(self) -> None:
        """Kill it, at any moment."""
        self._process.kill()
        self._process.communicate()


class Children:
    """Children that wait, some ahead of the next order; they end with the `with`."""

    def __init__(self, ahead: int = 2) -> None:
        self._waiting = deque(Child() for _ in range(ahead))
        self._stack = ExitStack()

    def take(self) -> Child:
        """Return one that is ready, and start another."""
        self._waiting.append(Child())
        child = self._waiting.popleft()
        self._stack.callback(child.drop)
        assert child.told() == "ready"
        return child

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._waiting:
            child.drop()
        self._stack.close()


def main() -> None:
    """Wait for orders, deliver, and tell what came of each; SIGTERM raises SystemExit, as services have it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_CODE))
    import pyarrow.parquet  # noqa: F401  all that a delivery loads when it is first needed
    import s3fs  # noqa: F401

    say("ready")
    with pytest.MonkeyPatch.context() as patch:
        tiny_parts(patch)
        for line in sys.stdin:
            order = json.loads(line)
            os.environ["MC_SINK_STATE_DIR"] = order.pop("state")
            if order.pop("in_shares", False):
                deliver_in_shares(**order)
                say("delivered")
                continue
            try:
                receipt = deliver(**order)
            except mc_sink.SinkError as error:
                say({"error": type(error).__name__, "text": str(error)})
            else:
                say({"files": [file.path for file in receipt.files], "num_rows": receipt.num_rows})


def say(what: Any) -> None:
    """Print a line of JSON for the parent."""
    print(json.dumps(what), flush=True)  # noqa: T201  the parent reads it


if __name__ == "__main__":
    main()
