"""The interface of a store, the file object that an engine writes into, and the comparison with a file that is there.

Measured: after an error Polars may go on writing, from its own threads, and flush as on success; and what `write`
raises loses its identity on the way. So a failed writer refuses once, swallows whatever comes later, and keeps the
original exception aside. Nothing here publishes: leaving, closing or dropping a writer shows nothing.

What a writer may know of an object is its size and ETag: the MD5 of a small one, and of the MD5s of the parts of a
large one (https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html). Some stores have the
MD5 of the whole for a large one too. Under KMS an ETag is neither, so nothing can be shown to be the same there.
"""

from __future__ import annotations

import hashlib
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from isal import isal_zlib

from mc_sink.exceptions import AlreadyExistsError, UploadError
from mc_sink.staged import Present

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mc_sink.receipt import CreateOnly, Integrity, WrittenFile
    from mc_sink.staged import IfExists, StagedFile, Upload
    from mc_sink.target import Target

Match = Literal["same", "alike", "changed", "missing"]
Holds = Literal["yes", "no", "unknown"]
PATIENCE_SECONDS = 1.0
S3_FORM = re.compile(r"[0-9a-f]{32}(-[1-9][0-9]*)?")


@dataclass(frozen=True, slots=True, eq=False)
class Published:
    """What the store said when it made a file visible.

    - `found`: it was there already, from an earlier try.
    - `made_of`: whether it is what was staged, as the store answered, or "another", or whether that is "unclear".
    - `create_only`, `integrity`, `etag_is_computed`: see `WrittenFile`.
    """

    etag: str | None
    version_id: str | None
    found: bool = False
    create_only: CreateOnly | None = None
    made_of: Literal["staged", "another", "unclear"] = "staged"
    integrity: Integrity | None = None
    etag_is_computed: bool = True


class Store(Protocol):
    """One place to deliver to. Only `publish` makes anything visible.

    `at_once` is the number of files that may be open or on their way at the same time. `is_blind` says that a listing
    was refused, so that what it gave, nothing, shows nothing.
    """

    at_once: int

    @property
    def is_blind(self) -> bool:
        """Return whether a listing was refused."""

    def listing(self, stem: Target, *, exact: bool) -> frozenset[str]:
        """Give the URLs of the visible files that begin with `stem`, or of that one alone.

        Raises where nothing can be delivered: refused, not there.
        """

    def open(self, target: Target, content_type: str, *, several: bool) -> Destination:
        """Take bytes for one file that stays invisible; memory must not grow where it is one of `several`."""

    def compare(self, target: Target) -> Destination:
        """Take bytes to compare with a file that is there, storing none; `finish` raises where they differ."""

    def publish(self, file: StagedFile, if_exists: IfExists, *, repeatable: bool) -> Published:
        """Make one staged file visible, or raise; where `repeatable`, finding the very same file is a success."""

    def may_show(self, file: StagedFile) -> bool:
        """Return True if what this process sent may have made, or may yet make, a staged file visible."""

    def discard(self, file: StagedFile, *, look: bool = False) -> str | None:
        """Throw one staged file away, unless it may be visible; a sentence on what is left behind, if anything is.

        With `look`, another process may have published it: then the store is asked first.
        """

    def standing(self, files: Sequence[StagedFile]) -> Mapping[str, str] | None:
        """Return, by URL, a text that only the same object at the place of a file has; None where none may be seen."""

    def holds(self, file: StagedFile) -> Holds:
        """Return whether the object at a file's place is that file, as far as a writer can know."""

    def match(self, file: WrittenFile) -> Match:
        """Return whether a delivered file is as it was delivered.

        "alike" is as much as can be known of some: the size, and what the store itself had answered, are the same.
        """


def already_exists(where: str) -> AlreadyExistsError:
    """Say that a key is taken, and what the ways out are."""
    return AlreadyExistsError(
        f"1 object is already at {where} and stays as it was. Choose another key, a prefix (a new object each run), "
        f'or if_exists="overwrite".'
    )


class Destination(Protocol):
    """Where a store takes bytes for one file that stays invisible until it is published."""

    def write(self, data: bytes) -> None:
        """Take the next bytes; may wait, which pushes back on the query."""

    def finish(self) -> Upload:
        """Store what is left and give what publishing needs."""

    def stop(self) -> None:
        """End what is under way, from any thread and without waiting; a `write` that waits raises."""

    def abort(self) -> str | None:
        """Throw away what was stored; a sentence on what is left behind, if anything is. Raises nothing."""


