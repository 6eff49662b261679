"""What is delivered in the benchmarks: eight columns that look like an audience export."""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from polars.io.plugins import register_io_source

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH_ROWS = 100_000
FILE_ROWS = 1_000_000


def peak_mib() -> int:
    """Give the most memory that this interpreter has held so far; Linux' `ru_maxrss` may be that of its parent."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = [line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (2**20 if sys.platform == "darwin" else 1024)


def audience(rows: int) -> pl.DataFrame:
    """Make `rows` rows in memory, so that the source costs its consumers nothing."""
    return audience_batch(0, rows)


def audience_batch(start: int, rows: int) -> pl.DataFrame:
    """Make the rows from `start` on; the same rows, whatever the batches."""
    row = pl.int_range(start, start + rows, dtype=pl.Int64)
    hashed = row.hash(7)
    return pl.select(
        id=row,
        user=pl.format("user-{}@example.com", hashed % 5_000_000),
        segment=pl.format("segment-{}", hashed % 97),
        country=(hashed % 5).replace_strict([0, 1, 2, 3, 4], ["US", "DE", "FR", "JP", "BR"], return_dtype=pl.String),
        score=(hashed % 1_000_003).cast(pl.Float64) / 1_000_003,
        clicks=(hashed % 1_000).cast(pl.Int32),
        spend=(hashed % 100_000).cast(pl.Float64) / 100,
        seen_at=pl.datetime(2026, 11, 22, time_unit="us") + pl.duration(seconds=row % 86_400),
    )


def generated(rows: int) -> pl.LazyFrame:
    """Make the same rows as a plan that generates them batch by batch and keeps none of them."""

    def source(
        columns: list[str] | None, predicate: pl.Expr | None, _limit: int | None, _size: int | None
    ) -> Iterator[pl.DataFrame]:
        for start in range(0, rows, BATCH_ROWS):
            batch = audience_batch(start, min(BATCH_ROWS, rows - start))
            batch = batch if predicate is None else batch.filter(predicate)
            yield batch if columns is None else batch.select(columns)

    return register_io_source(source, schema=audience_batch(0, 1).schema)


def write_files(folder: Path, number: int) -> Path:
    """Write Parquet files of `FILE_ROWS` rows each, with different rows, and return the folder."""
    for n in range(number):
        audience_batch(n * FILE_ROWS, FILE_ROWS).write_parquet(folder / f"{n:03}.parquet", row_group_size=BATCH_ROWS)
    return folder


def scan(folder: Path, rows: int) -> pl.LazyFrame:
    """Scan as many of the files as hold `rows` rows, each several times where they hold too few."""
    files = sorted(folder.glob("*.parquet"))
    number = rows // FILE_ROWS
    return pl.scan_parquet((files * (number // len(files) + 1))[:number])
