"""What S3 answers → this library's errors, with what to do next. The only place that knows S3's error codes.

Codes: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mc_sink.exceptions import (
    NOTHING_VISIBLE,
    ConfigurationError,
    PermissionDenied,
    SinkError,
    TargetError,
    UploadError,
)
from mc_sink.storage._store import already_exists

if TYPE_CHECKING:
    from mc_sink.storage._requests import RequestFailed

ACTIONS = {
    "create_multipart_upload": "s3:PutObject",
    "upload_part": "s3:PutObject",
    "complete_multipart_upload": "s3:PutObject",
    "put_object": "s3:PutObject",
    "abort_multipart_upload": "s3:AbortMultipartUpload",
    "list_objects_v2": "s3:ListBucket",
}
_CREDENTIALS = {
    "InvalidAccessKeyId": "The access key id is not one that the store knows: check it.",
    "SignatureDoesNotMatch": "The signature doesn't match: check the secret access key.",
    "ExpiredToken": "The session token has expired: get new temporary credentials and rerun.",
    "InvalidToken": "The session token is not valid: get new temporary credentials.",
    "RequestTimeTooSkewed": "This machine's clock differs too much from the store's: set it.",
    "NoCredentialsError": "No credentials were found: pass key and secret in storage_options, or a profile.",
    "PartialCredentialsError": "Only half of the credentials were found: give both key and secret.",
    "ProfileNotFound": "That profile isn't configured: check ~/.aws/config.",
}
_WRONG_PLACE = {
    "NoSuchBucket": "There is no such bucket: check its name.",
    "PermanentRedirect": "The bucket is in another region: pass client_kwargs={'region_name': …} in storage_options.",
    "AuthorizationHeaderMalformed": "The bucket is in another region: pass client_kwargs={'region_name': …}.",
    "IllegalLocationConstraintException": "The bucket is in another region: pass client_kwargs={'region_name': …}.",
}
_OPTIONS = {
    "AccessControlListNotSupported": "The bucket has ACLs disabled: leave acl out, or use bucket-owner-full-control.",
    "InvalidStorageClass": "The store doesn't know this storage class: leave storage_class out.",
    "InvalidTag": "The store doesn't take these tags.",
    "ParamValidationError": "An option has a form that S3 doesn't take.",
    "NotImplemented": "The store doesn't support an option that was asked for.",
}
_TAKEN = {"PreconditionFailed", "ConditionalRequestConflict"}


def translated(failed: RequestFailed, where: str) -> SinkError:
    """Give the error that a person should see for a request that failed before anything was published."""
    if failed.code in _TAKEN:
        return already_exists(where)
    if failed.code in _CREDENTIALS:
        return PermissionDenied(f"{where}: {_CREDENTIALS[failed.code]} ({failed}). {NOTHING_VISIBLE}")
    if failed.code in _WRONG_PLACE:
        return TargetError(f"{where}: {_WRONG_PLACE[failed.code]} ({failed}). {NOTHING_VISIBLE}")
    if failed.code in _OPTIONS:
        return ConfigurationError(f"{where}: {_OPTIONS[failed.code]} ({failed}). {NOTHING_VISIBLE}")
    if failed.status == 403:  # noqa: PLR2004  Forbidden, whatever the store calls it
        return _denied(failed, where)
    return UploadError(
        f"{where}: {ACTIONS[failed.operation]} failed ({failed}). {NOTHING_VISIBLE} Rerun when it is mended."
    )


def _denied(failed: RequestFailed, where: str) -> PermissionDenied:
    action = ACTIONS[failed.operation]
    return PermissionDenied(
        f"{where}: the store refused {action} ({failed}). Grant {action} to this user (an ACL needs s3:PutObjectAcl, "
        f"tags s3:PutObjectTagging, KMS kms:GenerateDataKey and kms:Decrypt). {NOTHING_VISIBLE}",
        action=action,
    )
