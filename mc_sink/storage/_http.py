"""How a request to S3 goes over the wire: once, to the host it was meant for, and straight from memory.

Three things that aiohttp does by itself are undone here, because a delivery can't bear them:

- it sends a PUT again when a connection that it kept open breaks; a put that had taken effect then looks refused;
- it follows a redirect to whatever host it names, body, token and all; botocore's own redirects between regions remain;
- it reads a body in pieces of 64 KiB, each on a thread: measured, 430 MiB/s, against 750 in slices of 1 MiB.
"""

from __future__ import annotations

from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SLICE_SIZE = 2**20


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

        async def send(self, request: Any) -> Any:
            if isinstance(request.body, BytesIO):
                request.body = _slices(request.body.getbuffer())
            return await super().send(request)

    return SendsOnce


async def _slices(body: memoryview) -> AsyncIterator[memoryview]:
    for start in range(0, len(body), SLICE_SIZE):
        yield body[start : start + SLICE_SIZE]
