"""The evidence that a writer can have: what a reply proves of a body, and what a listing and its ETags show.

    a reply contains                          so the body arrived as it was sent, proven by
    the checksum that was sent                "crc32", "sha256" or "crc64": the store has summed the body itself
    no checksum, and the body was signed      "sha256": the store compares a signed body with its SHA-256
    no checksum, and the MD5 of the body      "etag"
    the MD5 of another body                   nothing: it was altered on its way
    none of these                             "unproven"

An object's ETag is its MD5. That of a multipart object is the MD5 of its parts' MD5s, and their number. Stores differ
in what they check and in how they make ETags; `store_support.py` has what is known of one store.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from os.path import commonprefix
from typing import TYPE_CHECKING, Any

from mc_sink.staged import Multipart, Present, Whole
from mc_sink.storage.s3.checksums import PROOFS
from mc_sink.storage.s3.failures import TOO_LONG, RequestFailed
from mc_sink.storage.s3.request import SIGNED, SUMMED
from mc_sink.storage.store import FEW_KEYS, new_md5

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mc_sink.receipt import Integrity
    from mc_sink.staged import StagedFile
    from mc_sink.storage.s3.client import Requests
    from mc_sink.storage.s3.retry_rules import Operation
    from mc_sink.storage.s3.store_support import StoreSupport
    from mc_sink.target import Target

MD5 = re.compile(r"[0-9a-f]{32}")
MULTIPART = re.compile(r"[0-9a-f]{32}-[1-9][0-9]*")
# Up to so many keys are listed one by one; more by one listing of their common prefix.
_EACH_BY_ITSELF = 8
# A million keys, at a thousand a page; at 130 ms a page that takes two minutes.
_MOST_PAGES = 1_000
_OK = 200


@dataclass(frozen=True, slots=True, eq=False)
class SentBody:
    """A body as it was sent, by its MD5 in hex. If it `is_encrypted` under a KMS key, no ETag can be that MD5."""

    md5: Callable[[], str]
    is_encrypted: bool = False


def proof_of(body: SentBody, reply: Mapping[str, Any], support: StoreSupport) -> Integrity | None:
    """Return what a reply proves of the body, None where it contradicts; learns from it what the store supports.

    The MD5 costs some 600 MB/s, so it is computed only where the store has not checked the checksum.
    """
    signed = reply.get(SIGNED)
    for name, sent in reply.get(SUMMED, {}).items():
        support.checks_sums = name in reply
        if name in reply:
            return PROOFS[name] if reply[name] == sent else None
    etag = bare(reply.get("ETag"))
    if etag == body.md5():
        support.has_md5_etags = True
        return "sha256" if signed else "etag"
    if signed and support.checks_signed_bodies and not support.has_md5_etags:
        support.has_md5_etags = False
        return "sha256"
    if MD5.fullmatch(etag) and not body.is_encrypted and support.has_md5_etags is not False:
        return None
    return "sha256" if signed else "unproven"


def bare(etag: object) -> str:
    """Return an ETag without its quotes; empty for None."""
    return str(etag or "").strip('"')


def is_encrypted(options: Mapping[str, Any]) -> bool:
    """Return True if the options of an object ask for a KMS key, whose ETags can't be computed."""
    return str(options.get("ServerSideEncryption", "")).startswith("aws:kms")


def multipart_etag(digests: Sequence[bytes]) -> str:
    """Compute the ETag that S3 gives an object of parts with these MD5s."""
    return f"{new_md5(b''.join(digests)).hexdigest()}-{len(digests)}"


def expected_etag(upload: Multipart) -> str:
    """Compute the ETag of the object that an upload makes; empty if the parts' ETags aren't MD5s, as under KMS."""
    digests = [bare(part.etag) for part in upload.parts]
    if not all(MD5.fullmatch(digest) for digest in digests):
        return ""
    return multipart_etag([bytes.fromhex(digest) for digest in digests])


