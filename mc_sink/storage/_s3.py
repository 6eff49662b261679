"""Objects in S3: parts on their way in, and the two requests that make one visible.

A lost reply to one of those two is settled by the only evidence that a writer can have, a listing with size and ETag
(of a multipart object: the MD5 of its parts' MD5s, and their number; of a small one: its MD5).
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mc_sink._printable import logger
from mc_sink.exceptions import NOTHING_VISIBLE, CommitError, CommitUnknown, SinkError, UploadError, add_note
from mc_sink.secret import Unpicklable
from mc_sink.staged import Multipart, Present, Whole
from mc_sink.storage._compare import PartsComparison, differs, multipart_etag
from mc_sink.storage._parts import PartPlan, S3Parts, abort_upload
from mc_sink.storage._requests import CREATE_ONLY, RequestFailed, Requests
from mc_sink.storage._s3_errors import translated
from mc_sink.storage._store import Holds, Match, Published, already_exists
from mc_sink.target import Target, parse_target

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mc_sink.object_options import ObjectOptions
    from mc_sink.receipt import WrittenFile
    from mc_sink.staged import IfExists, StagedFile

_log = logger(__name__)
# Up to so many keys are looked for one by one; more by one listing of what they have in common.
_EACH_BY_ITSELF = 8
_MD5 = re.compile(r"^[0-9a-f]{32}$")
# Refusals that an earlier try of ours may have caused.
TAKEN, GONE = {"PreconditionFailed", "ConditionalRequestConflict"}, "NoSuchUpload"
UNSETTLED = {*TAKEN, GONE}


@dataclass(frozen=True, slots=True)
class Found:
    """What a listing says of one key."""

    num_bytes: int
    etag: str


@dataclass(frozen=True, slots=True, eq=False)
class Expected:
    """What is to be at a key when it has been published.

    Its ETag can't be foreseen where KMS makes it; `is_opaque` says that this is known to be so.
    """

    file: StagedFile
    bucket: str
    key: str
    etag: str
    repeatable: bool
    is_opaque: bool

    @property
    def found(self) -> Found:
        """What a listing will say of it."""
        return Found(self.file.num_bytes, self.etag)

    @property
    def is_opaque_again(self) -> bool:
        """Whether an earlier try may have published it, and nothing could show that."""
        return self.is_opaque and self.repeatable

    def may_be(self, found: Found | None) -> bool:
        """Whether this may be what was found, under an ETag that KMS made."""
        return found is not None and found.num_bytes == self.file.num_bytes


class S3Store(Unpicklable):
    """A bucket that may be written and listed, and nothing else."""

    at_once = 8

    def __init__(self, storage_options: Mapping[str, Any] | None, options: ObjectOptions) -> None:
        given = storage_options or {}
        cut = {"first_size": given.get("default_block_size"), "in_flight": given.get("max_concurrency")}
        self._plan = PartPlan(**{name: value for name, value in cut.items() if value is not None})
        self._requests = Requests(storage_options)
        self._options = options
        self.is_blind = False

    def listing(self, stem: Target, *, exact: bool) -> frozenset[str]:
        """List before any work: wrong credentials, bucket or region end the run here.

        A refused listing gives nothing: it is a courtesy here, and the conditional request decides.
        """
        try:
            keys = [stem.path] if exact and self._find(stem.bucket, stem.path) else []
            keys = keys if exact else self._keys(stem.bucket, stem.path)
        except RequestFailed as failed:
            if failed.status == 403 and failed.code in {"AccessDenied", "403"}:  # noqa: PLR2004  Forbidden
                self.is_blind = True
                return frozenset()
            raise translated(failed, stem.url) from failed
        return frozenset(f"s3://{stem.bucket}/{key}" for key in keys)

    def open(self, target: Target, content_type: str, *, several: bool) -> S3Parts:
        """Take bytes for one object; sends nothing until there is a full part."""
        options = self._options.request(content_type)
        return S3Parts(self._requests, target.bucket, target.path, options, self._plan, keeps_whole=not several)

    def compare(self, target: Target) -> PartsComparison:
        """Take bytes to compare with the object that is there."""
        try:
            found = self._find(target.bucket, target.path)
        except RequestFailed as failed:
            raise translated(failed, target.url) from failed
        if found is None:
            raise UploadError(f"{target.url} was there a moment ago and is gone. {NOTHING_VISIBLE} Rerun.")
        return PartsComparison(target.url, found.num_bytes, found.etag, self._plan)

    def publish(self, file: StagedFile, if_exists: IfExists, *, repeatable: bool) -> Published:
        """Make one staged object visible, or raise; never replaces one unless `if_exists` says so."""
        if isinstance(file.upload, Present):
            return Published(file.upload.present_etag, None, found=True)
        condition = {"IfNoneMatch": "*"} if if_exists == "fail" else {}
        if isinstance(file.upload, Multipart):
            return self._complete(file, file.upload, condition, repeatable=repeatable)
        if isinstance(file.upload, Whole):
            return self._put(file, file.upload, condition, repeatable=repeatable)
        raise CommitError(f"{file.path} was not staged for S3. {NOTHING_VISIBLE}", uncommitted=[file.path])

    def discard(self, file: StagedFile) -> str | None:
        """Throw a staged object away; a sentence on what is left behind, if anything is."""
        if not isinstance(file.upload, Multipart):
            return None
        where = {"Bucket": file.upload.bucket, "Key": file.upload.key}
        return abort_upload(self._requests, where, file.upload.upload_id)

    def standing(self, files: Sequence[StagedFile]) -> dict[str, str] | None:
        """Return size and ETag of what is at each key; None where a listing is refused."""
        try:
            found = self._find_all([parse_target(file.path) for file in files])
        except RequestFailed as failed:
            if failed.status == 403 and failed.code in {"AccessDenied", "403"}:  # noqa: PLR2004  Forbidden
                return None
            raise translated(failed, files[0].path) from failed
        return {url: f"{one.num_bytes} {one.etag}" for url, one in found.items()}

    def holds(self, file: StagedFile) -> Holds:
        """Compare size and ETag; an ETag that KMS made, or of another form than S3's, shows nothing."""
        place = parse_target(file.path)
        try:
            found = self._find(place.bucket, place.path)
        except RequestFailed as failed:
            raise translated(failed, file.path) from failed
        if found is None or found.num_bytes != file.num_bytes:
            return "no"
        etag = _foreseen_etag(file)
        if found.etag == etag:
            return "yes"
        # A store may give an upload's object an ETag of another form than S3's.
        comparable = etag is not None and ("-" in found.etag) == ("-" in etag)
        return "no" if comparable else "unknown"

    def match(self, file: WrittenFile) -> Match:
        """Say whether a delivered object is still there, with its size and, where that is known, its ETag."""
        target = parse_target(file.path)
        try:
            found = self._find(target.bucket, target.path)
        except RequestFailed as failed:
            raise translated(failed, file.path) from failed
        if found is None:
            return "missing"
        return "same" if found == Found(file.num_bytes, file.etag or found.etag) else "changed"

    def _complete(
        self, file: StagedFile, upload: Multipart, condition: dict[str, str], *, repeatable: bool
    ) -> Published:
        parts = [{"PartNumber": p.number, "ETag": p.etag} for p in upload.parts]
        etag = _multipart_etag(upload)
        expected = Expected(file, upload.bucket, upload.key, etag, repeatable, is_opaque=not etag)
        return self._commit(
            expected,
            "complete_multipart_upload",
            UploadId=upload.upload_id,
            MultipartUpload={"Parts": parts},
            MpuObjectSize=file.num_bytes,
            **(self._sum(file) | {"ChecksumType": "FULL_OBJECT"} if self._requests.sums_parts else {}),
            **condition,
        )

    def _put(self, file: StagedFile, upload: Whole, condition: dict[str, str], *, repeatable: bool) -> Published:
        etag = hashlib.md5(upload.body, usedforsecurity=False).hexdigest()
        is_opaque = str(upload.options.get("ServerSideEncryption", "")).startswith("aws:kms")
        return self._commit(
            Expected(file, upload.bucket, upload.key, etag, repeatable, is_opaque),
            "put_object",
            Body=upload.body,
            **upload.options,
            **(self._sum(file) if self._requests.sums_parts else {}),
            **condition,
        )

    def _sum(self, file: StagedFile) -> dict[str, str]:
        return {"ChecksumCRC32": b64encode(bytes.fromhex(file.checksum.removeprefix("crc32:"))).decode()}

    def _commit(self, expected: Expected, operation: Any, **parameters: Any) -> Published:
        """Send the request that publishes; believe a whole answer, and settle anything else by evidence."""
        try:
            reply = self._requests.call(operation, Bucket=expected.bucket, Key=expected.key, **parameters)
        except RequestFailed as failed:
            if not (failed.uncertain or failed.code in UNSETTLED):
                raise translated(failed, expected.file.path) from failed
            return self._settled(expected, failed, operation, parameters)
        except BaseException as interruption:
            add_note(interruption, f"{expected.file.path} was just being published and may be visible.")
            raise
        etag = str(reply.get("ETag") or "").strip('"')
        if not etag or reply.get("Key", expected.key) != expected.key:
            return self._settled(expected, None, operation, parameters)
        return Published(etag, reply.get("VersionId"), create_only=reply.get(CREATE_ONLY))

    def _settled(
        self, expected: Expected, failed: RequestFailed | None, operation: Any, parameters: Mapping[str, Any]
    ) -> Published:
        """Settle by evidence, and note how a request of this attempt was kept from replacing an object."""
        done = self._settle(expected, failed)
        return done if done.found else replace(done, create_only=self._requests.create_only(operation, parameters))

    def _settle(self, expected: Expected, failed: RequestFailed | None) -> Published:
        """Find out whether the object is visible, after a reply that was lost, cut, no answer, or may mean ourselves.

        A refusal because something is there (412, 409), or because the upload is gone (404), may be of our own making:
        an earlier try of this request whose reply was lost, or an earlier run with the same run id.
        """
        reason = str(failed or "the reply was not an answer to the request")
        certain = failed is not None and not failed.uncertain
        try:
            found = self._find(expected.bucket, expected.key)
        except RequestFailed as blind:
            raise _unknown(expected.file, f"{reason}; and the listing failed: {blind}") from blind
        if found == expected.found and (expected.repeatable or not certain or (failed and failed.code == GONE)):
            self._drop(expected.file, failed)
            return Published(expected.etag, None, found=certain)
        if expected.may_be(found) and (not certain or (failed and failed.code == GONE) or expected.is_opaque_again):
            raise _unknown(expected.file, f"{reason}; a listing shows {found}, whose ETag may be of KMS' making")
        if failed and failed.is_unsupported and not expected.may_be(found):
            raise translated(failed, expected.file.path) from failed
        if failed is None or not (certain or (found and failed.code in TAKEN)):
            raise _unknown(expected.file, f"{reason}; a listing shows {found or 'no object there'}") from failed
        if found is None or failed.code == GONE:
            raise translated(failed, expected.file.path) from failed
        if expected.repeatable:
            raise differs(expected.file.path, found.num_bytes, expected.file.num_bytes) from failed
        raise already_exists(expected.file.path) from failed

    def _drop(self, file: StagedFile, failed: RequestFailed | None) -> None:
        """Throw away what was stored for an object that another try of this run may have published before this one.

        Where it was this one after all, the upload is gone, and nothing is there to throw away.
        """
        if not (failed and failed.code == GONE) and (left := self.discard(file)):
            _log.warning("%s is published. %s", file.path, left)

    def _keys(self, bucket: str, stem: str) -> list[str]:
        """List the keys that begin with `stem`, page by page."""
        return [key for key, _ in self._entries(bucket, stem)]

    def _entries(self, bucket: str, stem: str) -> Iterator[tuple[str, Found]]:
        page: dict[str, Any] = {"IsTruncated": True}
        while page.get("IsTruncated"):
            token = {"ContinuationToken": page["NextContinuationToken"]} if "NextContinuationToken" in page else {}
            page = self._requests.call("list_objects_v2", Bucket=bucket, Prefix=stem, **token)
            for entry in page.get("Contents", ()):
                yield str(entry["Key"]), _found(entry)

    def _find_all(self, places: Sequence[Target]) -> dict[str, Found]:
        """Find what is at several keys: each by itself, or all by the listing of what their keys begin with."""
        if len(places) <= _EACH_BY_ITSELF:
            seen = {place.url: self._find(place.bucket, place.path) for place in places}
            return {url: one for url, one in seen.items() if one}
        urls, bucket = {place.url for place in places}, places[0].bucket
        listed = self._entries(bucket, _common_start([place.path for place in places]))
        return {url: one for key, one in listed if (url := f"s3://{bucket}/{key}") in urls}

    def _find(self, bucket: str, key: str) -> Found | None:
        reply = self._requests.call("list_objects_v2", Bucket=bucket, Prefix=key, MaxKeys=1)
        for entry in reply.get("Contents", ()):
            if entry["Key"] == key:
                return _found(entry)
        return None


