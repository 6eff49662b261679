"""What is to be at a key, what a reply or a listing proves is there, and what may be concluded from it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mc_sink.exceptions import CommitError, CommitUnknown
from mc_sink.receipt import weakest
from mc_sink.staged import Multipart, Present, Whole
from mc_sink.storage.s3.store_ways import MD5, MULTIPART, bare, is_encrypted
from mc_sink.storage.store import S3_FORM, differs, new_md5

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mc_sink.receipt import Integrity
    from mc_sink.staged import StagedFile
    from mc_sink.storage.s3.client import Requests
    from mc_sink.storage.s3.multipart import PartPlan
    from mc_sink.storage.s3.store_ways import SentBody, StoreWays
    from mc_sink.target import Target

# An object that no listing can show to be the right one.
OVERWRITE = (
    'Where the key is of this run alone, rerun with if_exists="overwrite": that replaces the object, and ends this. '
    "Elsewhere, use a new run_id."
)
# Up to so many keys are looked for one by one; more by one listing of what they have in common.
_EACH_BY_ITSELF = 8


@dataclass(frozen=True, slots=True)
class FoundObject:
    """What a listing says of one key."""

    num_bytes: int
    etag: str


@dataclass(frozen=True, slots=True, eq=False)
class Expected:
    """What is to be at a key when it has been published.

    - `etag` is computed from what was sent; empty where that is known to be impossible. `is_encrypted`: a KMS key was
      asked for, so that the store will make another.
    - `body` is that of a Put; `integrity` how the parts of an upload were proven.
    - `upload_id` names an upload that no Complete was sent for before.
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
    def found(self) -> FoundObject:
        """What a listing will say of it."""
        return FoundObject(self.file.num_bytes, self.etag)

    def may_be(self, found: FoundObject | None) -> bool:
        """Whether this may be what was found, under an ETag that the store made in its own way."""
        return found is not None and found.num_bytes == self.file.num_bytes

    def is_opaque(self, ways: StoreWays) -> bool:
        """Return True if the ETag is known to be none that can be computed."""
        if self.is_encrypted or not self.etag or ways.has_md5_etags is False:
            return True
        return self.body is None and ways.has_s3_etags is False

    def is_comparable(self, etag: str, ways: StoreWays) -> bool:
        """Return True if an ETag has the form of the computed one, so that another one means other bytes."""
        return not self.is_opaque(ways) and bool((MD5 if self.body else MULTIPART).fullmatch(etag))

    def learn(self, ways: StoreWays, *, computed: bool) -> None:
        """Note whether the store's ETag was the computed one."""
        if self.body:
            ways.has_md5_etags = computed
        else:
            ways.has_s3_etags = computed

    def is_contradicted(self, etag: str, ways: StoreWays, *, summed: bool) -> bool:
        """Return True if another ETag than the computed one means other bytes, and not another way to make ETags.

        `summed`: the store has echoed the CRC32 of the whole object together with this ETag.
        """
        if self.is_opaque(ways):
            return False
        if ways.has_md5_etags if self.body else ways.has_s3_etags:
            return True
        return not summed and self.is_comparable(etag, ways)


def expected_etag(upload: Multipart) -> str:
    """Compute the ETag that the object will have; empty where the parts' ETags are no MD5s, as under KMS."""
    digests = [bare(part.etag) for part in upload.parts]
    if not all(MD5.fullmatch(digest) for digest in digests):
        return ""
    return multipart_etag([bytes.fromhex(digest) for digest in digests])


def integrity_of(upload: Multipart) -> Integrity:
    """Return how the bytes of an upload were proven: as its weakest part was."""
    return weakest(part.integrity for part in upload.parts)


def altered_object(expected: Expected, there: FoundObject | str) -> CommitError:
    """Return the error for an object that became visible and isn't what was sent."""
    size, etag = (there.num_bytes, there.etag) if isinstance(there, FoundObject) else (expected.file.num_bytes, there)
    wrong = (
        f"it has {size:,} bytes, and {expected.file.num_bytes:,} were sent"
        if size != expected.file.num_bytes
        else f"its ETag is {etag}, and that of the bytes sent is {expected.etag}"
    )
    path = expected.file.path
    return CommitError(
        f"1 object became visible at {path} and is not what was sent: {wrong}. It was altered on its way or in the "
        "store. Have the bucket's owner delete it, look for a proxy that changes bodies, and rerun with a new run_id.",
        committed=[path],
    )


