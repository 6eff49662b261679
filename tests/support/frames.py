"""Frames and readers that several test files share."""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pyarrow.parquet
from polars.io.plugins import register_io_source

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from mc_sink.sink.options import FormatName

FORMATS: tuple[FormatName, ...] = ("csv", "csv.gz", "parquet")


def numbers(rows: int, width: int = 24) -> pl.DataFrame:
    """Make a frame whose text doesn't compress away, so that a few rows fill a part."""
    row = pl.int_range(rows, eager=False)
    noise = [(row * 6364136223846793005 + seed).hash(seed).cast(pl.String) for seed in range(width // 8)]
    return pl.select(row.alias("id"), (row % 7).cast(pl.Int8).alias("day"), pl.concat_str(noise).alias("text"))


def read_back(data: bytes, format: str, folder: Path) -> pl.DataFrame:
    """Read a delivered file with a library that had no part in writing it."""
    if format == "parquet":
        return pl.DataFrame(pyarrow.parquet.read_table(io.BytesIO(data)))
    path = folder / f"delivered.{format}"
    path.write_bytes(data)
    read: pl.DataFrame = duckdb.read_csv(str(path), header=True, all_varchar=True).pl()
    return read


def as_text(frame: pl.DataFrame, format: str) -> pl.DataFrame:
    """Return the frame as `read_back` would: CSV knows only text."""
    return frame if format == "parquet" else frame.cast(pl.String)


def failing_generator(
    frame: pl.DataFrame, ready: Callable[[], object], error: BaseException
) -> Generator[pl.DataFrame, None, None]:
    """Yield `frame` until something is `ready`, and then raise `error`."""
    for _ in range(1000):
        if ready():
            raise error
        yield frame
        time.sleep(0.002)
    raise AssertionError("1,000 batches, and it was never ready")


def failing_once(frame: pl.DataFrame, ready: Callable[[], object], error: BaseException) -> pl.LazyFrame:
    """Make a plan that yields `frame` until something is `ready`, and then raises `error` in its source."""

    def source(
        columns: list[str] | None, _predicate: pl.Expr | None, _limit: int | None, _size: int | None
    ) -> Iterator[pl.DataFrame]:
        return failing_generator(frame if columns is None else frame.select(columns), ready, error)

    return register_io_source(source, schema=frame.schema)


def endless_until(frame: pl.DataFrame, ready: Callable[[], object], last: pl.DataFrame | None = None) -> pl.LazyFrame:
    """Make a plan that yields `frame` until something is `ready`, and then `last`."""

    def source(
        columns: list[str] | None, _predicate: pl.Expr | None, _limit: int | None, _size: int | None
    ) -> Iterator[pl.DataFrame]:
        while not ready():
            yield frame if columns is None else frame.select(columns)
            time.sleep(0.002)
        if last is not None:
            yield last if columns is None else last.select(columns)

    return register_io_source(source, schema=frame.schema)


SMALL_PARTS: dict[str, Any] = {"default_block_size": 5 * 2**20, "max_concurrency": 2}
