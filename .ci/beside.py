"""Deliver CSV and Parquet beside another library: to a local folder and to the tests' S3 server, and read them back."""

from __future__ import annotations

import sys
import tempfile
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path

import polars as pl

sys.path.insert(0, str(Path(__file__).parents[1]))

import mc_sink
from tests.servers.fault import FaultServer

FORMATS = {"csv": pl.read_csv, "csv.gz": pl.read_csv, "parquet": pl.read_parquet}
SHOWN = ("awswrangler", "daft", "polars", "pyarrow", "pandera", "s3fs", "fsspec", "botocore", "mc_sink")


def main() -> int:
    """Deliver each format to both targets; raise if a file differs from the frame."""
    neighbours = [name for name in ("awswrangler", "daft") if find_spec(name)]
    if not neighbours:
        sys.exit("Neither awswrangler nor daft is installed here.")
    for name in neighbours:
        import_module(name)
    frame = pl.DataFrame({"id": range(50_000), "name": [f"name {n}" for n in range(50_000)]})
    with tempfile.TemporaryDirectory() as folder, FaultServer() as server:
        for suffix, read in FORMATS.items():
            path = Path(folder) / f"local.{suffix}"
            mc_sink.sink_madconnect(frame, path, progress=False)
            key = f"beside/remote.{suffix}"
            receipt = mc_sink.sink_madconnect(
                frame,
                server.writer.target(key),
                storage_options=server.writer.storage_options,
                progress=False,
            )
            remote = Path(folder) / f"remote.{suffix}"
            remote.write_bytes(server.read(server.writer.bucket, key))
            for copy in (path, remote):
                if not read(copy).equals(frame):
                    sys.exit(f"{copy.name} differs from the frame that was delivered.")
            if receipt.num_rows != frame.height:
                sys.exit(f"The receipt for {key} counts {receipt.num_rows} rows, not {frame.height}.")
    versions = {name: metadata.version(name) for name in SHOWN if find_spec(name)}
    sys.stdout.write("Delivered with " + ", ".join(f"{name} {number}" for name, number in versions.items()) + ".\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
