"""What went wrong with a request, read from the libraries' exceptions and kept apart from them.

Nothing of those exceptions is kept but words: their frames hold headers with tokens, and S3's error documents repeat
the access key id, the signature and what was signed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mc_sink.storage._retries import EXPIRED, NO_REPLY, REFUSED, RULES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NOT_SENT = 0
LONGEST_MESSAGE = 500
# What was signed includes the token; stores and services repeat it behind one of these words.
_SIGNED = re.compile(r"[<(\s]*(?:the\s+)?(?:canonical|string)[-_ ]?(?:request|string|to[-_ ]?sign)", re.IGNORECASE)


@dataclass(slots=True, eq=False)
class RequestFailed(Exception):  # noqa: N818  what failed is the request; whether that is an error, its caller decides
    """A request that did not succeed: the last answer, and whether any try may have taken effect all the same.

    `status` is None where no readable reply came, 0 where nothing was sent, and 500 also for an error that came in the
    body of a 200. `uncertain` is True after a reply that was lost or is no answer, and after a 5xx: the store may have
    done what was asked. `tries` is how often the request was sent. No text in here holds the caller's credentials.
    """

    operation: str
    status: int | None
    code: str
    message: str
    uncertain: bool
    tries: int = 1

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.code else self.message

    @property
    def transient(self) -> bool:
        """Whether the same request, sent again, may succeed and can do no harm; the table in `_retries.py` says."""
        again_after = RULES[self.operation].again_after
        status = NO_REPLY if self.status is None else str(self.status)
        return self.code in again_after or (self.code not in REFUSED and status in again_after)

    @property
    def expired(self) -> bool:
        """Whether other credentials may do."""
        return self.code in EXPIRED


def read_failure(operation: str, error: Exception, scrubbed: Callable[[str], str]) -> RequestFailed:
    """Read what the store answered, if it did; s3fs keeps botocore's error as the cause of its own."""
    for candidate in (error, error.__cause__):
        response = getattr(candidate, "response", None)
        if isinstance(response, dict):
            return _read_answer(operation, response, scrubbed)
    message = cleaned(_words(error), scrubbed)
    sent = not _is_callers_mistake(error)
    return RequestFailed(
        operation, None if sent else NOT_SENT, type(error).__name__, message, uncertain=sent and not _kept_here(error)
    )


def is_answer(operation: str, reply: Mapping[str, object]) -> bool:
    """Whether a reply under a 200 says what was asked: a gateway's page doesn't, nor an error that isn't S3's own."""
    answered_by = RULES[operation].answered_by
    return not answered_by or not answered_by.isdisjoint(reply)


def no_answer(operation: str, status: int) -> RequestFailed:
    """Give the failure that a reply is which answers nothing."""
    return RequestFailed(operation, status, "", "the reply was not an answer to the request", uncertain=True)


def cleaned(text: str, scrubbed: Callable[[str], str]) -> str:
    """Make somebody else's message fit to be shown: one line, no credentials, and nothing of what was signed."""
    shown = " ".join(scrubbed(_SIGNED.split(text, maxsplit=1)[0]).split())
    return shown if len(shown) <= LONGEST_MESSAGE else f"{shown[:LONGEST_MESSAGE]}…"


def _read_answer(
    operation: str, response: Mapping[str, Mapping[str, object]], scrubbed: Callable[[str], str]
) -> RequestFailed:
    found, answer = response.get("ResponseMetadata", {}).get("HTTPStatusCode"), response.get("Error", {})
    status = found if isinstance(found, int) else None
    # A server's error, a timeout and a throttle may come from something in between, after the store has done it.
    uncertain = status is None or status >= 500 or status in {408, 429}  # noqa: PLR2004  server errors
    code, message = str(answer.get("Code") or ""), cleaned(str(answer.get("Message") or ""), scrubbed)
    return RequestFailed(operation, status, code, message, uncertain)


def _words(error: Exception) -> str:
    """Give an exception's words, and those of the one inside it that botocore leaves out: why it could not connect."""
    if isinstance(error, TimeoutError):
        return str(error) or "no whole reply in the time that config_kwargs['read_timeout'] allows"
    words, inner = str(error), getattr(error, "kwargs", {}).get("error")
    if isinstance(inner, Exception) and str(inner) not in words:
        words = f"{words} ({inner})"
    return words or "no reply"


def _is_callers_mistake(error: Exception) -> bool:
    """Whether it is no use to try: credentials that can't be found, a certificate that isn't trusted, a wrong form."""
    from botocore.exceptions import BotoCoreError, HTTPClientError, SSLError
    from botocore.exceptions import ConnectionError as NoConnection
    from botocore.parsers import ResponseParserError

    if isinstance(error, SSLError):
        return "certificate" in str(error).lower()
    if isinstance(error, NoConnection | HTTPClientError | ResponseParserError):
        return False
    return isinstance(error, BotoCoreError | TypeError | ValueError)


def _kept_here(error: Exception) -> bool:
    """Whether there was no connection that the request could have gone over."""
    from aiohttp import ClientConnectorError
    from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, ProxyConnectionError, SSLError

    if isinstance(error, ConnectTimeoutError | ProxyConnectionError | SSLError):
        return True
    return isinstance(error, EndpointConnectionError) and isinstance(error.kwargs.get("error"), ClientConnectorError)
