"""Errors at every step of a delivery: nothing is visible, and the caller sees the error that was raised."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandera.polars as pa
import polars as pl
import pytest

import mc_sink
from mc_sink import (
    AlreadyExistsError,
    CommitUnknown,
    ConfigurationError,
    PermissionDenied,
    UploadError,
    ValidationError,
)
from mc_sink._runtime.engine_thread import PATIENCE_SECONDS
from mc_sink.storage import Writer as FileWriter
from mc_sink.storage import open_store
from mc_sink.storage.s3.multipart import ABORT_SECONDS
from mc_sink.target import parse_target
from tests.servers.fault import FaultServer
from tests.servers.faults import FOREVER, BlackHole, Body, Call, Reset, Status
from tests.servers.operations import WRITER_OPS
from tests.servers.rules import Rules
from tests.support.frames import FORMATS, SMALL_PARTS, endless_until, failing_generator, failing_once, numbers
from tests.support.versions import raised_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Recorded
    from tests.servers.endpoint import Endpoint

ROOT = Path(__file__).parents[2]
BATCH = numbers(100_000)
# In seconds: less than one read timeout, which is 60 by default.
IN_TIME = 50.0


def options(server: FaultServer) -> dict[str, Any]:
    """Return the server's address and key, and small parts."""
    return server.storage_options | SMALL_PARTS


def nothing_visible(server: FaultServer) -> bool:
    """Return True if the bucket shows no object and keeps no upload."""
    return not server.listing(server.bucket) and not server.pending_uploads(server.bucket)


def a_part_is_up(server: Endpoint) -> Callable[[], object]:
    """Return a function for a source to call, which returns the parts that have arrived."""
    return lambda: server.log.of("Part")


class SourceError(Exception):
    """Raised by a caller's own source."""


def query_failure(ready: Callable[[], object]) -> pl.LazyFrame:
    """Make a query that can't cast a value which comes once something is ready."""
    good, bad = BATCH.with_columns(late=pl.lit("1")), BATCH.with_columns(late=pl.lit("x"))
    return endless_until(good, ready, bad).with_columns(pl.col("late").cast(pl.Int64))


ENDINGS: dict[str, tuple[Callable[[Callable[[], object]], Any], type[BaseException]]] = {
    "failing query": (query_failure, pl.exceptions.InvalidOperationError),
    "source": (lambda ready: failing_once(BATCH, ready, SourceError("gone")), raised_for(SourceError)),
    "out of memory": (lambda ready: failing_once(BATCH, ready, MemoryError("full")), raised_for(MemoryError)),
    "generator": (lambda ready: failing_generator(BATCH, ready, SourceError("gone")), SourceError),
}


@pytest.mark.parametrize(("frame", "error"), ENDINGS.values(), ids=ENDINGS)
@pytest.mark.parametrize("format", FORMATS)
def test_a_frame_that_fails_leaves_nothing(
    fault_s3: FaultServer,
    format: str,
    frame: Callable[[Callable[[], object]], Any],
    error: type[BaseException],
) -> None:
    """The exception of the query or of its source arrives as itself, with a note of what became visible: nothing."""
    target = fault_s3.writer.target(f"p/x.{format}")
    started = time.monotonic()
    with pytest.raises(error) as raised:
        mc_sink.sink_madconnect(frame(a_part_is_up(fault_s3)), target, storage_options=options(fault_s3))
    assert time.monotonic() - started < IN_TIME
    assert type(raised.value) is error
    assert any("Nothing became visible" in note for note in raised.value.__notes__)
    assert len(fault_s3.log.of("Part")) >= 1
    assert fault_s3.log.of("Complete", "Put") == []
    assert nothing_visible(fault_s3)


@pytest.mark.parametrize("format", FORMATS)
def test_a_check_that_fails_in_the_last_batch_leaves_nothing(fault_s3: FaultServer, format: str) -> None:
    """One bad value in the last of 2,000,000 rows, after parts have gone up, and the receiver sees no object."""
    frame = pl.concat([BATCH] * 20).with_row_index("row").lazy()
    schema = pa.DataFrameSchema({"row": pa.Column(pl.UInt32, pa.Check.lt(1_999_999))}, name="rows")
    with pytest.raises(ValidationError) as raised:
        mc_sink.sink_madconnect(
            frame, fault_s3.writer.target(f"p/x.{format}"), schema=schema, storage_options=options(fault_s3)
        )
    assert raised.value.failure_cases is not None
    assert raised.value.failure_cases["row"].to_list() == [1_999_999]
    assert len(fault_s3.log.of("Part")) >= 1
    assert nothing_visible(fault_s3)


