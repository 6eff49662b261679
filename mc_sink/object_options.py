"""Options for the stored object (ACL, encryption, tags, …), validated on construction."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NoReturn, get_args
from urllib.parse import urlencode

from mc_sink._argument_kinds import check_kinds
from mc_sink._hints import hints_fields
from mc_sink.exceptions import ConfigurationError

CannedAcl = Literal[
    "private",
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
]
Encryption = Literal["AES256", "aws:kms", "aws:kms:dsse"]
LockMode = Literal["GOVERNANCE", "COMPLIANCE"]
StorageClass = Literal[
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "DEEP_ARCHIVE",
    "GLACIER_IR",
    "EXPRESS_ONEZONE",
]
MAX_TAGS, MAX_TAG_KEY, MAX_TAG_VALUE, MAX_METADATA_BYTES, MAX_KMS_PAIRS = 10, 128, 256, 2048, 8192
# A metadata name is the end of a header's name (RFC 9110, "token").
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADERS = ("content_type", "cache_control", "content_disposition", "sse_kms_key_id")


class ReadOnly(dict[str, str]):
    """A mapping that keeps what was checked: a copy that can't be changed, and can be pickled and hashed."""

    __slots__ = ()

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("These options were checked and can't be changed: make new ones.")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[type[ReadOnly], tuple[dict[str, str]]]:
        return ReadOnly, (dict(self),)

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))


_CHECKED_KINDS = ("acl", "sse", "sse_kms_key_id", "object_lock_mode", "storage_class", "metadata", "tags")


