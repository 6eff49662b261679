"""S3's names for what is not a plain bucket: access points, and the kinds of buckets that can't be delivered to.

    s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/partner/feeds/     an access point and a prefix
    s3://partner-a1b2c3d4e5f6-s3alias/feeds/                              the same by its alias, which is like a bucket
    s3://arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap/         several Regions: refused
    s3://data--euw1-az1--x-s3/feeds/                                      a directory bucket: refused

https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-points-naming.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass

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
