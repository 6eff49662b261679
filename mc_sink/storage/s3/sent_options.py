"""Which option of a request a store refused, and how to leave it out; which one it demands, and how to send it.

Stores rarely say it in a field of its own. They name the header in their message, or they name nothing; then every
option that was sent is listed, the likeliest first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mc_sink.storage.s3.failures import RequestFailed

_NO_CHECKSUMS = "config_kwargs={'request_checksum_calculation': 'when_required'}"

_ANOTHER_FORM = "Ask the bucket's owner which form of it is demanded."


@dataclass(frozen=True, slots=True, eq=False)
class SentOption:
    """An option that a store may refuse: the request's parameters, what stores call it, and the way out."""

    parameters: frozenset[str]
    words: re.Pattern[str]
    name: str
    advice: str


@dataclass(frozen=True, slots=True, eq=False)
class Demand:
    """An option that a store or a policy may demand, and how to send it.

    `parameters` are those of a request that has it already; `otherwise` is the advice there.
    """

    parameters: frozenset[str]
    words: re.Pattern[str]
    name: str
    advice: str
    otherwise: str


def _option(parameters: str, words: str, name: str, advice: str) -> SentOption:
    return SentOption(frozenset(parameters.split()), re.compile(words, re.IGNORECASE), name, advice)


def _demand(parameters: str, words: str, name: str, advice: str, otherwise: str = _ANOTHER_FORM) -> Demand:
    return Demand(frozenset(parameters.split()), re.compile(words, re.IGNORECASE), name, advice, otherwise)


# The likeliest first; a message is matched with all of them, so each has only the words that mean no other.
OPTIONS: Final = (
    _option(
        "IfNoneMatch",
        r"if-?none-?match|precondition|conditional",
        "the header If-None-Match (if_exists='fail')",
        "pass if_exists='overwrite', and keep names apart yourself (the default names have the run id in them)",
    ),
    _option(
        "ChecksumAlgorithm ChecksumType ChecksumCRC32 ChecksumCRC32C ChecksumCRC64NVME ChecksumSHA1 ChecksumSHA256",
        r"checksum|crc-?(?:32|64)|full_object|composite",
        "the checksum",
        f"pass {_NO_CHECKSUMS} in storage_options, and no checksum_algorithm",
    ),
    _option(
        "ACL",
        r"x-amz-acl|\bacls?\b|access ?control ?list|canned",
        "the ACL (acl)",
        "leave acl out of object_options and of the platform",
    ),
    _option(
        "SSEKMSKeyId",
        r"\bkms\b|kms-?key|x-amz-server-side-encryption-aws-kms-key-id",
        "the KMS key (sse_kms_key_id)",
        "check sse_kms_key_id in object_options, and kms_key of the platform, or leave it out",
    ),
    _option(
        "SSEKMSEncryptionContext",
        r"encryption-?context",
        "the encryption context (sse_kms_encryption_context)",
        "leave sse_kms_encryption_context out of object_options",
    ),
    _option(
        "BucketKeyEnabled",
        r"bucket-?key",
        "the bucket key (bucket_key_enabled)",
        "leave bucket_key_enabled out of object_options",
    ),
    _option(
        "ServerSideEncryption",
        r"server[- ]side[- ]encryption|\bsse\b|encryption (?:method|algorithm|type)|\bencrypt",
        "the encryption (sse)",
        "leave sse out of object_options",
    ),
    _option(
        "StorageClass",
        r"storage[- ]?class",
        "the storage class (storage_class)",
        "leave storage_class out of object_options",
    ),
    _option("Tagging", r"\btag(?:s|ging)?\b|x-amz-tagging", "the tags (tags)", "change tags in object_options"),
    _option(
        "ObjectLockMode ObjectLockRetainUntilDate ObjectLockLegalHoldStatus",
        r"object-?\s?lock|retention|retain-?\s?until|legal-?\s?hold|objectlockconfiguration",
        "Object Lock (object_lock_mode, object_lock_legal_hold)",
        "leave the object_lock options out of object_options, or ask the bucket's owner to enable Object Lock",
    ),
    _option("Metadata", r"metadata|x-amz-meta", "the metadata (metadata)", "change metadata in object_options"),
    _option(
        "CacheControl ContentDisposition",
        r"cache-?control|content-?disposition",
        "cache_control or content_disposition",
        "leave them out of object_options",
    ),
    _option(
        "ContentType", r"content-?type", "the content type (content_type)", "change content_type in object_options"
    ),
    _option(
        "ExpectedBucketOwner",
        r"expected-?bucket-?owner",
        "the header x-amz-expected-bucket-owner (expected_bucket_owner)",
        "leave expected_bucket_owner out of storage_options and of the platform",
    ),
    _option(
        "RequestPayer",
        r"request-?payer|requester",
        "the header x-amz-request-payer (requester_pays)",
        "leave requester_pays out of storage_options",
    ),
    _option(
        "MpuObjectSize",
        r"mp-?object-?size",
        "the header x-amz-mp-object-size",
        "ask the store's operator to accept it, or deliver files of one part",
    ),
)
# Options of every request; where the store names none, they are not blamed while there is another.
_USUAL: Final = frozenset({"ContentType", "MpuObjectSize"})
_ALREADY = (
    "{} sent already: ask the bucket's owner which form of it is demanded, pass another checksum_algorithm in "
    "storage_options, or deliver to a bucket without Object Lock."
)
_SENT: Final[Mapping[str, str]] = {
    "ContentMD5": "Content-MD5",
    "ChecksumCRC32": "CRC32",
    "ChecksumCRC64NVME": "CRC64NVME",
    "ChecksumSHA256": "SHA-256",
    "ChecksumAlgorithm": "the checksum's algorithm",
}
DEMANDS: Final = (
    _demand(
        "ChecksumCRC32 ChecksumAlgorithm ChecksumCRC64NVME ChecksumSHA256",
        r"content-md5|x-amz-checksum|x-amz-sdk-checksum|checksum",
        "a checksum",
        "Send one: leave request_checksum_calculation='when_required' out of config_kwargs in storage_options, out of "
        "AWS_REQUEST_CHECKSUM_CALCULATION and out of the profile.",
        _ALREADY,
    ),
    _demand(
        "SSEKMSKeyId",
        r"aws-kms-key-id|kms key",
        "a KMS key",
        "Pass sse_kms_key_id in object_options, or kms_key with the platform.",
    ),
    _demand(
        "ServerSideEncryption",
        r"server[- ]side[- ]encryption|encrypt",
        "encryption",
        "Pass sse='AES256' or sse_kms_key_id in object_options, as the bucket's owner demands.",
    ),
    _demand(
        "ACL",
        r"x-amz-acl|\bacl\b|bucket-owner-full-control",
        "an ACL",
        "Pass acl='bucket-owner-full-control' in object_options, or with the platform.",
    ),
    _demand(
        "ObjectLockMode",
        r"object-lock|retention",
        "a retention",
        "Pass object_lock_mode and object_lock_retain_until in object_options.",
    ),
    _demand("Tagging", r"tagging|request tag", "tags", "Pass tags in object_options."),
    _demand(
        "",
        r"content-sha256|unsigned-payload|payload.*sign",
        "a signed body",
        "Pass config_kwargs={'s3': {'payload_signing_enabled': True}} in storage_options.",
    ),
    _demand(
        "",
        r"aws4-hmac-sha256|signature version 4",
        "signature version 4",
        "Leave signature_version out of config_kwargs in storage_options.",
    ),
    _demand(
        "",
        r"secure ?(?:connection|transport)|over https|\btls\b",
        "https",
        "Use https, without use_ssl=False and plain endpoints.",
    ),
)
_DEMANDING = re.compile(r"\brequire[sd]?\b|missing|must (?:be|have|include|provide|specify)|please use", re.IGNORECASE)


