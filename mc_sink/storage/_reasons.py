"""Find what an answer means by the request that it refuses, or by what came with it: an option, a region, a KMS key."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mc_sink.exceptions import ConfigurationError, SinkError, TargetError
from mc_sink.storage._retries import THROTTLED
from mc_sink.storage._sent_options import advised, demanded, in_words, names_an_option, refused_options

if TYPE_CHECKING:
    from mc_sink.storage._failures import RequestFailed


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
    if wants_equal_parts(failed):
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


def wants_equal_parts(failed: RequestFailed) -> bool:
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
