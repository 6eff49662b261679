"""Find why a store refused a request: by its code, its words and what was sent; and who can change it.

Messages: https://docs.aws.amazon.com/AmazonS3/latest/userguide/troubleshoot-403-errors.html and
https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mc_sink.exceptions import ConfigurationError, SinkError, TargetError
from mc_sink.storage.s3.retry_rules import THROTTLED
from mc_sink.storage.s3.sent_options import DEMANDS, advised, demanded, in_words, names_an_option, refused_options

if TYPE_CHECKING:
    from mc_sink.storage.s3.failures import RequestFailed

# An account that can't be used; the store knows who asks, and granting a permission would change nothing.
ACCOUNT_CODES: Final = frozenset(
    {"AccountProblem", "AllAccessDisabled", "InvalidPayer", "NotSignedUp", "OptInRequired", "UserSuspended"}
)
_ACTION = re.compile(r"not authorized to perform: ([a-z0-9-]+:[A-Za-z]+)")
_DENIED = re.compile(r"explicit deny in an? ((?:[A-Za-z-]+ ){0,3}(?:policy|policies|boundary))", re.IGNORECASE)
_NOT_ALLOWED = re.compile(r"because no ((?:[A-Za-z-]+ ){0,3}(?:policy|policies|boundary)) allows", re.IGNORECASE)
# Names of users and of keys are not the reason, and may have any word in them.
_NAMES = re.compile(r"\bUser: \S+|on resource: ?(?:\"[^\"]*\"|\S+)")
_PUBLIC = re.compile(r"block ?public|public (?:acls?|access) (?:is|are) (?:prevented|blocked)", re.IGNORECASE)
_KMS_WORDS = re.compile(r"\bkms\b|customer master key", re.IGNORECASE)
_DISABLED = re.compile(
    r"access to (?:this|the) object has been disabled|account.{0,40}(?:disabled|suspended|closed)", re.IGNORECASE
)
# Who can change a policy, by its kind.
_OWNERS = {
    "resource-based": "the bucket's owner",
    "identity-based": "the administrator of this user or role",
    "session": "the administrator of this role's sessions",
    "permissions": "the administrator of this user or role",
    "service": "the administrator of this account's organization",
    "resource": "the administrator of the bucket owner's organization",
    "vpc": "the administrator of this network's VPC endpoint",
}
_EXTRA = {
    "ACL": "s3:PutObjectAcl for the ACL",
    "Tagging": "s3:PutObjectTagging for the tags",
    "ServerSideEncryption": "kms:GenerateDataKey and kms:Decrypt on the key for KMS",
    "ObjectLockMode": "s3:PutObjectRetention for the retention",
    "ObjectLockLegalHoldStatus": "s3:PutObjectLegalHold for the legal hold",
}


@dataclass(frozen=True, slots=True, eq=False)
class Meaning:
    """What an answer means: the kind of error, the reason, and what to do next."""

    kind: type[SinkError]
    what: str
    next: str


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
_ONE_SIZE: Final = re.compile(r"\b(?:same|equal|identical) (?:length|size)|\bequal(?:ly)?[- ]sized?", re.IGNORECASE)
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


def of_request(failed: RequestFailed) -> Meaning | None:
    """Return what an answer means by what was sent, or by what came with it; None where neither says."""
    if failed.is_unsupported:
        return _unsupported(failed)
    if asks_for_equal_parts(failed):
        return _EQUAL_PARTS
    if failed.code in _BLAMING:
        return _blamed(failed)
    if failed.code in _REGION_CODES or failed.status in _REDIRECTS:
        return _elsewhere(failed)
    if failed.code.startswith("KMS.") and failed.code not in THROTTLED:
        kinds = (Meaning(_KMS.kind, what, then) for kind, what, then in _KMS_KINDS if kind in failed.code)
        return next(kinds, _KMS)
    return None


def _unsupported(failed: RequestFailed) -> Meaning:
    """Return what to leave out of a request that the store does not implement."""
    if refused := refused_options(failed):
        names, advice = in_words(refused)
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


def asks_for_equal_parts(failed: RequestFailed) -> bool:
    """Return True if the store refused a Complete because its parts aren't all of one size."""
    return failed.operation == "complete_multipart_upload" and bool(_ONE_SIZE.search(failed.message))


