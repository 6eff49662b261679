"""Parts on a distant line: sent without asking first, more of them at once, summed in one pass; and refusals arrive."""

from __future__ import annotations

import re
import socket
import threading
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mc_sink
from mc_sink.storage.s3 import part_plan
from mc_sink.storage.s3.client import Requests
from mc_sink.storage.s3.multipart import S3Parts
from mc_sink.storage.s3.part_plan import MIB, PartPlan, Width
from tests.servers.fault import FaultServer
from tests.servers.faults import FOREVER, Reset, Status
from tests.support.frames import SMALL_PARTS, numbers
from tests.support.plain_requests import WHERE, body_of, failure, ready, requests_to
from tests.support.small_deliveries import TINY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.operations import Request
    from tests.servers.strike import Incoming
    from tests.servers.wire import Reply

DENIAL = b"<Error><Code>AccessDenied</Code><Message>no more of this</Message></Error>"


class Noting(FaultServer):
    """A store that notes which parts asked before they sent their body."""

    def __init__(self) -> None:
        super().__init__(TINY)
        self.asked: list[tuple[int, bool]] = []

    def answer(self, request: Request, incoming: Incoming) -> Reply:
        """Note it."""
        if request.op == "Part":
            self.asked.append((int(request.part_number or 0), "expect" in request.headers))
        return super().answer(request, incoming)


class Hasty:
    """A server that takes the first body, and answers every later one before it has read it, and hangs up."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.heads: list[bytes] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with sock:
                while self._answer(sock):
                    pass

    def _answer(self, sock: socket.socket) -> bool:
        """Answer one request; return whether the connection stays open."""
        head = b""
        while b"\r\n\r\n" not in head:
            more = sock.recv(1)
            if not more:
                return False
            head += more
        self.heads.append(head)
        if len(self.heads) > 1:
            head = b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(DENIAL)
            sock.sendall(head + DENIAL)
            return False
        sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        left = int(length[1]) if length else 0
        while left:
            left -= len(sock.recv(min(left, MIB)))
        sock.sendall(b'HTTP/1.1 200 OK\r\nETag: "%b"\r\nContent-Length: 0\r\n\r\n' % (b"0" * 32))
        return True

    def close(self) -> None:
        """Stop."""
        self._listener.close()


@pytest.fixture
def noting() -> Iterator[Noting]:
    """Yield a store that takes tiny parts."""
    with Noting() as server:
        yield server


def test_only_the_first_part_of_an_upload_asks(noting: Noting) -> None:
    """Once a store has taken one, the others are sent at once; and so it is with each upload."""
    requests = requests_to(noting)
    for _ in range(2):
        noting.asked.clear()
        upload = ready(requests, "abort_multipart_upload")
        for number in (1, 2, 3):
            requests.call("upload_part", **upload, PartNumber=number, Body=body_of(9))
        assert noting.asked == [(1, True), (2, False), (3, False)]
        requests.call("abort_multipart_upload", **upload)
    assert requests._begun == set()  # noqa: SLF001  nothing is kept of an upload that ended


def test_a_part_that_is_sent_again_asks_first(noting: Noting) -> None:
    """A body that broke off may have been refused, and the refusal lost with it."""
    requests = requests_to(noting)
    upload = ready(requests, "abort_multipart_upload")
    requests.call("upload_part", **upload, PartNumber=1, Body=body_of(9))
    noting.fault("Part", Reset("body"))
    requests.call("upload_part", **upload, PartNumber=2, Body=body_of(9))
    assert noting.asked[-1] == (2, True)


def test_a_refusal_that_comes_before_the_body_was_read_is_understood() -> None:
    """The server hangs up in the midst of a large body: its words are in the failure, which is not a lost line."""
    server = Hasty()
    try:
        requests = Requests(
            {"key": "AKIDX", "secret": "hushhush", "endpoint_url": server.url, "config_kwargs": {"read_timeout": 5}}
        )
        parts = WHERE | {"UploadId": "u1"}
        requests.call("upload_part", **parts, PartNumber=1, Body=body_of(9))
        failed = failure(requests, "upload_part", **parts, PartNumber=2, Body=body_of(32 * MIB))
        assert (failed.status, failed.code, failed.message) == (403, "AccessDenied", "no more of this")
        assert b"100-continue" not in server.heads[1]
    finally:
        server.close()


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_refused_part_ends_a_delivery_at_any_part(fault_s3: FaultServer, n: int) -> None:
    """With a body that was asked for, and with bodies that weren't."""
    fault_s3.fault("Part", Status(403, "AccessDenied"), n=n, times=FOREVER)
    with pytest.raises(mc_sink.PermissionDenied, match="Nothing became visible"):
        mc_sink.sink_madconnect(
            numbers(1_500_000),
            fault_s3.writer.target("p/x.csv"),
            storage_options=fault_s3.storage_options | SMALL_PARTS,
        )
    assert fault_s3.pending_uploads(fault_s3.bucket) == []


