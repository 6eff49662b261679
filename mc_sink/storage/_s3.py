"""Objects in S3: parts on their way in, and the two requests that make one visible.

A lost reply to one of those two is settled by the only evidence that a writer can have, a listing with size and ETag
(of a multipart object: the MD5 of its parts' MD5s, and their number; of a small one: its MD5).
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mc_sink.exceptions import CommitError, CommitUnknown, SinkError
from mc_sink.staged import Multipart, Whole
from mc_sink.storage._parts import PartPlan, S3Parts, abort_upload
from mc_sink.storage._requests import RequestFailed, Requests
from mc_sink.storage._s3_errors import translated
from mc_sink.storage._store import Match, Published, already_exists

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mc_sink.receipt import WrittenFile
    from mc_sink.staged import IfExists, StagedFile
    from mc_sink.storage._options import ObjectOptions
    from mc_sink.target import Target

_MD5 = re.compile(r"^[0-9a-f]{32}$")


@dataclass(frozen=True, slots=True)
class Found:
    """What a listing says of one key."""

    num_bytes: int
    etag: str


class S3Store:
    """A bucket that may be written and listed, and nothing else."""

    def __init__(self, storage_options: Mapping[str, Any] | None, options: ObjectOptions) -> None:
        given = storage_options or {}
        cut = {"first_size": given.get("default_block_size"), "in_flight": given.get("max_concurrency")}
        self._plan = PartPlan(**{name: value for name, value in cut.items() if value is not None})
        self._requests = Requests(storage_options)
        self._options = options

    def check(self, target: Target, if_exists: IfExists) -> None:
        """List the key before any work: wrong credentials, bucket, region or a taken key end the run here."""
        try:
            found = self._find(target.bucket, target.path)
        except RequestFailed as failed:
            if failed.status == 403 and failed.code in {"AccessDenied", "403"}:  # noqa: PLR2004  Forbidden
                return  # a listing is a courtesy here; the conditional request decides
            raise translated(failed, target.url) from failed
        if found and if_exists == "fail":
            raise already_exists(target.url)

    def open(self, target: Target, content_type: str) -> S3Parts:
        """Take bytes for one object; sends nothing until there is a full part."""
        options = self._options.request(content_type)
        return S3Parts(self._requests, target.bucket, target.path, options, self._plan)

    def publish(self, file: StagedFile, if_exists: IfExists) -> Published:
        """Make one staged object visible, or raise; never replaces one unless `if_exists` says so."""
        condition = {"IfNoneMatch": "*"} if if_exists == "fail" else {}
        if isinstance(file.upload, Multipart):
            return self._complete(file, file.upload, condition)
        if isinstance(file.upload, Whole):
            return self._put(file, file.upload, condition)
        raise CommitError(f"{file.path} was not staged for S3. Nothing became visible.", uncommitted=[file.path])

    def discard(self, file: StagedFile) -> str | None:
        """Throw a staged object away; a sentence on what is left behind, if anything is."""
        if not isinstance(file.upload, Multipart):
            return None
        where = {"Bucket": file.upload.bucket, "Key": file.upload.key}
        return abort_upload(self._requests, where, file.upload.upload_id)

    def match(self, file: WrittenFile) -> Match:
        """Say whether a delivered object is still there, with its size and ETag."""
        bucket, _, key = file.path.removeprefix("s3://").partition("/")
        try:
            found = self._find(bucket, key)
        except RequestFailed as failed:
            raise translated(failed, file.path) from failed
        if found is None:
            return "missing"
        return "same" if found == Found(file.num_bytes, file.etag or "") else "changed"

    def _complete(self, file: StagedFile, upload: Multipart, condition: dict[str, str]) -> Published:
        parts = [{"PartNumber": p.number, "ETag": p.etag} for p in upload.parts]
        return self._commit(
            file,
            Found(file.num_bytes, _multipart_etag(upload)),
            "complete_multipart_upload",
            Bucket=upload.bucket,
            Key=upload.key,
            UploadId=upload.upload_id,
            MultipartUpload={"Parts": parts},
            MpuObjectSize=file.num_bytes,
            **(self._sum(file) | {"ChecksumType": "FULL_OBJECT"} if self._requests.sums_parts else {}),
            **condition,
        )

    def _put(self, file: StagedFile, upload: Whole, condition: dict[str, str]) -> Published:
        return self._commit(
            file,
            Found(file.num_bytes, hashlib.md5(upload.body, usedforsecurity=False).hexdigest()),
            "put_object",
            Bucket=upload.bucket,
            Key=upload.key,
            Body=upload.body,
            **upload.options,
            **(self._sum(file) if self._requests.sums_parts else {}),
            **condition,
        )

    def _sum(self, file: StagedFile) -> dict[str, str]:
        return {"ChecksumCRC32": b64encode(bytes.fromhex(file.checksum.removeprefix("crc32:"))).decode()}

    def _commit(self, file: StagedFile, expected: Found, operation: Any, **parameters: Any) -> Published:
        """Send the request that publishes; believe a whole answer, and settle anything else by evidence."""
        where = (str(parameters["Bucket"]), str(parameters["Key"]))
        try:
            reply = self._requests.call(operation, **parameters)
        except RequestFailed as failed:
            if not failed.uncertain:
                raise translated(failed, file.path) from failed
            return self._settle(file, where, expected, failed)
        except BaseException as interruption:
            interruption.add_note(f"mc_sink: {file.path} was just being published and may be visible: look for it.")
            raise
        etag = str(reply.get("ETag") or "").strip('"')
        if not etag or reply.get("Key", where[1]) != where[1]:
            return self._settle(file, where, expected, None)
        return Published(etag, reply.get("VersionId"))

    def _settle(
        self, file: StagedFile, where: tuple[str, str], expected: Found, failed: RequestFailed | None
    ) -> Published:
        """Find out whether the object is visible after a reply that was lost, cut or no answer to the request."""
        reason = str(failed or "the reply was not an answer to the request")
        try:
            found = self._find(*where)
        except RequestFailed as blind:
            raise _unknown(file, f"{reason}; and the listing failed: {blind}") from blind
        if found == expected:
            return Published(found.etag, None)
        if found is not None and failed is not None and failed.code == "PreconditionFailed":
            raise already_exists(file.path) from failed
        raise _unknown(file, f"{reason}; a listing shows {found or 'no object there'}") from failed

    def _find(self, bucket: str, key: str) -> Found | None:
        reply = self._requests.call("list_objects_v2", Bucket=bucket, Prefix=key, MaxKeys=1)
        for entry in reply.get("Contents", ()):
            if entry["Key"] == key:
                return Found(int(entry["Size"]), str(entry["ETag"]).strip('"'))
        return None


def _multipart_etag(upload: Multipart) -> str:
    """Compute the ETag that S3 gives a multipart object; empty where the parts' ETags are no MD5s, as under KMS."""
    digests = [part.etag.strip('"') for part in upload.parts]
    if not all(_MD5.match(digest) for digest in digests):
        return ""
    joined = b"".join(bytes.fromhex(digest) for digest in digests)
    return f"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(digests)}"


def _unknown(file: StagedFile, reason: str) -> SinkError:
    return CommitUnknown(
        f"1 object may or may not be visible at {file.path}: {reason}. Look for it ({file.num_bytes:,} bytes, "
        f"{file.checksum}) before you rerun.",
        uncommitted=[file.path],
    )
