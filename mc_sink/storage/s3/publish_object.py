"""Publish one object: send its Complete or Put, judge the reply, and settle by evidence what the reply leaves open.

    complete, put ─► _commit ─► an answer          ─► _judge   compares its ETag and checksum with what was sent
                             ─► a certain refusal  ─► the exception of `errors.py`
                             ─► anything else      ─► _settle  lists the key, and compares size and ETag

An upload whose Complete was sent may be an object, until the Complete is refused for certain or answered. It must
never be aborted. A store may make the object visible and forget the upload later, or, after a crash, never. An Abort
then succeeds, and the store collects the parts of the visible object. No answer tells such a store from another.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from mc_sink.exceptions import CommitError, CommitUnknown, add_note
from mc_sink.receipt import weakest
from mc_sink.secret import Unpicklable
from mc_sink.storage.s3.checksums import PROOFS, SUMS, of_whole
from mc_sink.storage.s3.errors import translated
from mc_sink.storage.s3.evidence import (
    MD5,
    MULTIPART,
    FoundObject,
    SentBody,
    bare,
    expected_etag,
    is_encrypted,
    proof_of,
)
from mc_sink.storage.s3.failures import RequestFailed
from mc_sink.storage.s3.request import CREATE_ONLY, SUMMED
from mc_sink.storage.store import Published, already_exists, differs, new_md5

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mc_sink.receipt import Integrity
    from mc_sink.staged import Multipart, StagedFile, Whole
    from mc_sink.storage.s3.client import Requests
    from mc_sink.storage.s3.evidence import ObjectListing
    from mc_sink.storage.s3.store_support import StoreSupport

# Refusals that an earlier attempt of our own may have caused: the key is taken, or the upload is gone.
_TAKEN, _GONE = {"PreconditionFailed", "ConditionalRequestConflict"}, "NoSuchUpload"
# The advice for an object that no listing can identify.
_OVERWRITE = (
    'Where only this run writes this key, rerun with if_exists="overwrite": that replaces the object, and settles it. '
    "Elsewhere, use a new run_id."
)


@dataclass(frozen=True, slots=True, eq=False)
class Expected:
    """The object that publishing is to make at a key.

    - `etag`: computed from the bytes that were sent; empty where that is known to be impossible.
    - `is_encrypted`: a KMS key was asked for, so the store will make another ETag.
    - `body`: that of a Put. `integrity`: how the parts of an upload were proven.
    - `upload_id`: an upload whose first Complete this is.
    """

    file: StagedFile
    bucket: str
    key: str
    etag: str
    repeatable: bool
    is_encrypted: bool
    body: SentBody | None = None
    integrity: Integrity = "etag"
    upload_id: str | None = None

    @property
    def listed(self) -> FoundObject:
        """What a listing will show of it."""
        return FoundObject(self.file.num_bytes, self.etag)

    def may_be(self, found: FoundObject | None) -> bool:
        """Return True if this may be the object that was found, with an ETag that the store made in its own way."""
        return found is not None and found.num_bytes == self.file.num_bytes

    def is_opaque(self, support: StoreSupport) -> bool:
        """Return True if the ETag is known not to be one that can be computed."""
        if self.is_encrypted or not self.etag or support.has_md5_etags is False:
            return True
        return self.body is None and support.has_s3_etags is False

    def is_comparable(self, etag: str, support: StoreSupport) -> bool:
        """Return True if an ETag has the form of the computed one, so that another one means other bytes."""
        return not self.is_opaque(support) and bool((MD5 if self.body else MULTIPART).fullmatch(etag))

    def is_contradicted(self, etag: str, support: StoreSupport, *, summed: bool) -> bool:
        """Return True if another ETag than the computed one means other bytes, and not another way to make ETags.

        `summed`: the store has echoed the checksum of the whole object together with this ETag.
        """
        if self.is_opaque(support):
            return False
        if support.has_md5_etags if self.body else support.has_s3_etags:
            return True
        return not summed and self.is_comparable(etag, support)

    def proof(self, reply: Mapping[str, Any], support: StoreSupport) -> tuple[Integrity | None, bool]:
        """Return how a reply proves the object, None if it is another, and whether the store has summed all of it."""
        sent: Mapping[str, str] = reply.get(SUMMED, {})
        if self.body:
            proof = proof_of(self.body, reply, support)
            return proof, any(name in reply for name in sent) and proof is not None
        for name, value in sent.items():
            echoed = str(reply.get(name) or "")
            if echoed and "-" not in echoed:  # a dash: the checksum of the parts' checksums
                return (PROOFS[name], True) if echoed == value else (None, False)
        return self.integrity, False

    def is_shown(self, answered: str, proof: Integrity | None, support: StoreSupport, *, summed: bool) -> bool:
        """Return True if an answer with this ETag and proof shows as much as a listing would.

        An ETag that can't be computed could be anything's: only with the checksum is the answer one about this object.
        """
        lists_it = support.lists_what_it_answers is True
        is_opaque = self.is_opaque(support) and summed and lists_it
        is_it = self.body is not None or lists_it if answered == self.etag else is_opaque
        return proof is not None and is_it

    def learn(self, support: StoreSupport, *, computed: bool) -> None:
        """Note whether the store's ETag was the computed one."""
        if self.body:
            support.has_md5_etags = computed
        else:
            support.has_s3_etags = computed


