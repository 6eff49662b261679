"""Staged: finished but invisible. Frozen facts, picklable, without credentials.

A process may stage, send what `stage()` returned to another, and that one publish or discard it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

IfExists = Literal["fail", "overwrite"]


@dataclass(frozen=True, slots=True)
class Part:
    """One part that the store has acknowledged; `checksum` is the base64 CRC32 that it was sent with, if any."""

    number: int
    etag: str
    num_bytes: int
    checksum: str | None


@dataclass(frozen=True, slots=True)
class Multipart:
    """An S3 multipart upload with all its parts stored; completing it makes the object visible."""

    bucket: str
    key: str
    upload_id: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Whole:
    """An object smaller than one part, held as its bytes, with the options of the request that will put it."""

    bucket: str
    key: str
    body: bytes = field(repr=False)
    options: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Temporary:
    """A finished file under a hidden name beside its final one; renaming it makes it visible."""

    path: str
    temporary: str


Upload = Multipart | Whole | Temporary


@dataclass(frozen=True, slots=True)
class StagedFile:
    """One finished, invisible file: the URL it will have, what is in it, and what its store needs to publish it."""

    path: str
    num_rows: int
    num_bytes: int
    checksum: str
    upload: Upload


@dataclass(frozen=True, slots=True)
class StagedRejects:
    """Rows kept out of a delivery, staged beside it: published with it, never without it. No file where no row is."""

    num_rows: int
    file: StagedFile | None


@dataclass(frozen=True, slots=True)
class Staged:
    """A delivery that is whole and invisible. `publish([staged])` shows it; `discard([staged])` throws it away."""

    run_id: str
    target: str
    files: tuple[StagedFile, ...]
    validated: bool
    if_exists: IfExists
    started_at: datetime
    rejects: StagedRejects | None = None

    @property
    def num_rows(self) -> int:
        """Rows in all files together."""
        return sum(f.num_rows for f in self.files)