def _common_start(keys: Sequence[str]) -> str:
    """Return what all keys begin with."""
    first, last = min(keys), max(keys)
    return first[: next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))]


def _found(entry: Mapping[str, Any]) -> Found:
    return Found(int(entry["Size"]), str(entry["ETag"]).strip('"'))


def _foreseen_etag(file: StagedFile) -> str | None:
    """Return the ETag that a file has when it is published; None where KMS makes it."""
    match file.upload:
        case Present(present_etag):
            return present_etag
        case Multipart():
            return _multipart_etag(file.upload) or None
        case Whole(body=body, options=options):
            by_kms = str(options.get("ServerSideEncryption", "")).startswith("aws:kms")
            return None if by_kms else hashlib.md5(body, usedforsecurity=False).hexdigest()
    return None


def _multipart_etag(upload: Multipart) -> str:
    """Compute the ETag that the object will have; empty where the parts' ETags are no MD5s, as under KMS."""
    digests = [part.etag.strip('"') for part in upload.parts]
    if not all(_MD5.match(digest) for digest in digests):
        return ""
    return multipart_etag([bytes.fromhex(digest) for digest in digests])


def _unknown(file: StagedFile, reason: str) -> SinkError:
    return CommitUnknown(
        f"1 object may or may not be visible at {file.path}: {reason}. Look for it ({file.num_bytes:,} bytes, "
        f"{file.checksum}).",
        uncommitted=[file.path],
    )
