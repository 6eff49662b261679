"""Several files at once: rows staged by a plan, shown, and read back by libraries that had no part in writing them."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pyarrow.parquet

from mc_sink._files import DeliveryPlan, write_files
from mc_sink._plan import pull
from mc_sink.formats import choose_format
from mc_sink.names import Names
from mc_sink.storage import open_store
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

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
    **plan: Any,
) -> tuple[StagedFile, ...]:
    """Stage a frame under a prefix, as `mc_sink.stage` does it; `batch_rows` is how the query deals its rows out."""
    rows, target, chosen = frame.lazy(), parse_target(place), choose_format("", format)
    names = Names(target, RUN_ID, chosen.extension, several=True, columns=plan.get("partition_by", ()))
    schema = rows.collect_schema()
    to = DeliveryPlan(names, schema, chosen, row_group_size, max_rows, frozenset(there), **plan)
    return write_files(pull(rows, batch_rows or row_group_size), to, open_store(target, storage_options), advance)


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
