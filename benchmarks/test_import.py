"""What `import mc_sink` adds to `import polars`, each in fresh interpreters, compiled as an installed wheel is."""

from __future__ import annotations

import compileall
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import mc_sink

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_benchmark.fixture import BenchmarkFixture

TABLE = "Import, milliseconds, best of 10"
TIMED = "from time import perf_counter; t = perf_counter(); import {}; print((perf_counter() - t) * 1000)"


def milliseconds(module: str) -> float:
    """Import a module in a fresh interpreter, and give what that took."""
    return float(
        subprocess.run([sys.executable, "-c", TIMED.format(module)], check=True, capture_output=True, text=True).stdout
    )


def test_import(benchmark: BenchmarkFixture, note: Callable[[str, tuple[str, ...]], None]) -> None:
    """The difference is what a script pays that imports us and delivers nothing."""
    compileall.compile_dir(str(Path(mc_sink.__file__).parent), quiet=1)
    benchmark.pedantic(milliseconds, args=("mc_sink",), rounds=1)
    turns = [(milliseconds("polars"), milliseconds("mc_sink")) for _ in range(10)]
    polars, ours = (min(took) for took in zip(*turns, strict=True))
    note(TABLE, ("import polars", "import mc_sink", "difference"))
    note(TABLE, ("---",) * 3)
    note(TABLE, (f"{polars:.0f}", f"{ours:.0f}", f"{ours - polars:.0f}"))
