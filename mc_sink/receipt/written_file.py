"""One file of a delivery as the receiver sees it, how it was proven, and the cells in it that may be misread."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mc_sink._display import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mc_sink.encrypted import ClearBytes

Integrity = Literal["crc32", "crc64", "sha256", "etag", "unproven"]
_STRENGTH: tuple[Integrity, ...] = ("unproven", "etag", "sha256", "crc64", "crc32")
CreateOnly = Literal["condition", "listing", "unproven"]
WarningKind = Literal["formula", "escaped", "nulled", "unproven"]
_WARNINGS: dict[WarningKind, str] = {
    "formula": "start like a formula, which a spreadsheet would execute",
    "escaped": "started like a formula and were given an apostrophe",
    "nulled": "held NaN or an infinity and were written as null",
    "unproven": "could not be proven to have arrived as sent: the store checks no checksum, and its ETags aren't MD5s",
}


@dataclass(frozen=True, slots=True)
class CountedWarning:
    """Cells of one column, header included, that a receiver may misread, or that were changed to prevent it.

    `kind` is "formula" (written unchanged, and a spreadsheet would execute it), "escaped" (given an apostrophe) or
    "nulled" (NaN or an infinity, written as null). "unproven" counts files instead, and its `column` is empty.
    """

    kind: WarningKind
    column: str
    num_cells: int

    def __str__(self) -> str:
        if self.kind == "unproven":
            return f"{counted(self.num_cells, 'file')} {_WARNINGS[self.kind]}"
        return f"{counted(self.num_cells, 'cell')} of {self.column!r} {_WARNINGS[self.kind]}"


def summed(warnings: Iterable[CountedWarning]) -> tuple[CountedWarning, ...]:
    """Add up the warnings of several files. The order of the result doesn't depend on that of the files."""
    counts: Counter[tuple[WarningKind, str]] = Counter()
    for warning in warnings:
        counts[warning.kind, warning.column] += warning.num_cells
    return tuple(CountedWarning(kind, column, number) for (kind, column), number in sorted(counts.items()))


def weakest(proofs: Iterable[Integrity]) -> Integrity:
    """Return the weakest of several proofs, which holds for all of the files together."""
    return min(proofs, key=_STRENGTH.index)


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """One file that the receiver sees: its URL, its contents, and its identifiers in the store.

    `checksum` is of the whole file, "crc32:" and eight hex digits. `etag` and `version_id` are the store's, None where
    it has none. `partition` holds the values of the partition columns that all rows of the file share.
    `from_prior_attempt`: an earlier attempt of the same run had published it, and it was not changed.

    `integrity` names the proof that the bytes in the store are those that were sent:

    - "crc32", "crc64": the store echoed the CRC32 or the CRC64NVME, and so has summed them itself.
    - "sha256": the store echoed the SHA-256, or every request with bytes was signed with it, which stores check.
    - "etag": the store's ETag is the one that these bytes have.
    - "unproven": no proof. None where the store isn't S3.

    `etag_is_computed` is False where the store's ETags are not computed from the bytes: then an unchanged `etag` shows
    only that the object wasn't replaced.

    `create_only` names what kept the file from replacing another one: the store's "condition"; a "listing" right before
    the request, which leaves a window of one request; or "unproven", because the listing was refused and the store
    isn't known to support the condition. None: the file is from a prior attempt, or was allowed to replace another one.

    `clear` has the size and the checksum before the file was encrypted; None where it wasn't.
    """

    path: str
    num_rows: int
    num_bytes: int
    etag: str | None
    version_id: str | None
    checksum: str
    partition: Mapping[str, Any] | None = None
    from_prior_attempt: bool = False
    create_only: CreateOnly | None = None
    integrity: Integrity | None = None
    etag_is_computed: bool = True
    clear: ClearBytes | None = None


def unproven(files: Iterable[WrittenFile]) -> tuple[CountedWarning, ...]:
    """Count the files without a proof that they arrived as they were sent."""
    number = sum(file.integrity == "unproven" for file in files)
    return (CountedWarning("unproven", "", number),) if number else ()
