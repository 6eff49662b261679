"""Objects in S3: parts on their way in, and the two requests that make one visible.

A lost reply to one of those two is settled by the only evidence that a writer can have, a listing with size and ETag
(of a multipart object: the MD5 of its parts' MD5s, and their number; of a small one: its MD5).
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mc_sink.exceptions import CommitError, UploadError, add_note
from mc_sink.secret import Unpicklable
from mc_sink.staged import Multipart, Present, Whole
from mc_sink.storage.s3 import uploads
from mc_sink.storage.s3.client import CREATE_ONLY, Requests
from mc_sink.storage.s3.errors import translated
from mc_sink.storage.s3.failures import RequestFailed
from mc_sink.storage.s3.judging import judged_reply
from mc_sink.storage.s3.multipart import PartPlan, S3Parts, abort_upload, are_unlike, not_aborted
from mc_sink.storage.s3.outcome import (
    OVERWRITE,
    Expected,
    FoundObject,
    ObjectListing,
    PartsComparison,
    expected_etag,
    foreseen_etag,
    integrity_of,
    unknown,
)
from mc_sink.storage.s3.store_ways import MULTIPART, SentBody, is_encrypted
from mc_sink.storage.s3.sums import SUMS, of_whole
from mc_sink.storage.store import Holds, Match, Published, already_exists, differs
from mc_sink.target import Target, parse_target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mc_sink.object_options import ObjectOptions
    from mc_sink.receipt import WrittenFile
    from mc_sink.staged import IfExists, StagedFile

# Refusals that an earlier try of ours may have caused.
TAKEN, GONE = {"PreconditionFailed", "ConditionalRequestConflict"}, "NoSuchUpload"
UNSETTLED = {*TAKEN, GONE}


class S3Store(Unpicklable):
    """A bucket that may be written and listed, and nothing else; `endpoint` is empty for AWS' own."""

    at_once = 8

    def __init__(
        self, storage_options: Mapping[str, Any] | None, options: ObjectOptions, requests: Requests | None = None
    ) -> None:
        given = storage_options or {}
        cut = {"first_size": given.get("default_block_size"), "in_flight": given.get("max_concurrency")}
        self._plan = PartPlan(**{name: value for name, value in cut.items() if value is not None})
        self._requests = requests or Requests(storage_options)
        self.ways, self.endpoint = self._requests.ways, self._requests.endpoint or ""
        self._listing = ObjectListing(self._requests)
        self._options = options
        self.is_blind = False

    def listing(self, stem: Target, *, exact: bool) -> frozenset[str]:
        """List before any work: wrong credentials, bucket or region end the run here.

        A refused listing gives nothing: it is a courtesy here, and the conditional request decides.
        """
        try:
            keys = [stem.path] if exact and self._listing.find(stem.bucket, stem.path) else []
            keys = keys if exact else self._listing.keys(stem.bucket, stem.path)
        except RequestFailed as failed:
            if failed.status == 403 and failed.code in {"AccessDenied", "403"}:  # noqa: PLR2004  Forbidden
                self.is_blind = True
                return frozenset()
            raise translated(failed, stem.url) from failed
        return frozenset(f"s3://{stem.bucket}/{key}" for key in keys)

    def open(self, target: Target, content_type: str, *, several: bool, plan: PartPlan | None = None) -> S3Parts:
        """Take bytes for one object; sends nothing until there is a full part. A `plan` says how to cut it."""
        options = self._options.request(content_type)
        plan = plan or self.cut
        return S3Parts(self._requests, target.bucket, target.path, options, plan, keeps_whole=not several)

    def compare(self, target: Target) -> PartsComparison:
        """Take bytes to compare with the object that is there."""
        try:
            found = self._listing.find(target.bucket, target.path)
        except RequestFailed as failed:
            raise translated(failed, target.url) from failed
        if found is None:
            raise UploadError(f"{target.url} was there a moment ago and is gone. Rerun.")
        return PartsComparison(target.url, found.num_bytes, found.etag, self.cut)

    def publish(self, file: StagedFile, if_exists: IfExists, *, repeatable: bool) -> Published:
        """Make one staged object visible, or raise; never replaces one unless `if_exists` says so."""
        if isinstance(file.upload, Present):
            return Published(file.upload.present_etag, None, found=True, integrity="etag")
        condition = {"IfNoneMatch": "*"} if if_exists == "fail" else {}
        if isinstance(file.upload, Multipart):
            return self._complete(file, file.upload, condition, repeatable=repeatable)
        if isinstance(file.upload, Whole):
            return self._put(file, file.upload, condition, repeatable=repeatable)
        raise CommitError(f"{file.path} was not staged for S3.", uncommitted=[file.path])

    def may_show(self, file: StagedFile) -> bool:
        """Return True after a Complete, unless it was refused for certain."""
        return isinstance(file.upload, Multipart) and uploads.may_show(file.upload.upload_id)

    def discard(self, file: StagedFile, *, look: bool = False) -> str | None:
        """Abort a staged upload, unless it may be an object: some stores then collect the parts of that object."""
        if not isinstance(file.upload, Multipart):
            return None
        unknown_here = look and not uploads.is_known(file.upload.upload_id)
        if self.may_show(file) or (unknown_here and self._may_be_there(file, file.upload)):
            return not_aborted(file.path, file.upload.upload_id)
        where = {"Bucket": file.upload.bucket, "Key": file.upload.key}
        return abort_upload(self._requests, where, file.upload.upload_id)

    def standing(self, files: Sequence[StagedFile]) -> dict[str, str] | None:
        """Return size and ETag of what is at each key; None where a listing is refused."""
        try:
            found = self._listing.find_all([parse_target(file.path) for file in files])
        except RequestFailed as failed:
            if failed.status == 403 and failed.code in {"AccessDenied", "403"}:  # noqa: PLR2004  Forbidden
                return None
            raise translated(failed, files[0].path) from failed
        return {url: f"{one.num_bytes} {one.etag}" for url, one in found.items()}

    def holds(self, file: StagedFile) -> Holds:
        """Compare size and ETag; an ETag that KMS made, or of another form than S3's, shows nothing."""
        place = parse_target(file.path)
        try:
            found = self._listing.find(place.bucket, place.path)
        except RequestFailed as failed:
            raise translated(failed, file.path) from failed
        if found is None or found.num_bytes != file.num_bytes:
            return "no"
        etag = foreseen_etag(file)
        if found.etag == etag:
            return "yes"
        # A store may give an upload's object an ETag of another form than S3's.
        as_s3 = self._requests.ways.has_s3_etags is not False
        comparable = etag is not None and as_s3 and ("-" in found.etag) == ("-" in etag)
        return "no" if comparable else "unknown"

    def match(self, file: WrittenFile) -> Match:
        """Compare a listing with the size and the ETag of a delivered object."""
        target = parse_target(file.path)
        try:
            found = self._listing.find(target.bucket, target.path)
        except RequestFailed as failed:
            raise translated(failed, file.path) from failed
        if found is None:
            return "missing"
        if found != FoundObject(file.num_bytes, file.etag or found.etag):
            return "changed"
        return "same" if file.etag and file.etag_is_computed else "alike"

    def _may_be_there(self, file: StagedFile, upload: Multipart) -> bool:
        """Look whether the object at the key may be this upload; True where that can't be seen."""
        try:
            found = self._listing.find(upload.bucket, upload.key)
        except RequestFailed:
            return True
        if found is None or found.num_bytes != file.num_bytes:
            return False
        computed = expected_etag(upload)
        return found.etag == computed or not (computed and MULTIPART.fullmatch(found.etag)) or self._is_encrypted

    @property
    def cut(self) -> PartPlan:
        """How uploads are cut, as far as it is known what the store takes."""
        return replace(self._plan, equal=True) if self._requests.equal_parts else self._plan

    @property
    def _is_encrypted(self) -> bool:
        return is_encrypted(self._options.request(""))

    def _complete(
        self, file: StagedFile, upload: Multipart, condition: dict[str, str], *, repeatable: bool
    ) -> Published:
        named = SUMS.get(upload.sums) if all(part.checksum for part in upload.parts) else None
        parts = [
            {"PartNumber": p.number, "ETag": p.etag} | ({named.parameter: p.checksum} if named else {})
            for p in upload.parts
        ]
        is_first = uploads.complete(upload.upload_id, self._place(upload.bucket, upload.key))
        expected = Expected(
            file,
            upload.bucket,
            upload.key,
            expected_etag(upload),
            repeatable,
            self._is_encrypted,
            integrity=integrity_of(upload),
            upload_id=upload.upload_id if is_first else None,
        )
        published = self._commit(
            expected,
            "complete_multipart_upload",
            UploadId=upload.upload_id,
            MultipartUpload={"Parts": parts},
            MpuObjectSize=file.num_bytes,
            **(of_whole(upload.sums, upload.parts, file.checksum.removeprefix("crc32:")) if named else {}),
            **condition,
        )
        if are_unlike(upload.parts) and not published.found:
            self.ways.equal_parts = False
        return published

    def _put(self, file: StagedFile, upload: Whole, condition: dict[str, str], *, repeatable: bool) -> Published:
        etag = hashlib.md5(upload.body, usedforsecurity=False).hexdigest()
        crc = b64encode(bytes.fromhex(file.checksum.removeprefix("crc32:"))).decode()
        # A store may read over the checksum, and a Put that was altered on its way would be visible at once.
        unchecked = self._requests.ways.checks_sums is not True
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

    def _commit(self, expected: Expected, operation: Any, **parameters: Any) -> Published:
        """Send the request that publishes; judge a whole answer, and settle anything else by evidence."""
        try:
            reply = self._requests.call(operation, Bucket=expected.bucket, Key=expected.key, **parameters)
        except RequestFailed as failed:
            taken = failed.code in TAKEN and failed.is_of_the_store  # perhaps by our own request, repeated on its way
            if not failed.uncertain and not taken and failed.code != GONE and expected.upload_id:
                uploads.refuse(expected.upload_id)
            if not (failed.uncertain or failed.code in UNSETTLED):
                raise translated(failed, expected.file.path) from failed
            return self._settled(expected, failed, operation, parameters)
        except BaseException as interruption:
            add_note(interruption, f"{expected.file.path} was just being published and may be visible.")
            raise
        if reply.get("Key", expected.key) != expected.key or not (reply.get("ETag") or reply.get("Key")):
            return self._settled(expected, None, operation, parameters)
        found = judged_reply(expected, reply, self.ways, self._listing)
        published = replace(found, create_only=reply.get(CREATE_ONLY))
        uploads.publish(self._place(expected.bucket, expected.key))
        self.ways.learn_taken(operation)
        return published

    def _settled(
        self, expected: Expected, failed: RequestFailed | None, operation: Any, parameters: Mapping[str, Any]
    ) -> Published:
        """Settle by evidence, and note how a request of this attempt was kept from replacing an object."""
        done = self._settle(expected, failed)
        return done if done.found else replace(done, create_only=self._requests.create_only(operation, parameters))

    def _place(self, bucket: str, key: str) -> uploads.Place:
        return self.endpoint, bucket, key

    def _settle(self, expected: Expected, failed: RequestFailed | None) -> Published:
        """Find out whether the object is visible, after a reply that was lost, cut, no answer, or may mean ourselves.

        A refusal because something is there (412, 409), or because the upload is gone (404), may be of our own making:
        an earlier try of this request whose reply was lost, or an earlier run with the same run id.
        """
        reason = str(failed or "the reply was not an answer to the request")
        certain = failed is not None and not failed.uncertain
        try:
            found = self._listing.find(expected.bucket, expected.key)
        except RequestFailed as blind:
            raise unknown(expected.file, f"{reason}; and the listing failed: {blind}") from blind
        if found == expected.found and (expected.repeatable or not certain or (failed and failed.code == GONE)):
            theirs = certain and failed and failed.code in TAKEN and not failed.is_of_the_store and expected.upload_id
            return Published(
                expected.etag,
                None,
                found=certain,
                made_of="another" if theirs else "unclear",
                integrity=expected.integrity,
            )
        hidden = found is not None and not expected.is_comparable(found.etag, self._requests.ways)
        if expected.may_be(found) and (
            not certain or (failed and failed.code == GONE) or (hidden and expected.repeatable)
        ):
            shown = f"a listing shows {found}, whose ETag may be one of the store's own making"
            raise unknown(expected.file, f"{reason}; {shown}", OVERWRITE if hidden else "")
        if failed and failed.is_unsupported and not expected.may_be(found):
            raise translated(failed, expected.file.path) from failed
        if failed is None or not (certain or (found and failed.code in TAKEN)):
            raise unknown(expected.file, f"{reason}; a listing shows {found or 'no object there'}") from failed
        if found is None or failed.code == GONE:
            raise translated(failed, expected.file.path) from failed
        if expected.upload_id and not (failed.uncertain or hidden or found == expected.found):
            uploads.refuse(expected.upload_id)  # what is there is another object
        if expected.repeatable:
            raise differs(expected.file.path, found.num_bytes, expected.file.num_bytes) from failed
        raise already_exists(expected.file.path) from failed
