"""Buckets, objects and multipart uploads in memory, with S3's rules on when something may appear."""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tests.servers import checksums
from tests.servers.rules import Rules, S3Error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.servers.intake import Taken
    from tests.servers.rules import Kept


@dataclass(frozen=True, slots=True)
class Checksum:
    """An object's checksum as S3 reports it; `kind` is `FULL_OBJECT` or `COMPOSITE`."""

    algorithm: str
    value: str
    kind: str


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A visible object; `headers` are what was asked for when it was made, `num_parts` is 0 for a plain Put.

    `etag` is what a listing shows, and `answered` what the reply to a Complete says. `destroyed`: it is still listed,
    and its bytes are gone.
    """

    size: int
    etag: str
    headers: Mapping[str, str]
    checksum: Checksum | None = None
    version_id: str | None = None
    num_parts: int = 0
    data: tuple[bytes, ...] = field(default=(), repr=False)
    modified: datetime = field(default_factory=lambda: datetime.now(UTC))
    answered: str = ""
    destroyed: bool = False


@dataclass(slots=True)
class Upload:
    """A multipart upload on its way; `conflicted` once its key was deleted meanwhile."""

    bucket: str
    key: str
    headers: Mapping[str, str]
    algorithm: str | None
    kind: str
    parts: dict[int, Taken] = field(default_factory=dict)
    conflicted: bool = False


@dataclass(frozen=True, slots=True)
class PartClaim:
    """A line of the list in a Complete."""

    number: int
    etag: str
    sums: Mapping[str, str]


class Store:
    """What is there; every method takes effect at once or not at all, and raises `S3Error` otherwise."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.buckets: dict[str, dict[str, StoredObject]] = {name: {} for name in rules.buckets}
        self.uploads: dict[str, Upload] = {}
        self.completed: dict[str, StoredObject] = {}
        self._lock = threading.Lock()

    def bucket(self, name: str) -> dict[str, StoredObject]:
        """Return the bucket's objects."""
        try:
            return self.buckets[name]
        except KeyError:
            raise S3Error(404, "NoSuchBucket", "The specified bucket does not exist") from None

    def upload(self, bucket: str, key: str, upload_id: str) -> Upload:
        """Return an open upload."""
        found = self.uploads.get(upload_id)
        if found is None or (found.bucket, found.key) != (bucket, key):
            raise S3Error(404, "NoSuchUpload", "The specified multipart upload does not exist.")
        return found

    def put(self, bucket: str, key: str, taken: Taken, headers: Mapping[str, str]) -> StoredObject:
        """Make a body visible."""
        taken = self._with_etag(taken)
        name, value = next(iter(taken.sums.items()), (None, ""))
        checksum = Checksum(name, value, "FULL_OBJECT") if name else None
        made = StoredObject(taken.size, taken.etag, headers, checksum, self._version(), 0, taken.data)
        with self._lock:
            self._refuse_if_taken(bucket, key, headers, self.rules.if_none_match_on_put)
            self.buckets[bucket][key] = made
        return made

    def create(self, bucket: str, key: str, headers: Mapping[str, str]) -> str:
        """Open an upload and give its id."""
        algorithm, kind = self._sum_for(headers)
        upload_id = secrets.token_hex(16)
        with self._lock:
            self.bucket(bucket)
            self.uploads[upload_id] = Upload(bucket, key, headers, algorithm, kind)
        return upload_id

    def add_part(self, bucket: str, key: str, upload_id: str, number: int, taken: Taken) -> Taken:
        """Keep a part, in place of an earlier one of the same number, and give it with its ETag."""
        taken = self._with_etag(taken)
        with self._lock:
            self.upload(bucket, key, upload_id).parts[number] = taken
        return taken

    def complete(
        self, bucket: str, key: str, upload_id: str, claims: Sequence[PartClaim], headers: Mapping[str, str]
    ) -> StoredObject:
        """Make an upload's parts visible as one object."""
        with self._lock:
            if upload_id in self.completed and self.rules.repeated_complete == "OK":
                return self.completed[upload_id]
            if upload_id in self.completed and self.rules.repeated_complete == "InProgress":
                raise S3Error(500, "InternalError", "This multipart completion is already in progress")
            upload = self.upload(bucket, key, upload_id)
            parts = self._claimed_parts(upload, claims)
            made = self._assemble(upload, parts, headers)
            if upload.conflicted and "if-none-match" in headers:
                raise S3Error(409, "ConditionalRequestConflict", "A conflicting operation occurred during the upload.")
            self._refuse_if_taken(bucket, key, headers, self.rules.if_none_match_on_complete)
            self.buckets[bucket][key] = self.completed[upload_id] = made
            if self.rules.completed_uploads == "forgotten":
                del self.uploads[upload_id]
        return made

    def abort(self, bucket: str, key: str, upload_id: str) -> None:
        """Remove an upload and its parts; an object that was made of them is lost, and still listed."""
        with self._lock:
            self.upload(bucket, key, upload_id)
            del self.uploads[upload_id]
            made = self.completed.get(upload_id)
            if made and self.buckets[bucket].get(key) is made:
                self.buckets[bucket][key] = replace(made, data=(), destroyed=True)

    def delete(self, bucket: str, key: str) -> None:
        """Remove an object; conditional Completes of uploads that were open by then end in a conflict."""
        with self._lock:
            del self.buckets[bucket][key]
            for upload in self.uploads.values():
                if (upload.bucket, upload.key) == (bucket, key):
                    upload.conflicted = True

    def _sum_for(self, headers: Mapping[str, str]) -> tuple[str | None, str]:
        """Return the checksum that an upload is to have, and its type, or refuse."""
        asked = headers.get("x-amz-checksum-algorithm", "").upper()
        if self.rules.checksums == "ignored":
            return None, "FULL_OBJECT"
        if not asked and "x-amz-checksum-type" in headers:
            raise S3Error(400, "InvalidRequest", "The x-amz-checksum-type header needs x-amz-checksum-algorithm.")
        kinds = self.rules.sums.get(asked, {"FULL_OBJECT"})
        usual = "COMPOSITE" if "COMPOSITE" in kinds else "FULL_OBJECT"
        kind = usual if self.rules.sum_types == "ignored" else headers.get("x-amz-checksum-type", usual)
        if kind not in kinds:
            status, code, message = self.rules.no_sum
            raise S3Error(status, code, message.format(header="x-amz-checksum-type", value=kind))
        return asked.lower() or None, kind

    def _version(self) -> str | None:
        return secrets.token_hex(16) if self.rules.versions == "on" else None

    def _with_etag(self, taken: Taken) -> Taken:
        return replace(taken, etag=secrets.token_hex(16)) if self.rules.etags == "opaque" else taken

    def _refuse_if_taken(self, bucket: str, key: str, headers: Mapping[str, str], condition: Kept) -> None:
        asked = headers.get("if-none-match") == "*" and condition == "honoured"
        if asked and key in self.bucket(bucket):
            raise S3Error(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")

    def _claimed_parts(self, upload: Upload, claims: Sequence[PartClaim]) -> list[Taken]:
        numbers = [claim.number for claim in claims]
        if not numbers:
            raise S3Error(400, "MalformedXML", "The XML you provided was not well-formed.")
        if numbers != sorted(set(numbers)):
            raise S3Error(400, "InvalidPartOrder", "The list of parts was not in ascending order.")
        if self.rules.checksums == "ignored":
            claims = [replace(claim, sums={}) for claim in claims]
        needed = self.rules.sums_of_parts == "required"
        parts = [_claimed_part(upload, claim, needs_sum=needed) for claim in claims]
        if any(part.size < self.rules.min_part_size for part in parts[:-1]):
            raise S3Error(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
        unequal = len({part.size for part in parts[:-1]}) > 1 or parts[-1].size > parts[0].size
        if self.rules.equal_parts and unequal:
            raise S3Error(400, "InvalidPart", "All non-trailing parts must have the same length.")
        return parts

    def _assemble(self, upload: Upload, parts: Sequence[Taken], headers: Mapping[str, str]) -> StoredObject:
        size = sum(part.size for part in parts)
        if self.rules.object_size == "honoured" and int(headers.get("x-amz-mp-object-size", size)) != size:
            raise S3Error(400, "InvalidRequest", f"The provided 'x-amz-mp-object-size' is not the {size} of the parts.")
        checksum = _checksum_of(upload, parts) if self.rules.checksums == "honoured" else None
        if self.rules.checksums == "honoured":
            _check_claim(upload, checksum, headers)
        data = tuple(piece for part in parts for piece in part.data)
        listed, answered = self._etags(parts, data)
        return StoredObject(
            size, listed, upload.headers, checksum, self._version(), len(parts), data, answered=answered
        )

    def _etags(self, parts: Sequence[Taken], data: Sequence[bytes]) -> tuple[str, str]:
        """Return the ETag that a listing will show, and the one that Complete answers."""
        usual = checksums.etag_of_parts([part.etag for part in parts])
        match self.rules.etags:
            case "s3":
                return usual, usual
            case "empty":
                return usual, ""
            case "opaque":
                return (made_up := secrets.token_hex(16)), made_up
            case "unlike":
                return (made_up := f"-{secrets.token_urlsafe(12)}="), made_up
        whole = checksums.md5_of(data)
        return whole, whole if self.rules.etags == "whole" else usual


def _claimed_part(upload: Upload, claim: PartClaim, *, needs_sum: bool) -> Taken:
    part = upload.parts.get(claim.number)
    wrong_sum = part and any(part.sums.get(name) != value for name, value in claim.sums.items())
    lacks_sum = needs_sum and upload.algorithm and upload.algorithm not in claim.sums
    if part is None or part.etag != claim.etag or wrong_sum or lacks_sum:
        raise S3Error(400, "InvalidPart", "One or more of the specified parts could not be found.")
    if upload.algorithm and part.sums and upload.kind == "COMPOSITE" and upload.algorithm not in claim.sums:
        raise S3Error(
            400,
            "InvalidRequest",
            f"The upload was created using a {upload.algorithm} checksum. The complete request must include the "
            f"checksum for each part. It was missing for part {claim.number} in the request.",
        )
    return part


def _checksum_of(upload: Upload, parts: Sequence[Taken]) -> Checksum | None:
    name = upload.algorithm
    if name is None or any(name not in part.sums for part in parts):
        return None
    if upload.kind == "FULL_OBJECT":
        return Checksum(
            name, checksums.full_object(name, [(part.sums[name], part.size) for part in parts]), upload.kind
        )
    return Checksum(name, checksums.composite(name, [part.sums[name] for part in parts]), upload.kind)


def _check_claim(upload: Upload, checksum: Checksum | None, headers: Mapping[str, str]) -> None:
    """Compare the whole object's checksum that a Complete may carry with the computed one."""
    if headers.get("x-amz-checksum-type", upload.kind) != upload.kind:
        raise S3Error(400, "InvalidRequest", f"The upload was created with the checksum type {upload.kind}.")
    claim = checksums.claimed(headers)
    if claim is None:
        return
    name, value = claim
    if upload.algorithm != name:
        raise S3Error(400, "InvalidRequest", f"The upload was created with the checksum algorithm {upload.algorithm}.")
    if checksum and checksum.value.partition("-")[0] != value.partition("-")[0]:
        raise S3Error(400, "BadDigest", f"The {name} you specified did not match the calculated checksum.")
