"""Generate the policies and the lifecycle configuration for a bucket's owner. Sends nothing to AWS.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/userguide/list_amazons3.html for actions, resources and
condition keys, and https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html for the escapes.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/intro-lifecycle-rules.html
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any, Final, Literal

from mc_sink._s3_names import access_point_of, is_alias
from mc_sink.exceptions import ConfigurationError
from mc_sink.formats import has_suffix
from mc_sink.target import parse_target

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from mc_sink.target import Target

Policy = dict[str, Any]
Scope = Literal["prefix", "bucket"]
WRITE: Final = ("s3:PutObject", "s3:PutObjectAcl")
LIST: Final = "s3:ListBucket"
ABORT: Final = "s3:AbortMultipartUpload"
LIST_UPLOADS: Final = "s3:ListBucketMultipartUploads"
KMS: Final = ("kms:GenerateDataKey", "kms:Decrypt")
ALSO: Final = (ABORT, "s3:PutObjectTagging", "s3:PutObjectRetention", "s3:PutObjectLegalHold")
_KEY_ARN = re.compile(r"arn:(aws[a-z-]*):kms:([a-z0-9-]+):\d{12}:key/[A-Za-z0-9-]+")
_ACCOUNT = re.compile(r"\d{12}")
_PRINCIPAL = re.compile(r"arn:aws[a-z-]*:(iam|sts)::\d{12}:[\w+=,.@/:-]+")
_PARTITIONS = {"cn-": ("aws-cn", "amazonaws.com.cn"), "us-gov-": ("aws-us-gov", "amazonaws.com")}
_STAR = re.compile(r"[*?$]")
ArchiveClass = Literal["GLACIER", "DEEP_ARCHIVE", "GLACIER_IR", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING"]
# S3 moves younger objects into no infrequent-access class.
_INFREQUENT, _LEAST_DAYS = {"STANDARD_IA", "ONEZONE_IA"}, 30
_ID_BYTES = 255


def policy(  # noqa: PLR0913  each is a fact of its own
    target: str | os.PathLike[str],
    *,
    scope: Scope = "prefix",
    kms_key: str | None = None,
    also: Sequence[str] = (),
    engines: bool = False,
    region: str | None = None,
) -> Policy:
    """Return the IAM policy with the permissions of a delivery to a target; `s3:PutObjectAcl` is for `acl` alone.

    - `target`: a prefix, a file, or an access point's ARN with a prefix.
    - `scope`: "bucket" returns the documented policy for the whole bucket.
    - `kms_key`: the ARN of a key to encrypt with.
    - `also`: `s3:AbortMultipartUpload` to abort unfinished uploads, and the permissions of object options:
      `s3:PutObjectTagging` (tags), `s3:PutObjectRetention` (object_lock_mode) and `s3:PutObjectLegalHold`
      (object_lock_legal_hold).
    - `engines`: also grants what a delivery from several workers needs to find and abort the uploads of lost workers.
      S3 grants the listing of uploads for a whole bucket only.
    - `region`: in China or of the US government, it changes the ARNs.

    For an access point's ARN, the statements are for the access point. The policy of its bucket must allow requests
    through it.
    """
    where = _in_s3(target)
    if unknown := set(also) - set(ALSO):
        raise ConfigurationError(
            f"also={sorted(unknown)} is not a permission of a delivery. Choose from {', '.join(ALSO)}."
        )
    more = [_kms_statement(kms_key)] if kms_key else []
    if engines:
        also = [*also, *([] if ABORT in also else [ABORT])]
        more += [_allow([LIST_UPLOADS], [bucket_arn(where, region)], "FindLostUploads")]
    if scope == "bucket":
        bucket = bucket_arn(where, region)
        actions = [*WRITE, LIST, *also]
        return _document([_allow(actions, [bucket, f"{_objects_of(where, region)}/*"]), *more])
    return _document([*_prefix_statements(where, region, also), *more])


def bucket_policy(target: str | os.PathLike[str], principal: str, *, region: str | None = None) -> Policy:
    """Return the bucket policy that lets a principal of another account deliver to a target.

    - `target`: a prefix or a file.
    - `principal`: the ARN of a user or role, or an account's number, which lets that account choose its users.
    - `region`: in China or of the US government, it changes the ARNs.

    The other account has to allow the same actions, with the result of `policy`.
    """
    who = {"Principal": {"AWS": principal_arn(principal, region)}}
    statements = _prefix_statements(_in_s3(target), region, ())
    return _document([{**one, "Sid": f"CrossAccount{one['Sid']}", **who} for one in statements])


def trust(principal: str, *, external_id: str, region: str | None = None) -> Policy:
    """Return the trust policy of a role that a principal may assume only with an external id.

    - `principal`: the ARN of a user or role, or an account's number.
    - `external_id`: what the principal sends; `new_external_id()` makes one.
    - `region`: in China or of the US government, it changes the ARNs.
    """
    return _document(
        [
            {
                "Effect": "Allow",
                "Principal": {"AWS": principal_arn(principal, region)},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"sts:ExternalId": external_id}},
            }
        ]
    )


def new_external_id() -> str:
    """Return a new external id that cannot be guessed."""
    return f"mc-sink-{secrets.token_hex(16)}"


def statement_for(action: str, target: Target, *, kms_key: str | None = None, region: str | None = None) -> Policy:
    """Return the statement that grants an action for deliveries to a target."""
    if action in KMS:
        key = kms_key if kms_key and _KEY_ARN.fullmatch(kms_key) else None
        return _kms_statement(key) if key else _allow(list(KMS), ["<the ARN of the KMS key>"], "EncryptWithKey")
    if action == LIST:
        return _list_statement(target, region)
    return _allow([action], [_objects(target, region)], "Deliver")


def bucket_arn(target: Target, region: str | None = None) -> str:
    """Return the ARN of a target's bucket, or of its access point."""
    if access_point_of(target.bucket):
        return target.bucket
    if is_alias(target.bucket):
        return "<the ARN of the access point>"
    return f"arn:{_partition(region)[0]}:s3:::{target.bucket}"


