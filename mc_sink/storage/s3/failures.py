"""Convert the libraries' exceptions into request failures that keep no reference to them.

Nothing of those exceptions is kept but words: their frames hold headers with tokens, and S3's error documents repeat
the access key id, the signature and what was signed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from traceback import walk_tb
from typing import TYPE_CHECKING, Any

from mc_sink.storage.s3.retry_rules import CREDENTIAL_CODES, EXPIRED, NO_REPLY, REFUSED, RULES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NOT_SENT = 0
_FINDS_CREDENTIALS = {"botocore.credentials", "aiobotocore.credentials", "botocore.tokens", "aiobotocore.tokens"}
NOT_IMPLEMENTED = 501
# Of a longer message the end is shown too: AWS names there which policy denied a request.
LONGEST_MESSAGE, SHOWN_END = 500, 150
# A store's words are repeated in advice only where they have the form of what they should be.
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,59}")
_REGION = re.compile(r"(?!unspecified$)[a-z][a-z0-9]{1,15}(?:-[a-z0-9]{1,12}){0,4}")
_HOST = re.compile(r"(?:https?://)?[A-Za-z0-9][A-Za-z0-9.-]{2,250}(?::[0-9]{1,5})?/?")
_REGION_IN_HOST = re.compile(r"\bs3(?:-accesspoint|-fips)?(?:\.dualstack)?[.-]([a-z]{2,}(?:-[a-z]+)+-[0-9]+)\.")
_REGION_IN_WORDS = re.compile(r"expecting '([a-z0-9-]+)'|\b[Tt]he ([a-z0-9-]+) location constraint")
# What was signed includes the token; stores and services repeat it behind one of these words.
_SIGNED = re.compile(r"[<(\s]*(?:the\s+)?(?:canonical|string)[-_ ]?(?:request|string|to[-_ ]?sign)", re.IGNORECASE)


@dataclass(slots=True, eq=False)
class RequestFailed(Exception):  # noqa: N818  what failed is the request; whether that is an error, its caller decides
    """A request that did not succeed: the last answer, and whether any try may have taken effect all the same.

    `status` is None where no readable reply came, 0 where nothing was sent, and 500 also for an error that came in the
    body of a 200. `uncertain` is True after a reply that was lost or is no answer, and after a 5xx: the store may have
    done what was asked. A 501 is an exception: a store that doesn't implement a request has not done it. `tries` is how
    often the request was sent. No text in here holds the caller's credentials.

    `sent` names the parameters that the request had, `named` the header or argument that the store complained of, and
    `region` and `endpoint` where the store says that the bucket is.
    """

    operation: str
    status: int | None
    code: str
    message: str
    uncertain: bool
    tries: int = 1
    sent: frozenset[str] = frozenset()
    named: str = ""
    region: str | None = None
    endpoint: str | None = None

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.code else self.message

    @property
    def transient(self) -> bool:
        """Whether the same request, sent again, may succeed and can do no harm; the table in `retry_rules.py` says."""
        again_after = RULES[self.operation].again_after
        status = NO_REPLY if self.status is None else str(self.status)
        return self.code in again_after or (self.code not in REFUSED and status in again_after)

    @property
    def is_of_the_store(self) -> bool:
        """Whether the store answered the request itself; a listing right before it may have kept it from being sent."""
        return bool(self.sent)

    @property
    def is_unsupported(self) -> bool:
        """Whether the store said that it does not implement what was asked; no such request has an effect."""
        return self.code == "NotImplemented" or self.status == NOT_IMPLEMENTED

    @property
    def expired(self) -> bool:
        """Whether other credentials may do."""
        return self.code in EXPIRED


def read_failure(operation: str, error: Exception, scrubbed: Callable[[str], str]) -> RequestFailed:
    """Read what the store answered, if it did; s3fs keeps botocore's error as the cause of its own."""
    failed = _read(operation, error, scrubbed)
    return _not_signed(failed) if any(map(_is_of_credentials, (error, error.__cause__))) else failed


def _read(operation: str, error: Exception, scrubbed: Callable[[str], str]) -> RequestFailed:
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
    """Return a library's or a store's message as it may be shown: one line, no credentials, nothing that was signed."""
    shown = " ".join(scrubbed(_SIGNED.split(text, maxsplit=1)[0]).split())
    if len(shown) <= LONGEST_MESSAGE:
        return shown
    return f"{shown[: LONGEST_MESSAGE - SHOWN_END]}…{shown[-SHOWN_END:]}"


def _read_answer(operation: str, response: Mapping[str, Any], scrubbed: Callable[[str], str]) -> RequestFailed:
    about, answer = response.get("ResponseMetadata", {}), response.get("Error", {})
    found, headers = about.get("HTTPStatusCode"), about.get("HTTPHeaders", {})
    status = found if isinstance(found, int) else None
    code, message = str(answer.get("Code") or ""), cleaned(str(answer.get("Message") or ""), scrubbed)
    failed = RequestFailed(operation, status, code, message, uncertain=False)
    # A server's error, a timeout and a throttle may come from something in between, after the store has done it.
    server_error = status is None or status >= 500 or status in {408, 429}  # noqa: PLR2004  server errors
    failed.uncertain = server_error and not failed.is_unsupported
    failed.named = _of_form(_HEADER, answer.get("Header") or answer.get("ArgumentName")) or ""
    failed.endpoint = _of_form(_HOST, answer.get("Endpoint"))
    failed.region = _of_form(_REGION, headers.get("x-amz-bucket-region") or answer.get("Region"))
    if failed.region is None:
        in_words = _REGION_IN_WORDS.search(message) or _REGION_IN_HOST.search(failed.endpoint or "")
        failed.region = _of_form(_REGION, next(filter(None, in_words.groups()))) if in_words else None
    return failed


def _is_of_credentials(error: BaseException | None) -> bool:
    """Return whether an error came while credentials were obtained: only its frames tell.

    A refusal by STS looks like one by the store, and a token that is empty like an object option of a wrong form.
    """
    frames = walk_tb(error.__traceback__ if error else None)
    return any(frame.f_globals.get("__name__") in _FINDS_CREDENTIALS for frame, _ in frames)


def _not_signed(failed: RequestFailed) -> RequestFailed:
    """Return the failure of a request that had no credentials, after whatever refused them; that was not the store."""
    known = failed.code in CREDENTIAL_CODES
    code, message = (failed.code, failed.message) if known else ("CredentialRetrievalError", str(failed))
    return RequestFailed(failed.operation, failed.status, code, message, uncertain=False)


def _of_form(form: re.Pattern[str], text: object) -> str | None:
    """Return a text that has the form; None for any other, which may be anything."""
    return text if isinstance(text, str) and form.fullmatch(text) else None


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
