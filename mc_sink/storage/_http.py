"""How a request to S3 goes over the wire: once, to the host it was meant for, and straight from memory.

Five things that happen by themselves are undone here, because a delivery can't bear them:

- aiohttp sends a PUT again when a connection that it kept open breaks; a put that had taken effect then looks refused;
- aiohttp follows a redirect to whatever host it names, body, token and all;
- botocore sends a request again, signed anew, to the region that a reply names, and asks with HeadBucket where it names
  none, on a store that isn't AWS too;
- a store repeats the key id and the token in what it refuses, and so would our errors;
- every session reads the certificates of all authorities again: measured, 40 ms.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from mc_sink.secret import Unpicklable
from mc_sink.storage._silence import watch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_tls: dict[object, Any] = {}
# What a refusal is read for; the rest repeats the request, in plain and in hex, its token included:
# https://docs.aws.amazon.com/AmazonS3/latest/API/RESTAuthentication.html
_READ = {b"Code", b"Message", b"Region", b"Endpoint", b"Header", b"ArgumentName", b"RequestId", b"HostId"}
_ELEMENT = re.compile(rb"<([\w.-]+)>([^<]*)</\1>")
_MESSAGE = re.compile(rb"(?<=<Message>).*?(?=</Message>)", re.DOTALL)
_KEY_ID = re.compile(r"(?:Credential=|^AWS )([^/:,\s]+)")


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
        watch()
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
