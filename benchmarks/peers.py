"""The same delivery by others: Polars' own sink, s3fs' file handle, DuckDB's COPY (which goes to a file)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb
import s3fs

import mc_sink

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

    from tests.servers.s3_admin import Writer

FORMATS = ("parquet", "csv.gz", "csv")
DUCKDB_COPY = {
    "parquet": "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1",
    "csv.gz": "FORMAT csv, HEADER, COMPRESSION gzip",
    "csv": "FORMAT csv, HEADER",
}


def ours(frame: Any, writer: Writer, format: Any, **options: Any) -> None:
    """Deliver with this library, into a new object each time."""
    receipt = mc_sink.sink_madconnect(
        frame,
        writer.target("mc_sink/"),
        format=format,
        storage_options=writer.storage_options,
        progress=False,
        **options,
    )
    assert receipt.num_bytes > 0


def polars_native(frame: pl.LazyFrame, writer: Writer, format: str) -> None:
    """Write with Polars' own `s3://` sink, which shows what it has when a query fails."""
    storage_options = {
        "aws_access_key_id": writer.credentials.key,
        "aws_secret_access_key": writer.credentials.secret,
        "aws_region": "us-east-1",
        "aws_endpoint_url": writer.url,
        "aws_allow_http": "true",
    }
    _polars_sink(frame, writer.target(f"native/x.{format}"), format, storage_options=storage_options)


def s3fs_handle(frame: pl.LazyFrame, writer: Writer, format: str) -> None:
    """Write with Polars into s3fs' own file handle."""
    filesystem = s3fs.S3FileSystem(**writer.storage_options, skip_instance_cache=True)
    with filesystem.open(writer.target(f"s3fs/x.{format}"), "wb") as handle:
        _polars_sink(frame, handle, format)


def duckdb_copy(frame: pl.DataFrame, folder: Path, format: str) -> None:
    """Write with DuckDB to a local file; no upload."""
    with duckdb.connect() as connection:
        connection.register("frame", frame.to_arrow())
        connection.execute(f"COPY frame TO '{folder / f'x.{format}'}' ({DUCKDB_COPY[format]})")


def _polars_sink(frame: pl.LazyFrame, where: Any, format: str, **options: Any) -> None:
    if format == "parquet":
        frame.sink_parquet(where, compression="zstd", compression_level=1, engine="streaming", **options)
    else:
        compression: Any = "gzip" if format == "csv.gz" else "uncompressed"
        frame.sink_csv(where, compression=compression, engine="streaming", **options)
