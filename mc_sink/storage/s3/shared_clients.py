"""Share one S3 client among all deliveries of this process that reach a store in the same way.

Measured: a client costs some 20 ms of CPU, most of a delivery of 1,000 rows. Deliveries share it if everything is equal
that decides how it behaves:

- the storage options with the defaults of fsspec's configuration, and so the endpoint and the credentials;
- the whole environment;
- the AWS configuration and the certificates, by the times and sizes of their files;
- the process and fsspec's event loop.

Objects, such as a session, can't be compared, so a client with such an option is not shared. A client is not shared
either if botocore looked its credentials up in a place that may have others by now, and they don't renew themselves: a
`credential_process`, for example.

A client that sends no request for `IDLE_SECONDS` is closed and forgotten, and its credentials with it. Before a fork
and at the end of the program, connections that carry no request are closed, and a child begins without clients. What
a store's replies have shown is not kept here.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections import deque
from collections.abc import Mapping
from concurrent.futures import wait
from contextlib import asynccontextmanager, suppress
from hashlib import blake2b
from secrets import token_bytes
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from mc_sink.secret import Sealed, Secret, Unpicklable
from mc_sink.storage.quiet_logs import silence
from mc_sink.storage.s3.client_options import (
    allowed_sums,
    are_found,
    filesystem_arguments,
    may_sign,
    owner_parameter,
    with_defaults,
)
from mc_sink.storage.s3.request import before_send, before_sign
from mc_sink.storage.s3.retry_rules import Pace

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import AsyncIterator
    from concurrent.futures import Future

    from s3fs import S3FileSystem

    from mc_sink.staged import Sums

IDLE_SECONDS = 30.0
# Credentials that were looked up are looked up again after this time, even if they renew themselves.
LOOKED_UP_SECONDS = 300.0
# A program that reaches more stores in turns makes their clients again.
MOST_CLIENTS = 8
_CLOSE_SECONDS = 1.0
# botocore's names of the places of credentials that a client's key covers.
_COVERED = {"env", "shared-credentials-file", "config-file"}


class Client(Unpicklable):
    """An S3 client on fsspec's event loop, with everything that follows from its options alone.

    - `connections`: the clock of a request starts once it has a connection, so the wait for one does not count.
    - `allowed`: the checksums that bodies may carry, the best first.
    - `signs_all`, `may_sign`: whether all bodies are signed, and whether any may be.
    - `request_names`: parameters that go with every request.
    """

    def __init__(self, options: Sealed) -> None:
        from asyncio import Lock, Semaphore

        from fsspec.asyn import get_loop

        self.options, self.pid = options, os.getpid()
        arguments = filesystem_arguments(options)
        config, verify = arguments["config_kwargs"], (arguments.get("client_kwargs") or {}).get("verify")
        arguments["session"].check_authorities(verify)
        self.endpoint: str | None = arguments["endpoint_url"]
        self.pace = Pace.of(config)
        self.allowed: tuple[Sums, ...] = allowed_sums(options, arguments)
        self.signs_all: bool = config["s3"]["payload_signing_enabled"]
        self.may_sign = may_sign(options, arguments["session"])
        self.loop: AbstractEventLoop = get_loop()
        self.connections = Semaphore(config["max_pool_connections"])
        self._filesystem: S3FileSystem | None = _open(arguments, options)
        self.request_names = frozenset(self._filesystem.s3_additional_kwargs)
        self._files = {path: _seen(path) for path in arguments["session"].files(verify)}
        self._made_at = self._used_at = monotonic()
        self._looks_up, self._is_covered = are_found(options), True
        self._gate, self._under_way = Lock(), 0
        self._closer: weakref.finalize[Any, Any] | None = None

    @asynccontextmanager
    async def in_use(self) -> AsyncIterator[S3FileSystem]:
        """Return the filesystem for one request, connected; raises what the libraries raise."""
        self._under_way += 1
        try:
            if self._filesystem is None or self._closer is None:
                await self._connect()
            yield self._filesystem
        finally:
            self._under_way -= 1
            self._used_at = monotonic()

    def drop(self, used: int | None) -> None:
        """Drop the credentials, to be looked up again, unless that was done since a request `used` the filesystem.

        The filesystem that is dropped closes itself after its last request.
        """
        if id(self._filesystem) == used:
            self._filesystem = self._closer = None

    async def close(self) -> None:
        """Close the connections and drop the credentials, unless a request is under way; the next one opens others."""
        async with self._gate:
            if self._under_way == 0:
                closing = self._closer.detach() if self._closer else None
                self._filesystem = self._closer = None
                if closing:
                    await _close(closing[2][1])

    def is_idle(self) -> bool:
        """Return True if no request was sent for long."""
        return not self._under_way and monotonic() - self._used_at > IDLE_SECONDS

    def is_current(self) -> bool:
        """Return True if a client made now, with the same options and environment, would behave in the same way."""
        looked_up_again = self._looks_up and monotonic() - self._made_at > LOOKED_UP_SECONDS
        return (
            self._is_covered and not looked_up_again and all(_seen(path) == seen for path, seen in self._files.items())
        )

    async def _connect(self) -> None:
        async with self._gate:
            if self._filesystem is None:
                self._filesystem = _open(filesystem_arguments(self.options), self.options)
            filesystem = self._filesystem
            if self._closer is None:
                made = await filesystem.set_session()
                made.meta.events.register("before-sign.s3", before_sign, unique_id=before_sign.__name__)
                made.meta.events.register("before-send.s3", before_send, unique_id=before_send.__name__)
                if self._looks_up:
                    found = await filesystem.session.get_credentials()
                    method = getattr(found, "method", None)
                    self._is_covered = method in _COVERED or hasattr(found, "refresh_needed")
                creator = filesystem._s3creator  # noqa: SLF001  what closes the client; s3fs keeps it there
                self._closer = weakref.finalize(filesystem, CLIENTS.close_later, self.loop, creator, self.pid)
                self._closer.atexit = False


class SharedClients(Unpicklable):
    """The clients of this process, by a digest of what decides how they behave. Threads may use it."""

    def __init__(self) -> None:
        self._is_watched = self._is_sweeping = False
        self._forget()

    def get(self, options: Sealed) -> Client:
        """Return the client for these options, or make it; raises `ConfigurationError` for options that are wrong."""
        key = self._key(options)
        with self._lock:
            client = self._shared.pop(key, None) if key else None
            if client is None or not client.is_current():
                client = Client(options)
                self._all.add(client)
                self._watch()
            if key:
                self._shared[key] = client  # the last one is the last one used
                for oldest in list(self._shared)[:-MOST_CLIENTS]:
                    del self._shared[oldest]
                if not self._is_sweeping:
                    self._is_sweeping = True
                    client.loop.call_soon_threadsafe(client.loop.call_later, IDLE_SECONDS, self._sweep, client.loop)
            return client

    def close(self) -> None:
        """Close every client that sends no request, and wait for that, for a second at most."""
        with self._lock:
            clients = list(self._all)
        closing = [_run(client.close(), client.loop) for client in clients if client.loop.is_running()]
        wait([*closing, *self._closing.copy()], _CLOSE_SECONDS)

    def close_later(self, loop: AbstractEventLoop, creator: Any, pid: int) -> None:
        """Close a client whose filesystem is gone; not in a child of its process, which shares its sockets."""
        if os.getpid() == pid and loop.is_running():
            self._closing.append(_run(_close(creator), loop))

    def _key(self, options: Sealed) -> bytes | None:
        """Return the digest of everything that decides how a client behaves, but for files; None if it has none."""
        from fsspec.asyn import get_loop

        try:
            asked = repr(self._digested(with_defaults(options)))
        except TypeError:
            return None
        environment = self._digest(repr(sorted(os.environb.items())).encode())
        return self._digest(f"{asked} {environment!r} {os.getpid()} {id(get_loop())}".encode())

    def _digested(self, value: object) -> object:
        """Return a plain value with a digest in the place of each text; raises `TypeError` for other objects."""
        if isinstance(value, Mapping):
            return {name: self._digested(value[name]) for name in sorted(value)}
        if isinstance(value, list | tuple):
            return [self._digested(one) for one in value]
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Secret):
            return self._digest(value.reveal().encode(errors="surrogatepass"))
        raise TypeError

    def _digest(self, data: bytes) -> bytes:
        return blake2b(data, key=self._secret, digest_size=32).digest()

    def _sweep(self, loop: AbstractEventLoop) -> None:
        """Close the clients that are idle and forget them; look again later if others are left."""
        with self._lock:
            idle = {key: client for key, client in self._shared.items() if client.is_idle()}
            for key in idle:
                del self._shared[key]
            self._is_sweeping = bool(self._shared)
            if self._shared:
                loop.call_later(IDLE_SECONDS / 2, self._sweep, loop)
        for client in idle.values():
            _run(client.close(), client.loop)

    def _watch(self) -> None:
        """Close the clients at the end of the program, and before a fork: a child can't use them, nor close them."""
        if not self._is_watched:
            self._is_watched = True
            atexit.register(self.close)
            os.register_at_fork(before=self.close, after_in_child=self._begin_child)

    def _begin_child(self) -> None:
        """Drop the parent's clients, and its event loop, whose thread a child doesn't have."""
        from fsspec.asyn import reset_lock

        reset_lock()  # newer versions of fsspec do it themselves
        self._forget()

    def _forget(self) -> None:
        self._lock, self._secret = threading.Lock(), token_bytes(32)
        self._shared: dict[bytes, Client] = {}
        self._all: weakref.WeakSet[Client] = weakref.WeakSet()
        self._closing: deque[Future[None]] = deque(maxlen=2 * MOST_CLIENTS)
        self._is_sweeping = False


