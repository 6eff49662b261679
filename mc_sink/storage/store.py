"""The interface of a store, the file object that an engine writes into, and the comparison with a file that is present.

Measured: after an error Polars may go on writing, from its own threads, and flush as on success. The exception that
`write` raises loses its identity on the way. So a failed writer raises once, ignores all later writes, and keeps the
original exception. Nothing here publishes: leaving, closing or dropping a writer shows nothing.

A writer may know the size and the ETag of an object. A small object's ETag is its MD5, a large one's the MD5 of its
parts' MD5s (https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html). Some stores use the
MD5 of the whole for a large object too. Under KMS an ETag is neither, so nothing can be shown to be the same there.
"""

from __future__ import annotations

import hashlib
import re
import threading
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol

from isal import isal_zlib

from mc_sink.exceptions import AlreadyExistsError, CommitError, UploadError
from mc_sink.staged import Present

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mc_sink.receipt import CreateOnly, Integrity, WrittenFile
    from mc_sink.staged import IfExists, StagedFile, Upload
    from mc_sink.target import Target

Match = Literal["same", "alike", "changed", "missing"]
Holds = Literal["yes", "no", "unknown"]
PATIENCE_SECONDS = 1.0
_READ_SIZE = 2**20
# Keys of a prefix that are listed where not all of them need to be: 4 pages of S3, and some 0.5 s.
FEW_KEYS = 4_000
S3_FORM = re.compile(r"[0-9a-f]{32}(-[1-9][0-9]*)?")


@dataclass(frozen=True, slots=True, eq=False)
class Published:
    """The facts of a file that became visible.

    - `from_prior_attempt`: an earlier attempt of this run had published it.
    - `made_of`: "staged" if the store answered that it is the staged file, "another" if it is another upload, and
      "unclear" if that can't be decided.
    - `create_only`, `integrity`, `etag_is_computed`: see `WrittenFile`.
    """

    etag: str | None
    version_id: str | None
    from_prior_attempt: bool = False
    create_only: CreateOnly | None = None
    made_of: Literal["staged", "another", "unclear"] = "staged"
    integrity: Integrity | None = None
    etag_is_computed: bool = True


class Store(Protocol):
    """One place to deliver to. Only `publish` makes anything visible.

    - `at_once`: the number of files that may be open or in flight at the same time.
    - `publishes_at_once`: the number of files that may be published at the same time.
    - `is_blind`: a listing was denied, so its empty result proves nothing.
    """

    at_once: int
    publishes_at_once: int

    @property
    def is_blind(self) -> bool:
        """Return whether a listing was denied."""

    def listing(self, stem: Target, *, exact: bool) -> frozenset[str]:
        """Return the URLs of the visible files that begin with `stem`; with `exact`, of that file alone.

        Raises if nothing can be delivered there: access is refused, or the place does not exist.
        """

    def listed(self, stem: Target) -> Iterator[str]:
        """Yield the same URLs as `listing`, and list no more of them than are asked for."""

    def open(self, target: Target, content_type: str, *, several: bool) -> Destination:
        """Open one file that stays invisible; if it is one of `several`, it must not be kept in memory."""

    def compare(self, target: Target) -> Destination:
        """Open a comparison with the file at the target. It stores nothing, and `finish` raises if the bytes differ."""

    def publish(self, file: StagedFile, if_exists: IfExists, *, repeatable: bool, was_sent: bool = False) -> Published:
        """Publish one staged file, or raise; if `repeatable`, it is a success that the same file is already visible.

        `was_sent`: an earlier attempt has sent the request, and had no answer.
        """

    def interrupt(self) -> None:
        """End the requests that threads wait for in `publish`, which then raises; from any thread."""

    def may_show(self, file: StagedFile) -> bool:
        """Return True if a request of this store may have made, or may yet make, a staged file visible."""

    def discard(self, file: StagedFile, *, look: bool = False) -> str | None:
        """Discard one staged file, unless it may be visible; returns a message if anything is left behind.

        With `look`, another store or process may have published it, so its place is listed first.
        """

    def standing(self, files: Sequence[StagedFile]) -> Mapping[str, str] | None:
        """Return, by URL, a text that identifies the object at a file's place; None if listings are denied."""

    def holds(self, file: StagedFile) -> Holds:
        """Return whether the object at a file's place is that file, as far as a writer can know."""

    def match(self, file: WrittenFile) -> Match:
        """Return whether a delivered file is unchanged.

        "alike": only the size and the store's own ETag can be compared, and they are the same.
        """


def short_listing(store: Store, stem: Target) -> frozenset[str] | None:
    """Return the URLs of the files that begin with `stem`, or None for more than 4,000."""
    urls = frozenset(islice(store.listed(stem), FEW_KEYS + 1))
    return None if len(urls) > FEW_KEYS else urls


def already_exists(where: str) -> AlreadyExistsError:
    """Return the error for a key that is taken."""
    return AlreadyExistsError(
        f"An object is already at {where} and stays as it was. Choose another key, a prefix (a new object each run), "
        f'or if_exists="overwrite".'
    )


def not_published(url: str, reason: str) -> CommitError:
    """Return the error for a file that is still hidden."""
    return CommitError(f"{url} could not be published: {reason}. Rerun once the reason is fixed.", uncommitted=[url])


def sizes(found: int | None, written: int) -> str:
    """Return the size that a store shows of a file, and the one that was written, as text."""
    return f"it has {'no known size' if found is None else f'{found:,} bytes'}, and {written:,} were written"