@hints_fields({})
@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectOptions:
    """How S3 should keep the object; every value is checked here, before anything is opened.

    `acl` is a canned ACL (`bucket-owner-full-control` for a bucket in another account; needs `s3:PutObjectAcl`);
    `sse` and `sse_kms_key_id` choose encryption at rest (a key id alone means "aws:kms"; KMS needs
    `kms:GenerateDataKey` and `kms:Decrypt`); `tags` need `s3:PutObjectTagging`; `content_type` is the format's where
    it is None. Names and limits are those of S3's PutObject. Mappings are copied, and can't be changed.

    More for KMS: `sse_kms_encryption_context` is sent with every use of the key, and `bucket_key_enabled` asks for
    fewer of them; either means "aws:kms" where nothing else does. `object_lock_mode` and `object_lock_retain_until`, a
    time with a time zone, keep the object from being deleted until then (needs `s3:PutObjectRetention`);
    `object_lock_legal_hold` does so until it is lifted (needs `s3:PutObjectLegalHold`). Both need a bucket with Object
    Lock.
    """

    acl: CannedAcl | None = None
    sse: Encryption | None = None
    sse_kms_key_id: str | None = None
    sse_kms_encryption_context: Mapping[str, str] = field(default_factory=dict)
    bucket_key_enabled: bool | None = None
    object_lock_mode: LockMode | None = None
    object_lock_retain_until: datetime | None = None
    object_lock_legal_hold: bool | None = None
    storage_class: StorageClass | None = None
    content_type: str | None = None
    cache_control: str | None = None
    content_disposition: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_kinds(self, *_CHECKED_KINDS)
        _one_of("acl", self.acl, get_args(CannedAcl))
        _one_of("sse", self.sse, get_args(Encryption))
        _one_of("storage_class", self.storage_class, get_args(StorageClass))
        self._check_kms()
        self._check_lock()
        for name in _HEADERS:
            value = getattr(self, name)  # it must not end the header
            if value is not None and not _is_printable(value):
                raise ConfigurationError(
                    f"{name}={value!r} can't be sent as a header. Use printable ASCII in one line."
                )
        self._check_tags()
        self._check_metadata()
        for name in ("metadata", "tags", "sse_kms_encryption_context"):
            object.__setattr__(self, name, ReadOnly(getattr(self, name)))

    @property
    def encryption(self) -> Encryption | None:
        """The kind of encryption, which options of KMS imply."""
        of_kms = self.sse_kms_key_id or self.sse_kms_encryption_context or self.bucket_key_enabled
        return self.sse or ("aws:kms" if of_kms else None)

    def request(self, content_type: str) -> dict[str, Any]:
        """Return the parameters of PutObject and CreateMultipartUpload.

        Raises `ConfigurationError` for a retention that has ended, which S3 refuses. That isn't checked on
        construction, because a journal may be read back after the end.
        """
        until = self.object_lock_retain_until
        if until and until <= datetime.now(UTC):
            raise ConfigurationError(f"object_lock_retain_until={until.isoformat()} is in the past. Give a later time.")
        parameters = {
            "ACL": self.acl,
            "ServerSideEncryption": self.encryption,
            "SSEKMSKeyId": self.sse_kms_key_id,
            "SSEKMSEncryptionContext": _as_kms_pairs(self.sse_kms_encryption_context),
            "BucketKeyEnabled": self.bucket_key_enabled,
            "ObjectLockMode": self.object_lock_mode,
            "ObjectLockRetainUntilDate": _as_timestamp(until),
            "ObjectLockLegalHoldStatus": "ON" if self.object_lock_legal_hold else None,
            "StorageClass": self.storage_class,
            "ContentType": self.content_type or content_type,
            "CacheControl": self.cache_control,
            "ContentDisposition": self.content_disposition,
            "Metadata": dict(self.metadata),
            "Tagging": urlencode(self.tags),
        }
        return {name: value for name, value in parameters.items() if value or value is False}

    def _check_kms(self) -> None:
        """Check the options of KMS, and that the encryption is one that has them."""
        _true_or_false("bucket_key_enabled", self.bucket_key_enabled)
        pairs = self.sse_kms_encryption_context
        if not isinstance(pairs, Mapping):
            raise ConfigurationError(
                "sse_kms_encryption_context is not a mapping. Give a dict of names and values, both text."
            )
        if any(not isinstance(one, str) for pair in pairs.items() for one in pair) or "" in pairs:
            raise ConfigurationError(
                "sse_kms_encryption_context has a name or a value that isn't text. Give text for each."
            )
        if len(_as_kms_pairs(pairs)) > MAX_KMS_PAIRS:
            raise ConfigurationError(
                f"sse_kms_encryption_context is longer than {MAX_KMS_PAIRS:,} bytes, the most S3 takes. Shorten it."
            )
        given = {
            "sse_kms_key_id": bool(self.sse_kms_key_id),
            "sse_kms_encryption_context": bool(pairs),
            "bucket_key_enabled": self.bucket_key_enabled is not None,
        }
        names = [name for name, is_given in given.items() if is_given]
        if names and self.sse == "AES256":
            raise ConfigurationError(f"{names[0]} needs sse='aws:kms', and sse is 'AES256'. Leave one of them out.")
        if self.bucket_key_enabled and self.sse == "aws:kms:dsse":
            raise ConfigurationError(
                "bucket_key_enabled needs sse='aws:kms', and sse is 'aws:kms:dsse'. Leave one of them out."
            )

    def _check_lock(self) -> None:
        """Check the options of Object Lock: a mode and a time with a time zone, or neither."""
        _one_of("object_lock_mode", self.object_lock_mode, get_args(LockMode))
        _true_or_false("object_lock_legal_hold", self.object_lock_legal_hold)
        until: object = self.object_lock_retain_until
        if until is not None and not (isinstance(until, datetime) and until.utcoffset() is not None):
            raise ConfigurationError(
                "object_lock_retain_until is not a datetime with a time zone. Give one, such as datetime(2030, 1, 1, "
                "tzinfo=UTC), or 2030-01-01T00:00:00Z in a connection file."
            )
        if (self.object_lock_mode is None) != (until is None):
            raise ConfigurationError(
                "object_lock_mode and object_lock_retain_until go together. Give both, or neither."
            )

    def _check_tags(self) -> None:
        """Check the number of tags, and their lengths."""
        if len(self.tags) > MAX_TAGS:
            raise ConfigurationError(
                f"The object would have {len(self.tags)} tags, and S3 takes at most {MAX_TAGS}. Leave some out."
            )
        for key, value in self.tags.items():
            if {type(key), type(value)} != {str}:
                raise ConfigurationError(f"The name or the value of the tag {key!r} isn't text. Give text for both.")
            if not key or len(key) > MAX_TAG_KEY or len(value) > MAX_TAG_VALUE:
                raise ConfigurationError(
                    f"The tag {key[:MAX_TAG_KEY]!r} is too long or has no name. Give a name of 1 to {MAX_TAG_KEY} "
                    f"characters, and a value of at most {MAX_TAG_VALUE}."
                )

    def _check_metadata(self) -> None:
        """Check that the metadata can be sent as headers."""
        metadata = self.metadata
        for name, value in metadata.items():
            if not name or not _is_printable(name) or not _is_printable(value):
                raise ConfigurationError(
                    f"The name or the value of the metadata {name!r} isn't printable ASCII. Give both in ASCII."
                )
            if not _TOKEN.fullmatch(name):
                raise ConfigurationError(
                    f"The metadata name {name!r} can't be part of a header's name. Use letters, digits, '-' and '_'."
                )
        if len({name.lower() for name in metadata}) < len(metadata):
            names = ", ".join(sorted(metadata, key=str.lower))
            raise ConfigurationError(
                f"S3 keeps metadata names in lower case, and then some of these are equal: {names}. Rename them."
            )
        if sum(len(name) + len(value) for name, value in metadata.items()) > MAX_METADATA_BYTES:
            raise ConfigurationError(
                f"The metadata is longer than {MAX_METADATA_BYTES:,} bytes, the most that S3 takes. Shorten it."
            )


def _true_or_false(name: str, value: object) -> None:
    if not isinstance(value, bool | None):
        raise ConfigurationError(f"{name} is of type {type(value).__name__}. Give True or False.")


def _as_kms_pairs(pairs: Mapping[str, str]) -> str:
    """Encode an encryption context as S3 expects it in a header; an empty one as nothing."""
    return b64encode(json.dumps(dict(pairs), sort_keys=True).encode()).decode() if pairs else ""


def _as_timestamp(until: datetime | None) -> str | None:
    """Return a time in whole seconds, none of which is lost."""
    if until is None:
        return None
    whole = until if not until.microsecond else until.replace(microsecond=0) + timedelta(seconds=1)
    return f"{whole.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _one_of(name: str, value: str | None, allowed: tuple[str, ...]) -> None:
    if value is not None and value not in allowed:
        raise ConfigurationError(f"S3 doesn't know {name}={value!r}. Use one of {', '.join(allowed)}.")


def _is_printable(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isprintable()
