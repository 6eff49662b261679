"""A door in front of a real server: it logs every request, and it is where the way to the bucket fails.

Heads and bodies pass as they are, so a signature stays good: the server behind sees the `Host` that the client signed.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from tests.servers import documents
from tests.servers.endpoint import Endpoint
from tests.servers.wire import GoneError, Reply, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.operations import Request
    from tests.servers.strike import Incoming

_OWN_FRAMING: Final = {"transfer-encoding", "connection", "keep-alive"}


class Proxy(Endpoint):
    """A proxy on loopback in front of the server at `upstream`; `fault` and `log` are the test server's own."""

    def __init__(self, upstream: str, *, latency: float = 0.0, bandwidth: float | None = None) -> None:
        super().__init__(latency=latency, bandwidth=bandwidth)
        at = urlsplit(upstream)
        self._upstream = (at.hostname or "127.0.0.1", at.port or 80)

    def answer(self, request: Request, incoming: Incoming) -> Reply:
        """Pass the request on, and give the whole of what comes back."""
        with self._connected() as upstream:
            # A server may refuse at the head and close; its answer can still be read.
            with contextlib.suppress(GoneError):
                upstream.send(request.head)
                _forward(request, incoming, upstream)
            return _reply(request, upstream)

    def error(self, request: Request, status: int, code: str, message: str) -> Reply:
        """Return the error document of an S3 server that isn't there."""
        body = documents.error_document(request, code, message)
        return Reply(status, body, (("Content-Type", "application/xml"), ("Server", "Proxy")))

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Wire]:
        try:
            wire = Wire(socket.create_connection(self._upstream, timeout=10))
        except OSError as error:
            raise GoneError from error
        with self.attended(wire):
            yield wire


def _forward(request: Request, incoming: Incoming, upstream: Wire) -> None:
    """Pass the body on; in chunks of our own where the client sends chunks, which no signature covers."""
    if "chunked" not in request.headers.get("transfer-encoding", ""):
        for piece in incoming.pieces():
            upstream.send(piece)
        return
    for piece in incoming.pieces():
        upstream.send(b"%x\r\n" % len(piece))
        upstream.send(piece)
        upstream.send(b"\r\n")
    upstream.send(b"0\r\n\r\n")


def _reply(request: Request, upstream: Wire) -> Reply:
    """Read the answer, past any word that it is being worked on."""
    head = upstream.read_head()
    while head is not None and head.first[1].startswith("1"):
        head = upstream.read_head()
    if head is None:
        raise GoneError
    status = int(head.first[1])
    headers = tuple((name, value) for name, value in head.headers.items() if name not in _OWN_FRAMING)
    if request.method == "HEAD" or status in {204, 304}:
        return Reply(status, b"", headers)
    if "content-length" in head.headers or "transfer-encoding" in head.headers:
        return Reply(status, b"".join(map(bytes, upstream.read_pieces(head.headers))), headers)
    return Reply(status, upstream.read_until_end(), headers)