def of_words(failed: RequestFailed) -> Meaning | None:
    """Return what a refusal means by its words, for codes that only some store has; None where they name no option."""
    if demanded(failed) or names_an_option(failed):
        return _blamed(failed)
    return None


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


@dataclass(frozen=True, slots=True, eq=False)
class Denial:
    """Why a request was denied, what to do, and the permission that it lacks; None where none would help."""

    reason: str
    advice: str
    action: str | None


def denial(failed: RequestFailed, action: str) -> Denial:
    """Return why a request that needs `action` was denied, as far as the store says it."""
    message = _NAMES.sub("", failed.message)
    if failed.code in ACCOUNT_CODES or _DISABLED.search(message):
        return Denial(
            "the account, or the bucket's, is suspended or disabled",
            "Ask the account's owner to look at its state and its bills; no permission helps.",
            None,
        )
    found = _ACTION.search(message)
    action = found[1] if found else action
    if _PUBLIC.search(message):
        return Denial(
            "S3 Block Public Access refuses it",
            "Leave a public acl out of object_options and of the platform (bucket-owner-full-control is not public), "
            "or ask the bucket's owner to change Block Public Access.",
            action,
        )
    denied = _DENIED.search(message)
    if failed.code.startswith("KMS.") or _KMS_WORDS.search(message):
        return _of_kms(denied[1] if denied else None, action)
    if denied:
        return _explicit(failed, message, denied[1], action)
    if lacking := _NOT_ALLOWED.search(message):
        kind, owner = lacking[1], _owner(lacking[1])
        return Denial(f"no {kind} allows it", f"Ask {owner} to grant {action} to this user in the {kind}.", action)
    return _plain(failed, action)


def _of_kms(policy: str | None, action: str) -> Denial:
    action = action if action.startswith("kms:") else "kms:GenerateDataKey"
    if policy:
        return Denial(
            f"{_with_article(policy)} denies the use of the KMS key",
            f"Ask the key's owner, or the one of that policy, to end the Deny of {action}, or use another key: "
            "sse_kms_key_id in object_options, kms_key of the platform.",
            action,
        )
    return Denial(
        "the KMS key may not be used",
        "Grant kms:GenerateDataKey and kms:Decrypt on the key to this user, in the key's own policy too if the key is "
        "another account's (mc-sink policy … --kms KEY_ARN prints the statement).",
        action,
    )


def _explicit(failed: RequestFailed, message: str, kind: str, action: str) -> Denial:
    """Return the advice for an explicit Deny, which no Allow outweighs."""
    advice = f"A Deny outweighs every grant: ask {_owner(kind)} to change the policy."
    if kind.lower().startswith(("resource-based", "vpc", "service", "resource")):
        lacking = [one for one in DEMANDS if one.name in _IN_POLICIES and not one.parameters & failed.sent]
        named = [one for one in lacking if one.words.search(message)]
        told = " ".join(f"If it demands {one.name}: {advised(one, failed)}" for one in named or lacking)
        advice = f"{advice} {told}"
    return Denial(f"an explicit Deny in {_with_article(kind)} forbids {action}", advice, action)


# What bucket policies are known to demand of a request.
_IN_POLICIES = {"encryption", "an ACL", "a signed body", "https"}


def _with_article(kind: str) -> str:
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"


def _owner(kind: str) -> str:
    return _OWNERS.get(kind.lower().split(" ")[0], "its administrator")


def _plain(failed: RequestFailed, action: str) -> Denial:
    extra = [told for name, told in _EXTRA.items() if name in failed.sent or not failed.sent]
    also = f" ({'; '.join(extra)})" if extra and action == "s3:PutObject" else ""
    if "ExpectedBucketOwner" not in failed.sent:
        return Denial("the store refuses it", f"Grant {action} to this user{also}.", action)
    return Denial(
        "the bucket does not belong to the account in expected_bucket_owner, or a permission is missing",
        f"Check the bucket's name and expected_bucket_owner with the bucket's owner. If both are right: Grant {action} "
        f"to this user{also}.",
        action,
    )
