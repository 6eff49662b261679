"""Convert the libraries' exceptions into `RequestFailed`, which keeps no reference to them.

Only texts of those exceptions are kept. Their frames hold headers with tokens, and S3's error documents repeat the
access key id, the signature and the text that was signed.
"""

from __future__ import annotations

import errno
import re
import socket
from dataclasses import dataclass
from traceback import walk_tb
from typing import TYPE_CHECKING, Any, Literal

from mc_sink.storage.s3.retry_rules import CREDENTIAL_CODES, EXPIRED, FAILING, NO_REPLY, REFUSED, RULES, THROTTLED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NOT_SENT = 0
FORBIDDEN, NOT_IMPLEMENTED = 403, 501
_FINDS_CREDENTIALS = {"botocore.credentials", "aiobotocore.credentials", "botocore.tokens", "aiobotocore.tokens"}
# The system's errors for a store that is down, or that no way leads to.
_NO_ROUTE = {
    errno.ECONNREFUSED,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.ETIMEDOUT,
}
# The end of a longer message is shown too: there AWS names the policy that denied a request.
LONGEST_MESSAGE, SHOWN_END = 500, 150
# Advice repeats a store's words only where they have the form of a header, a region or a host.
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,59}")
_REGION = re.compile(r"(?!unspecified$)[a-z][a-z0-9]{1,15}(?:-[a-z0-9]{1,12}){0,4}")
_IN_WORDS = re.compile(r"expecting '([a-z0-9-]+)'|\b[Tt]he ([a-z0-9-]+) location constraint")
_IN_HOST = re.compile(r"\bs3(?:-accesspoint|-fips)?(?:\.dualstack)?[.-]([a-z]{2,}(?:-[a-z]+)+-[0-9]+)\.")
_HOST = re.compile(r"(?:https?://)?[A-Za-z0-9][A-Za-z0-9.-]{2,250}(?::[0-9]{1,5})?/?")
# The codes of a port that answers without TLS, with what OpenSSL says of one, and of a port that wants TLS.
NO_TLS, WANTS_TLS = "NoTLS", "WantsTLS"
# The code of a listing with more pages than are read.
TOO_LONG = "TooLong"
_PLAIN = re.compile(r"WRONG_VERSION_NUMBER|HTTP_REQUEST|record layer failure", re.IGNORECASE)
# The text that was signed includes the token. Stores and services repeat it after one of these words.
_SIGNED = re.compile(
    r"[<(\s]{0,9}(?:the\s{1,9})?(?:canonical|string)[-_ ]?(?:request|string|to[-_ ]?sign)", re.IGNORECASE
)


# Stands in `RequestFailed.sent` for any kind of encryption by KMS.
KMS = "aws:kms"


class ReplySizeError(Exception):
    """A reply has more bytes than any answer to its request."""

    def __init__(self, status: int, most: int) -> None:
        super().__init__(f"the reply has more than {most:,} bytes")
        self.status = status


class TlsPortError(Exception):
    """A reply to a request in plain HTTP says that the port expects TLS."""


