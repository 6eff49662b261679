"""Explain why access was denied: missing permissions, policies, KMS keys, suspended accounts and bad credentials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mc_sink.exceptions import PermissionDenied, SinkError
from mc_sink.storage.s3.failures import KMS
from mc_sink.storage.s3.refusals import DEMANDS, advised, denial_words
from mc_sink.storage.s3.retry_rules import EXPIRED, RULES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mc_sink.storage.s3.failures import RequestFailed
    from mc_sink.storage.s3.refusals import DenialWords

# The store knows the user, but an account can't be used. Granting a permission would change nothing.
ACCOUNT_CODES: Final = frozenset(
    {"AccountProblem", "AllAccessDisabled", "InvalidPayer", "NotSignedUp", "OptInRequired", "UserSuspended"}
)
# By kind of policy: who can change it.
_OWNERS = {
    "resource-based": "the bucket's owner",
    "identity-based": "the administrator of this user or role",
    "session": "the administrator of this role's sessions",
    "permissions": "the administrator of this user or role",
    "service": "the administrator of this account's organization",
    "resource": "the administrator of the bucket owner's organization",
    "vpc": "the administrator of this network's VPC endpoint",
}
# By parameter of a PutObject or CreateMultipartUpload: the further permission that it needs.
_EXTRA = {
    "ACL": "s3:PutObjectAcl for the ACL",
    "Tagging": "s3:PutObjectTagging for the tags",
    KMS: "kms:GenerateDataKey and kms:Decrypt on the key for KMS",
    "ObjectLockMode": "s3:PutObjectRetention for the retention",
    "ObjectLockLegalHoldStatus": "s3:PutObjectLegalHold for the legal hold",
}


@dataclass(frozen=True, slots=True, eq=False)
class Meaning:
    """The meaning of a refusal: class of the error, reason, advice, and the permission that is missing, if one is."""

    kind: type[SinkError]
    reason: str
    advice: str
    action: str | None = None


_EXPIRED = Meaning(
    PermissionDenied,
    "the session token has expired",
    "Get new temporary credentials and rerun; those of a profile or the environment are renewed automatically.",
)
_NO_CREDENTIALS = Meaning(
    PermissionDenied,
    "no credentials could be obtained",
    "Pass key and secret in storage_options, or a profile that has them; check ~/.aws, the role, the token file that "
    "AWS_WEB_IDENTITY_TOKEN_FILE names, and the rest of the environment.",
)
CREDENTIALS: Final[Mapping[str, Meaning]] = {
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
    "PartialCredentialsError": Meaning(
        PermissionDenied, "only half of the credentials were found", "Give both key and secret."
    ),
    "ProfileNotFound": Meaning(PermissionDenied, "that profile isn't configured", "Check ~/.aws/config."),
    "NoCredentialsError": _NO_CREDENTIALS,
    "CredentialRetrievalError": _NO_CREDENTIALS,
    "MetadataRetrievalError": _NO_CREDENTIALS,
    "SSOTokenLoadError": _NO_CREDENTIALS,
    "TokenRetrievalError": _NO_CREDENTIALS,
    "UnauthorizedSSOTokenError": _NO_CREDENTIALS,
    **dict.fromkeys(EXPIRED, _EXPIRED),
}


def denial(failed: RequestFailed) -> Meaning:
    """Return why a request was denied, as far as the store explains it."""
    words = denial_words(failed)
    if failed.code in ACCOUNT_CODES or words.is_disabled:
        return Meaning(
            PermissionDenied,
            "the account, or the bucket's, is suspended or disabled",
            "Ask the account's owner to look at its state and its bills; no permission helps.",
        )
    action = words.action or RULES[failed.operation].action
    if words.is_public:
        return Meaning(
            PermissionDenied,
            "S3 Block Public Access refuses it",
            "Leave a public acl out of object_options and of the platform (bucket-owner-full-control is not public), "
            "or ask the bucket's owner to change Block Public Access.",
            action,
        )
    if failed.code.startswith("KMS.") or words.is_kms:
        return _of_kms(words.denied_by, action)
    if words.denied_by:
        return _explicit(failed, words, words.denied_by, action)
    if policy := words.not_allowed_by:
        advice = f"Ask {_owner(policy)} to grant {action} to this user in the {policy}."
        return Meaning(PermissionDenied, f"no {policy} allows it", advice, action)
    return _unexplained(failed, action)


def _of_kms(policy: str | None, action: str) -> Meaning:
    action = action if action.startswith("kms:") else "kms:GenerateDataKey"
    if policy:
        return Meaning(
            PermissionDenied,
            f"{_with_article(policy)} denies the use of the KMS key",
            f"Ask the key's owner, or the one of that policy, to end the Deny of {action}, or use another key: "
            "sse_kms_key_id in object_options, kms_key of the platform.",
            action,
        )
    return Meaning(
        PermissionDenied,
        "the KMS key may not be used",
        "Grant kms:GenerateDataKey and kms:Decrypt on the key to this user, in the key's own policy too if the key is "
        "another account's (mc-sink policy … --kms-key KEY_ARN prints the statement).",
        action,
    )


def _explicit(failed: RequestFailed, words: DenialWords, policy: str, action: str) -> Meaning:
    """Return the advice for an explicit Deny, which no Allow outweighs."""
    advice = f"A Deny outweighs every grant: ask {_owner(policy)} to change the policy."
    if policy.lower().startswith(("resource-based", "vpc", "service", "resource")):
        lacking = [one for one in DEMANDS if one.in_policies and not one.parameters & failed.sent]
        named = [one for one in lacking if one.words.search(words.text)]
        demands = [f"If it demands {one.name}: {advised(one, failed)}" for one in named or lacking]
        advice = " ".join([advice, *demands])
    return Meaning(PermissionDenied, f"an explicit Deny in {_with_article(policy)} forbids {action}", advice, action)


def _unexplained(failed: RequestFailed, action: str) -> Meaning:
    extra = [permission for name, permission in _EXTRA.items() if name in failed.sent or not failed.sent]
    also = f" ({'; '.join(extra)})" if extra and action == "s3:PutObject" else ""
    if "ExpectedBucketOwner" not in failed.sent:
        return Meaning(PermissionDenied, "the store refuses it", f"Grant {action} to this user{also}.", action)
    return Meaning(
        PermissionDenied,
        "the bucket does not belong to the account in expected_bucket_owner, or a permission is missing",
        f"Check the bucket's name and expected_bucket_owner with the bucket's owner. If both are right: Grant {action} "
        f"to this user{also}.",
        action,
    )


def _with_article(policy: str) -> str:
    return f"{'an' if policy[0].lower() in 'aeiou' else 'a'} {policy}"


def _owner(policy: str) -> str:
    return _OWNERS.get(policy.lower().split(" ")[0], "its administrator")
