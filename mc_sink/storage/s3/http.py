"""The HTTP session of a store: it sends each request once, only to its host, and reads replies of bounded sizes only.

Seven things that the libraries do by themselves are turned off here, because a delivery can't bear them:

- aiohttp sends a PUT again when a connection that it kept open breaks. A PUT that had taken effect then looks refused.
- aiohttp follows a redirect to any host, with body and token.
- botocore sends a request again, with a new signature, to the region that a reply names. Where the reply names none,
  it asks with HeadBucket. It does both on stores other than AWS too.
- A store repeats the access key id and the token in its refusals, and so would our errors.
- aiohttp reads a reply of any size, and unpacks it first. A reply without end would fill the memory.
- botocore repeats a request to a port that expects TLS, and hides that the reply says so.
- Every session reads the certificates of all authorities again: measured, 40 ms.
"""

from __future__ import annotations

import re
import zlib
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mc_sink.exceptions import ConfigurationError
from mc_sink.secret import Unpicklable
from mc_sink.storage.quiet_logs import silence_loggers
from mc_sink.storage.s3.failures import ReplySizeError, TlsPortError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# The elements of a refusal that are read. The rest repeats the request, in plain and in hex, its token included:
# https://docs.aws.amazon.com/AmazonS3/latest/API/RESTAuthentication.html
_READ = {b"Code", b"Message", b"Region", b"Endpoint", b"Header", b"ArgumentName", b"RequestId", b"HostId"}
_ELEMENT = re.compile(rb"<([\w.-]+)>([^<]*)</\1>")
_MESSAGE = re.compile(rb"(</?Message>)")
# In bytes, also after unpacking. A page of 1,000 keys of 1,024 bytes has 7 MiB if each byte is written as `&quot;`.
MOST_LISTED, MOST_REPLIED = 2**23, 2**20
# zlib finds out by itself whether a reply is packed as gzip or as deflate.
_ANY_PACKING = zlib.MAX_WBITS | 32
# The reply of a port that expects TLS to plain HTTP: of servers in Go, nginx, Apache and Tomcat in words, of others an
# alert of TLS, of which aiohttp shows the bytes.
_EXPECTS_TLS = re.compile(
    rb"HTTP request (?:to an|was sent to) HTTPS (?:server|port)|plain HTTP to an SSL-enabled|requires TLS",
    re.IGNORECASE,
)
_TLS_ALERT = r"b'\x15\x03"
_BAD_REQUEST = 400
_KEY_ID = re.compile(r"(?:Credential=|^AWS )([^/:,\s]+)")


class OneHost(Unpicklable):
    """A session whose clients stay with the host that they were made for; the wrapped session is left as it is.

    A bucket in another region ends the run with an error that says so. Following a reply there would let replies
    decide where the credentials go. It couldn't tell AWS from a store that answers like it, and it would need a body
    that can be sent a second time.
    """

    def __init__(self, session: Any) -> None:
        self._session = session

    async def get_credentials(self) -> Any:
        """Return the credentials that botocore uses, or None."""
        return await self._session.get_credentials()

    def files(self, verify: object) -> Iterator[str]:
        """Yield the paths of the files that decide how a client behaves; `verify` is the caller's own setting."""
        from botocore.httpsession import where

        yield from map(self.get_config_variable, ("config_file", "credentials_file"))
        bundle = self.get_config_variable("ca_bundle") if verify is None else verify
        yield bundle if isinstance(bundle, str) else where()

    def check_authorities(self, verify: object) -> None:
        """Raise `ConfigurationError` for a file of certificates that was set and can't be used; `verify` as in `files`.

        Every request would fail because of it, and be repeated.
        """
        bundle = self.get_config_variable("ca_bundle") if verify is None else verify
        if not isinstance(bundle, str):
            return
        try:
            reason = None if b"CERTIFICATE-----" in Path(bundle).read_bytes() else "it has no certificate in PEM form"
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
        if reason:
            raise ConfigurationError(
                f"The file of certificates {bundle} can't be used: {reason}. Correct its path, which is in "
                "AWS_CA_BUNDLE, in ca_bundle of the profile, or in client_kwargs={'verify': …} of storage_options."
            )

    def create_client(self, *where: Any, **options: Any) -> _Creation:
        """Return a context that makes a client when it is entered."""
        return _Creation(self._session.create_client(*where, **options))

    def get_config_variable(self, name: str) -> Any:
        """Return a setting of the session: of its profile, the environment or the defaults."""
        return self._session.get_config_variable(name)


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
    """Mark a request as redirected already, so that botocore doesn't redirect it."""
    params["context"].setdefault("s3_redirect", {})["redirected"] = True