@dataclass(slots=True, eq=False)
class RequestFailed(Exception):  # noqa: N818  what failed is the request; whether that is an error, its caller decides
    """A request that did not succeed. No text in here holds the caller's credentials.

    - `status`: None without a readable reply, 0 if nothing was sent, and 500 also for an error in the body of a 200.
    - `uncertain`: an attempt may have taken effect all the same. True after a lost or invalid reply, and after a 5xx.
      A 501 is an exception: a store that doesn't implement a request has not done it.
    - `attempts`: how often the request was sent.
    - `sent`: the names of the request's parameters, and "aws:kms" where it asked for encryption by KMS.
    - `named`: the header or argument that the store complained of.
    - `region`, `endpoint`: where the store says that the bucket is.
    - `outage`: no connection was made. The host refused it or has no route, or its name is unknown.
    - `is_of_a_storm`: a store, or a gateway before it, answered that it is overloaded or fails, which may take a while.
    """

    operation: str
    status: int | None
    code: str
    message: str
    uncertain: bool
    attempts: int = 1
    sent: frozenset[str] = frozenset()
    named: str = ""
    region: str | None = None
    endpoint: str | None = None
    outage: Literal["", "no route", "no name"] = ""
    is_of_a_storm: bool = False

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.code else self.message

    @property
    def transient(self) -> bool:
        """Whether the same request, sent again, may succeed and does no harm, by the table in `retry_rules.py`."""
        again_after = RULES[self.operation].again_after
        status = NO_REPLY if self.status is None else str(self.status)
        return self.code in again_after or (self.code not in REFUSED and status in again_after)

    @property
    def is_of_the_store(self) -> bool:
        """Whether the store itself answered. A listing right before the request may have kept it from being sent."""
        return bool(self.sent)

    @property
    def is_unsupported(self) -> bool:
        """Whether the store answered that it does not implement the request. Such a request has no effect."""
        return self.code == "NotImplemented" or self.status == NOT_IMPLEMENTED

    @property
    def expired(self) -> bool:
        """Whether the request may succeed with other credentials."""
        return self.code in EXPIRED


def read_failure(operation: str, error: Exception, scrubbed: Callable[[str], str]) -> RequestFailed:
    """Return the failure that an exception of the libraries stands for."""
    response = response_of(error)
    failed = _unanswered(operation, error, scrubbed) if response is None else _answered(operation, response, scrubbed)
    # Only the frames show that it was raised while credentials were obtained: a refusal by STS looks like one by the
    # store, and an empty token like an object option of a wrong form.
    frames = (frame for one in (error, error.__cause__) if one for frame, _ in walk_tb(one.__traceback__))
    if all(frame.f_globals.get("__name__") not in _FINDS_CREDENTIALS for frame in frames):
        return failed
    # The request could not be signed, and the store never saw it.
    known = failed.code in CREDENTIAL_CODES
    code, message = (failed.code, failed.message) if known else ("CredentialRetrievalError", str(failed))
    return RequestFailed(operation, failed.status, code, message, uncertain=False)


def response_of(error: Exception) -> Mapping[str, Any] | None:
    """Return the store's answer, if an exception has one; s3fs keeps botocore's error as the cause of its own."""
    responses = (getattr(one, "response", None) for one in (error, error.__cause__))
    return next((one for one in responses if isinstance(one, dict)), None)


def is_list_denied(failed: RequestFailed) -> bool:
    """Return True if a listing failed because the permission to list is missing, which a delivery can do without."""
    return failed.status == FORBIDDEN and failed.code in {"AccessDenied", "403"}


def is_answer(operation: str, reply: Mapping[str, Any]) -> bool:
    """Return True if a reply with status 200 answers the request.

    A gateway's page, a foreign error, and a listing with an entry without a key don't.
    """
    rule = RULES[operation]
    if rule.answered_by and rule.answered_by.isdisjoint(reply):
        return False
    return all(names <= entry.keys() for name, names in rule.entries.items() for entry in reply.get(name, ()))


def no_answer(operation: str, status: int) -> RequestFailed:
    """Return the failure for a reply that is not an S3 answer."""
    return RequestFailed(operation, status, "", "the reply was not an answer to the request", uncertain=True)


def cleaned(text: str, scrubbed: Callable[[str], str]) -> str:
    """Return a message of a library or a store in one line, without credentials and the text that was signed."""
    shown = " ".join(scrubbed(_SIGNED.split(text, maxsplit=1)[0]).split())
    if len(shown) <= LONGEST_MESSAGE:
        return shown
    return f"{shown[: LONGEST_MESSAGE - SHOWN_END]}…{shown[-SHOWN_END:]}"


