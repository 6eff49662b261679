"""One request: its body, the clock that ends it when nothing moves, and its signature.

Bodies go out straight from memory. Measured: joining a part of 8 MiB into one object costs as much as sending it,
nearly all of it for fresh memory.

A socket's own timeout sees only that something came. A store that answers a byte at a time never runs into it, and
neither does a store that stops reading a body. So an attempt ends when nothing moves, and when a body moves slower
than the slowest line that is of use.
"""

from __future__ import annotations

import copy
import hashlib
import os
from bisect import bisect_right
from contextlib import asynccontextmanager
from contextvars import ContextVar
from io import BytesIO
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from mc_sink.storage.s3.retry_rules import THROTTLED
from mc_sink.storage.s3.store_support import Fit, fitted

if TYPE_CHECKING:
    from asyncio import Timeout
    from collections.abc import AsyncIterator, Mapping, Sequence

    from mc_sink.receipt import CreateOnly
    from mc_sink.storage.s3.failures import RequestFailed
    from mc_sink.storage.s3.retry_rules import Operation

# A connection copies what it can't send at once, so large pieces go out in parts. Engines write 1 MiB at a time, or,
# where rows are wide, tens of them.
GROUP_SIZE, MOST = 2**16, 2**20
# Bytes per second: eight parts in flight then share an uplink of 1 Mbit/s.
SLOWEST = 2**14
# A body is handed over in pieces, so that it can be seen to move: of this size, and of `MOST` once as many as a
# socket's buffers may hold were each taken within `FAST` seconds. Measured over https: pieces of 1 MiB take a fifth
# less processor time.
PIECE, BUFFERED = 2**18, 16
FAST = 0.05
# "Slow Down" as plain HTTP, which gateways send without S3's code.
_UNAVAILABLE = 503
# The names that a reply has here besides S3's own:
# how the request was kept from replacing an object;
CREATE_ONLY: Final = "CreateOnly"
# whether its body was signed;
SIGNED: Final = "SignedBody"
# the checksums that it carried, by parameter;
SUMMED: Final = "SummedBody"
# the kind of checksum that it carried, which an upload keeps;
SUMS_SENT: Final = "SumsSent"
# how many earlier attempts may have taken effect without an answer.
UNCLEAR: Final = "UnclearAttempts"
_under_way: ContextVar[Sending | None] = ContextVar("_under_way", default=None)


class Sending:
    """A request and its retries. It never shows its parameters.

    - `signed`: the signature covers the body.
    - `moved_for`: seconds in which the body moved.
    - `unclear`: attempts that may have taken effect without an answer. A throttled attempt has not.
    - `fit`: how the current attempt is adapted to the store; `sent`: its parameters.
    - `create_only`: how the last attempt was kept from replacing an object; None where it may replace one.
    - `hurries`: the body of the first attempt is sent without asking for it first (`Expect: 100-continue`).
    - `used`: the id of the filesystem that the last attempt used.
    """

    def __init__(
        self, operation: Operation, parameters: Mapping[str, Any], quiet: float, *, signed: bool = False
    ) -> None:
        self.operation = operation
        self.parameters = parameters
        self.signed = signed
        self.moved_for = 0.0
        self.unclear = 0
        self.fit, self.sent = Fit(), parameters
        self.clock: Clock | None = None
        self._quiet = quiet
        self.create_only: CreateOnly | None = None
        self.used: int | None = None
        self.hurries = False
        self._attempts = 0
        self._uncertain = False

    @property
    def is_first(self) -> bool:
        """Whether no attempt came before the present one."""
        return self._attempts <= 1

    def fit_to(self, fit: Fit) -> None:
        """Set how the next attempt is sent."""
        self.fit, self.sent = fit, fitted(self.operation, self.parameters, fit)

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        """Raise TimeoutError in the code inside when nothing has moved for too long."""
        self._attempts += 1
        clock = self.clock = Clock(self._quiet)
        before = _under_way.set(self)
        try:
            async with clock.until_still():
                yield
        finally:
            _under_way.reset(before)
            self.moved_for += clock.moved_for

    def failed(self, failed: RequestFailed) -> RequestFailed:
        """Add to a failure what earlier attempts have left unclear."""
        self.unclear += failed.uncertain and failed.code not in THROTTLED and failed.status != _UNAVAILABLE
        self._uncertain = failed.uncertain = failed.uncertain or self._uncertain
        failed.attempts = self._attempts
        return failed