def foreseen_etag(file: StagedFile) -> str | None:
    """Return the ETag that a file has once it is published; None if KMS or the store makes another."""
    match file.upload:
        case Present(present_etag):
            return present_etag
        case Multipart():
            return expected_etag(file.upload) or None
        case Whole(body=body, options=options):
            return None if is_encrypted(options) else new_md5(body).hexdigest()
    return None


@dataclass(frozen=True, slots=True)
class FoundObject:
    """What a listing shows of one key."""

    num_bytes: int
    etag: str

    def __str__(self) -> str:
        return f"an object of {self.num_bytes:,} bytes with the ETag {self.etag}"


class ObjectListing:
    """Lists keys through the requests of one store. Each method raises `RequestFailed` if the listing fails."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests

    def keys(self, bucket: str, stem: str) -> Iterator[str]:
        """Yield the keys that begin with `stem`, page by page."""
        return (key for key, _ in self._entries(bucket, stem))

    def find(self, bucket: str, key: str) -> FoundObject | None:
        """Return the object at one key."""
        return _at(key, self._requests.call("list_objects_v2", Bucket=bucket, Prefix=key, MaxKeys=1))

    def find_all(self, places: Sequence[Target]) -> dict[str, FoundObject]:
        """Return the objects at several keys of a bucket, by URL.

        Few keys are listed one by one, and many by their common prefix, unless that has many more keys than are asked
        for. Then each is listed, several at once.
        """
        if len(places) <= _EACH_BY_ITSELF:
            seen = {place.url: self.find(place.bucket, place.path) for place in places}
            return {url: one for url, one in seen.items() if one}
        urls = {(place.bucket, place.path): place.url for place in places}
        bucket = places[0].bucket
        listed = self._entries(bucket, commonprefix([place.path for place in places]))  # noqa: RUF071  as intended
        most = max(2 * len(places), FEW_KEYS)
        found = list(islice(listed, most + 1))
        if len(found) > most:
            found = list(self._each(bucket, [place.path for place in places]))
        return {urls[bucket, key]: one for key, one in found if (bucket, key) in urls}

    def _each(self, bucket: str, keys: Sequence[str]) -> Iterator[tuple[str, FoundObject]]:
        """Yield the objects at these keys, each listed by itself."""
        asked = [self._requests.start("list_objects_v2", Bucket=bucket, Prefix=key, MaxKeys=1) for key in keys]
        try:
            for key, future in zip(keys, asked, strict=True):
                if found := _at(key, future.result()):
                    yield key, found
        finally:  # after a failure, or an interruption
            for future in asked:
                future.cancel()

    def _entries(self, bucket: str, stem: str) -> Iterator[tuple[str, FoundObject]]:
        marks = {"ContinuationToken": "NextContinuationToken"}
        for page in pages(self._requests, "list_objects_v2", marks, Bucket=bucket, Prefix=stem):
            for entry in page.get("Contents", ()):
                yield str(entry["Key"]), _found(entry)


def pages(requests: Requests, operation: Operation, marks: Mapping[str, str], **where: str) -> Iterator[dict[str, Any]]:
    """Yield all pages of a listing. `marks` are the parameters of the next page, by the names that a page has for them.

    Raises `RequestFailed` after a page that says that more follow, but not where, and after 1,000 pages.
    """
    at: dict[str, Any] = {}
    for _ in range(_MOST_PAGES):
        page = requests.call(operation, **where, **at)
        yield page
        if not page.get("IsTruncated"):
            return
        following = {name: page[mark] for name, mark in marks.items() if page.get(mark)}
        if following in ({}, at):
            reason = "a page of the listing says that more follow, and doesn't name the next one"
            raise RequestFailed(operation, _OK, "", reason, uncertain=False)
        at = following
    raise RequestFailed(operation, _OK, TOO_LONG, f"it has more than {_MOST_PAGES:,} pages", uncertain=False)


def _at(key: str, reply: Mapping[str, Any]) -> FoundObject | None:
    """Return the object at this key in a page of a listing."""
    return next((_found(entry) for entry in reply.get("Contents", ()) if entry["Key"] == key), None)


def _found(entry: Mapping[str, Any]) -> FoundObject:
    return FoundObject(int(entry["Size"]), bare(entry["ETag"]))
