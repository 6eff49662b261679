"""Dask delivers one run from its workers: on threads, on processes and on a cluster."""

from __future__ import annotations

import _thread
import os
import signal
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pandera.polars as pa
import polars as pl
import pytest

import mc_sink
import mc_sink.testing
from mc_sink import UploadError, ValidationError
from tests.servers.faults import FOREVER, BlackHole, Call, Kill, Status
from tests.servers.rules import GRANTED, WRITER
from tests.support.frames import numbers, read_back
from tests.support.readme import run_snippet
from tests.support.shared_deliveries import CREDENTIALS
from tests.support.small_deliveries import RUN, data_files, seen

dd = pytest.importorskip("dask.dataframe", reason="make test-engines installs Dask")
dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.fault import FaultServer

FRAME = numbers(4_000)
SMALL = pa.DataFrameSchema({"id": pa.Column(pl.Int64, pa.Check.lt(3_990))}, strict=False, name="small")
ONCE = pa.DataFrameSchema({"id": pa.Column(pl.Int64, unique=True)}, strict=False, name="once")


@pytest.fixture(params=["threads", "processes", "cluster"])
def scheduler(request: pytest.FixtureRequest) -> Iterator[str]:
    """Make Dask compute in each way in turn."""
    if request.param == "cluster":
        with (
            distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
            cluster.get_client(),
        ):
            yield request.param
    else:
        with dask.config.set(scheduler=request.param, num_workers=1):  # so that no task runs when another one fails
            yield request.param


def deliver(server: FaultServer, frame: Any, **how: Any) -> mc_sink.Receipt:
    """Deliver a Dask frame to the server."""
    from mc_sink.engines.dask import sink_madconnect

    options = {"endpoint_url": server.url, "config_kwargs": {"read_timeout": 20}}
    given: dict[str, Any] = {"format": "parquet", "run_id": RUN, "credentials": CREDENTIALS} | how
    return sink_madconnect(frame, server.writer.target("p/"), storage_options=options, **given)


def divided(frame: pl.DataFrame = FRAME, number: int = 4) -> Any:
    """Return the rows as a Dask frame."""
    return dd.from_pandas(frame.to_pandas(), npartitions=number)


def delivered(server: FaultServer, folder: Path) -> pl.DataFrame:
    """Read all files back."""
    return pl.concat(read_back(server.read(server.bucket, key), "parquet", folder) for key in data_files(server))


def test_each_partition_is_a_share(fault_s3: FaultServer, tmp_path: Path, scheduler: str) -> None:
    """All rows, in order, under one manifest; partitions without rows have no file."""
    del scheduler
    frame = divided()
    receipt = deliver(fault_s3, frame[frame["id"] < 3_000])
    assert (receipt.num_rows, receipt.num_files) == (3_000, 3)
    assert delivered(fault_s3, tmp_path).equals(FRAME[:3_000])
    assert fault_s3.pending_uploads(fault_s3.bucket) == []
    with pytest.raises(mc_sink.AlreadyDelivered):
        deliver(fault_s3, frame)
    assert deliver(fault_s3, frame[frame["id"] < 0], run_id="empty").num_rows == 0


def test_a_failure_leaves_nothing(fault_s3: FaultServer, scheduler: str) -> None:
    """Invalid rows, a source that raises, and a store that fails for good: nothing visible, nothing stored."""
    del scheduler
    with pytest.raises(ValidationError, match="1 share failed 1 check of schema 'small'") as raised:
        deliver(fault_s3, divided(), schema=SMALL)
    assert raised.value.failure_cases is not None
    assert raised.value.failure_cases["share"].unique().to_list() == [3]
    with pytest.raises(ZeroDivisionError):
        deliver(fault_s3, divided().map_partitions(_fails_late, meta=FRAME[:0].to_pandas()))
    fault_s3.fault("Create", Status(403, "AccessDenied"), n=3, times=FOREVER)
    with pytest.raises(mc_sink.PermissionDenied):
        deliver(fault_s3, divided())
    assert (seen(fault_s3), fault_s3.pending_uploads(fault_s3.bucket)) == ({}, [])


def _fails_late(rows: Any) -> Any:
    """Return a partition, and raise at the last one."""
    if len(rows) and rows["id"].iloc[-1] == 3_999:
        raise ZeroDivisionError("the last partition")
    return rows


def test_a_key_is_unique_over_all_partitions(fault_s3: FaultServer, tmp_path: Path, scheduler: str) -> None:
    """Rows are shuffled by key, so that duplicates of two partitions are found."""
    del scheduler
    receipt = deliver(fault_s3, divided(), schema=ONCE)
    assert (receipt.num_rows, receipt.validated) == (4_000, True)
    assert delivered(fault_s3, tmp_path).sort("id").equals(FRAME)
    twice = pl.concat([FRAME, FRAME[:10]])
    with pytest.raises(ValidationError, match="of schema 'once'") as raised:
        deliver(fault_s3, divided(twice), schema=ONCE, run_id="r-2")
    assert raised.value.checks is not None
    assert raised.value.checks["failures"].sum() == 20
    assert fault_s3.pending_uploads(fault_s3.bucket) == []


