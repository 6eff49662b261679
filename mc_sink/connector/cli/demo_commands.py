"""`mc-sink demo`: deliveries from end to end on this machine alone, against an S3 server that is started for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import polars as pl
import typer

from mc_sink._display import lines
from mc_sink.connector.cli.output import out
from mc_sink.exceptions import SinkError, ValidationError
from mc_sink.sandbox import Sandbox
from mc_sink.sink import sink_madconnect
from mc_sink.testing import sample

if TYPE_CHECKING:
    from mc_sink.receipt import Receipt
    from mc_sink.sandbox import Admin, Writer

_Format = Literal["csv", "csv.gz", "parquet"]
_FORMATS: tuple[_Format, ...] = ("csv", "csv.gz", "parquet")


def demo(
    *,
    rows: Annotated[int, typer.Option(min=10, help="How many rows of the sample audience to deliver.")] = 100_000,
) -> None:
    """Deliver a sample audience to an S3 server that runs on this machine meanwhile, and let a delivery fail.

    Needs mc-sink[demo]. Reads no credentials, sends nothing to another machine, and leaves nothing behind.
    """
    with Sandbox() as sandbox:
        server = sandbox.server
        _headline(f"An S3 server is up: {server.about}")
        writer = server.new_writer()
        _headline(
            f"Bucket {writer.bucket}; a user with s3:PutObject, s3:PutObjectAcl and s3:ListBucket, and nothing else."
        )
        for name in _FORMATS:
            receipt = _deliver(writer, rows, name)
        _show_what_the_owner_reads(server, writer, receipt)
        _fail(server, writer, rows)
    _headline("The server is stopped. Nothing is left behind.")


def _deliver(writer: Writer, rows: int, name: _Format) -> Receipt:
    """Deliver the sample audience under a prefix, verify it, and print the receipt."""
    _headline(f"Delivering {rows:,} rows of the sample audience as {name} …")
    receipt = sink_madconnect(
        sample("audience", rows),
        writer.target("madconnect/outputs/"),
        format=name,
        schema="audience",
        storage_options=writer.storage_options,
    )
    verification = receipt.verify()
    out(str(receipt))
    out(f"verified   {verification}")
    if not verification.ok or receipt.num_rows != rows:
        raise SinkError("The demonstration's delivery could not be verified.")
    return receipt


def _show_what_the_owner_reads(server: Admin, writer: Writer, receipt: Receipt) -> None:
    """Read the delivered Parquet file with the owner's key, and print how much was in it."""
    key = receipt.files[0].path.removeprefix(writer.target())
    read = pl.read_parquet(server.read(writer.bucket, key))
    _headline(f"The owner of {writer.bucket} reads {read.height:,} rows and {read.width} columns back with Polars.")
    if read.height != receipt.num_rows:
        raise SinkError("The owner reads another number of rows than was delivered.")


def _fail(server: Admin, writer: Writer, rows: int) -> None:
    """Deliver a frame whose last row is invalid, and print the error and what the bucket shows."""
    _headline("Delivering once more, with one invalid consent in the last row …")
    invalid = pl.when(pl.int_range(pl.len()) == rows - 1).then(pl.lit("maybe")).otherwise("consent")
    try:
        sink_madconnect(
            sample("audience", rows).with_columns(consent=invalid),
            writer.target("failed/"),
            schema="audience",
            storage_options=writer.storage_options,
        )
    except ValidationError as error:
        out(lines(*f"{type(error).__name__}: {error}".split("\n")))
    else:
        raise SinkError("The invalid delivery went through.")
    if left := server.listing(writer.bucket, "failed/"):
        raise SinkError(f"The failed delivery left {sorted(left)}.")
    _headline("The bucket shows 0 objects under failed/.")


def _headline(line: str) -> None:
    """Print a line that stands out among receipts."""
    out("")
    out(f"── {line}")
