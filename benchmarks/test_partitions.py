"""10 M rows into 200 and 1,000 partitions, in no order and sorted: time and peak memory, each in a process of its own.

One file of the same rows stands beside them, and three times the rows, whose peak is to stay where it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.servers.fault_child import owner_of
from tests.support.partitioned_deliveries import deliver

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_benchmark.fixture import BenchmarkFixture

    from mc_sink.sandbox.admin import Writer

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
    """Every row arrives in its partition, every file is as large as its receipt states, and the peak is bounded."""
    found = benchmark.pedantic(
        deliver, args=(order, partitions, rows, discarding, format, owner_of(discarding)), rounds=1
    )
    if order == "one file" and format == "parquet":
        note(TABLE, ("rows", "into", "format", "files", "seconds", "peak, MiB"))
        note(TABLE, ("---",) * 6)
    into = f"{partitions:,}, {order}" if partitions else order
    note(
        TABLE,
        (f"{rows:,}", into, format, f"{len(found['files']):,}", f"{found['seconds']:.1f}", f"{found['peak']:,}"),
    )
