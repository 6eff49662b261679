"""A server on loopback that logs every request, goes wrong as planned, and leaves the answers to its subclass."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

from tests.servers.certificates import server_context
from tests.servers.faults import Dribble, Fault, Plan, When, WhitespaceThenReply
from tests.servers.operations import OperationLog, Request
from tests.servers.strike import Incoming, strike_after, strike_before
from tests.servers.wire import GoneError, Pace, Reply, Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Endpoint(ABC):
    """A listening socket with a thread for each connection, for the length of a `with`.

    It speaks https where it gets a certificate, the file of a private key and a certificate chain.
    """

    def __init__(
        self, *, port: int = 0, latency: float = 0.0, bandwidth: float | None = None, certificate: Path | None = None
    ) -> None:
        self.log = OperationLog()
        self.latency = latency
        self._stopping = threading.Event()
        self._pace = Pace(bandwidth, self._stopping)
        self._plan = Plan()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self._wires: set[Wire] = set()
        self._under_way: set[int] = set()
        self._threads: list[threading.Thread] = []
        self._tls = server_context(certificate) if certificate else None
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self._listener.getsockname()[1]}"

    def fault(self, op: str, do: Fault, *, n: int = 1, times: float = 1, when: When = "before") -> None:
        """Plan a fault for the n-th request named `op`, and for the `times - 1` after it; `"*"` is any request.

        Requests are counted from 1 and from now. Before: the request has no effect. After: it has its full effect and
        the reply is lost or replaced.
        """
        self._plan.add(op, do, n=n, times=times, when=when)

    def heal(self) -> None:
        """Clear all planned faults."""
        self._plan.clear()

    def wait_until_idle(self, seconds: float = 10.0) -> bool:
        """Wait until no request is under way, its late effects included; say whether that came in time."""
        until = time.monotonic() + seconds
        while self._under_way and time.monotonic() < until:
            time.sleep(0.005)
        return not self._under_way

    @abstractmethod
    def answer(self, request: Request, incoming: Incoming) -> Reply:
        """Execute the request, and return the reply."""

    @abstractmethod
    def error(self, request: Request, status: int, code: str, message: str) -> Reply:
        """Return the error document for a request."""

    @contextlib.contextmanager
    def attended(self, wire: Wire) -> Iterator[None]:
        """Close the connection in the end, or when the server stops, whichever comes first."""
        self._wires.add(wire)
        try:
            if self._stopping.is_set():
                raise GoneError
            yield
        finally:
            self._wires.discard(wire)
            wire.close()

    def start(self) -> None:
        """Begin to accept connections."""
        self._spawn(self._accept)

    def stop(self) -> None:
        """End every connection, however stuck, and wait for every thread."""
        self._stopping.set()
        with contextlib.suppress(OSError), self._listener:
            # Not every system wakes an accept when its socket is closed; a visitor always does.
            socket.create_connection(self._listener.getsockname(), timeout=5).close()
            self._threads[0].join()
        for wire in tuple(self._wires):
            wire.end()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _spawn(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True, name=type(self).__name__)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError as error:
                if error.errno != errno.EMFILE:
                    raise
                time.sleep(0.01)  # a test uses descriptors up, and accept takes one before a visitor comes
                continue
            if self._stopping.is_set():
                sock.close()
                return
            if self._tls is not None:  # the handshake takes place in the connection's own thread, with its first read
                sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            self._spawn(self._converse, Wire(sock))

    def _converse(self, wire: Wire) -> None:
        """Serve one connection to its end."""
        with contextlib.suppress(GoneError), self.attended(wire):
            while head := wire.read_head():
                request = self.log.arrive(head)
                self._under_way.add(request.n)
                try:
                    self._serve(wire, request)
                finally:
                    self._under_way.discard(request.n)

    def _serve(self, wire: Wire, request: Request) -> None:
        when, do = self._plan.arrive(request) or ("before", None)
        fault = type(do).__name__ if do else None
        self.log.settle(request, fault=fault)
        incoming = Incoming(wire, request, self._pace)
        self._stopping.wait(self.latency)
        reply = self._reply_to(request, incoming, when, do)
        # Written down before it is sent, so that the receiver of the answer finds it in the log.
        self.log.settle(request, status=reply.status, fault=fault)
        if isinstance(do, WhitespaceThenReply):
            wire.send_blanks_then(do.seconds, reply.body)
        else:
            slow = self._pace.at(do.bytes_per_second) if isinstance(do, Dribble) and do.side == "reply" else None
            wire.send_reply(reply, method=request.method, pace=slow)

    def _reply_to(self, request: Request, incoming: Incoming, when: When, do: Fault | None) -> Reply:
        """Return the reply, struck or not, with all of the request's body read."""
        if do is None:
            reply = self.answer(request, incoming)
        elif when == "before":
            reply = strike_before(do, self, request, incoming)
        else:
            reply = strike_after(do, self, request, incoming)
        incoming.drain()
        return reply
