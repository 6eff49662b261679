"""The clock of one try, and a body that can be seen to move.

A socket's own timeout sees only that something came. A store that answers a byte at a time never meets it, and neither
does one that stops reading a body, so a try ends here: when nothing moves, and when a body goes slower than a line
that is still alive.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import Timeout
    from collections.abc import AsyncIterator

    from mc_sink.storage._body import PartBody

# Bytes per second: eight parts in flight then share an uplink of 1 Mbit/s.
SLOWEST = 2**14
# A body is handed over in pieces of this size, so that it can be seen to move.
PIECE = 2**18


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
