"""Texts that are not a target, and the target that they most likely stand for.

    my-bucket/exports/                                          s3://my-bucket/exports/
    arn:aws:s3:::my-bucket/exports/                             s3://my-bucket/exports/
    https://my-bucket.s3.eu-west-1.amazonaws.com/exports/       s3://my-bucket/exports/
    https://minio.example.com:9000/my-bucket/exports/           s3://my-bucket/exports/, with an endpoint_url

A suggestion repeats no query and no credentials: what precedes an `@` or follows a `?` is never part of one.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qs, unquote

BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
# Looser than a bucket's name, which may be short for the sake of an example.
_LIKE_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# A word that somebody who means S3 writes in place of s3://, with one slash or two, or none.
_S3_WORD = re.compile(r"s3[abn]?(?::[\\/]*|;/*|/{2}|/)", re.IGNORECASE)
_ARN = re.compile(r"arn:aws[a-z-]*:s3:::")
_ANY_ARN = re.compile(r"arn:aws[a-z-]*:[a-z0-9-]+:", re.IGNORECASE)
_WEB = re.compile(r"(https?)://([^/@?#]+)/?", re.IGNORECASE)
_AWS_HOST = re.compile(r"(?:(.+)\.)?s3(?:[.-][a-z0-9-]+)*?\.amazonaws\.com(?:\.cn)?(?::[0-9]+)?", re.IGNORECASE)
_CONSOLE = re.compile(
    r"(?:[a-z0-9-]+\.)*console\.(?:aws\.amazon\.com|amazonaws\.cn|amazonaws-us-gov\.com)", re.IGNORECASE
)
_CONSOLE_PATH = re.compile(r"s3/(?:buckets|object|upload)/([^/?#]+)")
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")


def s3_meant(text: str) -> str | None:
    """Return the S3 URL that a text most likely stands for; None where nothing is likely."""
    if web := _WEB.match(text):
        return _of_web(web.group(2), text[web.end() :])
    plain = text.strip("\"'` ")
    if plain.startswith("~") or "@" in plain:
        return None
    if plain.lower().startswith(("s3://", "s3a://")):
        plain = plain.partition("://")[2]
    word = _ARN.match(plain) or _S3_WORD.match(plain)
    plain = plain[word.end() if word else 0 :].replace("\\", "/").lstrip("/")
    host, _, rest = plain.partition("/")
    if _AWS_HOST.fullmatch(host):
        return _of_web(host, rest)
    return _url(host, rest)


def endpoint_meant(text: str) -> str | None:
    """Return the endpoint of a web address that is not AWS's; None where there is none."""
    web = _WEB.match(text)
    if not web or _AWS_HOST.fullmatch(web.group(2)) or _CONSOLE.fullmatch(web.group(2)):
        return None
    return f"{web.group(1).lower()}://{web.group(2)}"


def is_arn(text: str) -> bool:
    """Return whether a text is the name of a resource of AWS's, as policies have it."""
    return _ANY_ARN.match(text) is not None


def is_aws_host(text: str) -> bool:
    """Return whether a text is the name of one of S3's own hosts."""
    return _AWS_HOST.fullmatch(text) is not None


def did_you_mean(text: str) -> str:
    """Return the question that ends a message, with a space before it; empty where nothing is likely."""
    found = s3_meant(text)
    endpoint = endpoint_meant(text)
    more = f", with storage_options={{'endpoint_url': {endpoint!r}}}" if endpoint else ""
    return f" Did you mean {found}{more}?" if found else ""


def as_prefix(path: str) -> str:
    """Return a path with the slash of a prefix, unless it names a file or has one."""
    last = path.rpartition("/")[2]
    return path if not last or _SUFFIX.search(last) else f"{path}/"


def _of_web(host: str, rest: str) -> str | None:
    path, _, query = rest.partition("?")
    if _CONSOLE.fullmatch(host):
        found = _CONSOLE_PATH.match(path)
        return _url(found.group(1), next(iter(parse_qs(query).get("prefix", [])), "")) if found else None
    aws = _AWS_HOST.fullmatch(host)
    if aws and aws.group(1):
        return _url(aws.group(1), unquote(path))
    bucket, slash, key = path.partition("/")
    if not aws and not slash and _SUFFIX.search(bucket):  # a page, and no bucket
        return None
    return _url(bucket, unquote(key))


def _url(bucket: str, key: str) -> str | None:
    """Return the URL of a bucket and a key, without what may be a query; a bucket alone is asked for by its root."""
    if not _LIKE_BUCKET.fullmatch(bucket):
        return None
    key = re.split("[?#]", key, maxsplit=1)[0].strip("/ ") + ("/" if key.rstrip().endswith("/") else "")
    return f"s3://{bucket}/{as_prefix(key) if key.strip('/') else 'exports/'}"