class _Bounded:
    """An aiohttp session that follows no redirect, and reads no more of a reply than an answer can have."""

    def __init__(self, session: Any) -> None:
        self._session = session

    async def request(self, method: str, **options: Any) -> Any:
        """Send a request to its own URL only, and return its response, of which the body is read."""
        from aiohttp import ClientResponseError

        try:
            response = await self._session.request(method, allow_redirects=False, **options)
        except ClientResponseError as error:
            if error.request_info.url.scheme == "http" and _TLS_ALERT in error.message:
                raise TlsPortError("the reply is an alert of TLS") from None
            raise
        try:
            response._body = await _read(response, MOST_LISTED if method == "GET" else MOST_REPLIED)  # noqa: SLF001  where `read` keeps it
            _check_scheme(response, response._body)  # noqa: SLF001  as above
        except BaseException:
            response.close()
            raise
        return response


def _check_scheme(response: Any, body: bytes) -> None:
    """Raise `TlsPortError` if a refusal of plain HTTP says that the port expects TLS."""
    if response.url.scheme == "http" and response.status == _BAD_REQUEST and _EXPECTS_TLS.search(body):
        raise TlsPortError("the reply says so")


async def _read(response: Any, most: int) -> bytes:
    """Return the body of a response, or raise `ReplySizeError` as soon as it has more than `most` bytes."""
    packed = response.headers.get("Content-Encoding", "").lower() in {"gzip", "deflate"}
    body, unpacking = bytearray(), zlib.decompressobj(_ANY_PACKING)
    async for piece in response.content.iter_any():
        body += unpacking.decompress(piece, most + 1 - len(body)) if packed else piece
        if len(body) > most:
            raise ReplySizeError(response.status, most)
    return bytes(body)


def http_session() -> type:
    """Make the class of HTTP sessions for one store.

    Its sessions share the certificates that the first of them read, for as long as the store is open. The class is
    made when it is needed, because it loads aiohttp.
    """
    from aiobotocore.httpsession import AIOHTTPSession

    tls: dict[object, Any] = {}

    class SendsOnce(AIOHTTPSession):  # type: ignore[misc]
        async def _get_session(self, proxy_url: str | None) -> _Bounded:
            session = await super()._get_session(proxy_url)
            session._auto_decompress = False  # noqa: SLF001  no public switch here; `_read` unpacks, within bounds
            session._retry_connection = False  # noqa: SLF001  no public switch; a test with a lost reply watches it
            return _Bounded(session)

        def _build_verify_context(self) -> Any:
            if self._cert_file or self._proxy_config.settings:  # the libraries change such a context later
                return super()._build_verify_context()
            if self._verify not in tls:
                tls[self._verify] = super()._build_verify_context()
            return tls[self._verify]

        async def send(self, request: Any) -> Any:
            reply = await super().send(request)
            body = await reply.content
            if b"<Error" in body:  # at any status: a refusal may come with a 200
                reply._content = _without_echo(body, request.headers)  # noqa: SLF001  where `content` keeps it
            return reply

    return SendsOnce


def _without_echo(body: bytes, sent: Mapping[str, str | bytes]) -> bytes:
    """Remove the key id and the token of a request, wherever they were configured, from its refusal."""
    headers = {name.lower(): value.decode() if isinstance(value, bytes) else value for name, value in sent.items()}
    signed = _KEY_ID.search(headers.get("authorization", ""))
    credentials = [one for one in (signed and signed[1], headers.get("x-amz-security-token")) if one]
    body = _ELEMENT.sub(lambda element: element[0] if element[1] in _READ else b"", body)
    if not credentials:
        return body
    echoed = re.compile("|".join(map(re.escape, credentials)).encode())
    pieces = pairwise([b"", *_MESSAGE.split(body)])
    return b"".join(echoed.sub("…".encode(), piece) if tag == b"<Message>" else piece for tag, piece in pieces)
