"""What each fault does to one request; both servers that fail on command share it."""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING, NoReturn, Protocol

from tests.servers.faults import (
    BlackHole,
    Body,
    Call,
    Dribble,
    Fault,
    FlipByte,
    Kill,
    Late,
    Reset,
    Status,
    WhitespaceThenReply,
)
from tests.servers.wire import GoneError, Pace, Reply, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.operations import Request


class Answering(Protocol):
    """A server that does what a request asks, and words an error."""

    def answer(self, request: Request, incoming: Incoming) -> Reply:
        """Execute the request, and return the reply."""

    def error(self, request: Request, status: int, code: str, message: str) -> Reply:
        """Return the error document for a request."""


class Incoming:
    """A request's body on its way in: read it by `pieces` once; the rest is read before the answer."""

    def __init__(self, wire: Wire, request: Request, pace: Pace) -> None:
        self.wire = wire
        self._headers = request.headers
        self._pieces: Iterator[memoryview] | None = None
        self.pace = pace
        self.flip_at: int | None = None

    @property
    def length(self) -> int:
        """How many bytes were announced."""
        return int(self._headers.get("content-length", 0))

    def pieces(self) -> Iterator[memoryview]:
        """Return the body's bytes; a piece is only good until the next one."""
        if self._pieces is None:
            self._pieces = self._read()
        return self._pieces

    def drain(self) -> None:
        """Read what is left."""
        deque(self.pieces(), maxlen=0)

    def hold(self) -> None:
        """Read what is left and keep it, so that it can be read again when its sender has gone."""
        self._pieces = iter([memoryview(bytes(piece)) for piece in self.pieces()])

    def drain_half(self) -> None:
        """Read until half of the announced length is in."""
        seen = 0
        for piece in self.pieces():
            seen += len(piece)
            if 2 * seen >= self.length:
                return

    def _read(self) -> Iterator[memoryview]:
        if self._headers.get("expect", "").lower() == "100-continue":
            self.wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        seen = 0
        for piece in self.wire.read_pieces(self._headers):
            self.pace.wait_for(len(piece))
            if self.flip_at is not None and seen <= self.flip_at < seen + len(piece):
                piece[self.flip_at - seen] ^= 1
            seen += len(piece)
            yield piece


def strike_before(do: Fault, server: Answering, request: Request, incoming: Incoming) -> Reply:
    """Apply a fault before the request has any effect; a fault that only changes the request lets it through."""
    match do:
        case Reset():
            _read_up_to(do, incoming)
            _break(incoming)
        case BlackHole():
            _swallow(incoming)
        case Kill():
            _kill(do, incoming)
        case WhitespaceThenReply():
            return server.error(request, 200, "InternalError", "Made up for a test.")
        case Status() | Body():
            return _instead(do, server, request)
        case Late():
            incoming.hold()
            incoming.pace.at(1 / do.seconds).wait_for(1)
        case Call():
            do.function(request)
    _bend(do, incoming)
    return server.answer(request, incoming)


def strike_after(do: Fault, server: Answering, request: Request, incoming: Incoming) -> Reply:
    """Execute the request, and lose or replace the reply."""
    _bend(do, incoming)
    reply = server.answer(request, incoming)
    incoming.drain()
    match do:
        case Reset():
            _break(incoming)
        case BlackHole():
            _swallow(incoming)
        case Kill():
            _kill(do, incoming)
        case Status() | Body():
            return _instead(do, server, request)
        case Call():
            do.function(request)
    return reply


def _bend(do: Fault, incoming: Incoming) -> None:
    if isinstance(do, FlipByte):
        incoming.flip_at = do.at
    if isinstance(do, Dribble) and do.side == "body":
        incoming.pace = incoming.pace.at(do.bytes_per_second)


def _instead(do: Status | Body, server: Answering, request: Request) -> Reply:
    if isinstance(do, Status):
        return server.error(request, do.status, do.code, do.message)
    return Reply(do.status, do.body, do.headers)


def _read_up_to(do: Reset, incoming: Incoming) -> None:
    if do.at == "body":
        incoming.drain_half()
    if do.at == "end":
        incoming.drain()


def _break(incoming: Incoming) -> NoReturn:
    incoming.wire.reset()
    raise GoneError


def _swallow(incoming: Incoming) -> NoReturn:
    incoming.drain()
    incoming.wire.wait_for_end()
    raise GoneError


def _kill(do: Kill, incoming: Incoming) -> NoReturn:
    os.kill(do.pid if isinstance(do.pid, int) else do.pid(), do.signal)
    _break(incoming)