@pytest.mark.parametrize("granted", [{"ListUploads"}, set()], ids=["may list uploads", "three permissions"])
def test_a_killed_worker_loses_nothing(
    fault_s3: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, granted: set[str]
) -> None:
    """Its partitions are computed again elsewhere: one copy of every row, and no upload is left."""
    fault_s3.rules = replace(fault_s3.rules, granted=GRANTED | granted)
    monkeypatch.setenv("KILLED_ONCE", str(tmp_path / "killed"))
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        cluster.get_client(),
    ):
        frame = divided(number=6).map_partitions(_killed_once, meta=FRAME[:0].to_pandas())
        receipt = deliver(fault_s3, frame)
    assert (tmp_path / "killed").exists()
    assert (receipt.num_rows, receipt.num_files) == (4_000, 6)
    assert delivered(fault_s3, tmp_path).equals(FRAME)
    assert receipt.sweep is not None
    assert (receipt.sweep.outcome, receipt.sweep.reported) == ("done" if granted else "denied", True)
    assert fault_s3.pending_uploads(fault_s3.bucket) == []


def test_a_worker_killed_with_a_part_up_leaves_nothing(fault_s3: FaultServer, tmp_path: Path) -> None:
    """Its upload was reported, and is aborted by its id; its partition is staged by the next worker."""
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        cluster.get_client() as one,
    ):
        (pid,) = one.run(os.getpid).values()
        fault_s3.fault("Part", Kill(pid), n=2, when="after")
        receipt = deliver(fault_s3, divided(number=6))
    assert delivered(fault_s3, tmp_path).equals(FRAME)
    assert receipt.sweep is not None
    assert receipt.sweep.num_aborted >= 1
    assert fault_s3.pending_uploads(fault_s3.bucket) == []


def test_nothing_that_travels_holds_a_key(fault_s3: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the tasks that the client sends, nor the events and logs of the cluster."""
    pickles = import_module("distributed.protocol.pickle")
    sent, dumps = list[bytes](), pickles.dumps

    def recorded(*args: Any, **how: Any) -> bytes:
        sent.append(dumps(*args, **how))
        return sent[-1]

    monkeypatch.setattr(pickles, "dumps", recorded)
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        cluster.get_client() as one,
    ):
        deliver(fault_s3, divided())
        logs = [one.get_events(), one.get_scheduler_logs(), one.get_worker_logs(), cluster.get_logs()]
    assert any(RUN.encode() in text for text in sent)
    assert "mc_sink" in repr(logs)
    shown = b"".join([*sent, *(repr(log).encode() for log in logs)])
    assert WRITER.key.encode() not in shown
    assert WRITER.secret.encode() not in shown


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_a_failure_while_other_tasks_run(fault_s3: FaultServer, scheduler: str) -> None:
    """A task waits for the store when another one fails: its upload was reported, and is aborted."""
    fault_s3.fault("Part", BlackHole(), n=1)
    fault_s3.fault("Part", Status(400, "InvalidDigest"), n=2, times=FOREVER)
    with dask.config.set(scheduler=scheduler, num_workers=2), pytest.raises(UploadError):
        deliver(fault_s3, divided(number=2))
    assert (seen(fault_s3), fault_s3.pending_uploads(fault_s3.bucket)) == ({}, [])


def _killed_once(rows: Any) -> Any:
    """Kill the process of the first worker that comes to the fifth partition."""
    place = os.environ["KILLED_ONCE"]
    if len(rows) and rows["id"].iloc[0] > 2_000 and not os.path.exists(place):  # noqa: PTH110  plain in a worker
        with open(place, "w", encoding="utf-8"):  # noqa: PTH123  plain in a worker
            os.kill(os.getpid(), signal.SIGKILL)
    return rows


def test_ctrl_c_leaves_nothing(fault_s3: FaultServer) -> None:
    """While threads stage: what they have begun is aborted, and what they begin later, they abort themselves."""
    fault_s3.fault("Part", Call(lambda _: _thread.interrupt_main()), n=3, when="after")
    with dask.config.set(scheduler="threads", num_workers=2), pytest.raises(KeyboardInterrupt):
        deliver(fault_s3, divided(number=8))
    assert fault_s3.wait_until_idle()
    assert (seen(fault_s3), fault_s3.pending_uploads(fault_s3.bucket)) == ({}, [])


def test_a_rerun_in_other_partitions_is_refused(fault_s3: FaultServer, tmp_path: Path) -> None:
    """Where a Complete has failed, the same partitions end the run; others would deliver rows twice."""
    fault_s3.fault("Complete", Status(403, "AccessDenied"), n=3)
    with dask.config.set(scheduler="threads", num_workers=2):
        with pytest.raises(mc_sink.CommitError):
            deliver(fault_s3, divided())
        with pytest.raises(mc_sink.AlreadyExistsError):
            deliver(fault_s3, divided(number=2))
        assert len(data_files(fault_s3)) == 2
        assert deliver(fault_s3, divided()).num_found == 2
    assert delivered(fault_s3, tmp_path).equals(FRAME)
    assert fault_s3.pending_uploads(fault_s3.bucket) == []


def test_the_snippet_of_the_readme(tmp_path: Path) -> None:
    """It runs as it is shown, to a folder."""
    rows = mc_sink.testing.sample("audience", 100).collect()
    with dask.config.set(scheduler="threads", num_workers=2):
        found: Any = run_snippet("import dask", f"{tmp_path}/", {"ddf": divided(rows)})
    assert found["receipt"].num_rows == 100
