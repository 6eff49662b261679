"""Ray delivers one run from its write tasks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandera.polars as pa
import polars as pl
import pytest

import mc_sink
from mc_sink import ValidationError
from tests.servers.faults import FOREVER, Status
from tests.servers.rules import GRANTED
from tests.support.frames import numbers, read_back
from tests.support.shared_deliveries import CREDENTIALS
from tests.support.small_deliveries import RUN, data_files, seen

ray = pytest.importorskip("ray", reason="make test-engines installs Ray")

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.fault import FaultServer

FRAME = numbers(4_000)
ROOT = Path(__file__).parents[2]
SMALL = pa.DataFrameSchema({"id": pa.Column(pl.Int64, pa.Check.lt(3_990))}, strict=False, name="small")
ONCE = pa.DataFrameSchema({"id": pa.Column(pl.Int64, unique=True)}, strict=False, name="once")


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """Start a cluster of two cores."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield
        ray.shutdown()


def deliver(server: FaultServer, dataset: Any, **how: Any) -> mc_sink.Receipt:
    """Deliver a dataset to the server."""
    from mc_sink.engines.ray import sink_madconnect

    options = {"endpoint_url": server.url, "config_kwargs": {"read_timeout": 20}}
    given: dict[str, Any] = {"format": "parquet", "run_id": RUN, "credentials": CREDENTIALS} | how
    return sink_madconnect(dataset, server.writer.target("p/"), storage_options=options, **given)


def divided(frame: pl.DataFrame = FRAME, number: int = 4) -> Any:
    """Return the rows as a dataset of as many blocks, in order."""
    each = -(-frame.height // number)
    parts = [frame[start * each : (start + 1) * each] for start in range(number)]
    return ray.data.from_arrow([part.to_arrow(compat_level=pl.CompatLevel.oldest()) for part in parts])


def delivered(server: FaultServer, folder: Path) -> pl.DataFrame:
    """Read all files back."""
    return pl.concat(read_back(server.read(server.bucket, key), "parquet", folder) for key in data_files(server))


def test_each_write_task_is_a_share(fault_s3: FaultServer, tmp_path: Path) -> None:
    """All rows, in order, under one manifest; blocks of pandas too; tasks without rows have no file."""
    receipt = deliver(fault_s3, divided())
    assert (receipt.num_rows, receipt.num_files) == (4_000, 4)
    assert delivered(fault_s3, tmp_path).equals(FRAME)
    assert fault_s3.pending_uploads(fault_s3.bucket) == []
    with pytest.raises(mc_sink.AlreadyDelivered):
        deliver(fault_s3, divided())
    assert deliver(fault_s3, divided().filter(expr="id < 1000"), run_id="one").num_files == 1
    assert deliver(fault_s3, divided().filter(expr="id < 0"), run_id="none").num_rows == 0
    assert deliver(fault_s3, ray.data.from_pandas(FRAME.to_pandas()), run_id="pandas").num_rows == 4_000
    with pytest.raises(mc_sink.ConfigurationError, match="neither rows nor columns"):
        deliver(fault_s3, ray.data.from_items([]), run_id="nothing")


def test_a_failure_leaves_nothing(fault_s3: FaultServer) -> None:
    """Invalid rows, a source that raises, and a store that refuses: nothing visible, nothing stored."""
    with pytest.raises(ValidationError, match="1 share failed 1 check of schema 'small'") as raised:
        deliver(fault_s3, divided(), schema=SMALL)
    assert raised.value.failure_cases is not None
    assert raised.value.failure_cases["share"].unique().to_list() == [3]
    fault_s3.fault("Create", Status(403, "AccessDenied"), n=3, times=FOREVER)
    with pytest.raises(mc_sink.PermissionDenied):
        deliver(fault_s3, divided())
    assert (seen(fault_s3), fault_s3.pending_uploads(fault_s3.bucket)) == ({}, [])
    fault_s3.heal()
    fault_s3.fault("Create", Status(503, "SlowDown"), n=3, times=FOREVER)
    with pytest.raises(mc_sink.UploadError):
        deliver(fault_s3, divided())
    fault_s3.heal()
    assert (seen(fault_s3), fault_s3.pending_uploads(fault_s3.bucket)) == ({}, [])


def test_a_source_that_raises_shows_nothing(fault_s3: FaultServer) -> None:
    """Its own error is raised, and all other shares are discarded."""
    fault_s3.rules = replace(fault_s3.rules, granted=GRANTED | {"ListUploads"})
    with pytest.raises(ZeroDivisionError, match=r"the last block"):
        deliver(fault_s3, divided().map_batches(_fails_late, batch_format="pyarrow"))
    assert (seen(fault_s3), fault_s3.pending_uploads(fault_s3.bucket)) == ({}, [])


def _fails_late(rows: Any) -> Any:
    """Return a batch, and raise at the last one."""
    if rows["id"][-1].as_py() == 3_999:
        raise ZeroDivisionError("the last block")
    return rows


def test_a_key_is_unique_over_all_tasks(fault_s3: FaultServer, tmp_path: Path) -> None:
    """Rows are repartitioned by key, so that duplicates of two blocks are found."""
    receipt = deliver(fault_s3, divided(), schema=ONCE)
    assert (receipt.num_rows, receipt.validated) == (4_000, True)
    assert delivered(fault_s3, tmp_path).sort("id").equals(FRAME)
    with pytest.raises(ValidationError, match="of schema 'once'") as raised:
        deliver(fault_s3, divided(pl.concat([FRAME, FRAME[:10]])), schema=ONCE, run_id="r-2")
    assert raised.value.checks is not None
    assert raised.value.checks["failures"].sum() == 20
    assert fault_s3.pending_uploads(fault_s3.bucket) == []