def before_sign(request: Any, **_: Any) -> None:
    """Sign the body of a request too, where that is asked for; receives botocore's event of this name.

    botocore decides by the configuration of the whole client, to which a request carries a reference.
    """
    sending = _under_way.get()
    if sending and sending.signed:
        config = copy.copy(request.context["client_config"])
        config.s3 = (config.s3 or {}) | {"payload_signing_enabled": True}
        request.context["client_config"] = config


def before_send(request: Any, **_: Any) -> None:
    """Show the body of a request to the clock; receives botocore's event of this name, before any byte is sent.

    A body in memory is also sent from memory: measured, 750 MiB/s, against 430 in pieces of 64 KiB that are read on a
    thread.
    """
    sending = _under_way.get()
    if sending and sending.hurries and sending.is_first:
        del request.headers["Expect"]  # it isn't signed
    body = PartBody([request.body.getbuffer()]) if isinstance(request.body, BytesIO) else request.body
    if sending and sending.clock and isinstance(body, PartBody):
        request.body = Moving(body, sending.clock)


class PartBody:
    """A body that botocore treats as a file: it reads it piece by piece to sign it."""

    def __init__(self, pieces: Sequence[memoryview]) -> None:
        self._pieces = pieces
        self._ends = list(accumulate(map(len, pieces)))
        self._size = self._ends[-1] if self._ends else 0
        self._position = 0

    def __len__(self) -> int:
        return self._size

    @property
    def pieces(self) -> Sequence[memoryview]:
        """Its bytes, in order."""
        return self._pieces

    def free(self) -> list[object]:
        """Drop the bytes, once the store has them, and return the memory that they were in.

        References to this body that remain then keep nothing alive. Measured: the traceback of a failed attempt is
        in a reference cycle that holds the body. Python collected those so rarely that an upload of 600 MB kept up to
        400 MB of bodies that the store had taken.
        """
        blocks: list[object] = [piece.obj for piece in self._pieces]
        self._pieces, self._ends, self._size = (), [], 0
        return blocks

    def md5(self) -> str:
        """Return the MD5 of all of it, in hex."""
        md5 = hashlib.md5(usedforsecurity=False)
        for piece in self._pieces:
            md5.update(piece)
        return md5.hexdigest()

    async def groups(self) -> AsyncIterator[bytes | memoryview]:
        """Yield the bytes in order, small pieces joined and large ones split, each time from the beginning."""
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
        """Set the position, as in a file."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = min(max(start + position, 0), self._size)
        return self._position

    def tell(self) -> int:
        """Return the position of the next read."""
        return self._position


class Clock:
    """Ends the code in `until_still` once nothing has moved for `quiet` seconds; `moved_for` is in seconds."""

    def __init__(self, quiet: float) -> None:
        from asyncio import get_running_loop

        self.moved_for = 0.0
        self._quiet = quiet
        self._time = get_running_loop().time
        self._moved_at = self._set_at = self._end = self._time()
        self._timeout: Timeout | None = None

    @asynccontextmanager
    async def until_still(self) -> AsyncIterator[None]:
        """Raise TimeoutError in the code inside when its time is over."""
        from asyncio import timeout

        try:
            async with timeout(self._quiet) as self._timeout:
                yield
        finally:
            self._timeout = None

    def begin(self, num_bytes: int) -> None:
        """Note that a body of `num_bytes` begins to move, and compute when it must have arrived."""
        self._moved_at = self._time()
        self._end = self._moved_at + self._quiet + num_bytes / SLOWEST

    def move(self) -> float:
        """Note that a piece has been taken, and return for how many seconds it moved.

        The timeout is set again only now and then, because that isn't free.
        """
        now = self._time()
        seconds = now - self._moved_at
        self.moved_for += seconds
        self._moved_at = now
        if self._timeout and not self._timeout.expired() and now - self._set_at > self._quiet / 16:
            self._set_at = now
            self._timeout.reschedule(min(self._end, now + self._quiet))
        return seconds


class Moving:
    """A body that goes out in small pieces and reports each to the clock, every time from the beginning."""

    def __init__(self, body: PartBody, clock: Clock) -> None:
        self._body, self._clock = body, clock

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        self._clock.begin(len(self._body))
        num_fast = 0
        async for group in self._body.groups():
            left = memoryview(group)
            while left:
                size = MOST if num_fast > BUFFERED else PIECE
                yield left[:size]
                left = left[size:]
                num_fast = num_fast + 1 if self._clock.move() < FAST else 0
