"""Peak memory of a delivery of ten times the rows: each in a process of its own, generated as it goes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.peers import FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_benchmark.fixture import BenchmarkFixture

    from tests.servers.s3_admin import Writer

FEW, MANY = 5_000_000, 50_000_000
TABLE = "Peak memory of a delivery, MiB"
CHILD = """
import sys
from benchmarks.data import generated, peak_mib
from mc_sink import sink_madconnect

rows, target, format, key, secret, url = sys.argv[1:]
options = {"key": key, "secret": secret, "endpoint_url": url}
receipt = sink_madconnect(generated(int(rows)), target, format=format, storage_options=options, progress=False)
assert receipt.num_rows == int(rows)
print(peak_mib())
"""


def peak(rows: int, writer: Writer, format: str) -> int:
    """Deliver in a child, and give its peak of resident memory in MiB."""
    who = writer.credentials
    command = [sys.executable, "-c", CHILD, str(rows), writer.target("p/"), format, who.key, who.secret, writer.url]
    root = Path(__file__).parents[1]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, cwd=root).stdout)


@pytest.mark.parametrize("format", FORMATS)
def test_memory(
    benchmark: BenchmarkFixture, discarding: Writer, note: Callable[[str, tuple[str, ...]], None], format: str
) -> None:
    """Ten times the rows, and the peak stays where it is."""
    few = peak(FEW, discarding, format)
    many = benchmark.pedantic(peak, args=(MANY, discarding, format), rounds=1)
    if format == FORMATS[0]:
        note(TABLE, ("format", "5 M rows", "50 M rows", "ratio"))
        note(TABLE, ("---",) * 4)
    note(TABLE, (format, f"{few:,}", f"{many:,}", f"{many / few:.2f}"))
