"""Translate what S3 answers into this library's errors, with what to do next. Only this file knows S3's codes.

Which option was refused is found in `_sent_options.py`, and why access was denied in `_denials.py`.
Codes: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mc_sink.exceptions import (
    NOTHING_VISIBLE,
    AlreadyExistsError,
    ConfigurationError,
    PermissionDenied,
    SinkError,
    TargetError,
    UploadError,
)
from mc_sink.storage._denials import ACCOUNT_CODES, denial
from mc_sink.storage._retries import CHANGED_ON_ITS_WAY, CONFLICT, EXPIRED, THROTTLED, TIMED_OUT
from mc_sink.storage._sent_options import advised, demanded, in_words, refused_options
from mc_sink.storage._store import already_exists

if TYPE_CHECKING:
    from mc_sink.storage._failures import RequestFailed

ACTIONS: Final = {
    "create_multipart_upload": "s3:PutObject",
    "upload_part": "s3:PutObject",
    "complete_multipart_upload": "s3:PutObject",
    "put_object": "s3:PutObject",
    "abort_multipart_upload": "s3:AbortMultipartUpload",
    "list_objects_v2": "s3:ListBucket",
}


@dataclass(frozen=True, slots=True, eq=False)
class Meaning:
    """What an answer means: the kind of error, the reason, and what to do next."""

    kind: type[SinkError]
    what: str
    next: str


_EXPIRED = Meaning(
    PermissionDenied,
    "the session token has expired",
    "Get new temporary credentials and rerun; those of a profile or the environment are renewed automatically.",
)
_REGION = Meaning(
    TargetError,
    "the bucket is in another region",
    "Pass client_kwargs={'region_name': …} in storage_options, with the bucket's own.",
)
_THROTTLED = Meaning(
    UploadError,
    "the store asks for fewer requests, and repeated it",
    "Rerun later, or with a smaller max_concurrency in storage_options.",
)
_CHANGED = Meaning(
    UploadError,
    "the bytes that arrived are not those that were sent, each time",
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
    "there was no connection to the store, or it broke",
    "Check endpoint_url, the network, and how many files this program has open; then rerun.",
)
_FULL = Meaning(
    UploadError, "the store has no room left, or a quota is used up", "Ask the bucket's owner for room, and rerun."
)
_GONE = Meaning(
    UploadError,
    "the upload is gone: it was aborted, or a lifecycle rule let it expire",
    "Rerun: it has to begin again.",
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
_NO_CREDENTIALS = Meaning(
    PermissionDenied,
    "no credentials could be had",
    "Pass key and secret in storage_options, or a profile that has them; check ~/.aws, the role, the token file that "
    "AWS_WEB_IDENTITY_TOKEN_FILE names, and the rest of the environment.",
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
    "there is no such bucket",
    "Check its name in the target, and endpoint_url: at another store, or in another AWS partition, it is not there.",
)

_MEANINGS: Final = {
    "InvalidAccessKeyId": Meaning(
        PermissionDenied, "the store does not know the access key id", "Check key in storage_options, and endpoint_url."
    ),
    "SignatureDoesNotMatch": Meaning(
        PermissionDenied, "the signature is wrong", "Check the secret access key: secret in storage_options."
    ),
    "InvalidClientTokenId": Meaning(
        PermissionDenied, "the access key id is not valid", "Check key in storage_options."
    ),
    "InvalidToken": Meaning(
        PermissionDenied, "the session token is not valid", "Get new temporary credentials: key, secret and token."
    ),
    "RequestTimeTooSkewed": Meaning(
        PermissionDenied, "this machine's clock differs too much from the store's", "Set the clock and rerun."
    ),
    "NoSuchBucket": _NO_BUCKET,
    "NoSuchAccessPoint": Meaning(
        TargetError, "there is no such access point", "Check its name, account and region in the target."
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
    "UnsupportedS3AccesspointConfigurationError": _POINT,
    "UnsupportedS3ArnError": _POINT,
    "NoSuchUpload": _GONE,
    "ServiceUnavailable": _THROTTLED,
    "QuotaExceeded": _FULL,
    "InsufficientStorage": _FULL,
    "XMinioStorageFull": _FULL,
    "XMinioAdminBucketQuotaExceeded": _FULL,
    "NoCredentialsError": _NO_CREDENTIALS,
    "PartialCredentialsError": Meaning(
        PermissionDenied, "only half of the credentials were found", "Give both key and secret."
    ),
    "ProfileNotFound": Meaning(PermissionDenied, "that profile isn't configured", "Check ~/.aws/config."),
    "CredentialRetrievalError": _NO_CREDENTIALS,
    "MetadataRetrievalError": _NO_CREDENTIALS,
    "SSOTokenLoadError": _NO_CREDENTIALS,
    "TokenRetrievalError": _NO_CREDENTIALS,
    "UnauthorizedSSOTokenError": _NO_CREDENTIALS,
    "ConnectTimeoutError": _UNREACHABLE,
    "ConnectionClosedError": _UNREACHABLE,
    "EndpointConnectionError": _UNREACHABLE,
    "ProxyConnectionError": _UNREACHABLE,
    "ReadTimeoutError": _SLOW,
    "TimeoutError": _SLOW,
    **dict.fromkeys(EXPIRED, _EXPIRED),
    **dict.fromkeys(THROTTLED, _THROTTLED),
    **dict.fromkeys(TIMED_OUT, _SLOW),
    **dict.fromkeys(CHANGED_ON_ITS_WAY, _CHANGED),
    **dict.fromkeys(CONFLICT, _CONFLICT),
}
_BY_STATUS: Final = {
    0: Meaning(ConfigurationError, "it could not be sent", "Check storage_options and object_options."),
    200: Meaning(UploadError, "what came was no answer", "Check endpoint_url, and what stands in front of the store."),
    408: _SLOW,
    429: _THROTTLED,
    404: Meaning(TargetError, "the store knows no such place", "Check the bucket's name, and endpoint_url."),
    507: _FULL,
}
_LOST: Final = Meaning(UploadError, "no readable reply came", "Check the network, and rerun.")
_FAILED: Final = Meaning(UploadError, "the store itself failed", "Rerun later.")
_OTHER: Final = Meaning(
    UploadError, "the store did not do it", "Ask the store's operator what the reason means. Rerun when it is resolved."
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
# Codes that blame the request without a word of their own for the option that is wrong.
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
    """Return the error that a person should see for a request that failed before anything was published."""
    if failed.code == "PreconditionFailed":
        return already_exists(where)
    meaning = _meaning(failed)
    if meaning is None:
        denied = denial(failed, ACTIONS[failed.operation])
        return PermissionDenied(_told(failed, where, denied.reason, denied.advice), action=denied.action)
    return meaning.kind(_told(failed, where, meaning.what, meaning.next))


def _meaning(failed: RequestFailed) -> Meaning | None:
    """Find what an answer means: by its code, else by its status; None where access was denied."""
    if failed.code in ACCOUNT_CODES or failed.code.startswith("KMS.AccessDenied"):
        return None
    if known := _of_request(failed) or _MEANINGS.get(failed.code):
        return known
    if failed.status is None:
        return _LOST
    if (known := _BY_STATUS.get(failed.status)) or failed.status in {401, 403}:
        return known
    return _FAILED if failed.status >= 500 else _OTHER  # noqa: PLR2004  a server's own error


def _of_request(failed: RequestFailed) -> Meaning | None:
    """Find what an answer means by what was sent, or by what else came with it."""
    if failed.is_unsupported:
        return _unsupported(failed)
    if failed.code in _BLAMING:
        return _blamed(failed)
    if failed.code in _REGION_CODES or failed.status in _REDIRECTS:
        return _elsewhere(failed)
    if failed.code.startswith("KMS.") and failed.code not in _MEANINGS:
        kinds = (Meaning(_KMS.kind, what, then) for kind, what, then in _KMS_KINDS if kind in failed.code)
        return next(kinds, _KMS)
    return None


def _unsupported(failed: RequestFailed) -> Meaning:
    """Return what to leave out of a request that the store does not implement."""
    if refused := refused_options(failed):
        names, advice = in_words(refused)
        return Meaning(ConfigurationError, f"the store doesn't support {names}", advice)
    return Meaning(
        ConfigurationError,
        "the store doesn't support something that the request asks for",
        "Leave out object_options that it does not know; if it lacks checksums, pass "
        "config_kwargs={'request_checksum_calculation': 'when_required'} in storage_options.",
    )


def _blamed(failed: RequestFailed) -> Meaning:
    """Return which option to change after a reply that says only that the request is wrong."""
    if wanted := demanded(failed):
        what = f"the store demands {wanted.name}"
        if "object lock" in failed.message.lower():
            what = f"the bucket has Object Lock, and the store demands {wanted.name}"
        return Meaning(ConfigurationError, what, advised(wanted, failed))
    if "accelerat" in failed.message.lower():
        what, then = "the bucket has no transfer acceleration", "Leave use_accelerate_endpoint out of config_kwargs."
        return Meaning(ConfigurationError, what, then)
    if refused := refused_options(failed):
        names, advice = in_words(refused)
        return Meaning(ConfigurationError, f"the store refuses {names}", advice)
    return Meaning(
        ConfigurationError,
        "the store refuses the request as it was made",
        "Check storage_options and object_options against the reason; if none of them has to do with it, ask the "
        "store's operator.",
    )


def _elsewhere(failed: RequestFailed) -> Meaning:
    """Return how to reach the bucket where it is, as far as the store says it."""
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


def _told(failed: RequestFailed, where: str, what: str, then: str) -> str:
    tries = "1 try" if failed.tries == 1 else f"{failed.tries} tries"
    return f"{tries} of {ACTIONS[failed.operation]} at {where} failed: {what} ({failed}). {then} {NOTHING_VISIBLE}"
