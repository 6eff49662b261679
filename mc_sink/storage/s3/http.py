"""How a request goes over the wire: once, to its own host, straight from memory, its progress seen by a clock.

Five things that happen by themselves are undone here, because a delivery can't bear them:

- aiohttp sends a PUT again when a connection that it kept open breaks; a put that had taken effect then looks refused;
- aiohttp follows a redirect to whatever host it names, body, token and all;
- botocore sends a request again, signed anew, to the region that a reply names, and asks with HeadBucket where it names
  none, on a store that isn't AWS too;
- a store repeats the key id and the token in what it refuses, and so would our errors;
- every session reads the certificates of all authorities again: measured, 40 ms.

Measured: joining a part of 8 MiB into one object costs as much as sending it, nearly all of it for fresh memory.

A socket's own timeout sees only that something came. A store that answers a byte at a time never meets it, and neither
does one that stops reading a body, so a try ends here: when nothing moves, and when a body goes slower than a line
that is still alive.
"""

from __future__ import annotations

import hashlib
import os
import re
from bisect import bisect_right
from contextlib import asynccontextmanager
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from mc_sink.secret import Unpicklable
from mc_sink.storage.quiet_logs import silence_loggers

if TYPE_CHECKING:
    from asyncio import Timeout
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence

_tls: dict[object, Any] = {}
# What a refusal is read for; the rest repeats the request, in plain and in hex, its token included:
# https://docs.aws.amazon.com/AmazonS3/latest/API/RESTAuthentication.html
_READ = {b"Code", b"Message", b"Region", b"Endpoint", b"Header", b"ArgumentName", b"RequestId", b"HostId"}
_ELEMENT = re.compile(rb"<([\w.-]+)>([^<]*)</\1>")
_MESSAGE = re.compile(rb"(?<=<Message>).*?(?=</Message>)", re.DOTALL)
_KEY_ID = re.compile(r"(?:Credential=|^AWS )([^/:,\s]+)")
# A connection copies what it can't send at once, so large pieces go out in parts. Engines write 1 MiB at a time, or,
# where rows are wide, tens of them.
GROUP_SIZE, MOST = 2**16, 2**20
# Bytes per second: eight parts in flight then share an uplink of 1 Mbit/s.
SLOWEST = 2**14
# A body is handed over in pieces of this size, so that it can be seen to move.
PIECE = 2**18


class OneHost(Unpicklable):
    """A session whose clients stay with the host that they were made for; the session itself stays as it is.

    A bucket in another region ends the run with an error that says so. Following there would make it a matter of
    replies where the credentials go, couldn't tell AWS from a store that answers like it, and would need a body that
    can be sent a second time.
    """

    def __init__(self, session: Any) -> None:
        self._session = session

    def create_client(self, *where: Any, **options: Any) -> _Creation:
        """Give what makes a client when it is entered."""
        return _Creation(self._session.create_client(*where, **options))


class _Creation:
    def __init__(self, creation: Any) -> None:
        self._creation = creation

    async def __aenter__(self) -> Any:
        client = await self._creation.__aenter__()
        silence_loggers()
        client.meta.events.register("before-call.s3", _stay)
        return client

    async def __aexit__(self, *raised: object) -> None:
        await self._creation.__aexit__(*raised)


def _stay(params: Mapping[str, Any], **_: Any) -> None:
    """Mark a request as one that was redirected already, which botocore doesn't redirect again."""
    params["context"].setdefault("s3_redirect", {})["redirected"] = True


class _Direct:
    """An aiohttp session that follows no redirect."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def request(self, method: str, **options: Any) -> Any:
        """Send a request to where it says."""
        return self._session.request(method, allow_redirects=False, **options)


@cache
def http_session() -> type:
    """Make the class of HTTP sessions that botocore is to use; made late, because it loads aiohttp."""
    from aiobotocore.httpsession import AIOHTTPSession

    class SendsOnce(AIOHTTPSession):  # type: ignore[misc]
        async def _get_session(self, proxy_url: str | None) -> _Direct:
            session = await super()._get_session(proxy_url)
            session._retry_connection = False  # noqa: SLF001  no public switch; a test with a lost reply watches it
            return _Direct(session)

        def _build_verify_context(self) -> Any:
            if self._cert_file or self._proxy_config.settings:  # such a context is changed later
                return super()._build_verify_context()
            if self._verify not in _tls:
                _tls[self._verify] = super()._build_verify_context()
            return _tls[self._verify]

        async def send(self, request: Any) -> Any:
            reply = await super().send(request)
            body = await reply.content
            if b"<Error" in body:  # whatever the status: a refusal may come with a 200
                reply._content = _without_echo(body, request.headers)  # noqa: SLF001  where `content` keeps it
            return reply

    return SendsOnce


def _without_echo(body: bytes, sent: Mapping[str, str | bytes]) -> bytes:
    """Cut out of a refusal the key id and the token that its request was sent with."""
    echoed = tuple(_credentials(sent))
    body = _ELEMENT.sub(lambda found: found[0] if found[1] in _READ else b"", body)
    return _MESSAGE.sub(lambda found: _cut(echoed, found[0]), body)


def _cut(echoed: Iterable[bytes], said: bytes) -> bytes:
    for credential in echoed:
        said = said.replace(credential, "…".encode())
    return said


def _credentials(sent: Mapping[str, str | bytes]) -> Iterator[bytes]:
    """Find a request's key id and token in its headers, wherever they were configured."""
    headers = {name.lower(): _as_text(value) for name, value in sent.items()}
    if signed := _KEY_ID.search(headers.get("authorization", "")):
        yield signed[1].encode()
    if token := headers.get("x-amz-security-token"):
        yield token.encode()


