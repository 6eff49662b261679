"""Buckets: rows divided by a key come back whole and in order, and the memory that they take is bounded."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict

import polars as pl
import pytest

from mc_sink._runtime.kept_rows import kept_alive
from mc_sink._runtime.spill import Buckets, divide_by

LOT = 2**20
# Adds lots of more than 16 MiB, and reports the peak of memory after the first one and after the last one.
MEASURED = """
import json, sys
import polars as pl
from mc_sink._runtime.spill import Buckets, divide_by

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024

lot, num_lots = 16 * 2**20, int(sys.argv[1])
base, peaks = pl.DataFrame({"n": range(100_000)}).with_columns(text=pl.format("{}" + "x" * 150, "n")), []
with Buckets(divide_by(pl.col("n") % 200), lot) as buckets:
    for _ in range(num_lots):
        for _ in range(2):
            buckets.add(base)
        peaks.append(peak())
    print(json.dumps([buckets.num_rows, buckets.num_bytes, peaks[0], peaks[-1]]))
"""


def frames(num_frames: int) -> list[pl.DataFrame]:
    """Make frames of about 100 KB, of which a tenth of the rows was filtered away from beside the others."""
    frame = pl.DataFrame({"n": range(1_000)}).with_columns(text=pl.format("{}" + "y" * 100, "n"))
    return [frame.with_columns(f=pl.lit(number)).filter(pl.col("n") % 10 > 0) for number in range(num_frames)]


@pytest.mark.parametrize("num_frames", [0, 3, 40])
def test_rows_come_back_by_key_in_their_order(num_frames: int) -> None:
    """In memory where they are less than a lot, and from the disk where they are more: each row once."""
    expected: dict[int, list[tuple[int, int]]] = defaultdict(list)
    with Buckets(divide_by(pl.col("n") % 7), LOT) as buckets:
        for frame in frames(num_frames):
            buckets.add(frame)
            for n, f in frame.select("n", "f").iter_rows():
                expected[n % 7].append((f, n))
        assert buckets.num_rows == num_frames * 900
        assert buckets.is_parked == (num_frames == 40)
        if not buckets.is_parked:
            lot = buckets.take_lot()
            assert (lot is None) == (num_frames == 0)
            found = {} if lot is None else dict(divide_by(pl.col("n") % 7)(lot))
        else:
            buckets.park()
            assert buckets.take_lot() is None
            assert sum(map(buckets.size, buckets.keys)) == buckets.num_bytes
            found = {key: pl.concat(buckets.read(key)) for key in buckets.keys}
        rows = {key: list(frame.select("f", "n").iter_rows()) for key, frame in found.items()}
        assert rows == expected
    assert buckets.keys == []


def test_what_waits_is_one_lot_and_one_batch_at_most() -> None:
    """At every moment, in memory of its own or at most twice that, and no more is divided at once."""
    divided: list[int] = []

    def divide(rows: pl.DataFrame) -> list[tuple[int, pl.DataFrame]]:
        divided.append(kept_alive(rows))
        return [(0, rows)]

    # `compact` copies rows only if they keep more than twice their bytes alive.

    most = 2 * (
        LOT + frames(1)[0].estimated_size()
    )  # `compact` copies rows that keep more than twice their bytes alive
    with Buckets(divide, LOT) as buckets:
        for frame in frames(60):
            buckets.add(frame)
            assert sum(map(kept_alive, buckets._lot)) <= most  # noqa: SLF001  what is held
    assert len(divided) > 3
    assert max(divided) <= most


def test_a_divided_frame_keeps_its_columns() -> None:
    """The key's own column has a name that no other column has, and is dropped again."""
    frame = pl.DataFrame({"_": [1, 2, 3], "__": [4, 5, 6], "": ["a", "b", "c"]})
    parts = dict(divide_by(pl.col("_") % 2)(frame))
    assert {key: part.rows() for key, part in parts.items()} == {1: [(1, 4, "a"), (3, 6, "c")], 0: [(2, 5, "b")]}
    assert all(part.columns == frame.columns for part in parts.values())


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_memory_does_not_grow_with_the_rows() -> None:
    """The one proof for all that spills: forty lots peak at most two lots above where a single one does."""
    ran = subprocess.run([sys.executable, "-c", MEASURED, "40"], check=True, capture_output=True, text=True)
    num_rows, num_bytes, first, last = json.loads(ran.stdout)
    assert num_rows == 40 * 200_000
    assert num_bytes > 40 * 16 * 2**20
    assert last - first <= 2 * 16 * 2**20
