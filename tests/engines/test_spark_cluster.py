"""Spark on a cluster of two hosts: an executor is killed, and two attempts at one partition run at once."""

from __future__ import annotations

import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.servers.fault import FaultServer
from tests.support.small_deliveries import data_files
from tests.support.spark_deliveries import (
    CANARIES,
    MANY,
    deliver,
    ids_of_csv,
    slow,
    stage_workers,
    until_parts_are_up,
)
from tests.support.spark_sessions import spark_cluster, spark_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("pyspark", reason="make test-engines installs Spark")

# The last of two tasks is attempted a second time, on the other host, soon after the first has ended.
SPECULATION = {
    "spark.speculation": "true",
    "spark.speculation.quantile": "0.5",
    "spark.speculation.multiplier": "1.01",
    "spark.speculation.interval": "100ms",
    "spark.speculation.minTaskRuntime": "100ms",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the cluster's state and events."""
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="module")
def session(folder: Path) -> Iterator[Any]:
    """Yield a session on two hosts with one executor of one core each."""
    with (
        spark_cluster(folder) as address,
        spark_session(address, folder, **SPECULATION, **{"spark.executor.memory": "512m"}) as made,
    ):
        yield made


@pytest.fixture(autouse=True)
def one_state_folder(folder: Path, state_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the state folder that Spark's processes have, instead of one for each test."""
    del state_folder
    shutil.rmtree(folder / "state", ignore_errors=True)
    monkeypatch.setenv("MC_SINK_STATE_DIR", str(folder / "state"))


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """Yield a server whose key is a canary, and that lets uploads be listed."""
    with FaultServer(CANARIES) as made:
        yield made


def test_the_faster_of_two_attempts_counts(session: Any, server: FaultServer, tmp_path: Path) -> None:
    """The slower one has parts up when the run is published: one copy of every row, and its upload is aborted."""
    receipt = deliver(server, slow(session, tmp_path / "gate", first_only=True, number=2), format="csv")
    (tmp_path / "gate").touch()
    assert (receipt.num_rows, len(data_files(server))) == (2 * MANY, 2)
    assert server.log.ops().count("Create") == 3
    assert ids_of_csv(server, tmp_path) == list(range(2 * MANY))
    assert server.wait_until_idle()
    assert server.pending_uploads(server.bucket) == []


def test_a_killed_executor_loses_nothing(session: Any, server: FaultServer, tmp_path: Path) -> None:
    """Its partition is staged again on the other host: one copy of every row, and no upload is left."""
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(1) as pool:
        receipt = pool.submit(deliver, server, slow(session, gate, first_only=True), format="csv")
        until_parts_are_up(server, receipt)
        (worker,) = stage_workers(server)
        (executor,) = [
            one for one in worker.parents() if any("CoarseGrainedExecutor" in word for word in one.cmdline())
        ]
        os.kill(executor.pid, signal.SIGKILL)
        gate.touch()
        assert receipt.result().num_rows == MANY
    assert server.log.ops().count("Create") == 2
    assert ids_of_csv(server, tmp_path) == list(range(MANY))
    assert server.pending_uploads(server.bucket) == []