class ObjectPublisher(Unpicklable):
    """Publishes the objects of one store, and knows which of its uploads may be objects by now."""

    def __init__(self, requests: Requests, listing: ObjectListing) -> None:
        self._requests, self._listing, self._support = requests, listing, requests.support
        # By upload id: the bucket and key of a Complete that was neither refused for certain nor answered.
        self._completing: dict[str, tuple[str, str]] = {}

    def may_show(self, upload_id: str) -> bool:
        """Return True if a Complete of this upload was sent here, and neither refused for certain nor answered."""
        return upload_id in self._completing

    def recall(self, upload: Multipart) -> None:
        """Note that an earlier attempt has sent a Complete of an upload, and had no answer."""
        self._completing[upload.upload_id] = upload.bucket, upload.key

    def complete(
        self, file: StagedFile, upload: Multipart, condition: dict[str, str], *, repeatable: bool, encrypted: bool
    ) -> Published:
        """Publish an upload; `encrypted` under a KMS key, its ETag can't be computed."""
        named = SUMS.get(upload.sums) if all(part.checksum for part in upload.parts) else None
        parts = [
            {"PartNumber": p.number, "ETag": p.etag} | ({named.parameter: p.checksum} if named else {})
            for p in upload.parts
        ]
        is_first = upload.upload_id not in self._completing
        self._completing[upload.upload_id] = upload.bucket, upload.key
        expected = Expected(
            file,
            upload.bucket,
            upload.key,
            expected_etag(upload),
            repeatable,
            encrypted,
            integrity=weakest(part.integrity for part in upload.parts),
            upload_id=upload.upload_id if is_first else None,
        )
        return self._commit(
            expected,
            "complete_multipart_upload",
            UploadId=upload.upload_id,
            MultipartUpload={"Parts": parts},
            MpuObjectSize=file.num_bytes,
            **(of_whole(upload.sums, upload.parts, file.checksum.removeprefix("crc32:")) if named else {}),
            **condition,
        )

    def put(self, file: StagedFile, upload: Whole, condition: dict[str, str], *, repeatable: bool) -> Published:
        """Publish a small object with one request."""
        etag = new_md5(upload.body).hexdigest()
        crc = b64encode(bytes.fromhex(file.checksum.removeprefix("crc32:"))).decode()
        # A store may ignore the checksum, and a Put that was altered on its way would be visible at once.
        unchecked = self._support.checks_sums is not True
        encrypted = is_encrypted(upload.options)
        body = SentBody(lambda: etag, encrypted)
        return self._commit(
            Expected(file, upload.bucket, upload.key, etag, repeatable, encrypted, body),
            "put_object",
            Body=upload.body,
            **upload.options,
            **({"ChecksumCRC32": crc} if self._requests.sums_parts else {}),
            **({"ContentMD5": b64encode(bytes.fromhex(etag)).decode()} if unchecked else {}),
            **condition,
        )

    def _commit(
        self, expected: Expected, operation: Literal["complete_multipart_upload", "put_object"], **parameters: Any
    ) -> Published:
        """Send the request that publishes; judge an answer, and settle anything else by evidence."""
        failed = None
        try:
            reply = self._requests.call(operation, Bucket=expected.bucket, Key=expected.key, **parameters)
        except RequestFailed as failure:
            failed = failure
            if self._is_final(expected, failed):
                raise translated(failed, expected.file.path) from failed
        except BaseException as interruption:
            add_note(interruption, f"{expected.file.path} was just being published and may be visible.")
            raise
        else:
            if reply.get("Key", expected.key) == expected.key and (reply.get("ETag") or reply.get("Key")):
                published = self._judge(expected, reply)
                if published.create_only == "condition":
                    self._note_published(expected.bucket, expected.key)
                elif expected.upload_id:
                    self._completing.pop(expected.upload_id, None)
                self._support.learn_taken(operation)
                return published
        settled = self._settle(expected, failed)
        if settled.from_prior_attempt:
            return settled
        return replace(settled, create_only=self._requests.create_only(operation, parameters))

    def _is_final(self, expected: Expected, failed: RequestFailed) -> bool:
        """Return True if a refusal ends the request, and note that no object was made of its upload.

        A refusal because the key is taken (412, 409) or the upload gone (404) may be of our own making: an earlier
        attempt of this request whose reply was lost, or an earlier run with the same run id.
        """
        taken = failed.code in _TAKEN and failed.is_of_the_store
        if not failed.uncertain and not taken and failed.code != _GONE:
            self._note_refused(expected)
        return not failed.uncertain and failed.code not in _TAKEN and failed.code != _GONE

    def _note_refused(self, expected: Expected) -> None:
        """Note that the only Complete of an upload was refused for certain."""
        if expected.upload_id:
            self._completing.pop(expected.upload_id, None)

    def _note_published(self, bucket: str, key: str) -> None:
        """Note that the store has answered under its condition: it is known what is at this key, for good."""
        for upload_id in [one for one, place in self._completing.copy().items() if place == (bucket, key)]:
            self._completing.pop(upload_id, None)

    # --- An answer

    def _judge(self, expected: Expected, reply: Mapping[str, Any]) -> Published:
        """Compare an answer with what was sent; where it contains something else, or may, a listing decides."""
        support, answered, version = self._support, bare(reply.get("ETag")), reply.get("VersionId")
        proof, summed = expected.proof(reply, support)
        listed, found, is_seen = answered, None, False
        if not (answered and expected.is_shown(answered, proof, support, summed=summed)):
            found, is_seen = self._glance(expected)
            listed = found.etag if found else answered
            if found and answered and not expected.body:
                support.lists_what_it_answers = listed == answered
        if found and found.num_bytes != expected.file.num_bytes:
            raise _altered_object(expected, found)
        if not listed or (is_seen and not found and listed != expected.etag):
            etag = "an ETag that is not the computed one" if listed else "no ETag"
            raise _unknown(expected.file, f"the store answered with {etag}, and a listing does not show the object")
        published = Published(listed, version, create_only=reply.get(CREATE_ONLY), integrity=proof or "etag")
        if listed == expected.etag:
            expected.learn(support, computed=True)
            return published
        if proof is None or expected.is_contradicted(listed, support, summed=summed and listed == answered):
            raise _altered_object(expected, found or FoundObject(expected.file.num_bytes, listed))
        expected.learn(support, computed=False)
        return replace(published, etag_is_computed=False)

    def _glance(self, expected: Expected) -> tuple[FoundObject | None, bool]:
        """Return the object at the key, and whether the key could be listed."""
        try:
            return self._listing.find(expected.bucket, expected.key), True
        except RequestFailed:
            return None, False

    # --- Anything else

    def _settle(self, expected: Expected, failed: RequestFailed | None) -> Published:
        """Decide by a listing whether the object is visible, or raise.

        `failed` is None after an answer to another request. A reply may be lost, truncated or invalid, or a refusal
        that our own earlier attempt may have caused.
        """
        file, reason = expected.file, str(failed or "the reply was not an answer to the request")
        certain = failed is not None and not failed.uncertain
        gone = failed is not None and failed.code == _GONE
        try:
            found = self._listing.find(expected.bucket, expected.key)
        except RequestFailed as blind:
            raise _unknown(file, f"{reason}; and the listing failed: {blind}") from blind
        if found == expected.listed and (expected.repeatable or not certain or gone):
            # The listing right before the request showed an object there, so it was never sent.
            unsent = failed and certain and failed.code in _TAKEN and not failed.is_of_the_store and expected.upload_id
            return Published(
                expected.etag,
                None,
                from_prior_attempt=certain,
                made_of="another" if unsent else "unclear",
                integrity=expected.integrity,
            )
        hidden = found is not None and not expected.is_comparable(found.etag, self._support)
        if expected.may_be(found) and (not certain or gone or (hidden and expected.repeatable)):
            shown = f"a listing shows {found}, which may be one of the store's own making"
            raise _unknown(file, f"{reason}; {shown}", _OVERWRITE if hidden else "")
        if failed and failed.is_unsupported and not expected.may_be(found):
            raise translated(failed, file.path) from failed
        may_lag = gone and found is None and not expected.upload_id
        if failed is None or may_lag or not (certain or (found and failed.code in _TAKEN)):
            raise _unknown(file, f"{reason}; a listing shows {found or 'no object there'}") from failed
        if found is None or gone:
            raise translated(failed, file.path) from failed
        if not (failed.uncertain or hidden or found == expected.listed):
            self._note_refused(expected)  # another object is at the key
        if expected.repeatable:
            raise differs(file.path, found.num_bytes, file.num_bytes) from failed
        raise already_exists(file.path) from failed


def _altered_object(expected: Expected, found: FoundObject) -> CommitError:
    """Return the error for an object that became visible and isn't what was sent."""
    wrong = (
        f"it has {found.num_bytes:,} bytes, and {expected.file.num_bytes:,} were sent"
        if found.num_bytes != expected.file.num_bytes
        else f"its ETag is {found.etag}, and that of the bytes sent is {expected.etag}"
    )
    path = expected.file.path
    return CommitError(
        f"The object at {path} became visible and is not what was sent: {wrong}. It was altered on its way or in the "
        "store. Have the bucket's owner delete it, look for a proxy that changes bodies, and rerun with a new run_id.",
        committed=[path],
    )


def _unknown(file: StagedFile, reason: str, advice: str = "") -> CommitUnknown:
    """Return the error for an object that may or may not be visible."""
    return CommitUnknown(
        f"The object at {file.path} may or may not be visible: {reason}. Look for it ({file.num_bytes:,} bytes, "
        f"{file.checksum}).{advice and ' '}{advice}",
        uncommitted=[file.path],
    )
