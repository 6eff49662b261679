"""HTTP/1.1 over one socket, as little of it as S3's clients speak, and with every way to break it at hand.

Threads and blocking sockets rather than an event loop: a fault is then a plain statement (sleep, wait, reset), and a
body is received by few large calls that let go of the interpreter's lock.
"""

from __future__ import annotations

import contextlib
import http
import socket
import struct
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PIECE = 1 << 18
_HEAD_LIMIT = 1 << 16
_BLANK_EVERY = 0.05
_BODILESS = {204, 304}


class GoneError(Exception):
    """The connection ended, by either side's doing, before there was an answer."""


class Head(NamedTuple):
    """The lines before a body: the first line's three words, the headers by small letters, and the bytes themselves."""

    first: tuple[str, str, str]
    headers: dict[str, str]
    raw: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; its `Content-Length` is added on the way out unless it is among the headers."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class Pace:
    """A rate in bytes per second, shared by all who hold the object; None lets everything pass."""

    def __init__(self, bytes_per_second: float | None, stopping: threading.Event) -> None:
        self.rate = bytes_per_second
        self._stopping = stopping
        self._free_at = 0.0
        self._lock = threading.Lock()

    def wait_for(self, num_bytes: int) -> None:
        """Wait as long as so many bytes take; end early when the server stops."""
        if self.rate is None:
            return
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic()) + num_bytes / self.rate
            pause = self._free_at - time.monotonic()
        if pause > 0 and self._stopping.wait(pause):
            raise GoneError

    def at(self, bytes_per_second: float) -> Pace:
        """Return another rate, which ends when this one does."""
        return Pace(bytes_per_second, self._stopping)


class Wire:
    """One side of a connection: heads, bodies and replies in turn, or a sudden end."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = memoryview(bytearray(_PIECE))
        self._left = b""
        sock.settimeout(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read_head(self) -> Head | None:
        """Return the next head, or None when the client has ended the connection."""
        got = bytearray(self._left)
        while (end := got.find(b"\r\n\r\n")) < 0:
            more = self._receive(_PIECE)
            if not more or len(got) > _HEAD_LIMIT:
                return None
            got += more
        self._left = bytes(got[end + 4 :])
        raw = bytes(got[: end + 4])
        first, *lines = raw.decode("latin-1").split("\r\n")[:-2]
        one, two, *three = first.split(" ", 2)
        pairs = (line.partition(":") for line in lines)
        return Head((one, two, "".join(three)), {name.lower(): value.strip() for name, _, value in pairs}, raw)

    def read_pieces(self, headers: Mapping[str, str]) -> Iterator[memoryview]:
        """Yield a body piece by piece, out of its framing; a piece is only good until the next one."""
        if "chunked" not in headers.get("transfer-encoding", ""):
            yield from self._exactly(int(headers.get("content-length", 0)))
            return
        while size := int(self._line().partition(b";")[0], 16):
            yield from self._exactly(size)
            self._line()
        while self._line():
            pass

    def read_until_end(self) -> bytes:
        """Return everything until the other side closes."""
        got = bytearray(self._left)
        while more := self._receive(_PIECE):
            got += more
        return bytes(got)

    def send(self, data: bytes | memoryview) -> None:
        """Send all of it."""
        try:
            self._sock.sendall(data)
        except OSError as error:
            raise GoneError from error

    def send_reply(self, reply: Reply, *, method: str = "GET", pace: Pace | None = None) -> None:
        """Send an answer, at a pace if one is given."""
        headers = dict(reply.headers)
        if reply.status not in _BODILESS and "content-length" not in {name.lower() for name in headers}:
            headers["Content-Length"] = str(len(reply.body))
        data = _head_of(reply.status, headers) + (b"" if method == "HEAD" else reply.body)
        if pace is None or pace.rate is None:
            self.send(data)
            return
        step = max(1, int(pace.rate * _BLANK_EVERY))
        for at in range(0, len(data), step):
            pace.wait_for(step)
            self.send(data[at : at + step])

    def send_blanks_then(self, seconds: float, body: bytes) -> None:
        """Send a 200 without knowing more, blanks for a while, and then the body."""
        self.send(_head_of(200, {"Content-Type": "application/xml", "Transfer-Encoding": "chunked"}))
        # The declaration may only stand at the very beginning; S3 sends it ahead of its blanks.
        declaration, mark, rest = body.partition(b"?>")
        if mark:
            self._send_chunk(declaration + mark)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._send_chunk(b" ")
            time.sleep(_BLANK_EVERY)
        self._send_chunk(rest if mark else body)
        self.send(b"0\r\n\r\n")

    def wait_for_end(self) -> None:
        """Wait until the other side goes away, or `end` is called."""
        while self._receive(_PIECE):
            pass

    def reset(self) -> None:
        """Close with a reset, so that the other side sees an error and not an end."""
        with contextlib.suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def end(self) -> None:
        """Wake the thread that waits on this connection; may be called from another thread."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close."""
        self._sock.close()

    def _send_chunk(self, data: bytes) -> None:
        self.send(b"%x\r\n%b\r\n" % (len(data), data))

    def _exactly(self, size: int) -> Iterator[memoryview]:
        while size:
            piece = self._receive(min(size, _PIECE))
            if not piece:
                raise GoneError
            size -= len(piece)
            yield piece

    def _receive(self, limit: int) -> memoryview:
        if self._left:
            first, self._left = self._left[:limit], self._left[limit:]
            self._buffer[: len(first)] = first
            return self._buffer[: len(first)]
        try:
            return self._buffer[: self._sock.recv_into(self._buffer[:limit])]
        except OSError:
            return self._buffer[:0]

    def _line(self) -> bytes:
        while b"\r\n" not in self._left:
            kept, self._left = self._left, b""
            more = bytes(self._receive(_PIECE))
            if not more:
                raise GoneError
            self._left = kept + more
        line, _, self._left = self._left.partition(b"\r\n")
        return line


def _head_of(status: int, headers: Mapping[str, str]) -> bytes:
    try:
        reason = http.HTTPStatus(status).phrase
    except ValueError:
        reason = "Unknown"
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
