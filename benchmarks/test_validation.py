"""What it costs to hand every batch to Pandera, and to set rows aside, beside the same delivery without."""

from __future__ import annotations

from functools import cache
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

import polars as pl

from benchmarks.data import audience
from benchmarks.peers import checked_columns, ours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

    from mc_sink.sandbox.admin import Writer

ROWS, ROUNDS = 8_000_000, 3
SCHEMA = checked_columns()
frame = cache(audience)


def by_pandera() -> Iterator[pl.DataFrame]:
    """Hand every batch to Pandera before it is delivered."""
    for batch in frame(ROWS).lazy().collect_batches(chunk_size=100_000, maintain_order=True, engine="streaming"):
        yield SCHEMA.validate(batch, lazy=True)


def test_pandera_on_every_batch(
    benchmark: BenchmarkFixture, discarding: Writer, note: Callable[[str, tuple[str, ...]], None]
) -> None:
    """Compiled checks, and the same by Pandera on every batch; they take turns."""
    pandera: list[float] = []
    compiled: list[float] = []
    benchmark.pedantic(
        lambda: compiled.append(_seconds(lambda: ours(frame(ROWS).lazy(), discarding, "parquet", schema=SCHEMA))),
        setup=lambda: pandera.append(_seconds(lambda: ours(by_pandera(), discarding, "parquet"))),
        rounds=ROUNDS,
    )
    table = f"Validation of {ROWS // 1_000_000} M rows in memory, seven checks, parquet, seconds"
    note(table, ("mc_sink, schema", "Pandera on every batch", "ratio"))
    note(table, ("---",) * 3)
    mine, theirs = median(compiled), median(pandera)
    note(table, (f"{mine:.2f}", f"{theirs:.2f}", f"{theirs / mine:.2f}×"))


def test_one_percent_rejected(
    benchmark: BenchmarkFixture, discarding: Writer, tmp_path: Path, note: Callable[[str, tuple[str, ...]], None]
) -> None:
    """10 M rows, every hundredth bad: the same delivery beside the clean one."""
    clean = frame(10_000_000).lazy()
    spoiled = pl.when(pl.col("id") % 100 == 7).then(-1.0).otherwise(pl.col("spend"))
    bad = clean.with_columns(spoiled.alias("spend"))
    aside = {"schema": SCHEMA, "on_invalid": "reject", "rejects": f"{tmp_path}/"}
    base: list[float] = []
    rejecting: list[float] = []
    benchmark.pedantic(
        lambda: rejecting.append(_seconds(lambda: ours(bad, discarding, "parquet", **aside))),
        setup=lambda: base.append(_seconds(lambda: ours(clean, discarding, "parquet", schema=SCHEMA))),
        rounds=ROUNDS,
    )
    table = "1 % of 10 M rows rejected, parquet, seconds"
    note(table, ("clean", "rejecting", "ratio"))
    note(table, ("---",) * 3)
    without, with_rejects = median(base), median(rejecting)
    note(table, (f"{without:.2f}", f"{with_rejects:.2f}", f"{with_rejects / without:.2f}×"))


def _seconds(work: Callable[[], object]) -> float:
    started = perf_counter()
    work()
    return perf_counter() - started