def refused_options(failed: RequestFailed) -> tuple[SentOption, ...]:
    """Return the options that the store may have refused: those that it names, else all that were sent."""
    sent = [option for option in OPTIONS if option.parameters & failed.sent]
    rarer = [option for option in sent if not option.parameters <= _USUAL]
    return tuple(named_options(failed) or rarer or sent)


def names_an_option(failed: RequestFailed) -> bool:
    """Return whether the store names an option that was sent."""
    return bool(named_options(failed))


def named_options(failed: RequestFailed) -> list[SentOption]:
    """Return the options that the store names in a field of its own, or else in its message."""
    sent = [option for option in OPTIONS if option.parameters & failed.sent]
    found = ([one for one in sent if one.words.search(words)] for words in (failed.named, failed.message))
    return next(filter(None, found), [])


def demanded(failed: RequestFailed) -> Demand | None:
    """Return what the store says that it demands, or None if it says no such thing."""
    if not _DEMANDING.search(failed.message):
        return None
    return next((demand for demand in DEMANDS if demand.words.search(f"{failed.named} {failed.message}")), None)


def advised(demand: Demand, failed: RequestFailed) -> str:
    """Return how to meet a demand, by what the request had."""
    if not demand.parameters & failed.sent:
        return demand.advice
    sent = [word for name, word in _SENT.items() if name in failed.sent]
    return demand.otherwise.format(f"{' and '.join(sent)} {'was' if len(sent) == 1 else 'were'}")


def in_words(options: tuple[SentOption, ...]) -> tuple[str, str]:
    """Return the options' names, and the advice for them, as parts of a message."""
    names = " or ".join(option.name for option in options)
    advice = "; or ".join(option.advice for option in options)
    start = "" if len(options) == 1 else "Leave out what the store does not take: "
    return names, f"{start}{advice}." if start else f"{advice[0].upper()}{advice[1:]}."
