"""Convert failed requests into this library's exceptions, with advice: by S3's code, the request, or the status.

`denials.py` explains why access was denied. `refusals.py` reads the words of a refusal.
Codes: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mc_sink.exceptions import (
    AlreadyExistsError,
    ConfigurationError,
    PermissionDenied,
    SinkError,
    TargetError,
    UploadError,
)
from mc_sink.storage.s3.denials import ACCOUNT_CODES, CREDENTIALS, Meaning, denial
from mc_sink.storage.s3.failures import NO_TLS, TOO_LONG, WANTS_TLS
from mc_sink.storage.s3.refusals import (
    advised,
    asks_for_equal_parts,
    concerns_acceleration,
    concerns_object_lock,
    demanded,
    named_options,
    refused_options,
)
from mc_sink.storage.s3.retry_rules import CHANGED_ON_ITS_WAY, CONFLICT, RULES, THROTTLED, TIMED_OUT
from mc_sink.storage.store import already_exists

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mc_sink.storage.s3.failures import RequestFailed
    from mc_sink.storage.s3.refusals import SentOption

_THROTTLED = Meaning(
    UploadError,
    "the store asks for fewer requests, again and again",
    "Rerun later, or with a smaller max_concurrency in storage_options.",
)
_CHANGED = Meaning(
    UploadError,
    "the bytes that arrived are not those that were sent, in every attempt",
    "Look for a proxy that changes bodies or for bad memory, and rerun.",
)
_SLOW = Meaning(
    UploadError,
    "the store did not answer in time",
    "Rerun; on a slow line with a larger read_timeout in storage_options['config_kwargs'], or a smaller "
    "max_concurrency.",
)
_UNREACHABLE = Meaning(
    UploadError,
    "the connection to the store failed or broke",
    "Check endpoint_url, its http or https too, the network, and how many files this program has open; then rerun.",
)
_FULL = Meaning(
    UploadError, "the store is full, or a quota is used up", "Ask the bucket's owner for more space, and rerun."
)
_GONE = Meaning(
    UploadError,
    "the upload is gone: it was aborted, or a lifecycle rule let it expire",
    "Rerun: the upload has to begin again.",
)
_POINT = Meaning(
    ConfigurationError,
    "the options do not fit an access point",
    "Pass client_kwargs={'region_name': …} in storage_options with the region that is in its ARN, and leave "
    "acceleration, FIPS and use_arn_region=False out.",
)
_CONFLICT = Meaning(
    AlreadyExistsError,
    "another writer was writing the same key at that moment",
    "Look at what is there; then rerun, or choose another key.",
)
_NO_BUCKET = Meaning(
    TargetError,
    "the bucket does not exist",
    "Check its name in the target, and endpoint_url: another store, or another AWS partition, does not have it.",
)

_BY_CODE: Final = {
    **CREDENTIALS,
    "NoSuchBucket": _NO_BUCKET,
    "NoSuchAccessPoint": Meaning(
        TargetError, "the access point does not exist", "Check its name, account and region in the target."
    ),
    "InvalidAccessPointAliasError": Meaning(
        TargetError, "the access point alias is not valid", "Check the alias in the target, or write the ARN."
    ),
    "InvalidBucketName": Meaning(TargetError, "a bucket can't have this name", "Check the target."),
    "KeyTooLongError": Meaning(TargetError, "the key is too long", "Use one of at most 1,024 bytes."),
    "AccessControlListNotSupported": Meaning(
        ConfigurationError,
        "the bucket has ACLs disabled",
        "Leave acl out of object_options, or use bucket-owner-full-control.",
    ),
    "InvalidStorageClass": Meaning(
        ConfigurationError, "the store does not know this storage class", "Leave storage_class out of object_options."
    ),
    "InvalidTag": Meaning(ConfigurationError, "the store does not accept these tags", "Change tags in object_options."),
    "ParamValidationError": Meaning(
        ConfigurationError, "an option has a form that S3 does not accept", "Change it in object_options."
    ),
    NO_TLS: Meaning(
        ConfigurationError,
        "the store answers without TLS at this port",
        "Write http:// in endpoint_url, with use_ssl=False in storage_options, or the port that answers with TLS.",
    ),
    WANTS_TLS: Meaning(
        ConfigurationError,
        "the store expects TLS at this port",
        "Write https:// in endpoint_url, and leave use_ssl=False out of storage_options.",
    ),
    TOO_LONG: Meaning(
        UploadError, "a prefix has too many objects to list", "Deliver under its own prefix, or with a manifest."
    ),
    "SSLError": Meaning(
        ConfigurationError,
        "the store's certificate is not trusted",
        "Check endpoint_url, or pass client_kwargs={'verify': …} in storage_options.",
    ),
    "EntityTooLarge": Meaning(
        UploadError, "a body is larger than the store accepts", "Pass a smaller default_block_size in storage_options."
    ),
    "EntityTooSmall": Meaning(
        UploadError, "a part is smaller than the store accepts", "Pass a larger default_block_size in storage_options."
    ),
    "InvalidPart": Meaning(UploadError, "the store has lost a part, or received another in its place", "Rerun."),
    "InvalidRegionError": Meaning(
        ConfigurationError,
        "a region can't have this name",
        "Check region_name in client_kwargs, AWS_REGION, AWS_DEFAULT_REGION and the profile.",
    ),
    "UnsupportedS3AccesspointConfigurationError": _POINT,
    "UnsupportedS3ArnError": _POINT,
    "NoSuchUpload": _GONE,
    "ServiceUnavailable": _THROTTLED,
    "QuotaExceeded": _FULL,
    "InsufficientStorage": _FULL,
    "XMinioStorageFull": _FULL,
    "XMinioAdminBucketQuotaExceeded": _FULL,
    "ConnectTimeoutError": _UNREACHABLE,
    "ConnectionClosedError": _UNREACHABLE,
    "EndpointConnectionError": _UNREACHABLE,
    "ProxyConnectionError": _UNREACHABLE,
    "ReadTimeoutError": _SLOW,
    "TimeoutError": _SLOW,
    **dict.fromkeys(THROTTLED, _THROTTLED),
    **dict.fromkeys(TIMED_OUT, _SLOW),
    **dict.fromkeys(CHANGED_ON_ITS_WAY, _CHANGED),
    **dict.fromkeys(CONFLICT, _CONFLICT),
}
_BY_STATUS: Final[Mapping[int | None, Meaning]] = {
    0: Meaning(ConfigurationError, "it could not be sent", "Check storage_options and object_options."),
    200: Meaning(
        UploadError, "the reply is not an answer of S3", "Check endpoint_url, and the gateway in front of the store."
    ),
    408: _SLOW,
    429: _THROTTLED,
    404: Meaning(TargetError, "the store does not know this place", "Check the bucket's name, and endpoint_url."),
    507: _FULL,
}
_LOST: Final = Meaning(UploadError, "the store sent no readable reply", "Check the network, and rerun.")
_FAILED: Final = Meaning(UploadError, "the store itself failed", "Rerun later.")
_OTHER: Final = Meaning(
    UploadError,
    "the store refused the request",
    "Ask the store's operator what the reason means. Rerun when it is resolved.",
)
_REGION = Meaning(
    TargetError,
    "the bucket is in another region",
    "Pass client_kwargs={'region_name': …} in storage_options, with the bucket's own.",
)
_KMS = Meaning(
    ConfigurationError, "the KMS key can't be used", "Check sse_kms_key_id, its region, and whether it is enabled."
)
_KMS_KINDS: Final = (
    (
        "Disabled",
        "the KMS key is disabled",
        "Ask the key's owner to enable it, or pass another one as sse_kms_key_id.",
    ),
    (
        "NotFound",
        "the store does not find the KMS key",
        "Check sse_kms_key_id: the key must be in the bucket's region, and one of another account needs its ARN.",
    ),
    (
        "InvalidState",
        "the KMS key is in a state in which it can't be used (pending deletion, for example)",
        "Ask the key's owner, or pass another one as sse_kms_key_id.",
    ),
    (
        "InvalidKeyUsage",
        "the KMS key is not one that encrypts objects",
        "Pass a symmetric encryption key as sse_kms_key_id.",
    ),
)
_EQUAL_PARTS = Meaning(
    ConfigurationError,
    "the store takes only parts of one size, and they grow after the 900th",
    "Rerun with equal_parts=True in storage_options; with a saved platform a rerun is enough. A file of more than "
    "10,000 parts then needs a larger default_block_size, or several files.",
)
_REGION_CODES: Final = frozenset(
    {
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
        "PermanentRedirect",
        "Redirect",
        "TemporaryRedirect",
    }
)
_REDIRECTS: Final = frozenset({301, 302, 307, 308})
# Codes that blame the request without naming the option that is wrong.
_BLAMING: Final = frozenset(
    {
        "BadRequest",
        "InvalidArgument",
        "InvalidEncryptionAlgorithmError",
        "InvalidRequest",
        "MethodNotAllowed",
        "MissingSecurityHeader",
        "UnsupportedArgument",
    }
)


def translated(failed: RequestFailed, where: str) -> SinkError:
    """Return the exception for a request that failed before anything was published."""
    if failed.code == "PreconditionFailed":
        return already_exists(where)
    meaning = _meaning(failed)
    after = f" after {failed.attempts} attempts" if failed.attempts > 1 else ""
    message = (
        f"{RULES[failed.operation].action} at {where} failed{after}: {meaning.reason} ({failed}). {meaning.advice}"
    )
    if meaning.kind is PermissionDenied:
        return PermissionDenied(message, action=meaning.action)
    return meaning.kind(message)


def altered(where: str, attempts: int) -> UploadError:
    """Return the error for a part whose ETag is that of other bytes each time, on a store that compares no checksum."""
    return UploadError(
        f"s3:PutObject at {where} failed after {attempts} attempts: its ETag is not the MD5 of the bytes that were "
        "sent, and the store has not compared their checksum. Look for a proxy that changes bodies or for bad memory, "
        "and rerun. Where the bucket encrypts with a KMS key, which makes other ETags, pass "
        'object_options=ObjectOptions(sse="aws:kms").'
    )


def _meaning(failed: RequestFailed) -> Meaning:
    """Return the meaning of a failure: by account, request, code, status or words, in this order."""
    if failed.code in ACCOUNT_CODES or failed.code.startswith("KMS.AccessDenied"):
        return denial(failed)
    if known := _of_request(failed) or _BY_CODE.get(failed.code) or _BY_STATUS.get(failed.status):
        return known
    if failed.status is None:
        return _LOST
    if failed.status in {401, 403}:
        return denial(failed)
    if failed.status >= 500:  # noqa: PLR2004  a server's own error
        return _FAILED
    return _blamed(failed) if demanded(failed) or named_options(failed) else _OTHER


def _of_request(failed: RequestFailed) -> Meaning | None:
    """Return the meaning that follows from the parameters that were sent, or from fields of the reply."""
    if failed.is_unsupported:
        return _unsupported(failed)
    if asks_for_equal_parts(failed):
        return _EQUAL_PARTS
    if failed.code in _BLAMING:
        return _blamed(failed)
    if failed.code in _REGION_CODES or failed.status in _REDIRECTS:
        return _elsewhere(failed)
    if failed.code.startswith("KMS.") and failed.code not in THROTTLED:
        kinds = (
            Meaning(ConfigurationError, reason, advice) for kind, reason, advice in _KMS_KINDS if kind in failed.code
        )
        return next(kinds, _KMS)
    return None


def _unsupported(failed: RequestFailed) -> Meaning:
    """Return which options to leave out of a request that the store does not implement."""
    if refused := refused_options(failed):
        names, advice = _in_words(refused)
        return Meaning(ConfigurationError, f"the store doesn't support {names}", advice)
    if failed.operation == "list_objects_v2":
        what, then = "the store doesn't support listings (ListObjectsV2)", "Check endpoint_url, or use another store."
        return Meaning(ConfigurationError, what, then)
    return Meaning(
        ConfigurationError,
        "the store doesn't support something that the request asks for",
        "Leave out object_options that it does not know; if it lacks checksums, pass "
        "config_kwargs={'request_checksum_calculation': 'when_required'} in storage_options.",
    )


def _blamed(failed: RequestFailed) -> Meaning:
    """Return which option to change after a reply that blames only the request as a whole."""
    if wanted := demanded(failed):
        locked = "the bucket has Object Lock, and " if concerns_object_lock(failed) else ""
        return Meaning(ConfigurationError, f"{locked}the store demands {wanted.name}", advised(wanted, failed))
    if concerns_acceleration(failed):
        what, then = "the bucket has no transfer acceleration", "Leave use_accelerate_endpoint out of config_kwargs."
        return Meaning(ConfigurationError, what, then)
    if refused := refused_options(failed):
        names, advice = _in_words(refused)
        return Meaning(ConfigurationError, f"the store refuses {names}", advice)
    return Meaning(
        ConfigurationError,
        "the store refuses the request as it was made",
        "Check storage_options and object_options against the reason; if none of them has to do with it, ask the "
        "store's operator.",
    )


def _elsewhere(failed: RequestFailed) -> Meaning:
    """Return how to reach the bucket in its own region, as far as the store names it."""
    if failed.region:
        return Meaning(
            TargetError,
            f"the bucket is in another region, {failed.region}",
            f"Pass client_kwargs={{'region_name': '{failed.region}'}} in storage_options, or save the platform with "
            "that region, and leave an endpoint_url of another region out.",
        )
    if failed.endpoint:
        return Meaning(
            TargetError,
            f"the bucket is in another region, or at another address: {failed.endpoint}",
            "Pass client_kwargs={'region_name': …} in storage_options with its region, or the store's endpoint_url.",
        )
    return _REGION


def _in_words(options: list[SentOption]) -> tuple[str, str]:
    """Return the options' names, and the advice for them, as parts of a message."""
    names = " or ".join(option.name for option in options)
    advice = "; or ".join(option.advice for option in options)
    start = "" if len(options) == 1 else "Leave out what the store does not take: "
    return names, f"{start}{advice}." if start else f"{advice[0].upper()}{advice[1:]}."
