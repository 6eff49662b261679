"""The same delivery by this library and by others, each turn in a process of its own.

A turn imports what it needs, makes one delivery of 1,000 rows, and only then begins to count: seconds of wall time, of
CPU, and the peak of memory. `measure` starts a turn and checks that the server has received what was sent.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

import pandera.polars as pa
import polars as pl

from benchmarks.data import audience, peak_mib, scan
from mc_sink.sandbox.admin import Credentials, Writer
from tests.servers.fault_child import owner_of

if TYPE_CHECKING:
    from collections.abc import Callable

FORMATS = ("parquet", "csv.gz", "csv")
DUCKDB_COPY = {
    "parquet": "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1",
    "csv.gz": "FORMAT csv, HEADER, COMPRESSION gzip",
    "csv": "FORMAT csv, HEADER",
}


@dataclass(frozen=True, slots=True)
class Turn:
    """What one delivery took: seconds of wall time and of CPU, and the process' peak of memory in MiB."""

    seconds: float
    cpu: float
    peak: int


def checked_columns() -> pa.DataFrameSchema:
    """Return the schema of the validated deliveries: seven checks, one of them a regular expression."""
    return pa.DataFrameSchema(
        {
            "id": pa.Column(pl.Int64, pa.Check.ge(0)),
            "user": pa.Column(pl.String, pa.Check.str_matches(r"^user-\d+@example\.com$")),
            "country": pa.Column(pl.String, pa.Check.isin(["US", "DE", "FR", "JP", "BR"])),
            "score": pa.Column(pl.Float64, pa.Check.in_range(0, 1)),
            "clicks": pa.Column(pl.Int32, [pa.Check.ge(0), pa.Check.lt(1_000)]),
            "spend": pa.Column(pl.Float64, pa.Check.ge(0)),
        },
        name="benchmark",
    )


def measure(contender: str, format: str, rows: int, writer: Writer, files: Path | None = None) -> Turn:
    """Let a contender deliver `rows` rows in a process of its own: a scan of `files`, or rows in memory.

    The server must have received as many bytes as the contender says it has sent, or at all where it doesn't say.
    """
    who = writer.credentials
    asked = [contender, format, str(rows), writer.url, writer.bucket, who.key, who.secret, writer.authority or "", ""]
    asked[-1] = str(files or "")
    child = subprocess.run(
        [sys.executable, "-m", "benchmarks.peers", *asked],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    found: dict[str, Any] = json.loads(child.stdout)
    if found["key"]:
        received = owner_of(writer).listing(writer.bucket)[found["key"]].size
        assert received == found["num_bytes"] if found["num_bytes"] else received > rows
    return Turn(found["seconds"], found["cpu"], found["peak"])


def ours(frame: Any, writer: Writer, format: Any, **options: Any) -> tuple[str, int]:
    """Deliver with this library, into a new object each time. Return its key and its size."""
    import mc_sink

    target, keys = writer.target("mc_sink/"), writer.storage_options
    receipt = mc_sink.sink_madconnect(frame, target, format=format, storage_options=keys, progress=False, **options)
    return receipt.files[0].path.removeprefix(f"s3://{writer.bucket}/"), receipt.num_bytes


def validated(frame: Any, writer: Writer, format: str) -> tuple[str, int]:
    """Deliver with this library and a schema."""
    return ours(frame, writer, format, schema=checked_columns())


def polars_native(frame: pl.LazyFrame, writer: Writer, format: str) -> tuple[str, int]:
    """Write with Polars' own `s3://` sink, which makes a truncated object visible when a query fails."""
    storage_options = {
        "aws_access_key_id": writer.credentials.key,
        "aws_secret_access_key": writer.credentials.secret,
        "aws_region": "us-east-1",
        "aws_endpoint_url": writer.url,
        "aws_allow_http": "true",
        # It has no option for an authority of one's own, so the authority is not asked; all bytes are encrypted.
        "allow_invalid_certificates": "true",
    }
    _polars_sink(frame, writer.target(f"native/x.{format}"), format, storage_options=storage_options)
    return f"native/x.{format}", 0


def s3fs_handle(frame: pl.LazyFrame, writer: Writer, format: str) -> tuple[str, int]:
    """Write with Polars into s3fs' own file handle."""
    import s3fs

    filesystem = s3fs.S3FileSystem(**writer.storage_options, skip_instance_cache=True)
    with filesystem.open(writer.target(f"s3fs/x.{format}"), "wb") as handle:
        _polars_sink(frame, handle, format)
    return f"s3fs/x.{format}", 0


def duckdb_copy(frame: pl.LazyFrame, _: Writer, format: str) -> tuple[str, int]:
    """Write with DuckDB to a local file; no upload."""
    import duckdb

    with duckdb.connect() as connection, TemporaryDirectory() as folder:
        connection.register("frame", frame.collect().to_arrow())
        connection.execute(f"COPY frame TO '{folder}/x.{format}' ({DUCKDB_COPY[format]})")
    return "", 0


def _polars_sink(frame: pl.LazyFrame, where: Any, format: str, **options: Any) -> None:
    if format == "parquet":
        frame.sink_parquet(where, compression="zstd", compression_level=1, engine="streaming", **options)
    else:
        compression: Any = "gzip" if format == "csv.gz" else "uncompressed"
        frame.sink_csv(where, compression=compression, engine="streaming", **options)


CONTENDERS: dict[str, Callable[[Any, Writer, str], tuple[str, int]]] = {
    "mc_sink": ours,
    "mc_sink, schema": validated,
    "polars s3://": polars_native,
    "s3fs handle": s3fs_handle,
    "duckdb to a file": duckdb_copy,
}


def main() -> None:
    """Take one turn, and print what it took as JSON."""
    contender, format, rows, url, bucket, key, secret, authority, files = sys.argv[1:]
    writer = Writer(url, bucket, Credentials(key, secret), authority or None)
    deliver = CONTENDERS[contender]
    frame = scan(Path(files), int(rows)) if files else audience(int(rows)).lazy()
    deliver(audience(1_000).lazy(), writer, format)
    started, cpu = perf_counter(), process_time()
    made, num_bytes = deliver(frame, writer, format)
    took = {"seconds": perf_counter() - started, "cpu": process_time() - cpu, "peak": peak_mib()}
    print(json.dumps({**took, "key": made, "num_bytes": num_bytes}))


if __name__ == "__main__":
    main()
