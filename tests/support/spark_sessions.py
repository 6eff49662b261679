"""Spark sessions of the tests, and what their tasks do. All processes of Spark have the canaries as credentials."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mc_sink.sandbox.admin import Credentials
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


def _environment(folder: Path) -> dict[str, str]:
    """Return the environment of Spark's processes."""
    ours = {"PYSPARK_PYTHON": sys.executable, "PYTHONPATH": str(ROOT), "MC_SINK_STATE_DIR": str(folder / "state")}
    return {**os.environ, **ours, "SHARED_KEY": CANARY.key, "SHARED_SECRET": CANARY.secret}


@contextmanager
def spark_session(master: str, folder: Path, **settings: str) -> Iterator[Any]:
    """Yield a session whose processes share one state folder, and that writes its event log to `folder`/events."""
    from pyspark.sql import SparkSession

    (folder / "events").mkdir()
    os.environ |= _environment(folder) | {"SPARK_LOCAL_IP": "127.0.0.1"}
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


@contextmanager
def spark_cluster(folder: Path) -> Iterator[str]:
    """Yield the address of a master with two workers of one core each, on hosts of their own."""
    import pyspark

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command, address = [str(Path(pyspark.__path__[0]) / "bin" / "spark-class")], f"spark://127.0.0.1:{port}"
    master = ["org.apache.spark.deploy.master.Master", "--host", "127.0.0.1", "--port", str(port)]
    worker = ["org.apache.spark.deploy.worker.Worker", address, "-c", "1", "-m", "700M", "-d", str(folder / "work")]
    hosts = [["--host", "127.0.0.1"], ["--host", "127.0.0.2"]]
    environment, started = _environment(folder), list[subprocess.Popen[bytes]]()
    try:
        for words in (master, *([*worker, *host] for host in hosts)):
            with (folder / "cluster.log").open("ab") as log:
                call = [*command, *words, "--webui-port", "0"]
                started.append(subprocess.Popen(call, env=environment, stdout=log, stderr=log))
        yield address
    finally:
        for one in reversed(started):
            one.terminate()
            one.wait(60)


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
