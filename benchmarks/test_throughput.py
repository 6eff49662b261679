"""One delivery beside its peers: the same rows, the same codec, one run, servers that read bodies and drop them.

The contenders take turns, so that a busy machine is busy for all of them; the median of each counts.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

import pytest

from benchmarks.peers import FORMATS, Turn, measure

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

    from mc_sink.sandbox.admin import Writer

ROWS = 8_000_000
PEERS = {
    "scan": ("polars s3://", "mc_sink, schema"),
    "memory": ("polars s3://", "mc_sink, schema", "s3fs handle", "duckdb to a file"),
}
SOURCES = {"scan": "a scan of Parquet files", "memory": "rows in memory"}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("wire", ["https", "http"])
@pytest.mark.parametrize("format", FORMATS)
def test_throughput(  # noqa: PLR0913, PLR0917  a case, and where to note it
    benchmark: BenchmarkFixture,
    servers: dict[str, Writer],
    files: Path,
    note: Callable[[str, tuple[str, ...]], None],
    keep_ratio: Callable[[str, float], None],
    rounds: int,
    format: str,
    wire: str,
    source: str,
) -> None:
    """Wall time, and what it is of this library's; the ratios are of medians."""
    given = (format, ROWS, servers[wire], files if source == "scan" else None)
    turns: dict[str, list[Turn]] = {name: [] for name in ("mc_sink", *PEERS[source])}

    def take_turns() -> None:
        for name in PEERS[source]:
            turns[name].append(measure(name, *given))

    benchmark.pedantic(
        lambda: turns["mc_sink"].append(measure("mc_sink", *given)), setup=take_turns, rounds=rounds, warmup_rounds=0
    )
    seconds = {name: median(turn.seconds for turn in each) for name, each in turns.items()}
    mine, native = seconds["mc_sink"], seconds["polars s3://"]
    table = f"{ROWS // 1_000_000} M rows over {wire}, {SOURCES[source]}, median of {rounds}, seconds"
    if format == FORMATS[0]:
        note(table, ("format", *turns, "mc_sink / native", "schema / none", "CPU / native's"))
        note(table, ("---",) * (len(turns) + 4))
    cpu = {name: median(turn.cpu for turn in each) for name, each in turns.items()}
    ratios = (mine / native, seconds["mc_sink, schema"] / mine, cpu["mc_sink"] / cpu["polars s3://"])
    note(table, (format, *(f"{one:.2f}" for one in seconds.values()), *(f"{one:.2f}" for one in ratios)))
    keep_ratio(f"{format} / native, {wire}, {source}", ratios[0])
    keep_ratio(f"{format} validated / not, {wire}, {source}", ratios[1])
