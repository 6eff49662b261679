"""Several files at once: rows staged by a plan, shown, and read back by libraries that had no part in writing them."""

from __future__ import annotations

import csv
import gzip
import io
import os
import signal
import sys
import time
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pyarrow.parquet
from polars.io.plugins import register_io_source

from mc_sink._runtime.batches import pull
from mc_sink.formats import choose_format
from mc_sink.keys import FileNames
from mc_sink.sink import SinkOptions, resolve
from mc_sink.storage import open_store
from mc_sink.target import parse_target
from mc_sink.writing import DeliveryPlan, write_files
from tests.servers.rules import WRITER, Rules
from tests.support.frames import numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from mc_sink.staged import StagedFile

RUN_ID = "20261122T101530Z-4f2a9c"


def stage_files(  # noqa: PLR0913  the arguments of a delivery
    frame: pl.DataFrame | pl.LazyFrame,
    place: str,
    format: str,
    *,
    row_group_size: int = 1_000,
    batch_rows: int | None = None,
    storage_options: Mapping[str, Any] | None = None,
    there: Iterable[str] = (),
    advance: Callable[[int, int], None] = lambda _rows, _bytes: None,
    max_rows: int | None = None,
    max_bytes: int | None = None,
    partition_by: tuple[str, ...] = (),
    include_key: bool = False,
    metadata: Mapping[str, str] | None = None,
    folder: str | None = None,
) -> tuple[StagedFile, ...]:
    """Stage a frame under a prefix, as `mc_sink.stage` does it; `batch_rows` is how the query deals its rows out."""
    rows, target, chosen = frame.lazy(), parse_target(place), choose_format("", format)
    names = FileNames(target, RUN_ID, chosen.extension, is_numbered=True, columns=partition_by)
    schema = rows.collect_schema()
    spec = replace(
        resolve(SinkOptions(target=place)),
        names=names,
        format=chosen,
        row_group_size=row_group_size,
        max_rows_per_file=max_rows,
        max_bytes_per_file=max_bytes,
        partition_by=partition_by,
        include_key=include_key,
    )
    plan = DeliveryPlan(spec, schema, frozenset(there), metadata=metadata, folder=folder)
    return write_files(pull(rows, batch_rows or row_group_size), plan, open_store(target, storage_options), advance)


def show(files: Iterable[StagedFile], place: str, storage_options: Mapping[str, Any] | None = None) -> None:
    """Make staged files visible."""
    store = open_store(parse_target(place), storage_options)
    for file in files:
        store.publish(file, "fail", repeatable=True)


def read_file(file: StagedFile) -> pl.DataFrame:
    """Read a local file that was shown; CSV as text. The standard library reads many small files fast."""
    data = Path(file.path).read_bytes()
    if file.path.endswith(".parquet"):
        return pl.DataFrame(pyarrow.parquet.read_table(io.BytesIO(data)))
    text = (gzip.decompress(data) if file.path.endswith(".gz") else data).decode()
    header, *rows = csv.reader(io.StringIO(text))
    return pl.DataFrame(rows, schema=dict.fromkeys(header, pl.String), orient="row")


def read_partitions(folder: Path, format: str) -> pl.DataFrame:
    """Read all partitions under a folder at once with DuckDB; everything as text, as keys are."""
    everything = f"{folder}/**/*.{format}"
    if format == "parquet":
        found: pl.DataFrame = duckdb.read_parquet(everything, hive_partitioning=True).pl()
    else:
        found = duckdb.read_csv(everything, header=True, all_varchar=True, hive_partitioning=True).pl()
    return found.cast(pl.String)


def _changing(batch: Callable[[int], pl.DataFrame]) -> pl.LazyFrame:
    """Make a plan that yields one batch after the other, without end."""

    def source(
        columns: list[str] | None, _predicate: pl.Expr | None, _limit: int | None, _size: int | None
    ) -> Iterator[pl.DataFrame]:
        for number in count():
            yield batch(number) if columns is None else batch(number).select(columns)
            time.sleep(0.002)

    return register_io_source(source, schema=batch(0).schema)


def _struck(number: int) -> pl.DataFrame:
    """Make a batch of ten partitions; after some of them, the program is interrupted as by Ctrl-C."""
    if number == INTERRUPTED_AFTER:
        os.kill(os.getpid(), signal.SIGINT)
    return TENS


INTERRUPTED_AFTER = 20
TENS = numbers(50_000, 48).with_columns(k=pl.col("id") % 10)
FRAMES: dict[str, Callable[[], pl.DataFrame | pl.LazyFrame]] = {
    "sorted": lambda: _changing(lambda number: numbers(2_000).with_columns(k=pl.lit(number))),
    "parking": lambda: _changing(_struck),
    "parked": lambda: numbers(50_000).with_columns(k=pl.col("id") % 200),
}

if __name__ == "__main__":
    # A delivery in a process of its own, for tests that interrupt it: HOW URL FOLDER.
    how, url, spills = sys.argv[1:]
    key = {"key": WRITER.key, "secret": WRITER.secret, "endpoint_url": url}
    prefix = f"s3://{Rules().buckets[0]}/p/"
    stage_files(FRAMES[how](), prefix, "csv", partition_by=("k",), folder=spills, storage_options=key)
