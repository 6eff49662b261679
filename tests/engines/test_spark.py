"""Spark delivers one run from its tasks."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandera.polars as pa
import polars as pl
import pytest

import mc_sink
from mc_sink import ValidationError
from tests.servers.rules import GRANTED
from tests.support.frames import numbers, read_back
from tests.support.shared_deliveries import CREDENTIALS
from tests.support.small_deliveries import RUN, data_files, seen

pyspark = pytest.importorskip("pyspark", reason="make test-engines installs Spark")

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.fault import FaultServer

FRAME = numbers(4_000)
ROOT = Path(__file__).parents[2]
SMALL = pa.DataFrameSchema({"id": pa.Column(pl.Int64, pa.Check.lt(3_990))}, strict=False, name="small")
ONCE = pa.DataFrameSchema({"id": pa.Column(pl.Int64, unique=True)}, strict=False, name="once")


@pytest.fixture(scope="module")
def session() -> Iterator[Any]:
    """Yield a session of two cores, which attempts a task three times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("PYTHONPATH", str(ROOT))
        builder = pyspark.sql.SparkSession.builder.master("local[2,3]")
        settings = {
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.sql.shuffle.partitions": "3",
            "spark.sql.session.timeZone": "UTC",
        }
        for name, value in settings.items():
            builder = builder.config(name, value)
        made = builder.getOrCreate()
        yield made
        made.stop()


def deliver(server: FaultServer, frame: Any, **how: Any) -> mc_sink.Receipt:
    """Deliver a Spark frame to the server."""
    from mc_sink.engines.spark import sink_madconnect

    options = {"endpoint_url": server.url, "config_kwargs": {"read_timeout": 20}}
    given: dict[str, Any] = {"format": "parquet", "run_id": RUN, "credentials": CREDENTIALS} | how
    return sink_madconnect(frame, server.writer.target("p/"), storage_options=options, **given)


def divided(session: Any, frame: pl.DataFrame = FRAME, number: int = 4) -> Any:
    """Return the rows as a Spark frame, in order."""
    rows = session.range(0, frame.height, 1, number)
    return rows.mapInArrow(partial(_rows, frame), "id long, day byte, text string")


def _rows(frame: pl.DataFrame, batches: Any) -> Any:
    """Yield the rows of a frame by their numbers."""
    for batch in batches:
        yield from frame[pl.Series(batch["id"])].to_arrow(compat_level=pl.CompatLevel.oldest()).to_batches()


def delivered(server: FaultServer, folder: Path) -> pl.DataFrame:
    """Read all files back."""
    return pl.concat(read_back(server.read(server.bucket, key), "parquet", folder) for key in data_files(server))


def test_each_partition_is_a_share(fault_s3: FaultServer, session: Any, tmp_path: Path) -> None:
    """All rows, in order, under one manifest; partitions without rows have no file, and times arrive as they are."""
    frame = divided(session)
    receipt = deliver(fault_s3, frame.filter("id < 3000"))
    assert (receipt.num_rows, receipt.num_files) == (3_000, 3)
    assert delivered(fault_s3, tmp_path).equals(FRAME[:3_000])
    assert fault_s3.pending_uploads(fault_s3.bucket) == []
    with pytest.raises(mc_sink.AlreadyDelivered):
        deliver(fault_s3, frame)
    timed = session.sql("select timestamp'2026-11-27 10:00:00' as t, cast(1.5 as decimal(9, 2)) as d, array(1, 2) as a")
    assert deliver(fault_s3, timed, run_id="times").num_rows == 1
    assert deliver(fault_s3, timed.filter("d < 0"), run_id="empty").num_rows == 0


def test_a_failure_leaves_nothing(fault_s3: FaultServer, session: Any) -> None:
    """Invalid rows are one report, a task that fails for good has its own error; nothing is visible or stored."""
    with pytest.raises(ValidationError, match="1 share failed 1 check of schema 'small'") as raised:
        deliver(fault_s3, divided(session), schema=SMALL)
    assert raised.value.failure_cases is not None
    assert raised.value.failure_cases["share"].unique().to_list() == [3]
    fault_s3.rules = replace(fault_s3.rules, granted=GRANTED | {"ListUploads"})
    with pytest.raises(pyspark.errors.PySparkException, match=r"(?i)divi"):
        deliver(fault_s3, divided(session).selectExpr("id", "1 / (3999 - id) as one"))
    assert (seen(fault_s3), fault_s3.pending_uploads(fault_s3.bucket)) == ({}, [])


def test_a_key_is_unique_over_all_partitions(fault_s3: FaultServer, session: Any, tmp_path: Path) -> None:
    """Rows are shuffled by key, so that duplicates of two partitions are found."""
    receipt = deliver(fault_s3, divided(session), schema=ONCE)
    assert (receipt.num_rows, receipt.validated) == (4_000, True)
    assert delivered(fault_s3, tmp_path).sort("id").equals(FRAME)
    with pytest.raises(ValidationError, match="of schema 'once'") as raised:
        deliver(fault_s3, divided(session, pl.concat([FRAME, FRAME[:10]])), schema=ONCE, run_id="r-2")
    assert raised.value.checks is not None
    assert raised.value.checks["failures"].sum() == 20
    assert fault_s3.pending_uploads(fault_s3.bucket) == []


def test_a_killed_worker_loses_nothing(fault_s3: FaultServer, session: Any, tmp_path: Path) -> None:
    """Its task is attempted again: one copy of every row, and no upload is left."""
    fault_s3.rules = replace(fault_s3.rules, granted=GRANTED | {"ListUploads"})
    place = str(tmp_path / "killed")

    def killed_once(batches: Any) -> Any:
        for batch in batches:
            yield batch
            if batch["id"][-1].as_py() == 3_999 and not os.path.exists(place):  # noqa: PTH110  plain in a worker
                with open(place, "w", encoding="utf-8"):  # noqa: PTH123  plain in a worker
                    os.kill(os.getpid(), signal.SIGKILL)

    frame = divided(session)
    receipt = deliver(fault_s3, frame.mapInArrow(killed_once, frame.schema))
    assert Path(place).exists()
    assert receipt.sweep is not None
    assert (receipt.num_rows, receipt.num_files, receipt.sweep.outcome) == (4_000, 4, "done")
    assert delivered(fault_s3, tmp_path).equals(FRAME)
    assert fault_s3.pending_uploads(fault_s3.bucket) == []
