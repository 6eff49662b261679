"""A store that never answers, dribbles, stops reading or can't be reached: every request ends, and soon if asked to."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import resource
import socket
import socketserver
import time
import weakref
from threading import Thread
from typing import cast

import polars as pl
import psutil  # type: ignore[import-untyped]  # ships no types
import pytest
from fsspec.asyn import get_loop

import mc_sink
from mc_sink import UploadError
from mc_sink.sandbox.admin import Credentials
from mc_sink.staged import Multipart
from mc_sink.storage.s3.client import Requests
from mc_sink.storage.s3.failures import RequestFailed
from mc_sink.storage.s3.multipart import S3Parts
from mc_sink.storage.s3.part_plan import PartPlan
from mc_sink.storage.s3.request import BUFFERED, FAST, PIECE, SLOWEST, Clock, Moving, PartBody
from mc_sink.storage.s3.retry_rules import Operation, Pace
from tests.servers.fault import FaultServer
from tests.servers.faults import FOREVER, BlackHole, Body, Dribble, Fault, Status, WhitespaceThenReply
from tests.servers.rules import Rules
from tests.support.frames import SMALL_PARTS, numbers
from tests.support.plain_requests import MIB, OPS, WHERE, Stopwatch, body_of, comes_true, failure, ready, requests_to

# Generous for read timeouts of a second, and half of what the default would take.
SOON = 60.0


@pytest.fixture
def free_port() -> int:
    """Return a port of this machine that refuses connections."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


@pytest.mark.parametrize(
    ("operation", "fault"),
    [
        ("list_objects_v2", WhitespaceThenReply(3600)),
        ("upload_part", Dribble(4)),
        ("put_object", Dribble(4)),
        ("complete_multipart_upload", WhitespaceThenReply(3600)),
    ],
    ids=str,
)
def test_a_store_that_never_finishes_its_answer_is_left(
    fault_s3: FaultServer, operation: Operation, fault: Fault
) -> None:
    """A byte now and then satisfies a socket's timeout for ever; the request ends all the same."""
    requests = requests_to(fault_s3, 1)
    parameters = ready(requests, operation)
    fault_s3.fault(OPS[operation], fault, times=FOREVER)
    watch = Stopwatch()
    failed = failure(requests, operation, **parameters)
    assert watch.seconds < SOON
    assert (failed.status, failed.uncertain) == (None, True)
    assert failed.code in {"TimeoutError", "ReadTimeoutError"}
    assert failed.attempts == len([record for record in fault_s3.log.of(OPS[operation]) if record.fault]) <= 2


class _Piece(bytearray):
    """Bytes that can be seen to be freed."""


@pytest.mark.parametrize("fault", [None, Status(503)], ids=str)
def test_a_part_is_freed_when_it_has_arrived(fault_s3: FaultServer, fault: Fault | None) -> None:
    """Its bytes are free at once, also after a retry, and don't wait for Python's rare collections."""
    if fault:
        fault_s3.fault("Part", fault, times=2)
    plan = PartPlan(first_size=5 * MIB)
    parts = S3Parts(requests_to(fault_s3), WHERE["Bucket"], WHERE["Key"], {}, plan, keeps_whole=False)
    pieces = [_Piece(MIB) for _ in range(15)]
    alive = [weakref.ref(piece) for piece in pieces]
    gc.disable()
    try:
        while pieces:
            parts.write(cast("bytes", pieces.pop()))  # bytes themselves can't be watched
        upload = parts.finish()
        assert [piece for piece in alive if piece() is not None] == []
    finally:
        gc.enable()
    assert isinstance(upload, Multipart)
    assert [part.num_bytes for part in upload.parts] == [5 * MIB] * 3


def test_a_store_that_stops_reading_is_left(fault_s3: FaultServer) -> None:
    """A body that the store doesn't read stands still, and no timeout of the socket's sees that."""
    requests = requests_to(fault_s3, 0.5)
    parameters = ready(requests_to(fault_s3), "upload_part", body_of(24 * MIB))
    fault_s3.fault("Part", Dribble(1, "body"), times=FOREVER)
    watch = Stopwatch()
    assert failure(requests, "upload_part", **parameters).code == "TimeoutError"
    assert watch.seconds < SOON


def test_a_body_that_only_trickles_is_left() -> None:
    """It moves all the time, and slower than any line that is still alive."""

    async def trickle() -> None:
        clock = Clock(0.2)
        async with clock.until_still():
            clock.begin(SLOWEST // 10)
            while True:
                await asyncio.sleep(0.01)
                clock.move()

    watch = Stopwatch()
    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(trickle(), SOON))
    assert watch.seconds < SOON / 2