def _answered(operation: str, response: Mapping[str, Any], scrubbed: Callable[[str], str]) -> RequestFailed:
    about, answer = response.get("ResponseMetadata", {}), response.get("Error", {})
    found, headers = about.get("HTTPStatusCode"), about.get("HTTPHeaders", {})
    status = found if isinstance(found, int) else None
    code, message = str(answer.get("Code") or ""), cleaned(str(answer.get("Message") or ""), scrubbed)
    failed = RequestFailed(operation, status, code, message, uncertain=False)
    # A server's error, a timeout and a throttle may come from a gateway, after the store has taken the request.
    server_error = status is None or status >= 500 or status in {408, 429}  # noqa: PLR2004  server errors
    failed.uncertain = server_error and not failed.is_unsupported
    failed.is_of_a_storm = code in THROTTLED or (code not in REFUSED and str(status) in FAILING)
    failed.named = _of_form(_HEADER, answer.get("Header") or answer.get("ArgumentName")) or ""
    failed.endpoint = _of_form(_HOST, answer.get("Endpoint"))
    failed.region = _of_form(_REGION, headers.get("x-amz-bucket-region") or answer.get("Region"))
    if failed.region is None and (words := _IN_WORDS.search(message) or _IN_HOST.search(failed.endpoint or "")):
        failed.region = _of_form(_REGION, next(filter(None, words.groups())))
    return failed


def _of_form(form: re.Pattern[str], text: object) -> str | None:
    """Return a text if it has the form, else None."""
    return text if isinstance(text, str) and form.fullmatch(text) else None


def _words(error: Exception) -> str:
    """Return an exception's text, with that of the inner one: botocore leaves out why it could not connect."""
    if isinstance(error, TimeoutError):
        return str(error) or "no whole reply in the time that config_kwargs['read_timeout'] allows"
    words, inner = str(error), getattr(error, "kwargs", {}).get("error")
    if isinstance(inner, Exception) and str(inner) not in words:
        words = f"{words} ({inner})"
    return words or "no reply"


def _unanswered(operation: str, error: Exception, scrubbed: Callable[[str], str]) -> RequestFailed:
    """Return the failure of a request that no readable reply came to."""
    from aiohttp import ClientConnectorError
    from botocore import exceptions as known
    from botocore.parsers import ResponseParserError

    message = cleaned(_words(error), scrubbed)
    # No retry can succeed: missing credentials, an untrusted certificate, a value of a wrong form.
    is_mistake, name = isinstance(error, known.BotoCoreError | TypeError | ValueError), type(error).__name__
    if isinstance(error, known.ConnectionError | known.HTTPClientError | ResponseParserError):
        is_plain = _PLAIN.search(str(error)) is not None
        is_mistake = isinstance(error, known.SSLError) and (is_plain or "certificate" in str(error).lower())
        name = NO_TLS if is_mistake and is_plain else name
    # The connection was never made, so nothing was sent.
    unconnected = isinstance(error, known.ConnectTimeoutError | known.ProxyConnectionError | known.SSLError) or (
        isinstance(error, known.EndpointConnectionError) and isinstance(error.kwargs.get("error"), ClientConnectorError)
    )
    status, uncertain = NOT_SENT if is_mistake else None, not (is_mistake or unconnected)
    failed = RequestFailed(operation, status, name, message, uncertain=uncertain)
    inner = getattr(error, "kwargs", {}).get("error")
    if isinstance(inner, ReplySizeError):
        return RequestFailed(operation, inner.status, "", str(inner), uncertain=True)
    if isinstance(inner, TlsPortError):
        return RequestFailed(operation, NOT_SENT, WANTS_TLS, str(inner), uncertain=False)
    if isinstance(inner, ClientConnectorError):
        failed.outage = _outage(inner.os_error)
    return failed


def _outage(error: OSError) -> Literal["", "no route", "no name"]:
    """Return why no connection was made, if the network or the store's machine is the cause."""
    if isinstance(error, socket.gaierror):
        return "no route" if error.errno == socket.EAI_AGAIN else "no name"
    return "no route" if error.errno in _NO_ROUTE else ""