# --- How many are in flight


class Line:
    """A line, in made-up time: a part takes so many seconds, and so many bytes a second are the most."""

    def __init__(
        self, patch: pytest.MonkeyPatch, *, delay: float, rate: float, processors: float = 0.1, cores: int = 2
    ) -> None:
        self._now, self._delay, self._rate, self._processors = 0.0, delay, rate, processors
        patch.setattr(part_plan, "monotonic", lambda: self._now)
        patch.setattr(part_plan, "process_time", lambda: self._now * processors)
        patch.setattr("os.cpu_count", lambda: cores)

    def upload(self, plan: PartPlan, num_bytes: int) -> list[int]:
        """Upload so much, always as wide as it may be, and return the widths in MiB."""
        width, stored, widths = Width(plan), 0, []
        while stored < num_bytes:
            stored += plan.first_size
            self._now += max(self._delay * plan.first_size / width.num_bytes, plan.first_size / self._rate)
            width.learn(stored)
            widths.append(width.num_bytes // MIB)
        return widths


def test_a_distant_line_is_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    """10 Gbit/s, where a part of 16 MiB takes 0.2 s: it takes sixteen of them."""
    widths = Line(monkeypatch, delay=0.2, rate=1.25e9).upload(PartPlan(), 2048 * MIB)
    assert (widths[0], max(widths), widths[-1]) == (48, 256, 256)


def test_a_slow_line_is_not_given_more_memory_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full line moves no more with more parts, so their number goes back to what it was, for good."""
    widths = Line(monkeypatch, delay=0.05, rate=1e8).upload(PartPlan(), 4096 * MIB)
    assert max(widths) == 96
    assert set(widths[-100:]) == {48}


def test_a_busy_machine_is_not_given_more_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its processors are the limit, more parts at once only take memory."""
    for cores, processors in ((1, 0.95), (2, 0.95), (8, 3.5)):
        line = Line(monkeypatch, delay=0.2, rate=1.25e9, processors=processors, cores=cores)
        assert set(line.upload(PartPlan(), 2048 * MIB)) == {48}


def test_a_large_machine_is_not_busy_with_one_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where others are free, the line may be the limit."""
    line = Line(monkeypatch, delay=0.2, rate=1.25e9, processors=1.5, cores=8)
    assert line.upload(PartPlan(), 2048 * MIB)[-1] == 256


@pytest.mark.parametrize("asked", [1, 3, 40])
def test_a_number_that_was_asked_for_is_kept(monkeypatch: pytest.MonkeyPatch, asked: int) -> None:
    """`max_concurrency` is that, and not a beginning."""
    line = Line(monkeypatch, delay=0.2, rate=1.25e9)
    assert set(line.upload(PartPlan(in_flight=asked), 2048 * MIB)) == {16 * asked}


# --- One pass


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=30), max_size=12), st.integers(1, 9))
def test_the_sums_of_the_parts_combine_to_that_of_the_file(writes: list[bytes], part_size: int) -> None:
    """However the bytes come and wherever they are cut, the file's CRC32 is that of all its bytes."""
    data = b"".join(writes)
    with FaultServer(TINY) as server:
        requests = requests_to(server)
        plan = PartPlan(first_size=part_size, min_size=1, in_flight=2)
        parts, crc = S3Parts(requests, "bucket", "p/x", {}, plan, keeps_whole=True), 0
        for write in writes:
            parts.write(write)
            crc = zlib.crc32(write, crc)
            assert parts.crc == crc
        parts.finish()
        assert parts.crc == crc == zlib.crc32(data)
