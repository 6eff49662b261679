"""Names that S3 has for what is not a plain bucket, and texts that stand for a target without being one.

    s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/partner/feeds/     an access point and a prefix
    s3://partner-a1b2c3d4e5f6-s3alias/feeds/                              the same by its alias, which is like a bucket
    s3://arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap/         several Regions: refused
    s3://data--euw1-az1--x-s3/feeds/                                      a directory bucket: refused

https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-points-naming.html

    my-bucket/exports/                                          s3://my-bucket/exports/
    arn:aws:s3:::my-bucket/exports/                             s3://my-bucket/exports/
    https://my-bucket.s3.eu-west-1.amazonaws.com/exports/       s3://my-bucket/exports/
    https://minio.example.com:9000/my-bucket/exports/           s3://my-bucket/exports/, with an endpoint_url

A suggestion repeats no query and no credentials: what precedes an `@` or follows a `?` is never part of one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote

from mc_sink.exceptions import TargetError

_SCHEME = re.compile(r"s3a?://", re.IGNORECASE)
_POINT = re.compile(
    r"arn:(aws[a-z-]*):s3:([a-z0-9-]+):([0-9]{12}):accesspoint[/:]([a-z0-9][a-z0-9-]{1,61}[a-z0-9])", re.ASCII
)
_ALL_REGIONS = re.compile(r"arn:aws[a-z-]*:s3::[0-9]*:accesspoint[/:]")
_OTHER_SERVICE = re.compile(r"arn:aws[a-z-]*:(s3-outposts|s3-object-lambda|s3express|s3tables|s3vectors|s3files):")
_OBJECTS = "object/"
_ALIAS = "-s3alias"
_ONE_REGION = "Write the bucket, or an access point of one Region, instead."
_NO_MULTI_REGION = (
    "names a multi-Region access point, whose requests need a signature of several Regions (SigV4A), which is not "
    f"supported. {_ONE_REGION}"
)
_DIRECTORY = (
    "is a directory bucket (S3 Express One Zone), which is not supported: its listings and its conditional writes "
    "differ from other buckets'. Deliver to a general purpose bucket."
)
_OUTPOSTS = f"is on S3 on Outposts, which is not supported. {_ONE_REGION}"
_LAMBDA = f"is an S3 Object Lambda access point, which only reads. {_ONE_REGION}"
_TABLES = "is an S3 table bucket, which takes no objects. Deliver to a general purpose bucket."
# What S3 reserves as the end of a bucket's name.
_RESERVED = {
    ".mrap": _NO_MULTI_REGION,
    "--x-s3": _DIRECTORY,
    "--xa-s3": _DIRECTORY,
    "--op-s3": _OUTPOSTS,
    "--ol-s3": _LAMBDA,
    "--table-s3": _TABLES,
}
_SERVICES = {
    "s3-outposts": _OUTPOSTS,
    "s3-object-lambda": _LAMBDA,
    "s3express": _DIRECTORY,
    "s3tables": _TABLES,
}
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
# Looser than a bucket's name, which may be short for the sake of an example.
_LIKE_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# Misspelt forms of s3://, with one slash or two, or none.
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


@dataclass(frozen=True, slots=True)
class AccessPoint:
    """An access point of one Region, by the parts of its ARN."""

    partition: str
    region: str
    account: str
    name: str

    @property
    def arn(self) -> str:
        """The ARN, which stands for the bucket in every request."""
        return f"arn:{self.partition}:s3:{self.region}:{self.account}:accesspoint/{self.name}"


def find_access_point(text: str) -> tuple[AccessPoint, str] | None:
    """Return the access point that a target begins with, and what follows it; None for any other target.

    Raises `TargetError` for an ARN of a kind that can't be delivered to.
    """
    scheme = _SCHEME.match(text)
    rest = text[scheme.end() :] if scheme else text
    if _ALL_REGIONS.match(rest):
        raise TargetError(f"The target {_NO_MULTI_REGION}")
    if other := _OTHER_SERVICE.match(rest):
        kind = _SERVICES.get(other[1], "is an ARN of another service than S3's buckets. Write s3://bucket/prefix/.")
        raise TargetError(f"The target {kind}")
    found = _POINT.match(rest)
    if not found or rest[found.end() :][:1] not in {"", "/"}:
        return None
    point, key = AccessPoint(*found.groups()), rest[found.end() :]
    if not scheme and key.startswith(f"/{_OBJECTS}"):
        plain = key.removeprefix(f"/{_OBJECTS}")
        raise TargetError(
            f"The target is an ARN of objects, as policies have it. Did you mean s3://{point.arn}/{plain}? For a "
            f"prefix that is called {_OBJECTS!r} itself, write s3:// in front."
        )
    return point, key


def access_point_of(bucket: str) -> AccessPoint | None:
    """Return the access point that stands in place of a bucket's name, if it does."""
    found = _POINT.fullmatch(bucket)
    return AccessPoint(*found.groups()) if found else None


def is_alias(bucket: str) -> bool:
    """Return whether a bucket's name is the alias of an access point."""
    return bucket.endswith(_ALIAS)


def refuse_reserved(bucket: str) -> None:
    """Raise `TargetError` for a name by which S3 knows something else than a general purpose bucket."""
    for end, reason in _RESERVED.items():
        if bucket.endswith(end):
            raise TargetError(f"The target's bucket, {bucket!r}, {reason}")


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
    """Return the endpoint of a web address outside of AWS; None for any other text."""
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


def suggest_target(text: str) -> str:
    """Return the question with the likely target, for the end of a message; empty where nothing is likely."""
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
