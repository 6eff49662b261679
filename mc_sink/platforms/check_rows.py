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
    """Judges the answers of one check, with the platform, the target and the known ways of the store."""

    def __init__(self, found: Evidence, platform: Platform, where: Target) -> None:
        self.found, self.platform, self.where = found, platform, where
        self.ways = found.ways or StoreSupport()
        self.since = f"known since {found.since:%Y-%m-%d}" if found.since else ""

    def rows(self) -> tuple[CheckRow, ...]:
        """Return a row for each question, in the order in which a person would fix them."""
        found, listed = self.found, self.found.listed
        first = (self._credentials(), self._clock(), self._bucket())
        if not (listed.ok or denied(listed)):
            why = next((row for row in first if row.verdict == "no"), first[-1]).question
            names = [LIST, "s3:PutObject", "s3:PutObjectAcl", *DELIVERED, "KMS", ABORT, *CONDITIONS, *_OTHERS]
            rest = (CheckRow(one, "unknown", "nothing", f"fix {why} first", required=one in names[:5]) for one in names)
            return *first, *rest
        listing = self._permission(LIST, "yes" if listed.ok else "no", "ListObjectsV2 of 1 key", str(listed))
        return (
            *first,
            *(listing, self._put(), self._acl(), self._kms(), self._abort()),
            self._delivered(DELIVERED[0], found.written, "PutObject, as a delivery sends it"),
            self._uploads(),
            self._kept(CONDITIONS[0], found.again, "PutObject to the same key again"),
            self._kept(CONDITIONS[1], found.completed, "CompleteMultipartUpload to the same key"),
            *(self._sums(), self._way(), self._parts(), self._etags()),
        )

    def _grant(self, action: str) -> str:
        """Return the policy statement that grants an action, as JSON."""
        return json.dumps(statement_for(action, self.where, kms_key=self.platform.kms_key, region=self.platform.region))

    def _permission(self, action: str, verdict: Verdict, tried: str, answer: str, *, required: bool = True) -> CheckRow:
        """Return the row of a permission."""
        return CheckRow(action, verdict, tried, answer, self._grant(action) if verdict == "no" else "", required)

    def _credentials(self) -> CheckRow:
        listed = self.found.listed
        tried = "ListObjectsV2"
        if listed.code in _NOT_VALID:
            fix = "Save the platform with other credentials. Where it has a role, check the role's trust policy."
            return CheckRow("credentials", "no", tried, str(listed), fix, required=True)
        valid = listed.ok or denied(listed)
        answer = self.platform.credentials if valid else str(listed)
        return CheckRow("credentials", "yes" if valid else "unknown", tried, answer, required=True)

    def _clock(self) -> CheckRow:
        listed = self.found.listed
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

    def _bucket(self) -> CheckRow:
        listed, region = self.found.listed, self.found.listed.region
        reached = listed.ok or denied(listed)
        answer = f"in {region}" if region else "reached; the reply has no region"
        owner = self.platform.expected_bucket_owner
        if owner and denied(listed) and denied(self.found.parts):
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

    def _put(self) -> CheckRow:
        found, name, tried = self.found, "s3:PutObject", "UploadPart of an upload that doesn't exist"
        if allowed(found.parts, "NoSuchUpload"):
            return self._permission(name, "yes", tried, _as_expected(found.parts))
        stored = [
            one for one in (found.created, found.created_plain, found.written, found.written_plain) if one and one.ok
        ]
        if stored or allowed(found.put_wrong, *WRONG_SUM):
            return self._permission(
                name, "yes", "the requests of a delivery", _as_expected(stored[0] if stored else found.put_wrong)
            )
        return self._permission(name, "no" if denied(found.parts) else "unknown", tried, str(found.parts))

    def _acl(self) -> CheckRow:
        """Judge by PutObjectAcl and by the requests of a delivery.

        Without the permission to list, S3 may answer AccessDenied for an object that doesn't exist.
        """
        found, name = self.found, "s3:PutObjectAcl"
        tried = "PutObjectAcl of an object that doesn't exist"
        sent = next(filter(None, (found.written, found.created, found.put_wrong)), None)
        absent = found.acl is not None and found.acl.code == "NoSuchKey"  # success would show nothing
        taken = allowed(sent, *WRONG_SUM, "PreconditionFailed")
        refused = denied(sent) and not about_kms(sent) and self._put().verdict == "yes"
        if refused and absent and self.platform.acl not in {None, ACL}:
            fix = f"The bucket may block public ACLs: save the platform without one, or with {ACL}."
            return CheckRow(name, "no", f"the ACL {self.platform.acl}", str(sent), fix, required=True)
        if (denied(found.acl) and found.listed.ok) or refused:
            return self._permission(name, "no", tried, str(found.acl if denied(found.acl) else sent))
        if absent or taken:
            return self._permission(name, "yes", tried, _as_expected(found.acl if absent else sent))
        if _NO_ACLS in {found.acl and found.acl.code, sent and sent.code}:
            return self._disabled(tried)
        answer = f"{found.acl}; the cause may be the missing {LIST}" if denied(found.acl) else str(found.acl)
        return self._permission(name, "unknown", tried, answer)

    def _disabled(self, tried: str) -> CheckRow:
        """Judge a bucket with disabled ACLs, which takes only one canned ACL and needs none."""
        if self.platform.acl in {None, ACL}:
            return self._permission("s3:PutObjectAcl", "not needed", tried, "the bucket has disabled ACLs")
        fix = f"Save the platform without an ACL, or with {ACL}."
        return CheckRow("s3:PutObjectAcl", "no", tried, "the bucket has disabled ACLs", fix, required=True)

    def _kms(self) -> CheckRow:
        found = self.found
        if not self.platform.kms_key:
            return CheckRow("KMS", "not needed", "nothing", "the platform has no KMS key")
        answers = {
            "PutObject": found.written,
            "CreateMultipartUpload": found.created,
            "PutObject, refused": found.put_wrong,
        }
        tried, sent = next(((name, answer) for name, answer in answers.items() if answer), ("nothing", None))
        if about_kms(sent):
            return CheckRow("KMS", "no", tried, str(sent), self._grant(KMS[0]), required=True)
        if sent and sent.ok:
            return CheckRow("KMS", "yes", tried, str(sent), required=True)
        return CheckRow("KMS", "unknown", tried, _PROBE, required=True)

    def _abort(self) -> CheckRow:
        found, tried = self.found, "AbortMultipartUpload of an upload that doesn't exist"
        verdict: Verdict = "no" if denied(found.aborts) else "unknown"
        if allowed(found.aborts, "NoSuchUpload"):
            verdict = "no" if any(one.kind == "upload" for one in found.left) else "yes"
        answer = _as_expected(found.aborts) if verdict == "yes" else str(found.aborts)
        if verdict == "no":
            answer += "; it is optional: without it, uploads of a failed run stay until a lifecycle rule aborts them"
        return self._permission(ABORT, verdict, tried, answer, required=False)

    def _uploads(self) -> CheckRow:
        """Judge by the first Complete or, where its condition was refused, by the one without a condition."""
        found = self.found
        taken = found.completed and found.completed.code == "PreconditionFailed"
        return self._delivered(DELIVERED[1], found.uploaded if taken else found.completed, "Create, Part and Complete")

    def _delivered(self, name: str, answer: Answer | None, tried: str) -> CheckRow:
        """Judge whether the store takes a request of a delivery, which only the request itself shows."""
        ways = self.ways
        if answer and answer.ok:
            return CheckRow(name, "yes", tried, str(answer), required=True)
        if answer and answer.is_refusal and not denied(answer):
            return CheckRow(name, "no", tried, f"{answer}. A delivery fails with: {answer.advice}", required=True)
        if answer:
            return CheckRow(name, "unknown", tried, str(answer), required=True)
        if self.since and (ways.took_object if name == DELIVERED[0] else ways.took_upload):
            return CheckRow(
                name, "yes", self.since, "the store took those of a write probe or a delivery", required=True
            )
        if self.found.on_aws:
            return CheckRow(name, "documented", "nothing", "AWS takes them", required=True)
        return CheckRow(name, "unknown", "nothing", _PROBE, required=True)

    def _kept(self, name: str, answer: Answer | None, tried: str) -> CheckRow:
        """Judge whether the store honours the condition against replacing an object, in one of the two requests."""
        known = self.ways.condition_on_put if name == CONDITIONS[0] else self.ways.condition_on_complete
        text = str(answer) if answer else "shown by a write probe or a delivery"
        tried = tried if answer else self.since or "nothing"
        if known in {"ignored", "refused"} and (answer or self.since):
            fix = "Deliver under unique names (the default under a prefix), and let no other writer use the prefix."
            text = f"{text}; the header is {known}"
            return CheckRow(name, "no", tried, text, fix, unkept=UNKEPT["condition"])
        if known == "kept" and (answer or self.since):
            return CheckRow(name, "yes", tried, text)
        if self.found.on_aws:
            return CheckRow(name, "documented", "nothing", "AWS honours it")
        return CheckRow(name, "unknown", tried, str(answer) if answer else _PROBE)

    def _sums(self) -> CheckRow:
        wrong = next(filter(None, (self.found.wrong_sum, self.found.put_wrong)), None)
        tried = f"a body with a wrong {self.found.wrong}"
        if wrong is not None and wrong.code in WRONG_SUM:
            return CheckRow("checksums", "yes", tried, str(wrong))
        if wrong is not None and wrong.ok:
            fix = "Verify deliveries by size and ETag (receipt.verify()): this store does not compare checksums."
            return CheckRow("checksums", "no", tried, str(wrong), fix, unkept=UNKEPT["sums"])
        if self.found.on_aws:
            return CheckRow("checksums", "documented", "nothing", "AWS honours them")
        return CheckRow("checksums", "unknown", "nothing", _PROBE)

    def _way(self) -> CheckRow:
        """Show which checksum deliveries send, as the store's refusals have decided."""
        name, found = "checksum sent", self.found
        if found.ways and (found.written or self.since):
            sums = found.sums or found.ways.sums
            unkept = UNKEPT["sums"] if sums == "none" else ""
            return CheckRow(
                name,
                "no" if sums == "none" else "yes",
                self.since or "the requests of a delivery",
                _WAYS[sums],
                unkept=unkept,
            )
        if found.on_aws:
            return CheckRow(name, "documented", "nothing", _WAYS["full"])
        return CheckRow(name, "unknown", "nothing", _PROBE)

    def _parts(self) -> CheckRow:
        """Judge whether parts may grow, by an upload with parts of two sizes or by the store's documentation."""
        name, equal, uneven = "part sizes", self.ways.equal_parts, self.found.uneven
        tried = "an upload with parts of two sizes" if uneven else self.since or "nothing"
        if equal:
            fix = "For a file of more than 10,000 parts of 16 MiB, pass a larger default_block_size in storage_options."
            answer = "the store demands parts of one size: a file may have 156 GiB"
            return CheckRow(name, "no", tried, answer, fix)
        if equal is False and tried != "nothing":
            return CheckRow(name, "yes", tried, "parts may grow")
        if self.found.on_aws or equal is False:
            return CheckRow(name, "documented", "nothing", "parts may grow")
        return CheckRow(name, "unknown", tried, str(uneven) if uneven else _PROBE)

    def _etags(self) -> CheckRow:
        """Judge whether an upload's ETag can be computed from its parts, in the reply and in a listing."""
        name, tried, made = "ETags of uploads", "CompleteMultipartUpload of the check's object", self.found.uploaded
        if (made is None or not made.ok) and self.since and self.ways.has_s3_etags is not None:
            lists = self.ways.has_s3_etags and self.ways.lists_what_it_answers is not False
            answer = f"an upload's ETag {'can' if lists else 'cannot'} be computed from its parts"
            return CheckRow(name, "yes" if lists else "no", self.since, answer, unkept="" if lists else UNKEPT["etags"])
        if made is None or not made.ok:
            return CheckRow(
                name, "unknown", "nothing" if made is None else tried, _PROBE if made is None else str(made)
            )
        listed = (
            next((one.get("ETag") for one in self.found.shown.reply.get("Contents", ())), "")
            if self.found.shown
            else ""
        )
        answered, shown = _kind(made.reply.get("ETag")), _kind(listed)
        answer = f"Complete answers {answered}, a listing shows {shown}"
        if (answered, shown) == (_COMPUTED, _COMPUTED):
            return CheckRow(name, "yes", tried, answer)
        fix = "Nothing to do: receipt.verify() states which files were compared without a computed ETag."
        return CheckRow(name, "no", tried, answer, fix, unkept=UNKEPT["etags"])


def _as_expected(answer: Answer | None) -> str:
    """Return an answer that shows a permission as text, so that an intended refusal doesn't read as a failure."""
    if answer is None or answer.ok:
        return str(answer)
    return f"allowed; {answer.status} {answer.code}, as intended"


def _kind(etag: object) -> str:
    """Describe an ETag of the check's object."""
    part = hashlib.md5(BODY, usedforsecurity=False)
    computed = f"{hashlib.md5(part.digest(), usedforsecurity=False).hexdigest()}-1"
    kinds = {"": "none", computed: _COMPUTED, part.hexdigest(): "the MD5 of the whole"}
    return kinds.get(str(etag or "").strip('"'), "a value that only the store can compute")


def report_rows(found: Evidence, platform: Platform, where: Target) -> tuple[CheckRow, ...]:
    """Return a row for each question, in the order in which a person would fix them."""
    return Asked(found, platform, where).rows()
