"""A far-away store: 50 ms on every request, 512 MB, the same part size; parts side by side against one at a time."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

import s3fs

from mc_sink.storage import Writer as FileWriter
from mc_sink.storage import open_store
from mc_sink.target import parse_target
from tests.servers.fault_child import fault_child

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_benchmark.fixture import BenchmarkFixture

    from mc_sink.sandbox.admin import Writer

PIECE, PIECES, PART_SIZE, LATENCY = bytes(2**20), 512, 8 * 2**20, 0.05
TABLE = "Upload of 512 MiB in parts of 8 MiB, 50 ms added to every request, seconds"


def ours(writer: Writer) -> None:
    """Upload through this library's storage."""
    target = parse_target(writer.target("mc_sink.bin"))
    store = open_store(target, writer.storage_options | {"default_block_size": PART_SIZE})
    handle = FileWriter(store.open(target, "application/octet-stream", several=False))
    for _ in range(PIECES):
        handle.write(PIECE)
    handle.finish()


def theirs(writer: Writer) -> float:
    """Upload through s3fs' own handle, and give the seconds."""
    started = perf_counter()
    filesystem = s3fs.S3FileSystem(**writer.storage_options, skip_instance_cache=True)
    with filesystem.open(writer.target("s3fs.bin"), "wb", block_size=PART_SIZE) as handle:
        for _ in range(PIECES):
            handle.write(PIECE)
    return perf_counter() - started


def test_latency(benchmark: BenchmarkFixture, note: Callable[[str, tuple[str, ...]], None]) -> None:
    """mc_sink and s3fs' handle, three times each, the best of each."""
    with fault_child(latency=LATENCY) as writer:
        benchmark.pedantic(ours, args=(writer,), rounds=3, warmup_rounds=1)
        handle = min(theirs(writer) for _ in range(3))
    stats: Any = benchmark.stats
    mine = float(stats.stats.min)
    note(TABLE, ("mc_sink", "s3fs handle", "ratio"))
    note(TABLE, ("---",) * 3)
    note(TABLE, (f"{mine:.2f}", f"{handle:.2f}", f"{handle / mine:.1f}×"))
