"""Read the words of a refusal: the only file that searches the texts of stores.

Stores rarely name the option that they refuse in a field of its own. Many name its header in their message, and some
name nothing. Then every option that was sent is listed, the likeliest first.

Messages: https://docs.aws.amazon.com/AmazonS3/latest/userguide/troubleshoot-403-errors.html and
https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
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
    """An option that a store may refuse.

    - `parameters`: those of the request that carry it.
    - `words`: how stores name it.
    - `name`, `advice`: how a message names it, and how to leave it out.
    """

    parameters: frozenset[str]
    words: re.Pattern[str]
    name: str
    advice: str


@dataclass(frozen=True, slots=True, eq=False)
class Demand:
    """An option that a store or a policy may demand.

    - `parameters`: a request with one of them carries it already. Then `otherwise` is the advice, else `advice`.
    - `words`: how stores name it.
    - `in_policies`: bucket policies are known to demand it.
    """

    parameters: frozenset[str]
    words: re.Pattern[str]
    name: str
    advice: str
    otherwise: str
    in_policies: bool


def _option(parameters: str, words: str, name: str, advice: str) -> SentOption:
    return SentOption(frozenset(parameters.split()), re.compile(words, re.IGNORECASE), name, advice)


def _demand(  # noqa: PLR0913, PLR0917  a row of the table below
    parameters: str,
    words: str,
    name: str,
    advice: str,
    otherwise: str = _ANOTHER_FORM,
    in_policies: bool = False,  # noqa: FBT001, FBT002
) -> Demand:
    pattern = re.compile(words, re.IGNORECASE)
    return Demand(frozenset(parameters.split()), pattern, name, advice, otherwise, in_policies)


# The likeliest first. A message is matched with all of them, so the words of one must not match another.
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
# Options of every request. Where the store names none, another option that was sent is blamed before these.
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
        in_policies=True,
    ),
    _demand(
        "ACL",
        r"x-amz-acl|\bacl\b|bucket-owner-full-control",
        "an ACL",
        "Pass acl='bucket-owner-full-control' in object_options, or with the platform.",
        in_policies=True,
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
        in_policies=True,
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
        in_policies=True,
    ),
)
_DEMANDING = re.compile(r"\brequire[sd]?\b|missing|must (?:be|have|include|provide|specify)|please use", re.IGNORECASE)
_ONE_SIZE = re.compile(r"\b(?:same|equal|identical) (?:length|size)|\bequal(?:ly)?[- ]sized?", re.IGNORECASE)
# A checksum that differs from the body's is not one that the store doesn't know.
_MISMATCH = re.compile(r"(?<!none-)\b(?:mis)?match|\bdiffer|\bcorrupt|\bincorrect|\bwrong", re.IGNORECASE)
_POLICY = r"((?:[A-Za-z-]+ ){0,3}(?:policy|policies|boundary))"
_ACTION = re.compile(r"not authorized to perform: ([a-z0-9-]+:[A-Za-z]+)")
_DENIED_BY = re.compile(rf"explicit deny in an? {_POLICY}", re.IGNORECASE)
_NOT_ALLOWED_BY = re.compile(rf"because no {_POLICY} allows", re.IGNORECASE)
# Names of users and of keys are not the reason, and may have any word in them.
_NAMES = re.compile(r"\bUser: \S+|on resource: ?(?:\"[^\"]*\"|\S+)")
_PUBLIC = re.compile(r"block ?public|public (?:acls?|access) (?:is|are) (?:prevented|blocked)", re.IGNORECASE)
_KMS = re.compile(r"\bkms\b|customer master key", re.IGNORECASE)
_DISABLED = re.compile(
    r"access to (?:this|the) object has been disabled|account.{0,40}(?:disabled|suspended|closed)", re.IGNORECASE
)


def named_options(failed: RequestFailed) -> list[SentOption]:
    """Return the sent options that the store names, in a field of its own or else in its message."""
    sent = [option for option in OPTIONS if option.parameters & failed.sent]
    named = ([one for one in sent if one.words.search(text)] for text in (failed.named, failed.message))
    return next(filter(None, named), [])


def refused_options(failed: RequestFailed) -> list[SentOption]:
    """Return the options that the store may have refused: those that it names, else all that were sent."""
    sent = [option for option in OPTIONS if option.parameters & failed.sent]
    return named_options(failed) or [option for option in sent if not option.parameters <= _USUAL] or sent


def demanded(failed: RequestFailed) -> Demand | None:
    """Return the option that the store demands, or None if it demands nothing that is known."""
    if not _DEMANDING.search(failed.message):
        return None
    return next((demand for demand in DEMANDS if demand.words.search(f"{failed.named} {failed.message}")), None)


def advised(demand: Demand, failed: RequestFailed) -> str:
    """Return how to meet a demand, given what the request carried."""
    if not demand.parameters & failed.sent:
        return demand.advice
    sent = [word for name, word in _SENT.items() if name in failed.sent]
    return demand.otherwise.format(f"{' and '.join(sent)} {'was' if len(sent) == 1 else 'were'}")


def concerns_object_lock(failed: RequestFailed) -> bool:
    """Return True if the store explains a refusal with Object Lock."""
    return "object lock" in failed.message.lower()


def concerns_acceleration(failed: RequestFailed) -> bool:
    """Return True if the store explains a refusal with transfer acceleration."""
    return "accelerat" in failed.message.lower()


def asks_for_equal_parts(failed: RequestFailed) -> bool:
    """Return True if the store refused a Complete because its parts aren't all of one size."""
    return failed.operation == "complete_multipart_upload" and bool(_ONE_SIZE.search(failed.message))


def is_mismatch(failed: RequestFailed) -> bool:
    """Return True if the store compared a checksum with the body, and they differ."""
    return bool(_MISMATCH.search(failed.message))


def names_algorithm(failed: RequestFailed, algorithm: str) -> bool:
    """Return True if the message has the name of a checksum algorithm in it."""
    return algorithm in failed.message.upper().replace("-", "")


@dataclass(frozen=True, slots=True, eq=False)
class DenialWords:
    """The facts in the message of a denied request.

    - `text`: the message without the names of users and resources.
    - `action`: the permission that it names.
    - `denied_by`, `not_allowed_by`: the kind of policy that denies it, or that doesn't allow it.
    - `is_disabled`: an account is suspended. `is_public`: Block Public Access refuses it. `is_kms`: it is about a key.
    """

    text: str
    action: str | None
    denied_by: str | None
    not_allowed_by: str | None
    is_disabled: bool
    is_public: bool
    is_kms: bool


def denial_words(failed: RequestFailed) -> DenialWords:
    """Parse the message of a denied request."""
    text = _NAMES.sub("", failed.message)
    action, denied_by, not_allowed_by = (
        found[1] if (found := pattern.search(text)) else None for pattern in (_ACTION, _DENIED_BY, _NOT_ALLOWED_BY)
    )
    disabled, public, kms = (bool(pattern.search(text)) for pattern in (_DISABLED, _PUBLIC, _KMS))
    return DenialWords(text, action, denied_by, not_allowed_by, disabled, public, kms)