class Writer:
    """A binary file for engines. Counts `num_bytes` and sums `crc`; `failure` is the first thing that went wrong."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._lock = threading.Lock()
        self._finished = False
        self.failure: BaseException | None = None
        self.num_bytes = 0
        self.crc = 0

    def write(self, data: bytes) -> int:
        """Take bytes; raises what the store raised, once, and swallows everything after that."""
        size = len(data)
        with self._lock:
            if self.failure is not None or self._finished:
                return size
            try:
                self._destination.write(data)
            except BaseException as error:
                self._fail(error)
                raise
            self.crc = isal_zlib.crc32(data, self.crc)
            self.num_bytes += size
        return size

    def poison(self, cause: BaseException) -> None:
        """Let nothing more through, and end an engine that waits in `write`; the first cause is the one kept."""
        self._fail(cause)
        self._destination.stop()

    def abort(self, cause: BaseException) -> str | None:
        """Poison, wait for a `write` under way to leave, and throw away what was stored; as `Destination.abort`."""
        self.poison(cause)
        if not self._lock.acquire(timeout=PATIENCE_SECONDS):
            return "The store did not answer, so what was uploaded could not be thrown away; it is invisible."
        try:
            return self._destination.abort()
        finally:
            self._lock.release()

    def finish(self) -> Upload:
        """Store the rest and give what publishing needs; refuses after any failure."""
        with self._lock:
            if self.failure is not None:
                raise UploadError("This file failed earlier and can't be finished.") from self.failure
            self._finished = True
            try:
                return self._destination.finish()
            except BaseException as error:
                self._fail(error)
                raise

    def _fail(self, cause: BaseException) -> None:
        self.failure = self.failure or cause

    def tell(self) -> int:
        """Bytes taken so far; engines ask."""
        return self.num_bytes

    def flush(self) -> None:
        """Do nothing: parts are cut by size alone; engines call it."""


class FileComparison:
    """Sums bytes as a whole, and reads the file that is there."""

    def __init__(self, url: str, read: Callable[[], tuple[int, int]]) -> None:
        self._url, self._read = url, read
        self._num_bytes = self._crc = 0

    def write(self, data: bytes) -> None:
        """Add bytes to the sum."""
        self._crc = isal_zlib.crc32(data, self._crc)
        self._num_bytes += len(data)

    def finish(self) -> Present:
        """Say that it is the same, or raise what is different about it."""
        num_bytes, crc = self._read()
        if (num_bytes, crc) == (self._num_bytes, self._crc):
            return Present(None)
        raise differs(self._url, num_bytes, self._num_bytes)

    def stop(self) -> None:
        """Do nothing: sums end by themselves."""

    def abort(self) -> None:
        """Do nothing: nothing was stored."""


def new_md5(data: bytes = b"") -> hashlib._Hash:
    """Return an MD5 sum; stores compare with it, nothing relies on it for security."""
    return hashlib.md5(data, usedforsecurity=False)


def differs(url: str, there: int, here: int, *, comparable: bool = True) -> AlreadyExistsError:
    """Say that an earlier try of the same run delivered something else, and what may have made it so.

    Contents are `comparable` where the ETag that is there has a form that can be computed.
    """
    how = "other contents" if comparable else "an ETag that shows nothing of the contents"
    sizes = f"{there:,} bytes there, {here:,} here" if there != here else f"{here:,} bytes both, {how}"
    start = f"1 object that an earlier try of this run published is at {url}, and this try made"
    if not comparable and there == here:
        return AlreadyExistsError(
            f"{start} one that may be the same or another ({sizes}). It stays as it was. "
            "ETags of this store, or of a bucket with a KMS key, can't be compared with what was sent. "
            'Pass if_exists="overwrite" to replace it, where the key is of this run alone; or use a new run_id.',
            visible="some",
        )
    return AlreadyExistsError(
        f"{start} another ({sizes}). It "
        "stays as it was. The rows or their order, the format, the part size "
        "or the version of Polars changed, or KMS or the store hides what is in the object: use a new run_id.",
        visible="some",
    )
