"""Convert S3's error codes into this library's exceptions, with advice. The only place that knows S3's codes.

What an answer means by the request that it refuses is found in `refusals.py`, and why access was denied in
`refusals.py`.
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
from mc_sink.storage.s3.refusals import ACCOUNT_CODES, Meaning, denial, of_request, of_words
from mc_sink.storage.s3.retry_rules import CHANGED_ON_ITS_WAY, CONFLICT, EXPIRED, THROTTLED, TIMED_OUT
from mc_sink.storage.store import already_exists

if TYPE_CHECKING:
    from mc_sink.storage.s3.failures import RequestFailed

ACTIONS: Final = {
    "create_multipart_upload": "s3:PutObject",
    "upload_part": "s3:PutObject",
    "complete_multipart_upload": "s3:PutObject",
    "put_object": "s3:PutObject",
    "abort_multipart_upload": "s3:AbortMultipartUpload",
    "list_objects_v2": "s3:ListBucket",
}

_EXPIRED = Meaning(
    PermissionDenied,
    "the session token has expired",
    "Get new temporary credentials and rerun; those of a profile or the environment are renewed automatically.",
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


def translated(failed: RequestFailed, where: str) -> SinkError:
    """Return the error that a person should see for a request that failed before anything was published."""
    if failed.code == "PreconditionFailed":
        return already_exists(where)
    meaning = _meaning(failed)
    if meaning is None:
        denied = denial(failed, ACTIONS[failed.operation])
        return PermissionDenied(_told(failed, where, denied.reason, denied.advice), action=denied.action)
    return meaning.kind(_told(failed, where, meaning.what, meaning.next))


def altered(where: str, tries: int) -> UploadError:
    """Return the error for a part whose ETag is that of other bytes each time, on a store that compares no checksum."""
    return UploadError(
        f"{tries} tries of s3:PutObject at {where} failed: its ETag is not the MD5 of the bytes that were sent, and "
        "the store has not compared their checksum. Look for a proxy that changes bodies or for bad memory, and rerun. "
        'Where the bucket encrypts with a KMS key, which makes other ETags, pass object_options=ObjectOptions(sse="aws:'
        f'kms").'
    )


def _meaning(failed: RequestFailed) -> Meaning | None:
    """Find what an answer means: by its code, else by its status; None where access was denied."""
    if failed.code in ACCOUNT_CODES or failed.code.startswith("KMS.AccessDenied"):
        return None
    if known := of_request(failed) or _MEANINGS.get(failed.code):
        return known
    if failed.status is None:
        return _LOST
    if (known := _BY_STATUS.get(failed.status)) or failed.status in {401, 403}:
        return known
    if failed.status >= 500:  # noqa: PLR2004  a server's own error
        return _FAILED
    return of_words(failed) or _OTHER


def _told(failed: RequestFailed, where: str, what: str, then: str) -> str:
    tries = "1 try" if failed.tries == 1 else f"{failed.tries} tries"
    return f"{tries} of {ACTIONS[failed.operation]} at {where} failed: {what} ({failed}). {then}"
