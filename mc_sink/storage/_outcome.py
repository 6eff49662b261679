"""What is to be at a key once it is published, and what may be concluded from what the store says is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mc_sink.exceptions import CommitError, CommitUnknown
from mc_sink.receipt import weakest
from mc_sink.storage._compare import multipart_etag
from mc_sink.storage._ways import MD5, MULTIPART, bare

if TYPE_CHECKING:
    from mc_sink.receipt import Integrity
    from mc_sink.staged import Multipart, StagedFile
    from mc_sink.storage._ways import SentBody, StoreWays

# An object that no listing can show to be the right one.
OVERWRITE = (
    'Where the key is of this run alone, rerun with if_exists="overwrite": that replaces the object, and ends this. '
    "Elsewhere, use a new run_id."
)


@dataclass(frozen=True, slots=True)
class Found:
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
    def found(self) -> Found:
        """What a listing will say of it."""
        return Found(self.file.num_bytes, self.etag)

    def may_be(self, found: Found | None) -> bool:
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


def altered(expected: Expected, there: Found | str) -> CommitError:
    """Return the error for an object that became visible and isn't what was sent."""
    size, etag = (there.num_bytes, there.etag) if isinstance(there, Found) else (expected.file.num_bytes, there)
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