@pytest.mark.parametrize(
    ("how", "sent"),
    [("interrupted", signal.SIGINT), ("interrupted", signal.SIGTERM), ("abandoned", signal.SIGTERM)],
    ids=["Ctrl-C", "SystemExit", "exit under a daemon thread"],
)
@pytest.mark.parametrize("format", FORMATS)
def test_a_process_that_ends_in_mid_stream_leaves_nothing(
    fault_s3: FaultServer, format: str, how: str, sent: signal.Signals
) -> None:
    """Ctrl-C, a service's SIGTERM and leaving the interpreter end in time, with the exit code of what was raised."""
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.support.child_deliveries", how, fault_s3.url, format]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    struck: list[float] = []

    def strike(_: object) -> None:
        struck.append(time.monotonic())
        process.send_signal(sent)

    fault_s3.fault("Part", Call(strike), n=2)
    _, errors = process.communicate(timeout=120)
    assert time.monotonic() - struck[0] < IN_TIME
    assert "Fatal Python error" not in errors
    assert process.returncode == (7 if sent == signal.SIGTERM else -signal.SIGINT), errors
    assert fault_s3.log.of("Complete", "Put") == []
    assert fault_s3.listing(fault_s3.bucket) == {}
    if how == "interrupted":
        assert ("KeyboardInterrupt" in errors) == (sent == signal.SIGINT)
        assert fault_s3.pending_uploads(fault_s3.bucket) == []


def test_a_dropped_handle_publishes_nothing(fault_s3: FaultServer) -> None:
    """Half a file, forgotten and collected, is never seen."""
    target = parse_target(fault_s3.writer.target("p/x.csv"))
    handle = FileWriter(open_store(target, options(fault_s3)).open(target, "text/csv", several=False))
    handle.write(bytes(12 * 2**20))
    del handle
    gc.collect()
    assert fault_s3.listing(fault_s3.bucket) == {}
    assert fault_s3.log.of("Complete", "Put") == []


@pytest.mark.parametrize("format", FORMATS)
def test_a_part_that_is_refused_ends_the_delivery(fault_s3: FaultServer, format: str) -> None:
    """The second part is refused for good: the error says so, and nothing is left, not even the upload."""
    fault_s3.fault("Part", Status(400, "EntityTooSmall"), n=2, times=FOREVER)
    with pytest.raises(UploadError, match="EntityTooSmall") as raised:
        mc_sink.sink_madconnect(
            pl.concat([BATCH] * 8), fault_s3.writer.target(f"p/x.{format}"), storage_options=options(fault_s3)
        )
    assert "Nothing became visible" in str(raised.value)
    assert nothing_visible(fault_s3)


@pytest.mark.parametrize(
    "fault", [Status(503, "SlowDown"), Status(500), Reset("head"), Reset("body"), Reset("end")], ids=str
)
@pytest.mark.parametrize("op", ["Create", "Part", "List"])
def test_a_passing_fault_is_passed_over(fault_s3: FaultServer, op: str, fault: Any) -> None:
    """One lost or refused request is sent again, once, by one layer, and the delivery is whole."""
    fault_s3.fault(op, fault)
    receipt = mc_sink.sink_madconnect(
        pl.concat([BATCH] * 4), fault_s3.writer.target("p/x.csv"), storage_options=options(fault_s3)
    )
    assert receipt.num_rows == 400_000
    assert receipt.verify().ok
    parts = {record.part_number for record in fault_s3.log.of("Part")}
    expected = {"Create": 1, "Part": len(parts), "List": 4}[op] + 1
    assert len(fault_s3.log.of(op)) == expected


