"""A connection to a server that can be cut at a chosen moment, as a network cable is pulled."""

from __future__ import annotations

import contextlib
import socket
from threading import Lock, Thread
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

_PIECE = 2**16


class Cable:
    """A relay on loopback to the server at `upstream`, over http; `url` is its address.

    Before the n-th request is passed on whose first line `is_counted`, every connection breaks, and so does each that
    is made afterwards.
    """

    def __init__(self, upstream: str, *, cut_at: int, is_counted: Callable[[bytes], bool]) -> None:
        at = urlsplit(upstream)
        self._upstream = (at.hostname or "127.0.0.1", at.port or 80)
        self._left, self._is_counted = cut_at, is_counted
        self._open: list[socket.socket] = []
        self._lock = Lock()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    @property
    def is_cut(self) -> bool:
        """Whether it is cut."""
        return self._left <= 0

    def __enter__(self) -> Self:
        Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._break()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it was closed
            while True:
                client, _ = self._listening.accept()
                with contextlib.suppress(OSError):
                    self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        if self.is_cut:
            client.close()
            return
        server = socket.create_connection(self._upstream, timeout=10)
        server.settimeout(None)
        with self._lock:
            self._open += [client, server]
        Thread(target=self._relay, args=(client, server, True), daemon=True).start()
        Thread(target=self._relay, args=(server, client, False), daemon=True).start()

    def _relay(self, source: socket.socket, sink: socket.socket, is_request: bool) -> None:  # noqa: FBT001  a thread's
        with contextlib.suppress(OSError):
            # A client sends the head of a request at the beginning of a piece, because it waits for each reply.
            while data := source.recv(_PIECE):
                if is_request and self._is_cut_by(data):
                    self._break()
                    return
                sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _is_cut_by(self, data: bytes) -> bool:
        with self._lock:
            self._left -= self._is_counted(data.partition(b"\r\n")[0])
        return self.is_cut

    def _break(self) -> None:
        with self._lock:
            broken, self._open = self._open, []
        for one in broken:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
