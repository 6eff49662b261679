"""A bucket as a store: list keys, open uploads, publish and discard objects, and compare them with what was sent."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from isal import isal_zlib

from mc_sink.exceptions import CommitError, UploadError
from mc_sink.secret import Unpicklable
from mc_sink.staged import Multipart, Present, Whole
from mc_sink.storage.s3.client import Requests
from mc_sink.storage.s3.errors import translated
from mc_sink.storage.s3.evidence import (
    MULTIPART,
    FoundObject,
    ObjectListing,
    expected_etag,
    foreseen_etag,
    is_encrypted,
    multipart_etag,
    pages,
)
from mc_sink.storage.s3.failures import RequestFailed, is_list_denied
from mc_sink.storage.s3.multipart import S3Parts, abort_upload, are_unlike, not_aborted
from mc_sink.storage.s3.part_plan import PartPlan
from mc_sink.storage.s3.publish_object import ObjectPublisher
from mc_sink.storage.store import S3_FORM, Holds, Match, Published, StoresNothing, differs, new_md5
from mc_sink.sweep import Sweep
from mc_sink.target import Target, parse_target

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from mc_sink.object_options import ObjectOptions
    from mc_sink.receipt import WrittenFile
    from mc_sink.staged import IfExists, Report, StagedFile


class S3Store(Unpicklable):
    """A bucket that may be written and listed, and nothing else; `endpoint` is empty for AWS' own."""

    at_once = 32
    publishes_at_once = 64

    def __init__(
        self, storage_options: Mapping[str, Any] | None, options: ObjectOptions, requests: Requests | None = None
    ) -> None:
        self._requests = requests or Requests(storage_options)  # which checks the options
        given = storage_options or {}
        cut = {"first_size": given.get("default_block_size"), "in_flight": given.get("max_concurrency")}
        self._plan = PartPlan(**{name: value for name, value in cut.items() if value is not None})
        self.support, self.endpoint = self._requests.support, self._requests.endpoint or ""
        self._listing = ObjectListing(self._requests)
        self._publisher = ObjectPublisher(self._requests, self._listing)
        self._options = options
        self.is_blind = False
        self.report: Report | None = None
        self.stored: Callable[[int], object] = lambda _num_bytes: None

    @property
    def cut(self) -> PartPlan:
        """How uploads are cut, as far as it is known what the store takes."""
        return replace(self._plan, equal=True) if self._requests.equal_parts else self._plan

    def listing(self, stem: Target, *, exact: bool) -> frozenset[str]:
        """List the keys before any work: wrong credentials, bucket or region end the run here.

        A denied listing returns nothing: the conditional request decides then.
        """
        if not exact:
            return frozenset(self.listed(stem))
        try:
            return frozenset([stem.url] if self._listing.find(stem.bucket, stem.path) else [])
        except RequestFailed as failed:
            self._check_denied(failed, stem)
            return frozenset()

    def listed(self, stem: Target) -> Iterator[str]:
        """Yield the URLs of the keys that begin with `stem`, a page at a time; none where the listing is denied."""
        try:
            for key in self._listing.keys(stem.bucket, stem.path):
                yield f"s3://{stem.bucket}/{key}"
        except RequestFailed as failed:
            self._check_denied(failed, stem)

    def _check_denied(self, failed: RequestFailed, stem: Target) -> None:
        """Note that listings are denied; raise for every other failure of one."""
        if not is_list_denied(failed):
            raise translated(failed, stem.url) from failed
        self.is_blind = True

    def open(self, target: Target, content_type: str, *, several: bool, plan: PartPlan | None = None) -> S3Parts:
        """Open one object for writing; sends nothing before the first full part. `plan` replaces how it is cut."""
        options = self._options.request(content_type)
        how: dict[str, Any] = {"keeps_whole": not several, "report": self.report, "stored": self.stored}
        return S3Parts(self._requests, target.bucket, target.path, options, plan or self.cut, **how)

    def compare(self, target: Target) -> PartsComparison:
        """Open a comparison with the object at the target."""
        found = self._find(target)
        if found is None:
            raise UploadError(f"{target.url} was present a moment ago and is gone. Rerun.")
        return PartsComparison(target.url, found, self.cut)

    def publish(self, file: StagedFile, if_exists: IfExists, *, repeatable: bool, was_sent: bool = False) -> Published:
        """Make one staged object visible, or raise; replaces an object only if `if_exists` is "overwrite"."""
        if isinstance(file.upload, Present):
            return Published(file.upload.present_etag, None, from_prior_attempt=True, integrity="etag")
        condition = {"IfNoneMatch": "*"} if if_exists == "fail" else {}
        if isinstance(file.upload, Whole):
            return self._publisher.put(file, file.upload, condition, repeatable=repeatable)
        if not isinstance(file.upload, Multipart):
            raise CommitError(f"{file.path} was not staged for S3.", uncommitted=[file.path])
        if was_sent:
            self._publisher.recall(file.upload)
        published = self._publisher.complete(
            file, file.upload, condition, repeatable=repeatable, encrypted=self._is_encrypted
        )
        if are_unlike(file.upload.parts) and not published.from_prior_attempt:
            self.support.equal_parts = False
        return published

    def interrupt(self) -> None:
        """End the requests that threads wait for; what they were to publish may be visible."""
        self._requests.interrupt()

    def may_show(self, file: StagedFile) -> bool:
        """Return True after a Complete that this store sent, unless it was refused for certain."""
        return isinstance(file.upload, Multipart) and self._publisher.may_show(file.upload.upload_id)

    def discard(self, file: StagedFile, *, look: bool = False) -> str | None:
        """Abort a staged upload, unless it may be an object: some stores then collect the parts of that object."""
        if not isinstance(file.upload, Multipart):
            return None
        if self.may_show(file) or (look and self._may_be_visible(file, file.upload)):
            return not_aborted(file.path, file.upload.upload_id)
        where = {"Bucket": file.upload.bucket, "Key": file.upload.key}
        return abort_upload(self._requests, where, file.upload.upload_id)

    def sweep(
        self, stem: Target, own: Sequence[re.Pattern[str]], known: Collection[str], settled: Collection[str]
    ) -> Sweep:
        """Abort the uploads whose keys begin with `stem` and whose URLs match one of `own`, except `known` ids.

        One that may be the object at its key stays, because some stores list it still and an Abort takes that object's
        parts. At the URLs in `settled`, the object is of a known upload.
        """
        sentences = list[str | None]()
        outcome: Literal["done", "denied", "failed"] = "done"
        marks = {"KeyMarker": "NextKeyMarker", "UploadIdMarker": "NextUploadIdMarker"}
        try:
            listed = pages(self._requests, "list_multipart_uploads", marks, Bucket=stem.bucket, Prefix=stem.path)
            for upload in [upload for page in listed for upload in page.get("Uploads", ())]:
                where, upload_id = Target("s3", stem.bucket, str(upload["Key"])), str(upload["UploadId"])
                if upload_id not in known and any(one.fullmatch(where.url) for one in own):
                    sentences.append(self._abort_lost(where, upload_id, settled))
        except RequestFailed as failed:
            outcome = "denied" if is_list_denied(failed) else "failed"
        return Sweep(outcome, sentences.count(None), tuple(filter(None, sentences)))

    def abort_reported(self, where: Target, upload_id: str, settled: Collection[str]) -> str | None:
        """Abort an upload that a worker has reported; see `sweep`. Returns a sentence if it stays."""
        try:
            return self._abort_lost(where, upload_id, settled)
        except RequestFailed:  # the key can't be listed
            return not_aborted(where.url, upload_id)

    def _abort_lost(self, where: Target, upload_id: str, settled: Collection[str]) -> str | None:
        if where.url not in settled and self._listing.find(where.bucket, where.path):
            return not_aborted(where.url, upload_id)
        return abort_upload(self._requests, {"Bucket": where.bucket, "Key": where.path}, upload_id)

    def _may_be_visible(self, file: StagedFile, upload: Multipart) -> bool:
        """Return True if the object at the key may be this upload, also if the key can't be listed."""
        try:
            found = self._listing.find(upload.bucket, upload.key)
        except RequestFailed:
            return True
        if found is None or found.num_bytes != file.num_bytes:
            return False
        computed = expected_etag(upload)
        return found.etag == computed or not (computed and MULTIPART.fullmatch(found.etag)) or self._is_encrypted

    def standing(self, files: Sequence[StagedFile]) -> dict[str, str] | None:
        """Return size and ETag of the object at each key; None if listings are denied."""
        try:
            found = self._listing.find_all([parse_target(file.path) for file in files])
        except RequestFailed as failed:
            if is_list_denied(failed):
                return None
            raise translated(failed, files[0].path) from failed
        return {url: f"{one.num_bytes} {one.etag}" for url, one in found.items()}

    def holds(self, file: StagedFile) -> Holds:
        """Compare size and ETag; an ETag of KMS, or of another form than S3's, is not evidence."""
        found = self._find(parse_target(file.path))
        if found is None or found.num_bytes != file.num_bytes:
            return "no"
        etag = foreseen_etag(file)
        if found.etag == etag:
            return "yes"
        # A store may give an upload's object an ETag of another form than S3's.
        as_s3 = self.support.has_s3_etags is not False
        comparable = etag is not None and as_s3 and ("-" in found.etag) == ("-" in etag)
        return "no" if comparable else "unknown"

    def match(self, file: WrittenFile) -> Match:
        """Compare a listing with the size and the ETag of a delivered object."""
        found = self._find(parse_target(file.path))
        if found is None:
            return "missing"
        if found != FoundObject(file.num_bytes, file.etag or found.etag):
            return "changed"
        return "same" if file.etag and file.etag_is_computed else "alike"

    def _find(self, target: Target) -> FoundObject | None:
        try:
            return self._listing.find(target.bucket, target.path)
        except RequestFailed as failed:
            raise translated(failed, target.url) from failed

    @property
    def _is_encrypted(self) -> bool:
        return is_encrypted(self._options.request(""))


