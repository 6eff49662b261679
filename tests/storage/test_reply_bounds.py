"""Replies without end, or larger than any answer: an error in bounded time, after a stated number of bytes."""

from __future__ import annotations

import gzip
import socketserver
import zlib
from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped]  # ships no types
import pytest

import mc_sink
from mc_sink.storage.s3.client import Requests
from mc_sink.storage.s3.http import MOST_LISTED, MOST_REPLIED
from mc_sink.storage.s3.retry_rules import OPERATIONS, Operation, Pace
from tests.servers.faults import Body
from tests.support.frames import numbers
from tests.support.plain_requests import MIB, Stopwatch, failure, ready, requests_to

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.fault import FaultServer

# What sockets and aiohttp hold beside the reply.
BUFFERS = 16 * MIB
READ_TIMEOUT = 1
LISTED = {"list_objects_v2", "list_multipart_uploads"}
PAGE = b"<ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated>%s</ListBucketResult>"


class Flood(socketserver.ThreadingTCPServer):
    """Answers each request with `head`, and then with `piece` again and again, and counts the bytes."""

    daemon_threads = True

    def __init__(self, head: bytes, piece: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Flooding)
        self.head, self.piece = head, piece
        self.num_bytes: list[int] = []


class Flooding(socketserver.BaseRequestHandler):
    """One connection."""

    def handle(self) -> None:
        """Send until the client has left."""
        server = self.server
        assert isinstance(server, Flood)
        self.request.settimeout(30)
        received = b""
        while b"\r\n\r\n" not in received:
            received += self.request.recv(65536)
        if b"100-continue" in received.lower():
            self.request.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        at = len(server.num_bytes)
        server.num_bytes.append(0)
        try:
            self.request.sendall(server.head)
            while True:
                self.request.sendall(server.piece)
                server.num_bytes[at] += len(server.piece)
        except OSError:
            pass


@contextmanager
def flood(head: bytes, piece: bytes) -> Iterator[tuple[Flood, Requests]]:
    """Serve a flood, with requests to it."""
    with Flood(head, piece) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        where = f"http://127.0.0.1:{server.server_address[1]}"
        config = {"read_timeout": READ_TIMEOUT}
        yield server, Requests({"key": "k", "secret": "s", "endpoint_url": where, "config_kwargs": config})
        server.shutdown()


def parameters_of(operation: Operation) -> dict[str, Any]:
    """Return parameters of a request."""
    upload: dict[str, Any] = {"Bucket": "bucket", "Key": "key", "UploadId": "id"}
    known: dict[str, dict[str, Any]] = {
        "create_multipart_upload": {"Bucket": "bucket", "Key": "key"},
        "put_object": {"Bucket": "bucket", "Key": "key", "Body": b"abc"},
        "upload_part": upload | {"PartNumber": 1, "Body": b"abc"},
        "complete_multipart_upload": upload | {"MultipartUpload": {"Parts": [{"ETag": "e", "PartNumber": 1}]}},
        "abort_multipart_upload": upload,
    }
    return known.get(operation, {"Bucket": "bucket"})


CHUNKED = b"Content-Type: application/xml\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = b"%x\r\n" % 65536 + b" " * 65536 + b"\r\n"


@pytest.mark.parametrize(
    ("operation", "status"),
    [*((operation, 200) for operation in OPERATIONS), ("put_object", 403), ("list_objects_v2", 403)],
)
def test_a_reply_without_end_is_an_error(operation: Operation, status: int) -> None:
    """One attempt, of which a stated number of bytes is read; whether it took effect isn't known."""
    with flood(b"HTTP/1.1 %d X\r\n" % status + CHUNKED, CHUNK) as (server, requests):
        watch = Stopwatch()
        failed = failure(requests, operation, **parameters_of(operation))
        assert watch.seconds < Pace(READ_TIMEOUT).deadline * 4
    most = MOST_LISTED if operation in LISTED else MOST_REPLIED
    assert failed.message == f"the reply has more than {most:,} bytes"
    assert (failed.status, failed.attempts, failed.uncertain) == (status, 1, True)
    assert len(server.num_bytes) == 1
    assert server.num_bytes[0] < most + BUFFERS


