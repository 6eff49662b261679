"""Spark with this library against its parts: handing rows to Python, one process, and Spark's own writer.

It needs PySpark, and so isn't part of `make bench`:

    .venv-engines/bin/python -m pytest benchmarks/test_spark.py --benchmark-only -W default -q --rounds 3
"""

from __future__ import annotations

from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import mc_sink
from benchmarks.data import audience_batch
from tests.support.spark_sessions import spark_session

pytest.importorskip("pyspark", reason="the environment of make test-engines has Spark")

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

    from mc_sink.sandbox.admin import Writer

FILES, FILE_ROWS = 4, 500_000
TABLE = f"{FILES * FILE_ROWS // 1_000_000} M rows from {FILES} Parquet files by Spark, local[2], over http, seconds"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the rows in `rows`, a file for each partition."""
    made = tmp_path_factory.mktemp("spark")
    (made / "rows").mkdir()
    for number in range(FILES):
        audience_batch(number * FILE_ROWS, (number + 1) * FILE_ROWS).write_parquet(made / f"rows/{number}.parquet")
    return made


@pytest.fixture(scope="module")
def session(discarding: Writer, folder: Path) -> Iterator[Any]:
    """Yield a session whose processes find the key in their environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", discarding.credentials.key)
        patch.setenv("AWS_SECRET_ACCESS_KEY", discarding.credentials.secret)
        with spark_session("local[2]", folder, **{"spark.sql.files.openCostInBytes": "1g"}) as made:
            yield made


def timed(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    started = perf_counter()
    call()
    return perf_counter() - started


def discard(batches: Any) -> Any:
    """Receive a partition in Python, and keep nothing of it."""
    for _ in batches:
        pass
    yield from ()


@pytest.mark.parametrize("format", ["parquet", "csv.gz"])
def test_spark_adds_little_to_its_parts(  # noqa: PLR0913, PLR0917  pytest's fixtures
    benchmark: BenchmarkFixture,
    session: Any,
    discarding: Writer,
    folder: Path,
    note: Callable[[str, tuple[str, ...]], None],
    rounds: int,
    format: Any,
) -> None:
    """All take their turns in one run, after one turn that isn't counted."""
    from mc_sink.engines import spark

    frame, target = session.read.parquet(str(folder / "rows")), discarding.target("spark/")
    there: dict[str, Any] = {"format": format, "storage_options": {"endpoint_url": discarding.url}}
    own = {"parquet": ("parquet", "zstd"), "csv.gz": ("csv", "gzip")}[format]

    def ours(number: int) -> Callable[[], object]:
        return lambda: spark.sink_madconnect(frame.coalesce(number), target, **there)

    turns: dict[str, Callable[[], object]] = {
        **{f"mc_sink, partitions: {number}": ours(number) for number in (1, 2, FILES)},
        "rows handed to Python and dropped": lambda: (
            frame.mapInArrow(discard, "nothing int").write.format("noop").mode("overwrite").save()
        ),
        "mc_sink in one process": lambda: mc_sink.sink_madconnect(
            pl.scan_parquet(folder / "rows/*.parquet"), target, progress=False, **there
        ),
        "Spark's own writer, to a local disk": lambda: (
            frame.write.format(own[0]).option("compression", own[1]).mode("overwrite").save(str(folder / "own"))
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for call in turns.values():
        call()

    def take_turns() -> None:
        for name, call in turns.items():
            seconds[name].append(timed(call))

    benchmark.pedantic(take_turns, rounds=rounds)
    note(TABLE, (format, "fastest", "median"))
    note(TABLE, ("---",) * 3)
    for name, taken in seconds.items():
        note(TABLE, (name, f"{min(taken):.2f}", f"{median(taken):.2f}"))
    whole, hand_over, alone, _ = [median(taken) for taken in seconds.values()][2:]
    note(TABLE, ("mc_sink / (rows handed to Python + one process)", "", f"{whole / (hand_over + alone):.2f}"))
