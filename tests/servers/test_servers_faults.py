"""The servers that fail on command: every fault does what its name says, before and after the effect."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, HTTPClientError

from mc_sink.sandbox.admin import Admin, Writer
from tests.servers.assertions import assert_nothing_visible
from tests.servers.fault import FaultServer
from tests.servers.faults import (
    FOREVER,
    BlackHole,
    Body,
    Call,
    Dribble,
    Fault,
    FlipByte,
    Kill,
    Reset,
    Status,
    WhitespaceThenReply,
)
from tests.servers.operations import WRITER_OPS, recognise
from tests.support.connection_files import wait_until

if TYPE_CHECKING:
    from tests.conftest import Recorded
    from tests.servers.endpoint import Endpoint
    from tests.servers.operations import Request

MIB = 1 << 20
Door = tuple["Endpoint", Writer, Any]


@pytest.fixture(params=["test server", "proxy"])
def door(request: pytest.FixtureRequest) -> Door:
    """Return what fails on command, a writer whose requests go through it, and the owner's view of the bucket."""
    if request.param == "proxy":
        recorded: Recorded = request.getfixturevalue("recorded")
        return recorded.proxy, recorded.writer, recorded.server
    server: FaultServer = request.getfixturevalue("fault_s3")
    return server, server.writer, server


def client(writer: Writer) -> contextlib.AbstractContextManager[Any]:
    """Return a client with the writer's key, which sends once."""
    return Admin(writer.url, writer.credentials, "").client()


def put(writer: Writer, key: str = "a", body: bytes = b"hello", **options: Any) -> Any:
    """Put an object in one request."""
    with client(writer) as s3:
        return s3.put_object(Bucket=writer.bucket, Key=key, Body=body, **options)


def succeeds(writer: Writer, key: str = "a", body: bytes = b"hello") -> bool:
    """Return True if a Put reports success."""
    try:
        put(writer, key, body)
    except (ClientError, HTTPClientError):
        return False
    return True


LOST = [Reset("head"), Reset("body"), Reset("end"), Body(), Body(status=500), Status(503, code="SlowDown")]


@pytest.mark.parametrize("fault", LOST, ids=repr)
def test_before_means_without_effect(door: Door, fault: Fault) -> None:
    """A request that is struck before its effect leaves nothing behind, and the next one passes."""
    server, writer, owner = door
    server.fault("Put", fault)

    # An empty 200 passes for success with the client, which is why it is worth having.
    assert succeeds(writer, body=bytes(MIB)) == (fault == Body())
    assert_nothing_visible(owner, writer.bucket)
    put(writer)
    assert list(owner.listing(writer.bucket)) == ["a"]
    assert [record.fault for record in server.log] == [type(fault).__name__, None]


@pytest.mark.parametrize("fault", [Reset(), Status(500), Status(412, code="PreconditionFailed")], ids=repr)
def test_after_means_with_its_whole_effect(door: Door, fault: Fault) -> None:
    """A request that is struck after its effect is done, and only its reply is lost or false."""
    server, writer, owner = door
    server.fault("Put", fault, when="after")

    with pytest.raises((ClientError, HTTPClientError)):
        put(writer, body=b"hello")
    assert owner.read(writer.bucket, "a") == b"hello"


def test_requests_are_counted_from_when_the_fault_was_planned(door: Door) -> None:
    """The second and third Put from now fail, the others pass, and requests of other names don't count."""
    server, writer, owner = door
    put(writer, "0")
    server.fault("Put", Status(503, code="SlowDown"), n=2, times=2)

    outcomes = []
    for key in "1234":
        with client(writer) as s3:
            s3.list_objects_v2(Bucket=writer.bucket)
        outcomes.append(succeeds(writer, key))
    assert outcomes == [True, False, False, True]
    assert sorted(owner.listing(writer.bucket)) == ["0", "1", "4"]
    assert [record.status for record in server.log.of("Put")] == [200, 200, 503, 503, 200]


def test_any_request_and_forever(fault_s3: FaultServer) -> None:
    """A star strikes requests of every name, until the server is healed."""
    fault_s3.fault("*", Status(503), times=FOREVER)
    with client(fault_s3.writer) as s3:
        for call in (s3.list_objects_v2, s3.head_bucket, s3.list_objects_v2):
            with pytest.raises(ClientError):
                call(Bucket=fault_s3.bucket)
        fault_s3.heal()
        s3.list_objects_v2(Bucket=fault_s3.bucket)
    assert [record.status for record in fault_s3.log] == [503, 503, 503, 200]


@pytest.mark.parametrize("fault", [BlackHole(), Dribble(1.0), Dribble(1.0, side="body")], ids=repr)
def test_a_stuck_request_ends_with_the_server(fault: Fault) -> None:
    """A client waits for as long as the server lives and no longer, and no thread outlives it."""
    caught: list[Exception] = []

    def wait() -> None:
        try:
            put(server.writer, body=b"x" * 1000)
        except ConnectionClosedError as error:
            caught.append(error)

    with FaultServer() as server:
        server.fault("Put", fault)
        waiting = threading.Thread(target=wait)
        waiting.start()
        wait_until(lambda: list(server.log))  # a client that is still being made would find no server at all
        waiting.join(0.3)
        assert waiting.is_alive()
        began = time.monotonic()
    waiting.join()
    assert time.monotonic() - began < 30  # botocore's own read timeout is 60
    assert len(caught) == 1
    assert not [thread for thread in threading.enumerate() if thread.name == "FaultServer"]


