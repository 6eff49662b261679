"""What finding changes costs beside full joins in memory, and its peak of memory with ten times the rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pytest

from mc_sink._frames import ROW_GROUP_SIZE
from mc_sink._runtime.batches import pull
from mc_sink.comparison import compare

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_benchmark.fixture import BenchmarkFixture

ROWS, FEW, MANY, ROUNDS = 5_000_000, 2_000_000, 20_000_000, 3
TABLE = f"Changes, {ROWS // 1_000_000} M rows against as many, median of {ROUNDS}, seconds"
MEMORY = "Peak memory of finding changes, MiB"
COLUMNS = ("id", "user", "score", "country", "clicks")
CHILD = """
import sys
from pathlib import Path
from benchmarks.data import peak_mib
from benchmarks.test_changes import by_us

by_us(Path(sys.argv[1]), "user")
print(peak_mib())
"""


def write(folder: Path, rows: int) -> int:
    """Write two deliveries: 2 % added, 2 % removed, 2 % of the rest changed. Give how many rows differ."""
    few, number = rows // 50, pl.col("number")
    for name, first in (("now", 0), ("before", few)):
        clicks = pl.when(number % 50 == 0).then(number + first).otherwise(number)
        pl.LazyFrame().select(number=pl.int_range(first, first + rows)).select(
            id=number * 7_919 % 2**31,
            user=pl.format("user-{}@example.com", number),
            score=(number % 1_000) / 7.0,
            country=pl.lit("DE"),
            clicks=clicks,
        ).sink_parquet(folder / f"{name}.parquet")
    return 2 * few + (rows - few) // 50


def by_us(folder: Path, key: str) -> int:
    """Find the changes in bounded memory, and count them."""
    now = pl.scan_parquet(folder / "now.parquet")
    comparison = compare(folder / "before.parquet", now.collect_schema(), keys=key)
    return sum(batch.height for batch in comparison.changed(pull(now, ROW_GROUP_SIZE)))


def by_polars(folder: Path, key: str) -> int:
    """Find them by a full join in memory."""
    now, before = (pl.read_parquet(folder / f"{name}.parquet") for name in ("now", "before"))
    joined = now.join(before, on=key, how="full", coalesce=False, nulls_equal=True)
    differs = (pl.col(name).ne_missing(pl.col(f"{name}_right")) for name in COLUMNS)
    return joined.filter(pl.any_horizontal(*differs)).height


def by_duckdb(folder: Path, key: str) -> int:
    """Find them by DuckDB's full join."""
    differs = " OR ".join(f"a.{name} IS DISTINCT FROM b.{name}" for name in COLUMNS)
    found = duckdb.sql(
        f"FROM '{folder}/now.parquet' a FULL JOIN '{folder}/before.parquet' b "
        f"ON a.{key} IS NOT DISTINCT FROM b.{key} WHERE {differs}"
    )
    assert found is not None
    return int(found.to_arrow_table().num_rows)


@pytest.mark.parametrize("key", ["id", "user"])
def test_changes(
    benchmark: BenchmarkFixture, tmp_path: Path, note: Callable[[str, tuple[str, ...]], None], key: str
) -> None:
    """The three take turns, from the same files."""
    differ = write(tmp_path, ROWS)
    peers: dict[Callable[[Path, str], int], list[float]] = {by_polars: [], by_duckdb: []}

    def take_turns() -> None:
        for find, seconds in peers.items():
            started = perf_counter()
            assert find(tmp_path, key) == differ
            seconds.append(perf_counter() - started)

    found = benchmark.pedantic(by_us, args=(tmp_path, key), setup=take_turns, rounds=ROUNDS, warmup_rounds=1)
    assert found == differ
    stats: Any = benchmark.stats
    if key == "id":
        note(TABLE, ("key", "mc_sink, on disk", "Polars, in memory", "DuckDB"))
        note(TABLE, ("---",) * 4)
    others = [median(seconds[1:]) for seconds in peers.values()]
    told = [f"{seconds:.2f} (1/{stats.stats.median / seconds:.1f})" for seconds in others]
    note(TABLE, (key, f"{stats.stats.median:.2f}", *told))


def peak(folder: Path, rows: int) -> int:
    """Find the changes in a child, and give its peak of resident memory in MiB."""
    write(folder, rows)
    command = [sys.executable, "-c", CHILD, str(folder)]
    root = Path(__file__).parents[1]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, cwd=root).stdout)


def test_memory_of_changes(
    benchmark: BenchmarkFixture, tmp_path: Path, note: Callable[[str, tuple[str, ...]], None]
) -> None:
    """Ten times the rows, and the peak stays where it is."""
    few = peak(tmp_path, FEW)
    many = benchmark.pedantic(peak, args=(tmp_path, MANY), rounds=1)
    note(MEMORY, ("2 M rows a side", "20 M rows a side", "ratio"))
    note(MEMORY, ("---",) * 3)
    note(MEMORY, (f"{few:,}", f"{many:,}", f"{many / few:.2f}"))
