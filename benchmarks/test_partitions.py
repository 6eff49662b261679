"""10 M rows into 200 and 1,000 partitions, in no order and sorted: time and peak memory, each in a process of its own.

One file of the same rows stands beside them, and three times the rows, whose peak is to stay where it is.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.servers.fault_child import owner_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_benchmark.fixture import BenchmarkFixture

    from tests.servers.s3_admin import Writer

ROWS = 10_000_000
TABLE = "Rows of eight columns into partitions, staged on a loopback server"
CASES = [
    ("one file", 0, ROWS, "parquet"),
    ("unsorted", 200, ROWS, "parquet"),
    ("unsorted", 1_000, ROWS, "parquet"),
    ("unsorted", 1_000, 3 * ROWS, "parquet"),
    ("sorted", 1_000, ROWS, "parquet"),
    ("one file", 0, ROWS, "csv.gz"),
    ("unsorted", 1_000, ROWS, "csv.gz"),
]
CHILD = """
import json, resource, sys, time
import mc_sink, polars as pl
from benchmarks.data import generated

order, partitions, rows, target, format, key, secret, url = sys.argv[1:]
rows, partitions = int(rows), int(partitions)
keys = {"unsorted": pl.col("id").hash(5) % max(1, partitions), "sorted": pl.col("id") * partitions // rows}
frame = generated(rows).with_columns(k=keys.get(order, pl.lit(0)))
plan = {"partition_by": "k"} if partitions else {}
options = {"key": key, "secret": secret, "endpoint_url": url}
began = time.perf_counter()
staged = mc_sink.stage(frame, target, format=format, storage_options=options, progress=False, **plan)
seconds, peak = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
receipt = mc_sink.publish([staged], storage_options=options)
if partitions:
    counts = frame.group_by("k").len().collect(engine="streaming")
    found = {(file.partition["k"], file.num_rows) for file in receipt.files}
    assert found == {(str(k), n) for k, n in counts.iter_rows()}
assert receipt.num_rows == rows
files = {file.path: file.num_bytes for file in receipt.files}
print(json.dumps({"seconds": seconds, "peak": peak, "files": files, "manifest": receipt.manifest}))
"""


def deliver(order: str, partitions: int, rows: int, writer: Writer, format: str) -> dict[str, Any]:
    """Deliver in a child, and give its seconds, its peak of resident memory in MiB, and its files."""
    who, place = writer.credentials, f"{order}-{partitions}-{rows}-{format}/".replace(" ", "-")
    command = [sys.executable, "-c", CHILD, order, str(partitions), str(rows), writer.target(place), format]
    root = Path(__file__).parents[1]
    child = subprocess.run(
        [*command, who.key, who.secret, writer.url], check=True, stdout=subprocess.PIPE, text=True, cwd=root
    )
    found: dict[str, Any] = json.loads(child.stdout)
    arrived = {f"s3://{writer.bucket}/{key}": one.size for key, one in owner_of(writer).listing(writer.bucket).items()}
    assert {path: arrived.get(path) for path in found["files"]} == found["files"]
    assert arrived.get(found["manifest"], partitions == 0)
    return found


@pytest.mark.parametrize(("order", "partitions", "rows", "format"), CASES)
@pytest.mark.timeout(900)
def test_partitions(  # noqa: PLR0913, PLR0917  a case, and where to note it
    benchmark: BenchmarkFixture,
    discarding: Writer,
    note: Callable[[str, tuple[str, ...]], None],
    order: str,
    partitions: int,
    rows: int,
    format: str,
) -> None:
    """Every row arrives in its partition, every file is as large as it was said to be, and the peak is bounded."""
    found = benchmark.pedantic(deliver, args=(order, partitions, rows, discarding, format), rounds=1)
    if order == "one file" and format == "parquet":
        note(TABLE, ("rows", "into", "format", "files", "seconds", "peak, MiB"))
        note(TABLE, ("---",) * 6)
    into = f"{partitions:,}, {order}" if partitions else order
    note(
        TABLE,
        (f"{rows:,}", into, format, f"{len(found['files']):,}", f"{found['seconds']:.1f}", f"{found['peak']:,}"),
    )
