"""One request on its way: what it carries, and what is known of it from one try to the next."""

from __future__ import annotations

from contextlib import asynccontextmanager
from contextvars import ContextVar
from io import BytesIO
from typing import TYPE_CHECKING, Any

from mc_sink.storage._body import PartBody
from mc_sink.storage._clock import Clock, Moving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from mc_sink.receipt import CreateOnly
    from mc_sink.storage._failures import RequestFailed
    from mc_sink.storage._retries import Operation

_under_way: ContextVar[Clock | None] = ContextVar("_under_way", default=None)


class Sending:
    """A request through all its tries; it doesn't show what it carries, whose bytes moved for `moved_for` seconds.

    `create_only` says how the last try was kept from replacing an object; None where it may replace one.
    """

    def __init__(self, operation: Operation, parameters: Mapping[str, Any], quiet: float) -> None:
        self.operation = operation
        self.parameters = parameters
        self.moved_for = 0.0
        self._quiet = quiet
        self.create_only: CreateOnly | None = None
        self._tries = 0
        self._uncertain = False

    @asynccontextmanager
    async def one_try(self) -> AsyncIterator[None]:
        """Raise TimeoutError in what is awaited inside when nothing has moved for too long."""
        self._tries += 1
        clock = Clock(self._quiet)
        before = _under_way.set(clock)
        try:
            async with clock.until_still():
                yield
        finally:
            _under_way.reset(before)
            self.moved_for += clock.moved_for

    def failed(self, failed: RequestFailed) -> RequestFailed:
        """Add to a failure what earlier tries have left unclear."""
        self._uncertain = failed.uncertain = failed.uncertain or self._uncertain
        failed.tries = self._tries
        return failed


def before_send(request: Any, **_: Any) -> None:
    """Let the clock see the body of a request; takes botocore's event of this name, where nothing has left yet.

    It also goes out from memory: measured, 750 MiB/s, against 430 in pieces of 64 KiB that are read on a thread.
    """
    clock = _under_way.get()
    body = PartBody([request.body.getbuffer()]) if isinstance(request.body, BytesIO) else request.body
    if clock and isinstance(body, PartBody):
        request.body = Moving(body, clock)
