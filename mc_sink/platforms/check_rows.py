"""Turn the answers of the store into the rows of a report, question by question."""

from __future__ import annotations

import hashlib
import json
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from mc_sink.platforms.check_report import DELIVERED, CheckRow
from mc_sink.platforms.policies import ABORT, KMS, LIST, statement_for
from mc_sink.platforms.probe_requests import ACL, BODY, about_kms, allowed, denied
from mc_sink.storage import UNKEPT, StoreSupport

if TYPE_CHECKING:
    from mc_sink.platforms.check_report import Verdict
    from mc_sink.platforms.platform import Platform
    from mc_sink.platforms.probe_requests import Evidence
    from mc_sink.storage import Answer
    from mc_sink.target import Target

# Seconds. S3 refuses requests from a clock that differs by more: RequestTimeTooSkewed.
MOST_SKEW, SOME_SKEW = 900, 60
SKEWED = {"RequestTimeTooSkewed", "RequestInTheFuture"}
WRONG_SUM = ("BadDigest", "XAmzContentChecksumMismatch", "InvalidDigest")
_NOT_VALID = {
    *("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "TokenRefreshRequired"),
    *("InvalidClientTokenId", "NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "InvalidSecurity"),
    *("CredentialRetrievalError", "MetadataRetrievalError", "SSOTokenLoadError", "TokenRetrievalError"),
    *(
        "UnauthorizedSSOTokenError",
        "NoAuthTokenError",
        "ConfigNotFound",
        "RuntimeError",
        "RefreshWithMFAUnsupportedError",
    ),
}
_NO_ACLS = "AccessControlListNotSupported"
CONDITIONS = ("If-None-Match", "If-None-Match of uploads")
_OTHERS = ("checksums", "checksum sent", "part sizes", "ETags of uploads")
_WAYS = {
    "full": "CRC32 of each body, and of the whole object of an upload",
    "composite": "CRC32 of each body; the store takes no checksum of the whole object of an upload",
    "sha256": "SHA-256 of each body; the store does not take CRC32",
    "crc64nvme": "CRC64NVME of each body, and of the whole object of an upload; the store does not take CRC32",
    "none": "none, because the store takes none or the options ask for none; bodies are signed with their SHA-256",
}
_COMPUTED = "the MD5 of the parts' MD5s"
_PROBE = 'Only a check that leaves an object shows it. Run the check with leaving="an object".'


class Asked:
    """The answers of one check, with the platform, the target and the known ways of the store."""

    def __init__(self, found: Evidence, platform: Platform, where: Target) -> None:
        self.found, self.platform, self.where = found, platform, where
        self.ways = found.ways or StoreSupport()
        self.since = f"known since {found.since:%Y-%m-%d}" if found.since else ""

    def grant(self, action: str) -> str:
        """Return the policy statement that grants an action, as JSON."""
        return json.dumps(statement_for(action, self.where, kms_key=self.platform.kms_key, region=self.platform.region))

    def permission(self, action: str, verdict: Verdict, tried: str, answer: str, *, required: bool = True) -> CheckRow:
        """Return the row of a permission."""
        return CheckRow(action, verdict, tried, answer, self.grant(action) if verdict == "no" else "", required)


def report_rows(found: Evidence, platform: Platform, where: Target) -> tuple[CheckRow, ...]:
    """Return a row for each question, in the order in which a person would fix them."""
    asked = Asked(found, platform, where)
    listed = found.listed
    first = (_credentials(asked), _clock(listed), _bucket(asked))
    if not (listed.ok or denied(listed)):
        why = next((row for row in first if row.verdict == "no"), first[-1]).question
        names = [LIST, "s3:PutObject", "s3:PutObjectAcl", *DELIVERED, "KMS", ABORT, *CONDITIONS, *_OTHERS]
        rest = (CheckRow(one, "unknown", "nothing", f"fix {why} first", required=one in names[:5]) for one in names)
        return *first, *rest
    permissions = (_list(asked), _put(asked), _acl(asked), _kms(asked), _abort(asked))
    delivered = (_objects(asked), _uploads(asked))
    conditions = (_condition(asked), _condition_of_uploads(asked))
    return (*first, *permissions, *delivered, *conditions, _sums(asked), _way(asked), _parts(asked), _etags(asked))


def _as_expected(answer: Answer | None) -> str:
    """Return an answer that shows a permission as text, so that an intended refusal doesn't read as a failure."""
    if answer is None or answer.ok:
        return str(answer)
    return f"allowed; {answer.status} {answer.code}, as intended"


def _credentials(asked: Asked) -> CheckRow:
    listed = asked.found.listed
    tried = "ListObjectsV2"
    if listed.code in _NOT_VALID:
        fix = "Save the platform with other credentials. Where it has a role, check the role's trust policy."
        return CheckRow("credentials", "no", tried, str(listed), fix, required=True)
    valid = listed.ok or denied(listed)
    answer = asked.platform.credentials if valid else str(listed)
    return CheckRow("credentials", "yes" if valid else "unknown", tried, answer, required=True)


def _clock(listed: Answer) -> CheckRow:
    if listed.code in SKEWED:
        return CheckRow("clock", "no", "ListObjectsV2", str(listed), "Set this machine's clock.", required=True)
    try:
        skew = (listed.heard_at - parsedate_to_datetime(listed.date or "")).total_seconds()
    except (ValueError, TypeError):
        return CheckRow("clock", "unknown", "ListObjectsV2", "the reply has no date")
    side = "ahead of" if skew > 0 else "behind"
    answer = f"{abs(skew):.0f} s {side} the store" if abs(skew) > 1 else "the same time as the store"
    fix = "Set this machine's clock." if abs(skew) > SOME_SKEW else ""
    return CheckRow("clock", "yes" if abs(skew) < MOST_SKEW else "no", "ListObjectsV2", answer, fix, required=True)


def _bucket(asked: Asked) -> CheckRow:
    listed, region = asked.found.listed, asked.found.listed.region
    reached = listed.ok or denied(listed)
    answer = f"in {region}" if region else "reached; the reply has no region"
    owner = asked.platform.expected_bucket_owner
    if owner and denied(listed) and denied(asked.found.parts):
        answer = f"{listed}; S3 answers the same for a bucket that does not belong to {owner}"
        fix = "Check the bucket's name and expected_bucket_owner with the bucket's owner."
        return CheckRow("bucket", "unknown", "ListObjectsV2", answer, fix, required=True)
    if reached:
        return CheckRow("bucket", "yes", "ListObjectsV2", answer, required=True)
    if listed.code in _NOT_VALID | SKEWED:
        return CheckRow("bucket", "unknown", "ListObjectsV2", "fix credentials and clock first", required=True)
    fix = "Check the bucket's name, the endpoint and the network."
    if region:
        fix = f"The bucket is in {region}: save the platform with that region."
    return CheckRow("bucket", "no", "ListObjectsV2", str(listed), fix, required=True)


def _list(asked: Asked) -> CheckRow:
    listed = asked.found.listed
    return asked.permission(LIST, "yes" if listed.ok else "no", "ListObjectsV2 of 1 key", str(listed))


def _put(asked: Asked) -> CheckRow:
    found, name, tried = asked.found, "s3:PutObject", "UploadPart of an upload that doesn't exist"
    if allowed(found.parts, "NoSuchUpload"):
        return asked.permission(name, "yes", tried, _as_expected(found.parts))
    stored = [one for one in (found.created, found.created_plain, found.written, found.written_plain) if one and one.ok]
    if stored or allowed(found.put_wrong, *WRONG_SUM):
        return asked.permission(
            name, "yes", "the requests of a delivery", _as_expected(stored[0] if stored else found.put_wrong)
        )
    return asked.permission(name, "no" if denied(found.parts) else "unknown", tried, str(found.parts))


def _acl(asked: Asked) -> CheckRow:
    """Judge by PutObjectAcl and by the requests of a delivery.

    Without the permission to list, S3 may answer AccessDenied for an object that doesn't exist.
    """
    found, name = asked.found, "s3:PutObjectAcl"
    tried = "PutObjectAcl of an object that doesn't exist"
    sent = next(filter(None, (found.written, found.created, found.put_wrong)), None)
    absent = found.acl is not None and found.acl.code == "NoSuchKey"  # success would show nothing
    taken = allowed(sent, *WRONG_SUM, "PreconditionFailed")
    refused = denied(sent) and not about_kms(sent) and _put(asked).verdict == "yes"
    if refused and absent and asked.platform.acl not in {None, ACL}:
        fix = f"The bucket may block public ACLs: save the platform without one, or with {ACL}."
        return CheckRow(name, "no", f"the ACL {asked.platform.acl}", str(sent), fix, required=True)
    if (denied(found.acl) and found.listed.ok) or refused:
        return asked.permission(name, "no", tried, str(found.acl if denied(found.acl) else sent))
    if absent or taken:
        return asked.permission(name, "yes", tried, _as_expected(found.acl if absent else sent))
    if _NO_ACLS in {found.acl and found.acl.code, sent and sent.code}:
        return _disabled(asked, tried)
    answer = f"{found.acl}; the cause may be the missing {LIST}" if denied(found.acl) else str(found.acl)
    return asked.permission(name, "unknown", tried, answer)


def _disabled(asked: Asked, tried: str) -> CheckRow:
    """Judge a bucket with disabled ACLs, which takes only one canned ACL and needs none."""
    if asked.platform.acl in {None, ACL}:
        return asked.permission("s3:PutObjectAcl", "not needed", tried, "the bucket has disabled ACLs")
    fix = f"Save the platform without an ACL, or with {ACL}."
    return CheckRow("s3:PutObjectAcl", "no", tried, "the bucket has disabled ACLs", fix, required=True)


def _kms(asked: Asked) -> CheckRow:
    found = asked.found
    if not asked.platform.kms_key:
        return CheckRow("KMS", "not needed", "nothing", "the platform has no KMS key")
    answers = {
        "PutObject": found.written,
        "CreateMultipartUpload": found.created,
        "PutObject, refused": found.put_wrong,
    }
    tried, sent = next(((name, answer) for name, answer in answers.items() if answer), ("nothing", None))
    if about_kms(sent):
        return CheckRow("KMS", "no", tried, str(sent), asked.grant(KMS[0]), required=True)
    if sent and sent.ok:
        return CheckRow("KMS", "yes", tried, str(sent), required=True)
    return CheckRow("KMS", "unknown", tried, _PROBE, required=True)


def _abort(asked: Asked) -> CheckRow:
    found, tried = asked.found, "AbortMultipartUpload of an upload that doesn't exist"
    verdict: Verdict = "no" if denied(found.aborts) else "unknown"
    if allowed(found.aborts, "NoSuchUpload"):
        verdict = "no" if any(one.kind == "upload" for one in found.left) else "yes"
    answer = _as_expected(found.aborts) if verdict == "yes" else str(found.aborts)
    if verdict == "no":
        answer += "; it is optional: without it, uploads of a failed run stay until a lifecycle rule aborts them"
    return asked.permission(ABORT, verdict, tried, answer, required=False)


def _objects(asked: Asked) -> CheckRow:
    return _delivered(asked, DELIVERED[0], asked.found.written, "PutObject, as a delivery sends it")


def _uploads(asked: Asked) -> CheckRow:
    """Judge by the first Complete or, where its condition was refused, by the one without a condition."""
    found = asked.found
    taken = found.completed and found.completed.code == "PreconditionFailed"
    return _delivered(asked, DELIVERED[1], found.uploaded if taken else found.completed, "Create, Part and Complete")


def _delivered(asked: Asked, name: str, answer: Answer | None, tried: str) -> CheckRow:
    """Judge whether the store takes a request of a delivery, which only the request itself shows."""
    ways = asked.ways
    if answer and answer.ok:
        return CheckRow(name, "yes", tried, str(answer), required=True)
    if answer and answer.is_refusal and not denied(answer):
        return CheckRow(name, "no", tried, f"{answer}. A delivery fails with: {answer.advice}", required=True)
    if answer:
        return CheckRow(name, "unknown", tried, str(answer), required=True)
    if asked.since and (ways.took_object if name == DELIVERED[0] else ways.took_upload):
        return CheckRow(name, "yes", asked.since, "the store took those of a write probe or a delivery", required=True)
    if asked.found.on_aws:
        return CheckRow(name, "documented", "nothing", "AWS takes them", required=True)
    return CheckRow(name, "unknown", "nothing", _PROBE, required=True)


def _condition(asked: Asked) -> CheckRow:
    return _kept(asked, CONDITIONS[0], asked.found.again, "PutObject to the same key again")


def _condition_of_uploads(asked: Asked) -> CheckRow:
    tried = "CompleteMultipartUpload to the same key"
    return _kept(asked, CONDITIONS[1], asked.found.completed, tried)


def _kept(asked: Asked, name: str, answer: Answer | None, tried: str) -> CheckRow:
    """Judge whether the store honours the condition against replacing an object, in one of the two requests."""
    known = asked.ways.condition_on_put if name == CONDITIONS[0] else asked.ways.condition_on_complete
    text = str(answer) if answer else "shown by a write probe or a delivery"
    tried = tried if answer else asked.since or "nothing"
    if known in {"ignored", "refused"} and (answer or asked.since):
        fix = "Deliver under unique names (the default under a prefix), and let no other writer use the prefix."
        text = f"{text}; the header is {known}"
        return CheckRow(name, "no", tried, text, fix, unkept=UNKEPT["condition"])
    if known == "kept" and (answer or asked.since):
        return CheckRow(name, "yes", tried, text)
    if asked.found.on_aws:
        return CheckRow(name, "documented", "nothing", "AWS honours it")
    return CheckRow(name, "unknown", tried, str(answer) if answer else _PROBE)


def _sums(asked: Asked) -> CheckRow:
    wrong = next(filter(None, (asked.found.wrong_sum, asked.found.put_wrong)), None)
    tried = f"a body with a wrong {asked.found.wrong}"
    if wrong is not None and wrong.code in WRONG_SUM:
        return CheckRow("checksums", "yes", tried, str(wrong))
    if wrong is not None and wrong.ok:
        fix = "Verify deliveries by size and ETag (receipt.verify()): this store does not compare checksums."
        return CheckRow("checksums", "no", tried, str(wrong), fix, unkept=UNKEPT["sums"])
    if asked.found.on_aws:
        return CheckRow("checksums", "documented", "nothing", "AWS honours them")
    return CheckRow("checksums", "unknown", "nothing", _PROBE)


def _way(asked: Asked) -> CheckRow:
    """Show which checksum deliveries send, as the store's refusals have decided."""
    name, found = "checksum sent", asked.found
    if found.ways and (found.written or asked.since):
        sums = found.sums or found.ways.sums
        unkept = UNKEPT["sums"] if sums == "none" else ""
        return CheckRow(
            name,
            "no" if sums == "none" else "yes",
            asked.since or "the requests of a delivery",
            _WAYS[sums],
            unkept=unkept,
        )
    if found.on_aws:
        return CheckRow(name, "documented", "nothing", _WAYS["full"])
    return CheckRow(name, "unknown", "nothing", _PROBE)


def _parts(asked: Asked) -> CheckRow:
    """Judge whether parts may grow, by an upload with parts of two sizes or by the store's documentation."""
    name, equal, uneven = "part sizes", asked.ways.equal_parts, asked.found.uneven
    tried = "an upload with parts of two sizes" if uneven else asked.since or "nothing"
    if equal:
        fix = "For a file of more than 10,000 parts of 16 MiB, pass a larger default_block_size in storage_options."
        answer = "the store demands parts of one size: a file may have 156 GiB"
        return CheckRow(name, "no", tried, answer, fix)
    if equal is False and tried != "nothing":
        return CheckRow(name, "yes", tried, "parts may grow")
    if asked.found.on_aws or equal is False:
        return CheckRow(name, "documented", "nothing", "parts may grow")
    return CheckRow(name, "unknown", tried, str(uneven) if uneven else _PROBE)


def _etags(asked: Asked) -> CheckRow:
    """Judge whether an upload's ETag can be computed from its parts, in the reply and in a listing."""
    name, tried, made = "ETags of uploads", "CompleteMultipartUpload of the check's object", asked.found.uploaded
    if (made is None or not made.ok) and asked.since and asked.ways.has_s3_etags is not None:
        lists = asked.ways.has_s3_etags and asked.ways.lists_what_it_answers is not False
        answer = f"an upload's ETag {'can' if lists else 'cannot'} be computed from its parts"
        return CheckRow(name, "yes" if lists else "no", asked.since, answer, unkept="" if lists else UNKEPT["etags"])
    if made is None or not made.ok:
        return CheckRow(name, "unknown", "nothing" if made is None else tried, _PROBE if made is None else str(made))
    listed = (
        next((one.get("ETag") for one in asked.found.shown.reply.get("Contents", ())), "") if asked.found.shown else ""
    )
    answered, shown = _kind(made.reply.get("ETag")), _kind(listed)
    answer = f"Complete answers {answered}, a listing shows {shown}"
    if (answered, shown) == (_COMPUTED, _COMPUTED):
        return CheckRow(name, "yes", tried, answer)
    fix = "Nothing to do: receipt.verify() states which files were compared without a computed ETag."
    return CheckRow(name, "no", tried, answer, fix, unkept=UNKEPT["etags"])


def _kind(etag: object) -> str:
    """Describe an ETag of the check's object."""
    part = hashlib.md5(BODY, usedforsecurity=False)
    computed = f"{hashlib.md5(part.digest(), usedforsecurity=False).hexdigest()}-1"
    kinds = {"": "none", computed: _COMPUTED, part.hexdigest(): "the MD5 of the whole"}
    return kinds.get(str(etag or "").strip('"'), "a value that only the store can compute")
