"""Is a request signed by the key it names? Signature version 4, in headers, as s3fs and the SDKs send it."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote

from tests.servers.rules import S3Error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.servers.operations import Request

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<scope>[^,]+), ?"
    r"SignedHeaders=(?P<names>[^,]+), ?Signature=(?P<signature>[0-9a-f]+)"
)


def check_signature(request: Request, secrets: Mapping[str, str]) -> None:
    """Raise the error that S3 would answer, unless one of the keys in `secrets` signed the request."""
    found = _AUTHORIZATION.match(request.headers.get("authorization", ""))
    if not found:
        raise S3Error(403, "AccessDenied", "Access Denied")
    secret = secrets.get(found["key"])
    if secret is None:
        raise S3Error(403, "InvalidAccessKeyId", "The access key ID you provided does not exist in our records.")
    expected = _sign(request, secret, found["scope"], found["names"].split(";"))
    if not hmac.compare_digest(expected, found["signature"]):
        raise S3Error(403, "SignatureDoesNotMatch", "The request signature we calculated does not match yours.")


def _sign(request: Request, secret: str, scope: str, names: list[str]) -> str:
    path, _, query = request.target.partition("?")
    pairs = sorted((_quote(name), _quote(value)) for name, value in parse_qsl(query, keep_blank_values=True))
    canonical = "\n".join(
        [
            request.method,
            quote(unquote(path), safe="/-_.~"),
            "&".join(f"{name}={value}" for name, value in pairs),
            *(f"{name}:{' '.join(request.headers.get(name, '').split())}" for name in names),
            "",
            ";".join(names),
            request.headers.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ]
    )
    date = request.headers.get("x-amz-date", "")
    text = "\n".join(["AWS4-HMAC-SHA256", date, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for word in scope.split("/"):
        key = hmac.digest(key, word.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


def _quote(text: str) -> str:
    return quote(text, safe="-_.~")
