"""Bytes → compared with a file that an earlier try of the same run published, and stored nowhere.

What a writer may know of an object is its size and ETag: the MD5 of a small one, and of the MD5s of the parts of a
large one (https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html). Some stores have the
MD5 of the whole for a large one too. Under KMS an ETag is neither, so nothing can be shown to be the same there.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from isal import isal_zlib

from mc_sink.exceptions import AlreadyExistsError
from mc_sink.staged import Present

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mc_sink.storage._parts import PartPlan

_S3_FORM = re.compile(r"[0-9a-f]{32}(-[1-9][0-9]*)?")


class PartsComparison:
    """Sums bytes as a whole or as the parts that they would be sent in, whichever the ETag that is there tells of."""

    def __init__(self, url: str, num_bytes: int, etag: str, plan: PartPlan) -> None:
        self._url, self._there, self._plan = url, (num_bytes, etag), plan
        self._in_parts = "-" in etag
        self._num_bytes = 0
        self._digests: list[bytes] = []
        self._part, self._left = _md5(), plan.size(1)

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
        raise differs(self._url, num_bytes, self._num_bytes, comparable=bool(_S3_FORM.fullmatch(etag)))

    def stop(self) -> None:
        """Do nothing: sums end by themselves."""

    def abort(self) -> None:
        """Do nothing: nothing was stored."""

    def _next_part(self) -> None:
        self._digests.append(self._part.digest())
        self._part, self._left = _md5(), self._plan.size(len(self._digests) + 1)

    def _etag(self) -> str:
        """Give the ETag that these bytes have, sent whole or in parts."""
        if not self._in_parts:
            return self._part.hexdigest()
        last = [self._part.digest()] if self._left < self._plan.size(len(self._digests) + 1) else []
        return multipart_etag([*self._digests, *last])


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


def multipart_etag(digests: Sequence[bytes]) -> str:
    """Compute the ETag that S3 gives an object of parts with these MD5s."""
    return f"{_md5(b''.join(digests)).hexdigest()}-{len(digests)}"


def _md5(data: bytes = b"") -> hashlib._Hash:
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
            f"{start} one that may be the same or another ({sizes}). It stays as it was, and nothing of this try "
            "became visible. ETags of this store, or of a bucket with a KMS key, can't be compared with what was sent. "
            'Pass if_exists="overwrite" to replace it, where the key is of this run alone; or use a new run_id.'
        )
    return AlreadyExistsError(
        f"{start} another ({sizes}). It "
        "stays as it was, and nothing of this try became visible. The rows or their order, the format, the part size "
        "or the version of Polars changed, or KMS or the store hides what is in the object: use a new run_id."
    )