class PartsComparison(StoresNothing):
    """Compares bytes with the object at a key: by the MD5 of the whole or of its parts, as the object's ETag has it."""

    def __init__(self, url: str, found: FoundObject, plan: PartPlan) -> None:
        self._url, self._found, self._plan = url, found, plan
        self._in_parts = "-" in found.etag
        self._num_bytes = self.crc = 0
        self._digests: list[bytes] = []
        self._part, self._left = new_md5(), plan.size(1)

    def write(self, data: bytes) -> None:
        """Add bytes to the sums."""
        left = memoryview(data)
        self._num_bytes += len(left)
        self.crc = isal_zlib.crc32(left, self.crc)
        while self._in_parts and len(left) >= self._left:
            self._part.update(left[: self._left])
            left = left[self._left :]
            self._digests.append(self._part.digest())
            self._part, self._left = new_md5(), self._plan.size(len(self._digests) + 1)
        self._part.update(left)
        self._left -= len(left)

    def finish(self) -> Present:
        """Return that the object is present, or raise if it differs."""
        if FoundObject(self._num_bytes, self._etag()) == self._found:
            return Present(self._found.etag)
        comparable = bool(S3_FORM.fullmatch(self._found.etag))
        raise differs(self._url, self._found.num_bytes, self._num_bytes, comparable=comparable)

    def _etag(self) -> str:
        """Compute the ETag that these bytes have, sent whole or in parts."""
        if not self._in_parts:
            return self._part.hexdigest()
        last = [self._part.digest()] if self._left < self._plan.size(len(self._digests) + 1) else []
        return multipart_etag([*self._digests, *last])