@pytest.mark.parametrize(
    "reply",
    [
        Body(200, b""),
        Body(200, b"<html>hello</html>"),
        Body(200, b"<Error><Code>InternalError</Code><Message>no</Message></Error>"),
        Body(200, b"<CompleteMultipartUploadResult><Key>another</Key><ETag>x</ETag></CompleteMultipartUploadResult>"),
    ],
    ids=["empty", "html", "error", "another key"],
)
@pytest.mark.parametrize("rows", [10, 400_000], ids=["Put", "Complete"])
def test_a_200_that_answers_nothing_publishes_nothing(fault_s3: FaultServer, reply: Body, rows: int) -> None:
    """A 200 that doesn't say that the object was stored is checked by a listing, and here nothing was stored."""
    fault_s3.fault("Put", reply, times=FOREVER)
    fault_s3.fault("Complete", reply, times=FOREVER)
    hurried = options(fault_s3) | {"config_kwargs": {"read_timeout": 0.5}}
    with pytest.raises(CommitUnknown, match="no object there"):
        mc_sink.sink_madconnect(numbers(rows), fault_s3.writer.target("p/x.csv"), storage_options=hurried)
    assert fault_s3.listing(fault_s3.bucket) == {}


@pytest.mark.parametrize("rows", [10, 400_000], ids=["Put", "Complete"])
def test_a_lost_reply_is_settled_by_a_listing(fault_s3: FaultServer, rows: int) -> None:
    """The object was published and the answer lost: the retry is refused, and a listing shows the same object."""
    fault_s3.fault("Put", Reset(), when="after")
    fault_s3.fault("Complete", Reset(), when="after")
    receipt = mc_sink.sink_madconnect(
        numbers(rows), fault_s3.writer.target("p/x.csv"), storage_options=options(fault_s3)
    )
    assert receipt.verify().ok
    assert list(fault_s3.listing(fault_s3.bucket)) == ["p/x.csv"]


def test_another_writers_object_is_never_mistaken_for_this_runs(fault_s3: FaultServer) -> None:
    """Between our look and our request another object appears: refused, and it stays."""
    fault_s3.fault("Put", Call(lambda request: fault_s3.put_foreign(request.bucket, request.key, b"foreign")))
    with pytest.raises(AlreadyExistsError):
        mc_sink.sink_madconnect(numbers(9), fault_s3.writer.target("p/x.csv"), storage_options=options(fault_s3))
    assert fault_s3.read(fault_s3.bucket, "p/x.csv") == b"foreign"


def test_a_refused_abort_is_reported_and_hides_nothing() -> None:
    """Without the right to abort, the source's exception arrives all the same, with the upload's id noted on it."""
    with FaultServer(Rules(granted=frozenset({"Put", "Create", "Part", "Complete", "List"}))) as server:
        with pytest.raises(raised_for(SourceError), match="gone") as raised:
            mc_sink.sink_madconnect(
                failing_once(BATCH, a_part_is_up(server), SourceError("gone")),
                server.writer.target("p/x.csv"),
                storage_options=options(server),
            )
        (pending,) = server.pending_uploads(server.bucket)
        notes = "\n".join(raised.value.__notes__)
        assert pending.upload_id in notes
        assert "AbortIncompleteMultipartUpload" in notes


def test_a_store_that_stops_answering_does_not_keep_a_failed_delivery(fault_s3: FaultServer) -> None:
    """The source fails while the store is silent, to the abort too: the exception waits for no read timeout."""
    fault_s3.fault("Part", BlackHole(), n=2, times=FOREVER)
    fault_s3.fault("Abort", BlackHole(), times=FOREVER)
    started = time.monotonic()
    with pytest.raises(raised_for(SourceError), match="gone") as raised:
        mc_sink.sink_madconnect(
            failing_once(BATCH, a_part_is_up(fault_s3), SourceError("gone")),
            fault_s3.writer.target("p/x.csv"),
            storage_options=options(fault_s3) | {"max_concurrency": 8},
        )
    assert time.monotonic() - started < IN_TIME
    assert "could not be aborted" in "\n".join(raised.value.__notes__)
    assert ABORT_SECONDS + PATIENCE_SECONDS <= 5  # the bounds that it is held by, on a machine that isn't busy


DENIED = {
    "Put": ("s3:PutObject", 10),
    "Create": ("s3:PutObject", 400_000),
    "Part": ("s3:PutObject", 400_000),
    "Complete": ("s3:PutObject", 400_000),
}


@pytest.mark.parametrize(("op", "action", "rows"), [(op, *rest) for op, rest in DENIED.items()])
def test_a_missing_permission_is_named(op: str, action: str, rows: int) -> None:
    """A refused request ends the delivery with the permission that is missing, and shows nothing."""
    with FaultServer(Rules(granted=Rules().granted - {op})) as server:
        with pytest.raises(PermissionDenied, match=action) as raised:
            mc_sink.sink_madconnect(numbers(rows), server.writer.target("p/x.csv"), storage_options=options(server))
        assert raised.value.action == action
        assert nothing_visible(server)