def test_a_body_moves_in_large_pieces_only_while_it_moves_fast() -> None:
    """Large pieces take less processor time; a slow line is seen to move by small ones."""

    async def sizes(seconds: float) -> list[int]:
        """Return the sizes of a body's pieces on a line that takes so long for each."""
        found = []
        async for piece in Moving(PartBody([memoryview(bytes(MIB))] * 8), Clock(10)):
            found.append(len(piece))
            await asyncio.sleep(seconds)
        return found

    fast, slow = asyncio.run(sizes(0)), asyncio.run(sizes(2 * FAST))
    assert sum(fast) == sum(slow) == 8 * MIB
    assert fast[: BUFFERED + 1] == [PIECE] * (BUFFERED + 1)
    assert max(fast) == MIB
    assert set(slow) == {PIECE}


def test_a_slow_body_that_moves_is_let_go_on() -> None:
    """It takes longer than a request may stand still, and arrives."""
    with FaultServer(Rules(bandwidth=13e6)) as server:
        requests = requests_to(server, 1)
        parameters = ready(requests_to(server), "upload_part", body_of(32 * MIB))
        watch = Stopwatch()
        requests.call("upload_part", **parameters)
        assert watch.seconds > Pace(1).quiet("upload_part")


def test_the_time_of_a_moving_body_is_not_held_against_it() -> None:
    """A part that took longer than the deadline for new attempts is sent again all the same."""
    with FaultServer(Rules(bandwidth=16e6)) as server:
        requests = requests_to(server, 1)
        parameters = ready(requests_to(server), "upload_part", body_of(36 * MIB))
        server.fault("Part", Status(503))
        watch = Stopwatch()
        requests.call("upload_part", **parameters)
        assert watch.seconds > 2 * Pace(1).deadline
        assert [record.status for record in server.log.of("Part")] == [503, 200]


def test_blanks_before_an_answer_are_waited_for(fault_s3: FaultServer) -> None:
    """S3 sends them while it puts a large object together; longer than two read timeouts, and the answer counts."""
    requests = requests_to(fault_s3, 1)
    parameters = ready(requests_to(fault_s3), "complete_multipart_upload")
    fault_s3.fault("Complete", WhitespaceThenReply(2.5), when="after")
    assert requests.call("complete_multipart_upload", **parameters)["Key"] == parameters["Key"]
    assert len(fault_s3.log.of("Complete")) == 1


def test_an_error_after_blanks_is_that_error(fault_s3: FaultServer) -> None:
    """The 200 came first, and isn't a success."""
    requests = requests_to(fault_s3, 0.5)
    parameters = ready(requests, "complete_multipart_upload")
    fault_s3.fault("Complete", WhitespaceThenReply(0.1), times=FOREVER)
    failed = failure(requests, "complete_multipart_upload", **parameters)
    assert (failed.code, failed.uncertain) == ("InternalError", True)


def test_a_delivery_in_a_hurry_ends(fault_s3: FaultServer) -> None:
    """One number in storage_options makes a whole delivery end within seconds where nothing is answered."""
    options = fault_s3.storage_options | SMALL_PARTS | {"config_kwargs": {"read_timeout": 0.5}}
    fault_s3.fault("Part", BlackHole(), times=FOREVER)
    watch = Stopwatch()
    with pytest.raises(UploadError, match="did not answer in time"):
        mc_sink.sink_madconnect(numbers(400_000), fault_s3.writer.target("p/x.csv"), storage_options=options)
    assert watch.seconds < SOON


def requests_under_way() -> int:
    """Count what is being sent on the loop."""
    return sum("Requests._send" in repr(task) for task in asyncio.all_tasks(get_loop()))


def connections_to(server: FaultServer) -> int:
    """Count the connections that lead to the server."""
    port = int(server.url.rpartition(":")[2])
    connections = psutil.Process().net_connections("tcp4")
    return sum(bool(one.raddr) and one.raddr.port == port and one.status == "ESTABLISHED" for one in connections)


@pytest.mark.parametrize("fault", [BlackHole(), Status(503, "SlowDown")], ids=["in an attempt", "between attempts"])
def test_cancelling_ends_a_request_at_once(fault_s3: FaultServer, fault: Fault) -> None:
    """With such patience it would go on for hours; cancelled, it is gone with its connection, and nothing follows."""
    requests = requests_to(fault_s3, 6000)
    parameters = ready(requests, "list_objects_v2")
    fault_s3.fault("List", fault, times=FOREVER)
    future = requests.start("list_objects_v2", **parameters)
    assert comes_true(lambda: len(fault_s3.log.of("List")) >= 1)
    assert (requests_under_way(), connections_to(fault_s3)) == (1, 1)
    future.cancel()
    assert comes_true(lambda: requests_under_way() == 0)
    assert isinstance(fault, Status) or comes_true(lambda: connections_to(fault_s3) == 0)
    sent = len(fault_s3.log)
    time.sleep(0.2)
    assert len(fault_s3.log) == sent


