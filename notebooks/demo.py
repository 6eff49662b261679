"""A delivery from end to end, on this machine alone: `make demo`.

Starts an S3 server, makes a bucket and a user who may only write, delivers a validated audience in three formats,
verifies each, reads one back as the bucket's owner with another library, lets one delivery fail, and pulls the cable
of another, which is then run again.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import polars as pl
import pyarrow.fs
import pyarrow.parquet

import mc_sink
from mc_sink.testing import sample
from tests.servers.embedded import embedded_server
from tests.servers.faults import FOREVER, Reset
from tests.servers.proxy import Proxy

if TYPE_CHECKING:
    from mc_sink.sink.options import FormatName
    from tests.servers.s3_admin import Admin, Writer

ROWS = 1_000_000
FORMATS: tuple[FormatName, ...] = ("csv", "csv.gz", "parquet")


def main() -> int:
    """Run the demonstration and give its exit code."""
    with TemporaryDirectory() as state, embedded_server() as server:
        os.environ["MC_SINK_STATE_DIR"] = state
        say(f"An S3 server is up: {server.about}")
        writer = server.new_writer()
        say(f"Bucket {writer.bucket}; a user with s3:PutObject, s3:PutObjectAcl and s3:ListBucket, and nothing else.")
        receipts = [deliver(writer, name) for name in FORMATS]
        read_back(server, writer, receipts[-1])
        fail(server, writer)
        pull_the_cable(server, writer)
    say("The server is stopped. Nothing is left behind.")
    return 0 if all(receipt.num_rows == ROWS for receipt in receipts) else 1


def deliver(writer: Writer, name: FormatName) -> mc_sink.Receipt:
    """Deliver the sample audience under a prefix, verify it, and print the receipt."""
    say(f"Delivering {ROWS:,} rows of the sample audience as {name} …")
    receipt = mc_sink.sink_madconnect(
        sample("audience", ROWS),
        writer.target("madconnect/outputs/"),
        format=name,
        schema="audience",
        storage_options=writer.storage_options,
    )
    verification = receipt.verify()
    print(f"{receipt}\nverified   {verification}", flush=True)
    if not verification.ok:
        raise SystemExit("The delivery could not be verified.")
    return receipt


def read_back(server: Admin, writer: Writer, receipt: mc_sink.Receipt) -> None:
    """Read a delivered file as the bucket's owner, with pyarrow."""
    owner = pyarrow.fs.S3FileSystem(
        access_key=server.credentials.key,
        secret_key=server.credentials.secret,
        endpoint_override=server.url,
        region="us-east-1",
    )
    path = receipt.files[0].path.removeprefix("s3://")
    table = pyarrow.parquet.read_table(path, filesystem=owner)
    say(
        f"The owner of {writer.bucket} reads {table.num_rows:,} rows and {table.num_columns} columns back with pyarrow."
    )
    if table.num_rows != receipt.num_rows:
        raise SystemExit("The owner reads another number of rows than was delivered.")


def fail(server: Admin, writer: Writer) -> None:
    """Let a delivery fail in its last rows, and show that nothing of it can be seen."""
    say("Delivering once more, with a query that fails after 900,000 rows …")
    tenth = pl.int_range(pl.len()) * 10 // ROWS
    broken = sample("audience", ROWS).with_columns(
        late=tenth.cast(pl.String).str.replace("9", "no number", literal=True).cast(pl.Int64)
    )
    try:
        mc_sink.sink_madconnect(broken, writer.target("failed/"), storage_options=writer.storage_options)
    except pl.exceptions.InvalidOperationError as error:
        print(f"{type(error).__name__}: {str(error).splitlines()[0]}")
        print("\n".join(error.__notes__), flush=True)
    else:
        raise SystemExit("The broken delivery went through.")
    if left := server.listing(writer.bucket, "failed/"):
        raise SystemExit(f"The failed delivery left {sorted(left)}.")
    say("The bucket shows 0 objects under failed/.")


def pull_the_cable(server: Admin, writer: Writer) -> None:
    """Cut the network while several files are being published, and run the same delivery again."""
    say("Delivering four files and a manifest, and pulling the cable when two of them are published …")
    with Proxy(server.url) as cable:
        cable.fault("Complete", Reset("head"), n=3, times=FOREVER)
        try:
            deliver_nightly(replace(writer, url=cable.url))
        except mc_sink.CommitError as error:
            print(f"{type(error).__name__}: {error}", flush=True)
        else:
            raise SystemExit("The delivery went through a cable that was pulled.")
    shown = server.listing(writer.bucket, "nightly/")
    say(f"{len(shown)} whole files are visible, and no manifest. The cable is back; the same run again …")
    receipt = deliver_nightly(writer)
    print(f"{receipt}\nverified   {receipt.verify()}", flush=True)
    if (receipt.num_rows, receipt.num_found, mc_sink.list_journals()) != (ROWS, len(shown), []):
        raise SystemExit("The second run did not deliver the rest, once.")


def deliver_nightly(writer: Writer) -> mc_sink.Receipt:
    """Deliver in files of a quarter of the rows, as a job that may be started again; not patient with the network."""
    return mc_sink.sink_madconnect(
        sample("audience", ROWS),
        writer.target("nightly/"),
        run_id="nightly-2026-11-22",
        max_rows_per_file=ROWS // 4,
        storage_options=writer.storage_options | {"config_kwargs": {"read_timeout": 10}},
    )


def say(line: str) -> None:
    """Print a line that stands out among receipts."""
    print(f"\n── {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
