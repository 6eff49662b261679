"""`mc-sink demo`: a delivery from end to end, on this machine alone.

    sample audience ─► csv, csv.gz, parquet ─► verified, and read back by the bucket's owner
                    ─► a query that fails ─► nothing in the bucket
                    ─► the network ends half way ─► the same run again ─► one copy

Starts an S3 server, with a bucket and a user who may only write. Nothing of it stays.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import polars as pl
import typer

from mc_sink._display import counted
from mc_sink.connector.cli.output import out
from mc_sink.exceptions import CommitError, SinkError
from mc_sink.publishing import list_journals
from mc_sink.sandbox import Cable, Sandbox
from mc_sink.sink import sink_madconnect
from mc_sink.testing import sample

if TYPE_CHECKING:
    from mc_sink.receipt import Receipt
    from mc_sink.sandbox import Admin, Writer

FormatName: TypeAlias = Literal["csv", "csv.gz", "parquet"]
FORMATS: tuple[FormatName, ...] = ("csv", "csv.gz", "parquet")
RUN = "nightly-2026-11-22"
# Files of the run whose network ends, and those that are visible by then.
FILES, VISIBLE = 4, 2


def demo(
    rows: Annotated[int, typer.Option(min=1_000, help="How many rows the sample audience has.")] = 100_000,
) -> None:
    """Deliver a sample audience to an S3 server that runs here meanwhile, and show what a failure leaves.

    Needs pip install "mc-sink[demo]". Nothing leaves the machine, and nothing stays on it.
    """
    with Sandbox() as sandbox:
        _say(f"An S3 server is up: {sandbox.server.about}")
        writer = sandbox.server.new_writer()
        _say(f"Bucket {writer.bucket}; a user with s3:PutObject, s3:PutObjectAcl and s3:ListBucket, and nothing else.")
        receipts = [_deliver(writer, name, rows) for name in FORMATS]
        _read_back(sandbox.server, writer, receipts[-1])
        _fail(sandbox.server, writer, rows)
        _pull_the_cable(sandbox.server, writer, rows)
    _say("The server is stopped. Nothing is left behind.")


def _say(line: str) -> None:
    """Print a line that stands out among receipts."""
    _show(f"\n── {line}")


def _show(text: str) -> None:
    """Print a text of several lines."""
    for line in text.split("\n"):
        out(line)


def _deliver(writer: Writer, name: FormatName, rows: int) -> Receipt:
    """Deliver the sample audience under a prefix, verify it, and print the receipt."""
    _say(f"Delivering {rows:,} rows of the sample audience as {name} …")
    receipt = sink_madconnect(
        sample("audience", rows),
        writer.target("madconnect/outputs/"),
        format=name,
        schema="audience",
        storage_options=writer.storage_options,
    )
    return _verified(receipt, rows)


def _verified(receipt: Receipt, rows: int) -> Receipt:
    """Print a receipt, and raise unless the bucket has what it lists, and that are all rows."""
    verification = receipt.verify()
    _show(f"{receipt}\nverified   {verification}")
    _check(verification.ok, "the bucket does not have what was delivered")
    _check(receipt.num_rows == rows, f"{receipt.num_rows:,} of {rows:,} rows were delivered")
    return receipt


def _check(holds: bool, reason: str) -> None:  # noqa: FBT001  one condition
    if not holds:
        raise SinkError(f"The demonstration failed: {reason}. Report this, with what was printed.")


def _read_back(server: Admin, writer: Writer, receipt: Receipt) -> None:
    """Read a delivered file as the bucket's owner, with pyarrow."""
    from pyarrow.fs import S3FileSystem
    from pyarrow.parquet import read_table

    owner = S3FileSystem(
        access_key=server.credentials.key,
        secret_key=server.credentials.secret,
        endpoint_override=server.url,
        region="us-east-1",
    )
    table = read_table(receipt.files[0].path.removeprefix("s3://"), filesystem=owner)
    _say(
        f"The owner of {writer.bucket} reads {table.num_rows:,} rows and {table.num_columns} columns back with pyarrow."
    )
    _check(table.num_rows == receipt.num_rows, "the owner reads another number of rows than was delivered")


def _fail(server: Admin, writer: Writer, rows: int) -> None:
    """Make a delivery fail in its last rows, and show that nothing of it can be seen."""
    _say(f"Delivering once more, with a query that fails after {rows // 10 * 9:,} rows …")
    tenth = pl.int_range(pl.len()) * 10 // rows
    broken = sample("audience", rows).with_columns(
        late=tenth.cast(pl.String).str.replace("9", "no number", literal=True).cast(pl.Int64)
    )
    try:
        sink_madconnect(broken, writer.target("failed/"), storage_options=writer.storage_options)
    except pl.exceptions.InvalidOperationError as error:
        notes = "\n".join(getattr(error, "__notes__", ()))
        _show(f"{type(error).__name__}: {str(error).splitlines()[0]}\n{notes}")
    else:
        _check(False, "the query did not fail")
    left = sorted(server.listing(writer.bucket, "failed/"))
    _check(not left, f"the failed delivery left {', '.join(left)}")
    _say("The bucket shows 0 objects under failed/.")


def _pull_the_cable(server: Admin, writer: Writer, rows: int) -> None:
    """End the network while several files are being published, and run the same delivery again."""
    _say(f"Delivering {FILES} files and a manifest, and pulling the cable when {VISIBLE} of them are published …")
    with Cable(server.url, cut_at=VISIBLE + 1, is_counted=_publishes) as cable:
        try:
            _deliver_nightly(replace(writer, url=cable.url), rows)
        except CommitError as error:
            _show(f"{type(error).__name__}: {error}")
        else:
            _check(False, "the delivery went through a cable that was pulled")
    shown = server.listing(writer.bucket, "nightly/")
    _say(f"{counted(len(shown), 'whole file')} visible, and no manifest. The cable is back; the same run again …")
    receipt = _verified(_deliver_nightly(writer, rows), rows)
    _check((receipt.num_found, len(shown)) == (VISIBLE, VISIBLE), f"{receipt.num_found} files were found")
    _check(list_journals() == [], "a journal is left")


def _publishes(first_line: bytes) -> bool:
    """Return True for the request that makes an uploaded file visible."""
    return first_line.startswith(b"POST ") and b"uploadId=" in first_line


def _deliver_nightly(writer: Writer, rows: int) -> Receipt:
    """Deliver in several files, as a job that may be started again; not patient with the network."""
    return sink_madconnect(
        sample("audience", rows),
        writer.target("nightly/"),
        run_id=RUN,
        max_rows_per_file=-(-rows // FILES),
        storage_options=writer.storage_options | {"config_kwargs": {"read_timeout": 10}},
    )
