"""What S3 answers → this library's errors, with what to do next. The only place that knows what S3's codes mean.

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
from mc_sink.storage._retries import CHANGED_ON_ITS_WAY, CONFLICT, EXPIRED, THROTTLED, TIMED_OUT
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
    """What an answer means to the one who delivers: the kind of error, what it is, and what to do next."""

    kind: type[SinkError]
    what: str
    next: str


_EXPIRED = Meaning(
    PermissionDenied,
    "the session token has expired",
    "Get new temporary credentials and rerun; those of a profile or the environment are read anew by themselves.",
)
_REGION = Meaning(
    TargetError,
    "the bucket is in another region",
    "Pass client_kwargs={'region_name': …} in storage_options, with the bucket's own.",
)
_THROTTLED = Meaning(
    UploadError,
    "the store asks for fewer requests, and kept asking",
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
    "Rerun; on a slow line with a larger read_timeout in storage_options['config_kwargs'], or fewer max_concurrency.",
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
    "the upload is gone: somebody aborted it, or a lifecycle rule let it expire",
    "Rerun: it has to begin again.",
)
_KMS = Meaning(
    ConfigurationError, "the KMS key can't be used", "Check sse_kms_key_id, its region, and whether it is enabled."
)
_NO_CREDENTIALS = Meaning(
    PermissionDenied,
    "no credentials could be had",
    "Pass key and secret in storage_options, or a profile that has them; check ~/.aws and the environment.",
)
_CONFLICT = Meaning(
    AlreadyExistsError,
    "somebody else was writing the same key at that moment",
    "Look at what is there; then rerun, or choose another key.",
)

_MEANINGS: Final = {
    "InvalidAccessKeyId": Meaning(
        PermissionDenied, "the access key id is not one that the store knows", "Check key in storage_options."
    ),
    "SignatureDoesNotMatch": Meaning(
        PermissionDenied, "the signature is wrong", "Check the secret access key: secret in storage_options."
    ),
    "InvalidToken": Meaning(
        PermissionDenied, "the session token is not valid", "Get new temporary credentials: key, secret and token."
    ),
    "RequestTimeTooSkewed": Meaning(
        PermissionDenied, "this machine's clock differs too much from the store's", "Set the clock and rerun."
    ),
    "NoSuchBucket": Meaning(TargetError, "there is no such bucket", "Check its name, and endpoint_url."),
    "InvalidBucketName": Meaning(TargetError, "no bucket can have this name", "Check the target."),
    "KeyTooLongError": Meaning(TargetError, "the key is too long", "Use one of at most 1,024 bytes."),
    "AccessControlListNotSupported": Meaning(
        ConfigurationError,
        "the bucket has ACLs disabled",
        "Leave acl out of object_options, or use bucket-owner-full-control.",
    ),
    "InvalidStorageClass": Meaning(
        ConfigurationError, "the store doesn't know this storage class", "Leave storage_class out of object_options."
    ),
    "InvalidTag": Meaning(ConfigurationError, "the store doesn't take these tags", "Change tags in object_options."),
    "ParamValidationError": Meaning(
        ConfigurationError, "an option has a form that S3 doesn't take", "Change it in object_options."
    ),
    "NotImplemented": Meaning(
        ConfigurationError,
        "the store doesn't support something that was asked for",
        "Leave out object_options that it doesn't know; where checksums are what it lacks, pass "
        "config_kwargs={'request_checksum_calculation': 'when_required'} in storage_options.",
    ),
    "SSLError": Meaning(
        ConfigurationError,
        "the store's certificate isn't trusted",
        "Check endpoint_url, or pass client_kwargs={'verify': …} in storage_options.",
    ),
    "EntityTooLarge": Meaning(
        UploadError, "a body is larger than the store takes", "Pass a smaller default_block_size in storage_options."
    ),
    "EntityTooSmall": Meaning(
        UploadError, "a part is smaller than the store takes", "Pass a larger default_block_size in storage_options."
    ),
    "InvalidPart": Meaning(UploadError, "the store has lost a part, or got another in its place", "Rerun."),
    "NoSuchUpload": _GONE,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "PermanentRedirect": _REGION,
    "TemporaryRedirect": _REGION,
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
    301: _REGION,
    307: _REGION,
    408: _SLOW,
    429: _THROTTLED,
    404: Meaning(TargetError, "the store knows no such place", "Check the bucket's name, and endpoint_url."),
    507: _FULL,
}
_LOST: Final = Meaning(UploadError, "no readable reply came", "Check the network, and rerun.")
_FAILED: Final = Meaning(UploadError, "the store itself failed", "Rerun when it is mended.")
_OTHER: Final = Meaning(UploadError, "the store did not do it", "Rerun when it is mended.")


def translated(failed: RequestFailed, where: str) -> SinkError:
    """Give the error that a person should see for a request that failed before anything was published."""
    if failed.code == "PreconditionFailed":
        return already_exists(where)
    meaning = _meaning(failed)
    if meaning is None:
        return _denied(failed, where)
    return meaning.kind(_told(failed, where, meaning.what, meaning.next))


def altered(where: str, tries: int) -> UploadError:
    """Return the error for a part whose ETag is that of other bytes each time, on a store that checks no CRC32."""
    return UploadError(
        f"{tries} tries of s3:PutObject at {where} failed: its ETag is not the MD5 of the bytes that were sent, and "
        "the store has not checked their CRC32. Look for a proxy that changes bodies or for bad memory, and rerun. "
        'Where the bucket encrypts with a KMS key, which makes other ETags, pass object_options=ObjectOptions(sse="aws:'
        f'kms"). {NOTHING_VISIBLE}'
    )


def _meaning(failed: RequestFailed) -> Meaning | None:
    """Find out what an answer means: by its code, else by its status; None for a permission that is missing."""
    if failed.code.startswith("KMS."):
        return _KMS
    if failed.status is None:
        return _MEANINGS.get(failed.code, _LOST)
    known = _MEANINGS.get(failed.code) or _BY_STATUS.get(failed.status)
    if known or failed.status in {401, 403}:
        return known
    return _FAILED if failed.status >= 500 else _OTHER  # noqa: PLR2004  a server's own error


def _told(failed: RequestFailed, where: str, what: str, then: str) -> str:
    tries = "1 try" if failed.tries == 1 else f"{failed.tries} tries"
    return f"{tries} of {ACTIONS[failed.operation]} at {where} failed: {what} ({failed}). {then} {NOTHING_VISIBLE}"


def _denied(failed: RequestFailed, where: str) -> PermissionDenied:
    action = ACTIONS[failed.operation]
    advice = (
        f"Grant {action} to this user (an ACL needs s3:PutObjectAcl, tags s3:PutObjectTagging, KMS "
        "kms:GenerateDataKey and kms:Decrypt)."
    )
    return PermissionDenied(_told(failed, where, "the store refuses it", advice), action=action)