def test_more_requests_than_connections_wait_their_turn(fault_s3: FaultServer) -> None:
    """Waiting for a connection takes longer than a request may, and doesn't count as part of one."""
    requests = requests_to(fault_s3, config_kwargs={"read_timeout": 1, "max_pool_connections": 1})
    parameters = ready(requests, "list_objects_v2")
    fault_s3.latency = 0.7
    futures = [requests.start("list_objects_v2", **parameters) for _ in range(5)]
    assert [future.result(30)["KeyCount"] for future in futures] == [0] * 5
    assert len(fault_s3.log.of("List")) == 5


def test_no_file_left_to_connect_with_ends_in_an_error(fault_s3: FaultServer) -> None:
    """The limit on open files is met as a broken line is: retried for a while, then reported; and nothing was sent."""
    requests = requests_to(fault_s3, 3)
    fault_s3.fault(
        "List", Body(200, b"<ListBucketResult><Name>bucket</Name></ListBucketResult>", (("Connection", "close"),))
    )
    requests.call("list_objects_v2", Bucket="bucket")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        failed = failure(requests, "list_objects_v2", Bucket="bucket")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert os.strerror(errno.EMFILE) in failed.message
    assert (failed.status, failed.uncertain, failed.attempts) == (None, False, Pace().attempts)
    assert requests.call("list_objects_v2", Bucket="bucket")["KeyCount"] == 0


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:1", "https://no-such-store.invalid"])
def test_a_store_that_cannot_be_reached_ends_in_an_error(endpoint: str) -> None:
    """No server listens, or the name is unknown: retried, then reported; and nothing can have taken effect."""
    requests = Requests({"key": "k", "secret": "s", "endpoint_url": endpoint, "config_kwargs": {"read_timeout": 1}})
    watch = Stopwatch()
    with pytest.raises(RequestFailed) as raised:
        requests.call("put_object", Bucket="bucket", Key="key", Body=b"abc")
    assert watch.seconds < SOON
    assert (raised.value.status, raised.value.code) == (None, "EndpointConnectionError")
    assert raised.value.attempts > 1
    assert not raised.value.uncertain


@pytest.mark.parametrize("operation", ["list_objects_v2", "create_multipart_upload", "put_object"])
def test_a_store_that_restarts_is_waited_for(
    free_port: int, operation: Operation, caplog: pytest.LogCaptureFixture
) -> None:
    """While connections are refused, the deadline alone ends the attempts, and a warning says so."""
    options = {"key": "k", "secret": "s", "endpoint_url": f"http://127.0.0.1:{free_port}"}
    requests = Requests(options | {"config_kwargs": {"read_timeout": 20}})
    body = {"Body": b"abc"} if operation == "put_object" else {}
    key = {} if operation == "list_objects_v2" else {"Key": "key"}
    future = requests.start(operation, Bucket="bucket", **key, **body)
    waiting = Stopwatch()
    while not any("The request is sent again for up to 40 s." in record.getMessage() for record in caplog.records):
        assert waiting.seconds < SOON
        time.sleep(0.02)
    assert not future.done()
    with FaultServer(Rules(credentials=(Credentials("k", "s"),)), port=free_port):
        assert future.result(60)


def test_a_store_that_stays_away_ends_at_the_deadline(free_port: int) -> None:
    """The usual number of attempts has been made long before, and nothing can have taken effect."""
    options = {"key": "k", "secret": "s", "endpoint_url": f"http://127.0.0.1:{free_port}"}
    requests = Requests(options | {"config_kwargs": {"read_timeout": 1.5}})
    watch = Stopwatch()
    failed = failure(requests, "put_object", Bucket="bucket", Key="key", Body=b"abc")
    assert failed.attempts > Pace().attempts
    assert not failed.uncertain
    assert watch.seconds < 2 * Pace(1.5).deadline


def test_a_name_that_was_never_known_is_not_waited_for() -> None:
    """It is probably misspelt."""
    endpoint = "https://no-such-store.invalid"
    requests = Requests({"key": "k", "secret": "s", "endpoint_url": endpoint, "config_kwargs": {"read_timeout": 3}})
    failed = failure(requests, "list_objects_v2", Bucket="bucket")
    assert failed.attempts <= Pace().attempts


def test_a_port_without_tls_is_a_mistake_at_once() -> None:
    """The first attempt shows it, and the message says what to write."""

    class Plain(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(4096)
            self.request.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Plain) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        options = {"key": "k", "secret": "s", "endpoint_url": f"https://127.0.0.1:{server.server_address[1]}"}
        failed = failure(Requests(options), "list_objects_v2", Bucket="bucket")
        with pytest.raises(mc_sink.ConfigurationError, match=r"answers without TLS at this port.*http:// in endpoint"):
            mc_sink.sink_madconnect(pl.DataFrame({"a": [1]}), "s3://bucket/p/", storage_options=options)
        server.shutdown()
    assert (failed.code, failed.attempts) == ("NoTLS", 1)