def _as_text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


class PartBody:
    """A body that botocore takes for a file: whoever signs it reads it piece by piece."""

    def __init__(self, pieces: Sequence[memoryview]) -> None:
        self._pieces = pieces
        self._ends = list(accumulate(map(len, pieces)))
        self._size = self._ends[-1] if self._ends else 0
        self._position = 0

    def __len__(self) -> int:
        return self._size

    @property
    def pieces(self) -> Sequence[memoryview]:
        """What it is made of, in order."""
        return self._pieces

    def free(self) -> None:
        """Drop the bytes, once the store has them.

        Whatever still knows this body then keeps nothing alive. Measured: tenacity's retrying object, and the traceback
        of a failed try, are in reference cycles that know it. Python collected those so rarely that an upload of 600 MB
        kept up to 400 MB of bodies that the store had taken.
        """
        self._pieces, self._ends, self._size = (), [], 0

    def md5(self) -> str:
        """Return the MD5 of all of it, in hex."""
        md5 = hashlib.md5(usedforsecurity=False)
        for piece in self._pieces:
            md5.update(piece)
        return md5.hexdigest()

    async def groups(self) -> AsyncIterator[bytes | memoryview]:
        """Yield the bytes in order, small pieces together and large ones in parts, each time from the beginning."""
        group: list[memoryview] = []
        slices = (piece[at : at + MOST] for piece in self._pieces for at in range(0, len(piece), MOST))
        for piece in slices:
            group.append(piece)
            if sum(map(len, group)) >= GROUP_SIZE:
                yield piece if len(group) == 1 else b"".join(group)
                group.clear()
        if group:
            yield b"".join(group)

    def read(self, size: int = -1) -> bytes:
        """Read as a file."""
        missing = self._size - self._position
        missing = missing if size < 0 else min(size, missing)
        at = bisect_right(self._ends, self._position)
        taken: list[memoryview] = []
        while missing:
            taken.append(self._pieces[at][self._position - self._ends[at] :][:missing])
            self._position += len(taken[-1])
            missing -= len(taken[-1])
            at += 1
        return b"".join(taken)

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position as in a file."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = min(max(start + position, 0), self._size)
        return self._position

    def tell(self) -> int:
        """Say where in the file the next read begins."""
        return self._position


class Clock:
    """Ends what runs `until_still` once nothing has moved for `quiet` seconds; `moved_for` is in seconds."""

    def __init__(self, quiet: float) -> None:
        from asyncio import get_running_loop

        self.moved_for = 0.0
        self._quiet = quiet
        self._time = get_running_loop().time
        self._moved_at = self._set_at = self._end = self._time()
        self._timeout: Timeout | None = None

    @asynccontextmanager
    async def until_still(self) -> AsyncIterator[None]:
        """Raise TimeoutError in what is awaited inside when its time is over."""
        from asyncio import timeout

        try:
            async with timeout(self._quiet) as self._timeout:
                yield
        finally:
            self._timeout = None

    def begin(self, num_bytes: int) -> None:
        """Note that a body sets off, and give it its time."""
        self._moved_at = self._time()
        self._end = self._moved_at + self._quiet + num_bytes / SLOWEST

    def move(self) -> None:
        """Note that a piece has been taken; the timeout is only set anew now and then, because that isn't free."""
        now = self._time()
        self.moved_for += now - self._moved_at
        self._moved_at = now
        if self._timeout and not self._timeout.expired() and now - self._set_at > self._quiet / 16:
            self._set_at = now
            self._timeout.reschedule(min(self._end, now + self._quiet))


class Moving:
    """A body that goes out in small pieces and tells the clock of each, every time from the beginning."""

    def __init__(self, body: PartBody, clock: Clock) -> None:
        self._body, self._clock = body, clock

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        self._clock.begin(len(self._body))
        async for group in self._body.groups():
            whole = memoryview(group)
            for start in range(0, len(whole), PIECE):
                yield whole[start : start + PIECE]
                self._clock.move()