def principal_arn(principal: str, region: str | None = None) -> str:
    """Return the ARN of a principal or an account's number; raise for other texts, `*` above all."""
    if _ACCOUNT.fullmatch(principal):
        return f"arn:{_partition(region)[0]}:iam::{principal}:root"
    if not _PRINCIPAL.fullmatch(principal):
        raise ConfigurationError(
            "The principal is neither an account's number nor an ARN: write 123456789012, or "
            "arn:aws:iam::123456789012:role/NAME."
        )
    return principal


def _document(statements: list[Policy]) -> Policy:
    return {"Version": "2012-10-17", "Statement": statements}


def _allow(actions: list[str], resources: list[str], sid: str | None = None, **more: Any) -> Policy:
    return {**({"Sid": sid} if sid else {}), "Effect": "Allow", "Action": actions, "Resource": resources, **more}


def _prefix_statements(where: Target, region: str | None, also: Sequence[str]) -> list[Policy]:
    return [_allow([*WRITE, *also], [_objects(where, region)], "Deliver"), _list_statement(where, region)]


def _list_statement(where: Target, region: str | None) -> Policy:
    """Return the statement that allows listing under the prefix alone, which every listing names."""
    condition = {"Condition": {"StringLike": {"s3:prefix": [_pattern(where)]}}} if where.path else {}
    return _allow([LIST], [bucket_arn(where, region)], "List", **condition)


def _objects(where: Target, region: str | None) -> str:
    return f"{_objects_of(where, region)}/{_pattern(where)}"


def _objects_of(where: Target, region: str | None) -> str:
    """Return the start of every object's ARN; objects of an access point have a folder of their own."""
    return bucket_arn(where, region) + ("/object" if access_point_of(where.bucket) else "")


def _pattern(where: Target) -> str:
    """Return a pattern for the keys of a target, with special characters escaped."""
    literal = _STAR.sub(lambda found: f"${{{found[0]}}}", where.path)
    return f"{literal}*" if where.is_prefix else literal


def _kms_statement(key: str) -> Policy:
    """Return the statement that allows the use of a key through S3 in the key's region."""
    found = _KEY_ARN.fullmatch(key)
    if not found:
        raise ConfigurationError(
            "The KMS key is not an ARN, which a policy needs. Write arn:aws:kms:REGION:ACCOUNT:key/ID "
            "(aws kms describe-key prints it)."
        )
    service = f"s3.{found[2]}.{_partition(found[2])[1]}"
    return _allow(list(KMS), [key], "EncryptWithKey", Condition={"StringEquals": {"kms:ViaService": service}})


def _partition(region: str | None) -> tuple[str, str]:
    found = (parts for start, parts in _PARTITIONS.items() if region and region.startswith(start))
    return next(found, ("aws", "amazonaws.com"))


def _in_s3(target: str | os.PathLike[str]) -> Target:
    where = parse_target(target)
    if where.protocol != "s3":
        raise ConfigurationError(f"{where.url} is not in S3 and needs no policy. Write s3://bucket/prefix/")
    if is_alias(where.bucket):
        raise ConfigurationError(
            f"{where.bucket} is the alias of an access point, and policies need its ARN. Write "
            f"s3://arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME/{where.path} (aws s3control list-access-points "
            "--account-id ACCOUNT prints region, name and alias)."
        )
    if not where.is_prefix and not has_suffix(where.name):
        raise ConfigurationError(
            f"{where.url} names one object without the suffix of a format. Did you mean the prefix {where.url}/? For "
            f"this object, use the prefix that it is under, {where.folder.url}"
        )
    return where


def lifecycle(
    target: str | os.PathLike[str],
    *,
    expire_days: int | None = None,
    archive_days: int | None = None,
    archive_class: ArchiveClass = "GLACIER",
    abort_days: int = 7,
) -> dict[str, Any]:
    """Return a lifecycle configuration for the objects under a prefix, in days after their creation.

    - `target`: a prefix.
    - `abort_days`: when uploads that were not completed are aborted. A write-only key can't always abort them, and
      the bucket's owner pays for them until then.
    - `expire_days`: when objects expire, and earlier versions in a versioned bucket. By default never.
    - `archive_days`, `archive_class`: when objects move to a storage class. By default never.

    A configuration replaces all rules of a bucket: add these rules to the existing ones.
    """
    where = parse_target(target)
    if where.protocol != "s3" or not where.is_prefix:
        raise ConfigurationError(f"{where.url} is not a prefix in S3. A lifecycle rule needs s3://bucket/prefix/.")
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
        raise ConfigurationError(f"{few[0]}={asked[few[0]]} is too few. Pass at least 1 day.")
    if archive is not None and archive_class in _INFREQUENT and archive < _LEAST_DAYS:
        raise ConfigurationError(
            f"S3 moves no object to {archive_class} in {archive} days: the minimum is {_LEAST_DAYS}."
        )
    if archive is not None and expire is not None and archive >= expire:
        raise ConfigurationError(f"archive_days={archive} is not before expire_days={expire}: nothing is archived.")
