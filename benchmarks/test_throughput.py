"""Wall time of one delivery beside its peers: the same rows, the same codec, one run, one server that drops bodies."""

from __future__ import annotations

from functools import cache
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.data import audience
from benchmarks.peers import FORMATS, duckdb_copy, ours, polars_native, s3fs_handle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

    from tests.servers.s3_admin import Writer

ROWS = 8_000_000
ROUNDS = {"parquet": 15, "csv.gz": 3, "csv": 3}
TABLE = f"Wall time, {ROWS // 1_000_000} M rows, median, seconds (and times mc_sink's)"

frame = cache(audience)


@pytest.mark.parametrize("format", FORMATS)
def test_throughput(
    benchmark: BenchmarkFixture,
    discarding: Writer,
    tmp_path: Path,
    note: Callable[[str, tuple[str, ...]], None],
    format: str,
) -> None:
    """mc_sink and its peers alternate, so that a busy machine is busy for all of them; the median of each counts."""
    rows = frame(ROWS)
    peers: dict[str, Callable[[], None]] = {
        "polars s3://": lambda: polars_native(rows.lazy(), discarding, format),
        "s3fs handle": lambda: s3fs_handle(rows.lazy(), discarding, format),
        "duckdb to a file": lambda: duckdb_copy(rows, tmp_path, format),
    }
    took: dict[str, list[float]] = {name: [] for name in peers}

    def take_turns() -> None:
        for name, peer in peers.items():
            took[name].append(_seconds(peer))

    lazy = rows.lazy()
    benchmark.pedantic(ours, args=(lazy, discarding, format), setup=take_turns, rounds=ROUNDS[format], warmup_rounds=1)
    mine = _median(benchmark)
    theirs = [median(seconds[1:]) for seconds in took.values()]
    if format == FORMATS[0]:
        note(TABLE, ("format", "mc_sink", *peers))
        note(TABLE, ("---",) * (2 + len(peers)))
    note(TABLE, (format, f"{mine:.2f}", *(f"{seconds:.2f} ({seconds / mine:.2f}×)" for seconds in theirs)))


def _median(benchmark: BenchmarkFixture) -> float:
    stats: Any = benchmark.stats
    return float(stats.stats.median)


def _seconds(work: Callable[[], None]) -> float:
    started = perf_counter()
    work()
    return perf_counter() - started
