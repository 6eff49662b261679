"""Staged: finished but invisible. Frozen facts, picklable, without credentials.

A process may stage, send what `stage()` returned to another, and that one publish or discard it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import (
    datetime,  # noqa: TC003  as above
    timedelta,  # noqa: TC003  as above
)
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from mc_sink.content import Content  # noqa: TC001  as above
from mc_sink.encrypted import ClearBytes  # noqa: TC001  as above
from mc_sink.object_options import ObjectOptions  # noqa: TC001  as above
from mc_sink.receipt import (
    Changes,
    CountedWarning,
    FailedCheck,
    Integrity,
    Stage,
    summed,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

OnEmpty = Literal["deliver", "skip", "fail"]
IfExists = Literal["fail", "overwrite"]
Stale = Literal["fail", "keep"]
Sums = Literal["full", "composite", "sha256", "crc64nvme", "none"]
ManifestForm = Literal["mc_sink", "redshift"]
# Is called with the URL and the id of an upload when it has begun, before any part. What it raises ends the upload.
Report = Callable[[str, str], object]
# Is called with the URL of a file, and its place, before its hidden file is made. It raises nothing.
NoteHidden = Callable[[str, "Temporary"], object]
# How a journal writes these down: bytes as text, and nothing that it doesn't know.
_AS_JSON = {"extra": "forbid", "ser_json_bytes": "base64", "val_json_bytes": "base64"}


@dataclass(frozen=True, slots=True)
class Part:
    """One part that the store has acknowledged; `checksum` is the sum that it was sent with, if any.

    `integrity` says how it was proven that it arrived as it was sent; see `WrittenFile`.
    """

    number: int
    etag: str
    num_bytes: int
    checksum: str | None
    integrity: Integrity = "unproven"


@dataclass(frozen=True, slots=True)
class Multipart:
    """An S3 multipart upload with all its parts stored; completing it makes the object visible.

    `sums` is the checksum that it was created with: the CRC32 of the whole object ("full") or of its parts only
    ("composite"), SHA-256 of its parts, CRC64NVME of the whole, or none.
    """

    __pydantic_config__: ClassVar[Any] = _AS_JSON
    bucket: str
    key: str
    upload_id: str
    parts: tuple[Part, ...]
    sums: Sums = "full"


@dataclass(frozen=True, slots=True)
class Whole:
    """An object smaller than one part, held as its bytes, with the options of the request that will put it."""

    __pydantic_config__: ClassVar[Any] = _AS_JSON
    bucket: str
    key: str
    body: bytes = field(repr=False)
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Temporary:
    """A finished file under a hidden name beside its final one; renaming it makes it visible.

    `folders` are those above it that its delivery made, the deepest first.
    """

    __pydantic_config__: ClassVar[Any] = _AS_JSON
    path: str
    temporary: str
    folders: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Present:
    """A file that an earlier attempt of this run published. It was compared, is identical, and was not changed."""

    __pydantic_config__: ClassVar[Any] = _AS_JSON
    present_etag: str | None


Upload = Multipart | Whole | Temporary | Present


@dataclass(frozen=True, slots=True)
class StagedFile:
    """One finished, invisible file: the URL it will have, what is in it, and what its store needs to publish it.

    `partition` has, as text, the values of the partition columns that all its rows share; None stands for null.
    `warnings` count the cells that a receiver may stumble over. `clear` are the bytes before an encryption.
    """

    path: str
    num_rows: int
    num_bytes: int
    checksum: str
    upload: Upload
    partition: Mapping[str, str | None] | None = None
    warnings: tuple[CountedWarning, ...] = ()
    clear: ClearBytes | None = None


@dataclass(frozen=True, slots=True)
class StagedRejects:
    """Rows rejected from a delivery. They are published with it. `file` is None when no row was rejected.

    `checks` count how often each check failed.
    """

    num_rows: int
    file: StagedFile | None
    checks: tuple[FailedCheck, ...] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """Where files of a run may be: URLs that begin with `stem` and match one of `patterns`, and the URLs in `keys`.

    `rejects` are the stem and the pattern of the files of rejected rows, where each share has one. `begun` is the
    folder of the records of this run's attempts, None for a run that has none.
    """

    stem: str | None
    patterns: tuple[str, ...]
    keys: tuple[str, ...] = ()
    rejects: tuple[str, str] | None = None
    begun: str | None = None

    @property
    def spans(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Each stem with its patterns."""
        files = ((self.stem, self.patterns),) if self.stem is not None else ()
        return files + (((self.rejects[0], (self.rejects[1],)),) if self.rejects else ())


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Staged:
    """A complete but invisible delivery. `publish([staged])` makes it visible; `discard([staged])` deletes it.

    repeatable
        Whether a file at its key with the same bytes must be from an earlier attempt of this run: the run id is in the
        key, or the caller chose it.
    manifest, success_marker
        Their URLs, or None. They are written in this order after all files are visible.
    changes
        The counted changes since the last delivery, for a delivery of changes only.
    took, stages
        The time that staging took, and that of each of its stages.
    claim, stale
        Where an earlier attempt, or the run that this one replaces, may have left files; and whether the latter are
        accepted.
    over_all_rows
        The options that were checked over the rows of this part only. A run with further parts can't use them.
    """

    run_id: str
    target: str
    files: tuple[StagedFile, ...]
    content: Content
    validated: bool
    if_exists: IfExists
    repeatable: bool
    started_at: datetime
    took: timedelta
    rejects: StagedRejects | None = None
    manifest: str | None = None
    manifest_form: ManifestForm = "mc_sink"
    success_marker: str | None = None
    changes: Changes | None = None
    on_empty: OnEmpty = "deliver"
    object_options: ObjectOptions | None = None
    claim: Claim | None = None
    stale: Stale = "fail"
    over_all_rows: tuple[str, ...] = ()
    stages: tuple[Stage, ...] = ()

    @property
    def is_skipped(self) -> bool:
        """Whether the delivery has no rows, and therefore no file, manifest or marker, as `on_empty="skip"` asks."""
        return self.on_empty == "skip" and not self.files

    @property
    def num_rows(self) -> int:
        """Rows in all files together."""
        return sum(f.num_rows for f in self.files)

    @property
    def warnings(self) -> tuple[CountedWarning, ...]:
        """The warnings of all files, added up."""
        return summed(warning for file in self.files for warning in file.warnings)

    @property
    def all_files(self) -> tuple[StagedFile, ...]:
        """The files in the order of publishing: those with rows delivered, then the one with rows rejected."""
        rejected = self.rejects.file if self.rejects else None
        return self.files if rejected is None else (*self.files, rejected)


def in_order(staged: Sequence[Staged]) -> list[StagedFile]:
    """Return the files in the order of publishing: the delivered rows, then the rejected ones."""
    return [file for part in staged for file in part.files] + [
        part.rejects.file for part in staged if part.rejects and part.rejects.file
    ]
