"""What small deliveries cost: the first in a fresh process, the next thousand, and 200 files over a slow line."""

from __future__ import annotations

import compileall
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import mc_sink
from benchmarks.data import audience
from tests.servers.fault_child import fault_child

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_benchmark.fixture import BenchmarkFixture

    from mc_sink.sandbox.admin import Writer

FILES, LATENCY, LATER, ROUNDS = 200, 0.05, 1_000, 9
SMALL = "1,000 rows over https, CPU, the package compiled as an installed wheel is"
MANY = f"{FILES} files of 100 rows over https, 50 ms added to every request, seconds"
CHILD = """
import json, sys
from time import process_time

started = process_time()
import polars as pl
polars = process_time() - started
import mc_sink

url, key, secret, authority, later = sys.argv[1:]
options = {"key": key, "secret": secret, "endpoint_url": url, "client_kwargs": {"verify": authority}}
frame = pl.select(id=pl.int_range(1_000), user=pl.lit("user@example.com"))
deliver = lambda: mc_sink.sink_madconnect(frame, "s3://bucket/small/", storage_options=options, progress=False)
deliver()
first = process_time() - started - polars
started = process_time()
for _ in range(int(later)):
    deliver()
print(json.dumps({"first": first, "later": process_time() - started}))
"""


def small_deliveries(writer: Writer, later: int) -> dict[str, float]:
    """Deliver 1,000 rows in a fresh process, and `later` times more. Give the CPU seconds of both."""
    who = writer.credentials
    given = [writer.url, who.key, who.secret, writer.authority or "", str(later)]
    child = subprocess.run(
        [sys.executable, "-c", CHILD, *given],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    found: dict[str, float] = json.loads(child.stdout)
    return found


@pytest.fixture(scope="module")
def compiled() -> None:
    """Compile the package, as the installation of a wheel does."""
    compileall.compile_dir(str(Path(mc_sink.__file__).parent), quiet=1)


@pytest.mark.usefixtures("compiled")
def test_small_deliveries(
    benchmark: BenchmarkFixture, note: Callable[[str, tuple[str, ...]], None], keep_ratio: Callable[[str, float], None]
) -> None:
    """The first delivery's CPU over that of `import polars`, and that of each of the next thousand."""
    first: list[float] = []
    with fault_child(tls=True, discards=False) as writer:
        benchmark.pedantic(lambda: first.append(small_deliveries(writer, 0)["first"]), rounds=ROUNDS)
        later = small_deliveries(writer, LATER)["later"] / LATER
    note(SMALL, ("the first in a process, over import polars, seconds", f"each of the next {LATER:,}, milliseconds"))
    note(SMALL, ("---",) * 2)
    note(SMALL, (f"{median(first):.2f}", f"{later * 1000:.1f}"))
    keep_ratio("first small delivery, CPU seconds", median(first))
    keep_ratio("later small delivery, CPU seconds", later)


def test_many_files(benchmark: BenchmarkFixture, note: Callable[[str, tuple[str, ...]], None]) -> None:
    """Publishing alone, from its call to the receipt, of files staged beforehand; and whole deliveries."""
    publishing: list[float] = []
    whole: list[float] = []
    frame = audience(FILES * 100).with_columns(number=pl.int_range(pl.len()) // 100)
    with fault_child(latency=LATENCY, tls=True, discards=False) as writer:
        target, given = writer.target("many/"), writer.storage_options

        def stage() -> tuple[tuple[mc_sink.Staged], dict[str, Any]]:
            staged = mc_sink.stage(frame, target, max_rows_per_file=100, storage_options=given, progress=False)
            return (staged,), {}

        def publish(staged: mc_sink.Staged) -> None:
            started = perf_counter()
            assert mc_sink.publish([staged], storage_options=given).num_files == FILES
            publishing.append(perf_counter() - started)

        benchmark.pedantic(publish, setup=stage, rounds=3)
        for _ in range(3):
            started = perf_counter()
            receipt = mc_sink.sink_madconnect(
                frame, target, partition_by=["number"], storage_options=given, progress=False
            )
            assert receipt.num_files == FILES
            whole.append(perf_counter() - started)
    note(MANY, ("", "fastest", "median"))
    note(MANY, ("---",) * 3)
    for name, seconds in (("publishing alone", publishing), ("whole deliveries of partitions", whole)):
        note(MANY, (name, f"{min(seconds):.2f}", f"{median(seconds):.2f}"))