CLIENTS: Final = SharedClients()


def _seen(path: str) -> tuple[int, ...] | None:
    """Return the time, the size and the number of a file; None if it can't be found."""
    with suppress(OSError, ValueError):
        found = os.stat(os.path.expanduser(path))  # noqa: PTH111, PTH116  where botocore looks, as it looks
        return found.st_mtime_ns, found.st_size, found.st_ino
    return None


def _open(arguments: Mapping[str, Any], options: Sealed) -> S3FileSystem:
    """Make a filesystem that sends each request once, and that s3fs doesn't close by itself.

    botocore adds no checksum of its own: that is decided by what the store takes.
    """
    import s3fs

    config = dict(arguments["config_kwargs"]) | {"request_checksum_calculation": "when_required"}
    ours = {"config_kwargs": config, "asynchronous": True, "skip_instance_cache": True, "use_listings_cache": False}
    filesystem = s3fs.S3FileSystem(**dict(arguments) | ours)
    filesystem.retries = 1
    # They go with every request. An older s3fs sends `req_kw` with its own requests only.
    filesystem.s3_additional_kwargs = {**filesystem.req_kw, **owner_parameter(options)}
    return filesystem


def _run(coroutine: Any, loop: AbstractEventLoop) -> Future[None]:
    from asyncio import run_coroutine_threadsafe

    return run_coroutine_threadsafe(coroutine, loop)


async def _close(creator: Any) -> None:
    with silence(), suppress(Exception):
        await creator.__aexit__(None, None, None)
