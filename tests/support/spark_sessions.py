"""Spark sessions of the tests, and what their tasks do. All processes of Spark have the canaries as credentials."""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.servers.s3_admin import Credentials
from tests.support.canary import KEY, SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
CANARY = Credentials(KEY, SECRET)
CREDENTIALS = "tests.support.shared_deliveries:credentials"
SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.sql.session.timeZone": "Europe/Zurich",
    "spark.sql.shuffle.partitions": "4",
    "spark.ui.showConsoleProgress": "false",
    "spark.eventLog.enabled": "true",
    "spark.eventLog.compress": "false",
    "spark.eventLog.buffer.kb": "1k",
}


@contextmanager
def spark_session(master: str, folder: Path, **settings: str) -> Iterator[Any]:
    """Yield a session whose processes share one state folder, and that writes its event log to `folder`/events."""
    from pyspark.sql import SparkSession

    (folder / "events").mkdir()
    os.environ |= {"PYSPARK_PYTHON": sys.executable, "PYTHONPATH": str(ROOT), "SPARK_LOCAL_IP": "127.0.0.1"}
    os.environ |= {"SHARED_KEY": CANARY.key, "SHARED_SECRET": CANARY.secret, "MC_SINK_STATE_DIR": str(folder / "state")}
    given = SETTINGS | {"spark.eventLog.dir": f"file://{folder}/events"} | settings
    builder = SparkSession.builder.master(master).appName("tests")
    for name, value in given.items():
        builder = builder.config(name, value)
    made = builder.getOrCreate()
    made.sparkContext.setLogLevel("OFF")
    try:
        yield made
    finally:
        made.stop()


def noting_attempts(folder: Path) -> Any:
    """Return a function for `mapInArrow` that leaves a file in `folder` for each attempt at a partition."""

    def note(batches: Iterator[Any]) -> Iterator[Any]:
        from pyspark import TaskContext

        task = TaskContext.get()
        (folder / f"{task.partitionId()}-{task.attemptNumber()}").touch()
        yield from batches

    return note


def failing(partition: int, times: int) -> Any:
    """Return a function for `mapInArrow` that raises at the end of a partition, at its first attempts."""

    def fail(batches: Iterator[Any]) -> Iterator[Any]:
        from pyspark import TaskContext

        yield from batches
        task = TaskContext.get()
        if task.partitionId() == partition and task.attemptNumber() < times:
            raise ZeroDivisionError("the source of this partition")

    return fail


def waiting(partition: int, gate: Path, *, first_only: bool = False) -> Any:
    """Return a function for `mapInArrow` that makes a partition wait, before its last batch, until `gate` exists."""

    def wait(batches: Iterator[Any]) -> Iterator[Any]:
        from pyspark import TaskContext

        task = TaskContext.get()
        waits = task.partitionId() == partition and not (first_only and task.attemptNumber())
        last = None
        for batch in batches:
            if last is not None:
                yield last
            last = batch
        until = time.monotonic() + 120
        while waits and not gate.exists() and time.monotonic() < until:
            time.sleep(0.05)
        if last is not None:
            yield last

    return wait