def test_an_error_without_end_that_may_pass_is_tried_again() -> None:
    """As any server's error: as often as usual, and each time as many bytes at most."""
    with flood(b"HTTP/1.1 503 X\r\n" + CHUNKED, CHUNK) as (server, requests):
        failed = failure(requests, "upload_part", **parameters_of("upload_part"))
    assert 1 < failed.attempts <= Pace().attempts
    assert failed.attempts == len(server.num_bytes)
    assert max(server.num_bytes) < MOST_REPLIED + BUFFERS


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n" * 1_000),
        (b"HTTP/1.1 200 OK\r\nX-A: ", b"b" * 65536),
        (b"HTTP/1.1 ", b"2" * 65536),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000),
    ],
    ids=["headers", "header", "status", "interim"],
)
def test_a_head_without_end_is_an_error(head: bytes, piece: bytes) -> None:
    """Many headers, a long one, a long status, and interim replies for ever."""
    with flood(head, piece) as (server, requests):
        watch = Stopwatch()
        failed = failure(requests, "put_object", **parameters_of("put_object"))
        assert watch.seconds < Pace(READ_TIMEOUT).deadline * 4
    assert failed.uncertain
    assert max(server.num_bytes) < 2 * BUFFERS


def test_blank_lines_before_a_reply_end_at_the_deadline() -> None:
    """HTTP lets a client skip them; they are dropped as they come, and fill nothing."""
    with flood(b"", b"\r\n" * 1_000) as (server, requests):
        before, watch = psutil.Process().memory_info().rss, Stopwatch()
        failed = failure(requests, "put_object", **parameters_of("put_object"))
        assert watch.seconds < Pace(READ_TIMEOUT).deadline * 4
        assert psutil.Process().memory_info().rss - before < BUFFERS + 16 * MIB
    assert failed.uncertain
    assert sum(server.num_bytes) > 0


@pytest.mark.parametrize("packing", ["gzip", "deflate"])
def test_a_packed_reply_is_unpacked_within_bounds(fault_s3: FaultServer, packing: str) -> None:
    """A megabyte of a bomb holds a gigabyte; a packed answer of usual size is read."""
    pack = gzip.compress if packing == "gzip" else zlib.compress
    headers = (("Content-Type", "application/xml"), ("Content-Encoding", packing))
    requests = requests_to(fault_s3)
    fault_s3.fault("List", Body(200, pack(PAGE % b""), headers))
    fault_s3.fault("List", Body(200, pack(PAGE % (b" " * 64 * MIB)), headers), n=2)
    parameters = ready(requests, "list_objects_v2")
    assert requests.call("list_objects_v2", **parameters)["Name"] == "bucket"
    failed = failure(requests, "list_objects_v2", **parameters)
    assert failed.message == f"the reply has more than {MOST_LISTED:,} bytes"


def test_the_largest_page_of_a_listing_is_read(fault_s3: FaultServer) -> None:
    """A thousand keys of 1,024 bytes, each byte written in the longest way."""
    entry = b"<Contents><Key>%s</Key><ETag>0</ETag><Size>1</Size></Contents>" % (b"&quot;" * 1_024)
    fault_s3.fault("List", Body(200, PAGE % (entry * 1_000), (("Content-Type", "application/xml"),)))
    requests = requests_to(fault_s3)
    assert len(requests.call("list_objects_v2", **ready(requests, "list_objects_v2"))["Contents"]) == 1_000


@pytest.mark.parametrize("text", [b"<Message>", b"( ", b"<a>", b"the ", b"the" + b" " * 99, b"&lt;" * 9, b"-a"])
def test_an_error_of_any_text_is_read_in_linear_time(fault_s3: FaultServer, text: bytes) -> None:
    """Texts that patterns with a choice read in the square of their length, which would take hours for a megabyte."""
    many = text * ((MOST_REPLIED - 1_000) // len(text))
    requests = requests_to(fault_s3)
    error = b"<Error><Code>AccessDenied</Code><Message>%s</Message></Error>"
    for number, body in enumerate([error % many, b"<Error>" + many]):
        fault_s3.fault("Put", Body(403, body, (("Content-Type", "application/xml"),)), n=number + 1)
    watch = Stopwatch()
    for _ in range(2):
        assert failure(requests, "put_object", **ready(requests, "put_object")).status == 403
    assert watch.seconds < 20


def test_a_delivery_to_a_store_without_end_ends() -> None:
    """The message says what is wrong, and that nothing is visible."""
    with flood(b"HTTP/1.1 200 X\r\n" + CHUNKED, CHUNK) as (server, _):
        where = f"http://127.0.0.1:{server.server_address[1]}"
        with pytest.raises(mc_sink.UploadError, match=r"not an answer of S3 \(the reply has more than") as raised:
            mc_sink.sink_madconnect(
                numbers(3), "s3://bucket/p/", storage_options={"key": "k", "secret": "s", "endpoint_url": where}
            )
    assert raised.value.visible == "nothing"
