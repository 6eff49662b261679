"""Peak memory of a delivery of a scan of Parquet files over https, beside Polars' own sink; each in its own process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.peers import FORMATS, measure

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

    from mc_sink.sandbox.admin import Writer

FEW, MANY = 20_000_000, 50_000_000
TABLE = "Peak memory of a delivery over https, a scan of Parquet files, MiB"


@pytest.mark.parametrize("format", FORMATS)
def test_memory(  # noqa: PLR0913, PLR0917  a case, and where to note it
    benchmark: BenchmarkFixture,
    servers: dict[str, Writer],
    files: Path,
    note: Callable[[str, tuple[str, ...]], None],
    keep_ratio: Callable[[str, float], None],
    format: str,
) -> None:
    """More rows, and the peak stays where it is."""
    writer = servers["https"]
    few = measure("mc_sink", format, FEW, writer, files).peak
    native = measure("polars s3://", format, MANY, writer, files).peak
    many = benchmark.pedantic(measure, args=("mc_sink", format, MANY, writer, files), rounds=1).peak
    if format == FORMATS[0]:
        note(TABLE, ("format", "20 M rows", "50 M rows", "ratio", "polars s3://, 50 M rows", "over native"))
        note(TABLE, ("---",) * 6)
    note(TABLE, (format, f"{few:,}", f"{many:,}", f"{many / few:.2f}", f"{native:,}", f"{many - native:+,}"))
    keep_ratio(f"{format} peak at 50 M rows / at 20 M", many / few)
    keep_ratio(f"{format} peak at 50 M rows / native's", many / native)
