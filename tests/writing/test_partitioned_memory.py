"""Many rows into many partitions: right in every file, in memory that doesn't grow with the rows."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import polars as pl
import pyarrow.parquet as pq
import pytest

from benchmarks.data import generated
from tests.servers.fault_child import fault_child, owner_of
from tests.support.partitioned_deliveries import deliver

if TYPE_CHECKING:
    from mc_sink.sandbox.admin import Admin, Writer

ROWS = 10_000_000
# What docs/partitions.md says beyond a delivery of one file: lots and row groups, and the engine's own variance.
MORE_MIB = 500


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("partitions", [200, 1_000])
def test_rows_in_no_order_fill_their_partitions(seaweed: Admin, writer: Writer, partitions: int) -> None:
    """Ten million rows on the real server: every file is what a group-by has, and the peak stays near one file's."""
    alone = deliver("one file", 0, ROWS, writer, "parquet", seaweed)
    divided = deliver("unsorted", partitions, ROWS, writer, "parquet", seaweed)
    assert len(divided["files"]) == partitions
    assert divided["peak"] <= alone["peak"] + MORE_MIB
    for key in (0, partitions // 2, partitions - 1):
        (path,) = [path for path in divided["files"] if f"/k={key}/" in path]
        data = seaweed.read(writer.bucket, path.removeprefix(f"s3://{writer.bucket}/"))
        found = pq.read_table(io.BytesIO(data)).column("id").to_pylist()
        expected = generated(ROWS).filter(pl.col("id").hash(5) % partitions == key).select("id")
        assert found == expected.collect(engine="streaming")["id"].to_list()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_three_times_the_rows_take_no_more_memory() -> None:
    """The bound is on what is held at once: thirty million rows peak where ten do."""
    with fault_child() as writer:
        few, many = (deliver("unsorted", 1_000, rows, writer, "parquet", owner_of(writer)) for rows in (ROWS, 3 * ROWS))
    assert many["peak"] <= few["peak"] * 1.25
