"""What a stored object is to be besides its bytes, checked when it is written down."""

from __future__ import annotations

import re
from collections.abc import Mapping  # noqa: TC003  a journal is read back by these types
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn, get_args
from urllib.parse import urlencode

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
MAX_TAGS, MAX_TAG_KEY, MAX_TAG_VALUE, MAX_METADATA_BYTES = 10, 128, 256, 2048
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectOptions:
    """How S3 is to keep the object; every value is checked here, before anything is opened.

    `acl` is a canned ACL (`bucket-owner-full-control` for a bucket in another account; needs `s3:PutObjectAcl`);
    `sse` and `sse_kms_key_id` choose encryption at rest (a key id alone means "aws:kms"; KMS needs
    `kms:GenerateDataKey` and `kms:Decrypt`); `tags` need `s3:PutObjectTagging`; `content_type` is the format's where
    it is None. Names and limits are those of S3's PutObject. `metadata` and `tags` are copied, and can't be changed.
    """

    acl: CannedAcl | None = None
    sse: Encryption | None = None
    sse_kms_key_id: str | None = None
    storage_class: StorageClass | None = None
    content_type: str | None = None
    cache_control: str | None = None
    content_disposition: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _one_of("acl", self.acl, get_args(CannedAcl))
        _one_of("sse", self.sse, get_args(Encryption))
        _one_of("storage_class", self.storage_class, get_args(StorageClass))
        if self.sse_kms_key_id and self.sse == "AES256":
            raise ConfigurationError("sse_kms_key_id goes with sse='aws:kms', not with 'AES256'.")
        for name in _HEADERS:
            _check_header(name, getattr(self, name))
        _check_tags(self.tags)
        _check_metadata(self.metadata)
        object.__setattr__(self, "metadata", ReadOnly(self.metadata))
        object.__setattr__(self, "tags", ReadOnly(self.tags))

    def request(self, content_type: str) -> dict[str, Any]:
        """Give the parameters of PutObject and CreateMultipartUpload."""
        parameters = {
            "ACL": self.acl,
            "ServerSideEncryption": self.sse or ("aws:kms" if self.sse_kms_key_id else None),
            "SSEKMSKeyId": self.sse_kms_key_id,
            "StorageClass": self.storage_class,
            "ContentType": self.content_type or content_type,
            "CacheControl": self.cache_control,
            "ContentDisposition": self.content_disposition,
            "Metadata": dict(self.metadata),
            "Tagging": urlencode(self.tags),
        }
        return {name: value for name, value in parameters.items() if value}


def _one_of(name: str, value: str | None, allowed: tuple[str, ...]) -> None:
    if value is not None and value not in allowed:
        raise ConfigurationError(f"{name}={value!r} is not one that S3 knows: use one of {', '.join(allowed)}.")


def _check_header(name: str, value: object) -> None:
    """Refuse what would end the header, or can't stand in it."""
    if value is not None and not _is_printable(value):
        raise ConfigurationError(f"{name}={value!r} is sent as a header: use printable ASCII in one line.")


def _is_printable(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isprintable()


def _check_tags(tags: Mapping[str, str]) -> None:
    if len(tags) > MAX_TAGS:
        raise ConfigurationError(f"{len(tags)} tags; S3 takes at most {MAX_TAGS}.")
    for key, value in tags.items():
        if {type(key), type(value)} != {str}:
            raise ConfigurationError(f"The tag {key!r} must be text, name and value.")
        if not key or len(key) > MAX_TAG_KEY or len(value) > MAX_TAG_VALUE:
            raise ConfigurationError(
                f"The tag {key[:MAX_TAG_KEY]!r} is too long or has no name: 1 to {MAX_TAG_KEY} characters of name, "
                f"at most {MAX_TAG_VALUE} of value."
            )


def _check_metadata(metadata: Mapping[str, str]) -> None:
    for name, value in metadata.items():
        if not name or not _is_printable(name) or not _is_printable(value):
            raise ConfigurationError(f"The metadata {name!r} must be printable ASCII, name and value.")
        if not _TOKEN.fullmatch(name):
            raise ConfigurationError(
                f"The metadata name {name!r} can't stand in a header's name: use letters, digits, '-' and '_'."
            )
    if len({name.lower() for name in metadata}) < len(metadata):
        names = ", ".join(sorted(metadata, key=str.lower))
        raise ConfigurationError(f"S3 keeps metadata names in lower case, where some of these are one: {names}.")
    if sum(len(name) + len(value) for name, value in metadata.items()) > MAX_METADATA_BYTES:
        raise ConfigurationError(f"The metadata is longer than the {MAX_METADATA_BYTES:,} bytes that S3 takes.")