def test_an_acl_that_the_bucket_does_not_take_is_a_matter_of_options(fault_s3: FaultServer) -> None:
    """The message says which option to change."""
    fault_s3.fault("Put", Status(400, "AccessControlListNotSupported"), times=FOREVER)
    with pytest.raises(ConfigurationError, match="bucket-owner-full-control"):
        mc_sink.sink_madconnect(
            numbers(1),
            fault_s3.writer.target("p/"),
            object_options=mc_sink.ObjectOptions(acl="private"),
            storage_options=options(fault_s3),
        )


@pytest.mark.parametrize("rows", [0, 10, 400_000], ids=["no rows", "one request", "many parts"])
@pytest.mark.parametrize("format", FORMATS)
def test_three_permissions_are_all_that_is_used(recorded: Recorded, format: str, rows: int) -> None:
    """A recorder in front of the real server sees puts, parts and listings, and no other operation."""
    target, storage = recorded.writer.target(f"p/x.{format}"), recorded.writer.storage_options | SMALL_PARTS
    receipt = mc_sink.sink_madconnect(numbers(rows), target, storage_options=storage)
    assert receipt.verify().ok
    with pytest.raises(AlreadyExistsError):
        mc_sink.sink_madconnect(numbers(rows), target, storage_options=storage)
    with pytest.raises(raised_for(SourceError), match="gone"):
        mc_sink.sink_madconnect(
            failing_once(BATCH, a_part_is_up(recorded.proxy), SourceError("gone")),
            recorded.writer.target("q/"),
            storage_options=storage,
        )
    assert set(recorded.proxy.log.ops()) <= WRITER_OPS
    assert recorded.proxy.log.forbidden() == []
    assert list(recorded.server.listing(recorded.writer.bucket)) == [f"p/x.{format}"]


@pytest.mark.parametrize("rows", [10, 400_000], ids=["one request", "many parts"])
def test_every_publishing_request_is_conditional(fault_s3: FaultServer, rows: int) -> None:
    """The request that publishes says "if none matches", and carries size and checksum of the whole object."""
    receipt = mc_sink.sink_madconnect(
        numbers(rows), fault_s3.writer.target("p/x.csv"), storage_options=options(fault_s3)
    )
    (publishing,) = fault_s3.log.of("Put", "Complete")
    assert publishing.headers["if-none-match"] == "*"
    stored = fault_s3.stored(fault_s3.bucket, "p/x.csv")
    assert stored.checksum is not None
    assert (stored.checksum.algorithm, stored.checksum.kind) == ("crc32", "FULL_OBJECT")
    assert stored.size == receipt.num_bytes
    if rows > 10:
        assert publishing.headers["x-amz-mp-object-size"] == str(receipt.num_bytes)


@pytest.mark.parametrize("rows", [10, 400_000], ids=["one request", "many parts"])
def test_object_options_reach_the_store(rows: int) -> None:
    """ACL, encryption, storage class, tags, metadata and media type arrive, for a small object and for a large one."""
    asked = mc_sink.ObjectOptions(
        acl="bucket-owner-full-control",
        sse="aws:kms",
        sse_kms_key_id="key-1",
        storage_class="STANDARD_IA",
        tags={"team": "ads & more"},
        metadata={"source": "crm"},
    )
    with FaultServer(Rules(granted=Rules().granted | {"PutTagging"})) as server:
        mc_sink.sink_madconnect(
            numbers(rows), server.writer.target("p/x.csv"), object_options=asked, storage_options=options(server)
        )
        headers = server.stored(server.bucket, "p/x.csv").headers
    assert headers["x-amz-acl"] == "bucket-owner-full-control"
    assert headers["x-amz-server-side-encryption"] == "aws:kms"
    assert headers["x-amz-server-side-encryption-aws-kms-key-id"] == "key-1"
    assert headers["x-amz-storage-class"] == "STANDARD_IA"
    assert headers["x-amz-tagging"] == "team=ads+%26+more"
    assert headers["x-amz-meta-source"] == "crm"
    assert headers["content-type"] == "text/csv"


def test_the_environment_is_left_alone(fault_s3: FaultServer) -> None:
    """A delivery changes nothing in the process that outlives it."""
    before = dict(os.environ)
    mc_sink.sink_madconnect(numbers(10), fault_s3.writer.target("p/"), storage_options=options(fault_s3))
    assert dict(os.environ) == before