def unknown(file: StagedFile, reason: str, then: str = "") -> CommitUnknown:
    """Return the error for an object of which it isn't known whether it is visible; `then` is the way to end that."""
    return CommitUnknown(
        f"1 object may or may not be visible at {file.path}: {reason}. Look for it ({file.num_bytes:,} bytes, "
        f"{file.checksum}).{then and ' '}{then}",
        uncommitted=[file.path],
    )


class ObjectListing:
    """Looks for keys through the requests of one store; each call raises `RequestFailed` where it may not."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    def keys(self, bucket: str, stem: str) -> list[str]:
        """Return the keys that begin with `stem`, page by page."""
        return [key for key, _ in self._entries(bucket, stem)]

    def find(self, bucket: str, key: str) -> FoundObject | None:
        """Return what is at one key."""
        reply = self._requests.call("list_objects_v2", Bucket=bucket, Prefix=key, MaxKeys=1)
        return next((_found(entry) for entry in reply.get("Contents", ()) if entry["Key"] == key), None)

    def find_all(self, places: Sequence[Target]) -> dict[str, FoundObject]:
        """Return what is at several keys of a bucket, by URL: each by itself, or all by what their keys begin with."""
        if len(places) <= _EACH_BY_ITSELF:
            seen = {place.url: self.find(place.bucket, place.path) for place in places}
            return {url: one for url, one in seen.items() if one}
        urls = {(place.bucket, place.path): place.url for place in places}
        bucket = places[0].bucket
        listed = self._entries(bucket, _common_start([place.path for place in places]))
        return {urls[bucket, key]: one for key, one in listed if (bucket, key) in urls}

    def _entries(self, bucket: str, stem: str) -> Iterator[tuple[str, FoundObject]]:
        page: dict[str, Any] = {"IsTruncated": True}
        while page.get("IsTruncated"):
            token = {"ContinuationToken": page["NextContinuationToken"]} if "NextContinuationToken" in page else {}
            page = self._requests.call("list_objects_v2", Bucket=bucket, Prefix=stem, **token)
            for entry in page.get("Contents", ()):
                yield str(entry["Key"]), _found(entry)


def _found(entry: Mapping[str, Any]) -> FoundObject:
    return FoundObject(int(entry["Size"]), bare(entry["ETag"]))


def _common_start(keys: Sequence[str]) -> str:
    """Return what all keys begin with."""
    first, last = min(keys), max(keys)
    return first[: next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))]


class PartsComparison:
    """Sums bytes as a whole or as the parts that they would be sent in, whichever the ETag that is there tells of."""

    def __init__(self, url: str, num_bytes: int, etag: str, plan: PartPlan) -> None:
        self._url, self._there, self._plan = url, (num_bytes, etag), plan
        self._in_parts = "-" in etag
        self._num_bytes = 0
        self._digests: list[bytes] = []
        self._part, self._left = new_md5(), plan.size(1)

    def write(self, data: bytes) -> None:
        """Add bytes to the sums."""
        left = memoryview(data)
        self._num_bytes += len(left)
        while self._in_parts and len(left) >= self._left:
            self._part.update(left[: self._left])
            left = left[self._left :]
            self._next_part()
        self._part.update(left)
        self._left -= len(left)

    def finish(self) -> Present:
        """Give what is there, or raise what is different about it."""
        if (self._num_bytes, self._etag()) == self._there:
            return Present(self._there[1])
        num_bytes, etag = self._there
        raise differs(self._url, num_bytes, self._num_bytes, comparable=bool(S3_FORM.fullmatch(etag)))

    def stop(self) -> None:
        """Do nothing: sums end by themselves."""

    def abort(self) -> None:
        """Do nothing: nothing was stored."""

    def _next_part(self) -> None:
        self._digests.append(self._part.digest())
        self._part, self._left = new_md5(), self._plan.size(len(self._digests) + 1)

    def _etag(self) -> str:
        """Give the ETag that these bytes have, sent whole or in parts."""
        if not self._in_parts:
            return self._part.hexdigest()
        last = [self._part.digest()] if self._left < self._plan.size(len(self._digests) + 1) else []
        return multipart_etag([*self._digests, *last])


def multipart_etag(digests: Sequence[bytes]) -> str:
    """Compute the ETag that S3 gives an object of parts with these MD5s."""
    return f"{new_md5(b''.join(digests)).hexdigest()}-{len(digests)}"


def foreseen_etag(file: StagedFile) -> str | None:
    """Return the ETag that a file has when it is published; None where KMS or the store makes it."""
    match file.upload:
        case Present(present_etag):
            return present_etag
        case Multipart():
            return expected_etag(file.upload) or None
        case Whole(body=body, options=options):
            return None if is_encrypted(options) else hashlib.md5(body, usedforsecurity=False).hexdigest()
    return None