class Destination(Protocol):
    """Receives the bytes of one file that stays invisible until it is published. `crc`: the CRC32 of all of them."""

    @property
    def crc(self) -> int:
        """Return the CRC32 of all bytes so far. A destination that sums them in parts has no need of a second pass."""

    def write(self, data: bytes) -> None:
        """Write the next bytes; may wait, which slows the query down."""

    def finish(self) -> Upload:
        """Store the rest and return what publishing needs."""

    def stop(self) -> None:
        """End the requests under way, from any thread and without waiting; a waiting `write` raises."""

    def abort(self) -> str | None:
        """Discard what was stored; returns a message if anything is left behind. Raises nothing."""


class Writer:
    """A binary file for engines. Counts `num_bytes` and keeps the first `failure`."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._lock = threading.Lock()
        self._finished = False
        self.failure: BaseException | None = None
        self.num_bytes = 0

    @property
    def crc(self) -> int:
        """The CRC32 of all bytes so far."""
        return self._destination.crc

    def write(self, data: bytes) -> int:
        """Write bytes; raises the store's exception once, and ignores everything after that."""
        size = len(data)
        with self._lock:
            if self.failure is not None or self._finished:
                return size
            try:
                self._destination.write(data)
            except BaseException as error:
                self._fail(error)
                raise
            self.num_bytes += size
        return size

    def poison(self, cause: BaseException) -> None:
        """Refuse further bytes, and end an engine that waits in `write`; the first cause is kept."""
        self._fail(cause)
        self._destination.stop()

    def abort(self, cause: BaseException) -> str | None:
        """Abort the file: poison it, wait until a `write` under way has ended, and discard what was stored."""
        self.poison(cause)
        if not self._lock.acquire(timeout=PATIENCE_SECONDS):
            return "The store did not answer, so the uploaded bytes could not be discarded. They are invisible."
        try:
            return self._destination.abort()
        finally:
            self._lock.release()

    def finish(self) -> Upload:
        """Finish the file and return what publishing needs; raises after any failure."""
        with self._lock:
            if self.failure is not None:
                raise UploadError("This file failed earlier and can't be finished. Rerun.") from self.failure
            self._finished = True
            try:
                return self._destination.finish()
            except BaseException as error:
                self._fail(error)
                raise

    def _fail(self, cause: BaseException) -> None:
        self.failure = self.failure or cause

    def tell(self) -> int:
        """Return the number of bytes so far; engines ask for it."""
        return self.num_bytes

    def flush(self) -> None:
        """Ignore the call, which engines make: parts are cut by size alone."""


class StoresNothing:
    """A destination that only compares: nothing has to be stopped or discarded."""

    def stop(self) -> None:
        """Ignore the request to stop: sums end by themselves."""

    def abort(self) -> None:
        """Ignore the request to abort: nothing was stored."""


class FileComparison(StoresNothing):
    """Compares bytes with a file, by size and CRC32; `read` returns those of the file, as `size_and_checksum` does."""

    def __init__(self, url: str, read: Callable[[], tuple[int, str]]) -> None:
        self._url, self._read = url, read
        self._num_bytes = self.crc = 0

    def write(self, data: bytes) -> None:
        """Add bytes to the sum."""
        self.crc = isal_zlib.crc32(data, self.crc)
        self._num_bytes += len(data)

    def finish(self) -> Present:
        """Return that the file is present, or raise if it differs."""
        num_bytes, checksum = self._read()
        if (num_bytes, checksum) == (self._num_bytes, checksum_of(self.crc)):
            return Present(None)
        raise differs(self._url, num_bytes, self._num_bytes)


def size_and_checksum(opened: BinaryIO) -> tuple[int, str]:
    """Return the size and the CRC32 of an open file, in the forms of `StagedFile`."""
    num_bytes = crc = 0
    while data := opened.read(_READ_SIZE):
        num_bytes += len(data)
        crc = isal_zlib.crc32(data, crc)
    return num_bytes, checksum_of(crc)


def checksum_of(crc: int) -> str:
    """Return a CRC32 as a `StagedFile` holds it."""
    return f"crc32:{crc:08x}"


def new_md5(data: bytes = b"") -> hashlib._Hash:
    """Return an MD5 sum; stores compare with it, nothing relies on it for security."""
    return hashlib.md5(data, usedforsecurity=False)


def differs(url: str, present: int, staged: int, *, comparable: bool = True) -> AlreadyExistsError:
    """Return the error for a file of an earlier attempt of the same run that differs from this attempt's.

    `present` and `staged` are their sizes. Contents are `comparable` if the ETag has a form that can be computed.
    """
    if comparable or present != staged:
        sizes = f"{present:,} bytes, and now {staged:,}" if present != staged else f"{staged:,} bytes, other contents"
        return AlreadyExistsError(
            f"The object at {url}, which an earlier attempt of this run published, differs from this attempt's "
            f"({sizes}). It stays as it was. The rows or their order, the format, the part size or the version of "
            "Polars changed, or KMS or the store hides what is in the object. Use a new run_id.",
            visible="some",
        )
    return AlreadyExistsError(
        f"The object at {url}, which an earlier attempt of this run published, may be the same as this attempt's or "
        f"another ({staged:,} bytes, and an ETag that does not identify its contents). It stays as it was. ETags of "
        "this store, or of a bucket with a KMS key, can't be compared with the bytes that were sent. Pass "
        'if_exists="overwrite" to replace it, if only this run writes this key. Otherwise use a new run_id.',
        visible="some",
    )