def test_a_flipped_bit_is_found_by_the_checksum(door: Door) -> None:
    """A body that was damaged on the way is refused, because its sums are sent with it."""
    server, writer, owner = door
    server.fault("Put", FlipByte(3))

    with pytest.raises(ClientError) as caught:
        put(writer)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert_nothing_visible(owner, writer.bucket)


def test_blanks_come_first_and_an_error_may_follow(fault_s3: FaultServer) -> None:
    """A Complete may answer 200, keep the line warm, and end in an error document all the same."""
    for when, seconds in (("before", 0.2), ("after", 0.2)):
        fault_s3.fault("Complete", WhitespaceThenReply(seconds), when="before" if when == "before" else "after")
    with client(fault_s3.writer) as s3:
        where = {"Bucket": fault_s3.bucket, "Key": "a"}
        where["UploadId"] = s3.create_multipart_upload(**where)["UploadId"]
        part = {"PartNumber": 1, "ETag": s3.upload_part(**where, PartNumber=1, Body=b"hello")["ETag"]}
        with pytest.raises(ClientError) as caught:
            s3.complete_multipart_upload(**where, MultipartUpload={"Parts": [part]})
        assert caught.value.response["Error"]["Code"] == "InternalError"
        fault_s3.heal()
        fault_s3.fault("Complete", WhitespaceThenReply(0.2), when="after")
        began = time.monotonic()
        reply = s3.complete_multipart_upload(**where, MultipartUpload={"Parts": [part]})
    assert time.monotonic() - began >= 0.2
    assert reply["ETag"].strip('"') == fault_s3.listing(fault_s3.bucket)["a"].etag


def test_a_call_may_use_the_server_behind_the_clients_back(fault_s3: FaultServer) -> None:
    """Another writer's object can appear at the key just before a conditional Put takes effect."""

    def intrude(request: Request) -> None:
        fault_s3.put_foreign(request.bucket, request.key, b"foreign")

    fault_s3.fault("Put", Call(intrude))

    with pytest.raises(ClientError, match="PreconditionFailed"):
        put(fault_s3.writer, IfNoneMatch="*")
    assert fault_s3.read(fault_s3.bucket, "a") == b"foreign"


def test_a_client_can_be_killed_at_a_request(fault_s3: FaultServer) -> None:
    """The client dies at its second Put, which has no effect."""
    script = (
        "import sys\n"
        "from tests.servers.rules import WRITER\n"
        "from mc_sink.sandbox.admin import Admin\n"
        "with Admin(sys.argv[1], WRITER, '').client() as s3:\n"
        "    for key in 'abc':\n"
        "        s3.put_object(Bucket='bucket', Key=key, Body=b'hello')\n"
    )
    fault_s3.fault("Put", Kill(lambda: child.pid, signal.SIGKILL), n=2)
    child = subprocess.Popen([sys.executable, "-c", script, fault_s3.url], cwd=Path(__file__).parents[2])

    assert child.wait(timeout=60) == -signal.SIGKILL
    assert list(fault_s3.listing(fault_s3.bucket)) == ["a"]
    assert fault_s3.log.ops() == ["Put", "Put"]


def test_the_log_knows_what_a_writer_may_not_send(recorded: Recorded) -> None:
    """A real server's requests are recognised and numbered in the order of arrival, forbidden ones included."""
    with client(recorded.writer) as s3:
        bucket = recorded.writer.bucket
        where = {"Bucket": bucket, "Key": "dir/a b"}
        where["UploadId"] = s3.create_multipart_upload(**where)["UploadId"]
        s3.upload_part(**where, PartNumber=7, Body=b"hello")
        with contextlib.suppress(ClientError):
            s3.abort_multipart_upload(**where)
        s3.list_objects_v2(Bucket=bucket)
        for call in (s3.head_object, s3.get_object, s3.delete_object):
            with pytest.raises(ClientError):
                call(Bucket=bucket, Key="a")
        with pytest.raises(ClientError):
            s3.get_bucket_location(Bucket=bucket)

    log = recorded.proxy.log
    assert log.ops() == ["Create", "Part", "Abort", "List", "Head", "Get", "Delete", "GetBucketLocation"]
    assert [record.op for record in log.forbidden()] == ["Head", "Get", "Delete", "GetBucketLocation"]
    assert [(one.key, one.part_number, one.upload_id) for one in log.of("Part")] == [("dir/a b", 7, where["UploadId"])]
    assert [record.n for record in log] == list(range(1, 9))
    assert not [record for record in log if "authorization" in record.headers]


@pytest.mark.parametrize(
    ("method", "key", "query", "op"),
    [
        ("GET", "", {"uploads": ""}, "ListUploads"),
        ("GET", "", {"prefix": "p"}, "ListV1"),
        ("GET", "", {"acl": ""}, "Other"),
        ("PUT", "", {}, "CreateBucket"),
        ("PUT", "", {"policy": ""}, "Other"),
        ("POST", "", {"delete": ""}, "DeleteMany"),
        ("GET", "k", {"uploadId": "u"}, "ListParts"),
        ("PUT", "k", {"acl": ""}, "PutAcl"),
        ("PUT", "k", {"tagging": ""}, "PutTagging"),
    ],
)
def test_every_operation_has_its_own_name(method: str, key: str, query: dict[str, str], op: str) -> None:
    """Nothing that needs a fourth permission is taken for one of a writer's."""
    assert recognise(method, "bucket", key, query, {}) == op
    assert op not in WRITER_OPS
    assert recognise("PUT", "bucket", "k", {}, {"x-amz-copy-source": "b/k"}) == "Copy"
