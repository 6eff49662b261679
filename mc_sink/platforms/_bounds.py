"""The buckets and prefixes that a platform may be used for, and whether a target lies within."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mc_sink._arns import find_access_point
from mc_sink.exceptions import ConfigurationError
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mc_sink.target import Target

_WHOLE_BUCKET = re.compile(r"(?:s3a?://)?([a-z0-9][a-z0-9._-]*)/?", re.IGNORECASE)


def parse_bound(text: str) -> Target:
    """Read a bucket (`bucket`, `s3://bucket/`) or a prefix in one (`s3://bucket/prefix/`, its slash or not).

    An access point's ARN may stand in place of the bucket.
    """
    whole = _WHOLE_BUCKET.fullmatch(text)
    if (point := find_access_point(text)) and point[1] in {"", "/"}:
        return parse_target(f"s3://{point[0].arn}/./")
    bound = parse_target(f"s3://{whole[1]}/./" if whole else f"{text.removesuffix('/')}/")
    if bound.protocol != "s3":
        raise ConfigurationError(
            f"{bound.url} is no bucket: a platform is bound to s3://bucket/ or s3://bucket/prefix/."
        )
    return bound


def is_within(target: Target, bounds: Iterable[Target]) -> bool:
    """Whether a target lies in one of the bounds; where there are none, every bucket does."""
    bounds = tuple(bounds)
    return not bounds or any(target.bucket == one.bucket and target.path.startswith(one.path) for one in bounds)
