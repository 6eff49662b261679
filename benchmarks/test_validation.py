"""What validation costs: nothing, seven compiled checks (one of them a regex), and Pandera on every batch."""

from __future__ import annotations

from functools import cache
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pandera.polars as pa
import polars as pl
import pytest

from benchmarks.data import audience
from benchmarks.peers import ours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

    from tests.servers.s3_admin import Writer

ROWS, ROUNDS = 8_000_000, 3
TABLE = f"Validation, {ROWS // 1_000_000} M rows, seven checks, median of {ROUNDS}, seconds (and times unvalidated)"
SCHEMA = pa.DataFrameSchema(
    {
        "id": pa.Column(pl.Int64, pa.Check.ge(0)),
        "user": pa.Column(pl.String, pa.Check.str_matches(r"^user-\d+@example\.com$")),
        "country": pa.Column(pl.String, pa.Check.isin(["US", "DE", "FR", "JP", "BR"])),
        "score": pa.Column(pl.Float64, pa.Check.in_range(0, 1)),
        "clicks": pa.Column(pl.Int32, [pa.Check.ge(0), pa.Check.lt(1_000)]),
        "spend": pa.Column(pl.Float64, pa.Check.ge(0)),
    },
    name="benchmark",
)
frame = cache(audience)


def by_pandera() -> Iterator[pl.DataFrame]:
    """Hand every batch to Pandera before it is delivered."""
    for batch in frame(ROWS).lazy().collect_batches(chunk_size=100_000, maintain_order=True, engine="streaming"):
        yield SCHEMA.validate(batch, lazy=True)


@pytest.mark.parametrize("format", ["parquet", "csv.gz"])
def test_validation(
    benchmark: BenchmarkFixture, discarding: Writer, note: Callable[[str, tuple[str, ...]], None], format: str
) -> None:
    """The three take turns; each is a whole delivery."""
    rows = frame(ROWS).lazy()
    unvalidated: list[float] = []
    pandera: list[float] = []

    def take_turns() -> None:
        unvalidated.append(_seconds(lambda: ours(rows, discarding, format)))
        pandera.append(_seconds(lambda: ours(by_pandera(), discarding, format)))

    benchmark.pedantic(
        ours,
        args=(rows, discarding, format),
        kwargs={"schema": SCHEMA},
        setup=take_turns,
        rounds=ROUNDS,
        warmup_rounds=1,
    )
    stats: Any = benchmark.stats
    if format == "parquet":
        note(TABLE, ("format", "unvalidated", "mc_sink, schema", "Pandera on every batch"))
        note(TABLE, ("---",) * 4)
    base = median(unvalidated[1:])
    told = [f"{seconds:.2f} ({seconds / base:.2f}×)" for seconds in (stats.stats.median, median(pandera[1:]))]
    note(TABLE, (format, f"{base:.2f}", *told))


def test_one_percent_rejected(
    benchmark: BenchmarkFixture, discarding: Writer, tmp_path: Path, note: Callable[[str, tuple[str, ...]], None]
) -> None:
    """10 M rows, every hundredth bad: the same delivery beside the clean one."""
    clean = frame(10_000_000).lazy()
    spoiled = pl.when(pl.col("id") % 100 == 7).then(-1.0).otherwise(pl.col("spend"))
    bad = clean.with_columns(spoiled.alias("spend"))
    base: list[float] = []
    benchmark.pedantic(
        ours,
        args=(bad, discarding, "parquet"),
        kwargs={"schema": SCHEMA, "on_invalid": "reject", "rejects": f"{tmp_path}/"},
        setup=lambda: base.append(_seconds(lambda: ours(clean, discarding, "parquet", schema=SCHEMA))),
        rounds=ROUNDS,
        warmup_rounds=1,
    )
    stats: Any = benchmark.stats
    table = "1 % of 10 M rows rejected, parquet, seconds"
    note(table, ("clean", "rejecting", "ratio"))
    note(table, ("---",) * 3)
    rejecting, without = stats.stats.median, median(base[1:])
    note(table, (f"{without:.2f}", f"{rejecting:.2f}", f"{rejecting / without:.2f}×"))


def _seconds(work: Callable[[], None]) -> float:
    started = perf_counter()
    work()
    return perf_counter() - started
