"""The lifecycle configuration for what deliveries leave under a prefix; ready for the AWS CLI, and never applied here.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/intro-lifecycle-rules.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from mc_sink.exceptions import ConfigurationError
from mc_sink.target import parse_target

if TYPE_CHECKING:
    import os

ArchiveClass = Literal["GLACIER", "DEEP_ARCHIVE", "GLACIER_IR", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING"]
# S3 takes no object that is younger than this into an infrequent-access class.
_INFREQUENT, _LEAST_DAYS = {"STANDARD_IA", "ONEZONE_IA"}, 30
_ID_BYTES = 255


def lifecycle(
    target: str | os.PathLike[str],
    *,
    expire_days: int | None = None,
    archive_days: int | None = None,
    archive_class: ArchiveClass = "GLACIER",
    abort_days: int = 7,
) -> dict[str, Any]:
    """Give a lifecycle configuration: what is to become of objects under a prefix, in days after they were made.

    Uploads that were never completed are aborted after `abort_days`: a write-only key can't always do it itself, and
    they cost until then. Objects, and their earlier versions in a bucket that keeps any, expire after `expire_days`,
    and move to `archive_class` after `archive_days`; neither happens by default. Putting a configuration on a bucket
    replaces the one it has: add these rules to those.
    """
    where = parse_target(target)
    if where.protocol != "s3" or not where.is_prefix:
        raise ConfigurationError(f"{where.url} is no prefix in S3: a lifecycle rule needs s3://bucket/prefix/")
    _check_days(expire_days, archive_days, archive_class, abort_days)
    rule: dict[str, Any] = {
        "ID": f"mc-sink {where.path or 'the whole bucket'}".encode()[:_ID_BYTES].decode(errors="ignore"),
        "Status": "Enabled",
        "Filter": {"Prefix": where.path},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": abort_days},
    }
    if archive_days is not None:
        rule["Transitions"] = [{"Days": archive_days, "StorageClass": archive_class}]
    if expire_days is not None:
        rule["Expiration"] = {"Days": expire_days}
        rule["NoncurrentVersionExpiration"] = {"NoncurrentDays": expire_days}
    return {"Rules": [rule]}


def _check_days(expire: int | None, archive: int | None, archive_class: str, abort: int) -> None:
    asked = {"expire_days": expire, "archive_days": archive, "abort_days": abort}
    if few := [name for name, days in asked.items() if days is not None and days < 1]:
        raise ConfigurationError(f"{few[0]}={asked[few[0]]}: give at least 1 day.")
    if archive is not None and archive_class in _INFREQUENT and archive < _LEAST_DAYS:
        raise ConfigurationError(f"S3 moves nothing to {archive_class} in {archive} days: give at least {_LEAST_DAYS}.")
    if archive is not None and expire is not None and archive >= expire:
        raise ConfigurationError(f"archive_days={archive} comes after expire_days={expire}: nothing would be archived.")
