"""The receipt of a delivery: frozen facts that people can read and programs can check."""

from __future__ import annotations

from collections import Counter
from dataclasses import astuple, dataclass, field, fields
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, Literal

from mc_sink import _display
from mc_sink._display import counted, in_units, labelled, lines
from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime, timedelta

    from mc_sink.encrypted import ClearBytes, Encryption
    from mc_sink.sweep import Sweep

    Verifier = Callable[["Receipt"], "Verification"]

Integrity = Literal["crc32", "crc64", "sha256", "etag", "unproven"]
LABELS = 11  # the width of the labels of a receipt
_STRENGTH: tuple[Integrity, ...] = ("unproven", "etag", "sha256", "crc64", "crc32")
CreateOnly = Literal["condition", "listing", "unproven"]
WarningKind = Literal["formula", "escaped", "nulled", "unproven"]
# What is known where the store isn't known to support `If-None-Match`.
_WINDOWS: dict[CreateOnly, str] = {
    "listing": (
        "by a listing right before the request; a window of one request remained, in which another writer's object "
        "would have been replaced, because the store isn't known to keep If-None-Match"
    ),
    "unproven": "not proven: the listing was refused, and the store isn't known to keep If-None-Match",
}
_WARNINGS: dict[WarningKind, str] = {
    "formula": "start like a formula, which a spreadsheet would execute",
    "escaped": "started like a formula and were given an apostrophe",
    "nulled": "held NaN or an infinity and were written as null",
    "unproven": "could not be proven to have arrived as sent: the store checks no checksum, and its ETags aren't MD5s",
}
Action = Literal["added", "changed", "removed"]
# In the order in which they are delivered.
ACTIONS: tuple[Action, ...] = ("added", "changed", "removed")


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


@dataclass(frozen=True, slots=True)
class Rejects:
    """The rejected rows: their number, and the files that hold them with the reasons."""

    num_rows: int
    files: tuple[WrittenFile, ...]

    def _repr_html_(self) -> str:
        return _display.line(
            f"{counted(self.num_rows, 'row')} {'was' if self.num_rows == 1 else 'were'} rejected.", strong=True
        ) + _listed(self.files)


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of comparing a receipt with the store: `missing` URLs, and `changed` ones with another size or ETag.

    `uncomputed` are URLs of unchanged files whose ETag can't be computed from their bytes: they were compared by size
    and by the ETag that the store returned on delivery.
    """

    checked: int
    missing: tuple[str, ...]
    changed: tuple[str, ...]
    uncomputed: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every file of the receipt exists unchanged."""
        return not self.missing and not self.changed

    def __str__(self) -> str:
        if self.ok:
            found = f"{self.checked} of {self.checked} files are there, with the size and ETag of the receipt."
            return found + self._but
        wrong = [*(f"missing: {p}" for p in self.missing), *(f"changed: {p}" for p in self.changed)]
        headline = f"{len(wrong)} of {self.checked} files are not as they were delivered:"
        return lines(headline, *(f"  {one}" for one in wrong))

    @property
    def _but(self) -> str:
        number = len(self.uncomputed)
        return (
            f" {number:,} of them only by the size and by what the store itself answered before: its ETags are not "
            "computed from the bytes."
            if number
            else ""
        )

    def _repr_html_(self) -> str:
        found = _display.line(str(self).splitlines()[0], strong=True)
        wrong = [*(("missing", path) for path in self.missing), *(("changed", path) for path in self.changed)]
        return found + _display.rows(("found", "file"), wrong) if wrong else found


@dataclass(frozen=True, slots=True)
class Receipt:
    """A complete and visible delivery. Holds no credentials; a pickled receipt can't verify itself any more.

    num_rows, num_bytes
        The delivered rows, and their bytes as stored.
    rejects
        The rejected rows; None if `on_invalid` wasn't "reject".
    validated
        Whether a schema validated every row.
    manifest, success_marker, closing
        The URLs of the manifest and the marker, or None; and these two files as they were stored.
    elapsed
        The time of staging and publishing, by a monotonic clock.

    Warnings
    --------
        Cells that a receiver may misread, and files whose integrity is unproven, counted.
    changes
        The counted changes since the last delivery, if only changes were delivered.
    skipped
        Whether no row was delivered, and so, with `on_empty="skip"`, no file was made except the rejects.
    stale
        URLs of files of an earlier run that stay beside this one, because the caller accepted that.
    encryption
        The fingerprints of the keys that the files were encrypted for and signed with; None where they weren't.
    """

    run_id: str
    target: str
    files: tuple[WrittenFile, ...]
    num_rows: int
    num_bytes: int
    rejects: Rejects | None
    validated: bool
    manifest: str | None
    started_at: datetime
    elapsed: timedelta
    warnings: tuple[CountedWarning, ...] = ()
    success_marker: str | None = None
    changes: Changes | None = None
    skipped: bool = False
    stale: tuple[str, ...] = ()
    closing: tuple[WrittenFile, ...] = ()
    sweep: Sweep | None = None  # of uploads of lost workers; None for a delivery of one process
    encryption: Encryption | None = None
    _verifier: Verifier | None = field(default=None, repr=False, compare=False)

    @property
    def num_files(self) -> int:
        """The number of files, without those of the rejects and the manifest."""
        return len(self.files)

    @property
    def num_found(self) -> int:
        """The number of files that an earlier attempt of the same run had published."""
        return sum(file.from_prior_attempt for file in self.files)

    def verify(self) -> Verification:
        """Compare every file with a listing of the store, by size and ETag. Needs only the permission to list."""
        if self._verifier is None:
            raise ConfigurationError(
                "This receipt was loaded and holds no credentials. Use mc_sink.verify(receipt, storage_options=…)."
            )
        return self._verifier(self)

    def __str__(self) -> str:
        rows = labelled(self._facts(), LABELS)
        rows += [f"  {f.path}  {f.num_rows:,} rows  {in_units(f.num_bytes)}  {f.checksum}" for f in self.files]
        return lines(*rows)

    def _repr_html_(self) -> str:
        return _display.facts(self._facts()) + _listed(self.files)

    def _facts(self) -> list[tuple[str, str]]:
        rejected = f", {self.rejects.num_rows:,} rejected" if self.rejects else ""
        rows, files = counted(self.num_rows, "row"), counted(len(self.files), "file")
        done = ("delivered", f"{rows}{rejected}, {in_units(self.num_bytes)}, {files}")
        return [
            ("skipped", f"0 rows{rejected}: no file was made") if self.skipped else done,
            *self._repeated(),
            *([("changes", str(self.changes))] if self.changes else []),
            ("to", self.target),
            ("run id", self.run_id),
            ("validated", "yes" if self.validated else "no"),
            ("started at", f"{self.started_at:%Y-%m-%d %H:%M:%S} UTC, took {self.elapsed.total_seconds():.2f} s"),
            *self._unguarded(),
            *([("encrypted", str(self.encryption))] if self.encryption else []),
            *([("manifest", self.manifest)] if self.manifest else []),
            *([("marker", self.success_marker)] if self.success_marker else []),
            *(("warning", str(warning)) for warning in self.warnings),
            *(("stale", f"{url} is of an earlier run and was kept") for url in self.stale),
            *([("lost uploads", str(self.sweep))] if self.sweep and self.target.startswith("s3:") else []),
        ]

    def _unguarded(self) -> list[tuple[str, str]]:
        """Return a line for each weaker way in which files were kept from replacing others."""
        files = [*self.files, *(self.rejects.files if self.rejects else ())]
        counts = Counter(file.create_only for file in files)
        return [
            ("create-only", f"{counts[way]} of {len(files)} {text}") for way, text in _WINDOWS.items() if counts[way]
        ]

    def _repeated(self) -> list[tuple[str, str]]:
        """Return a line on the files that an earlier attempt of the same run had published."""
        if not self.num_found:
            return []
        done = "nothing was done" if self.num_found == len(self.files) else "the others were published now"
        files = counted(len(self.files), "file")
        return [("repeated", f"an earlier attempt had published {self.num_found} of {files}; {done}")]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the verifier behind: it holds the way to the credentials."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {"_verifier": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)


def _listed(files: Iterable[WrittenFile]) -> str:
    """Return files as a table for notebooks."""
    rows = [(file.path, file.num_rows, file.num_bytes, file.etag, file.checksum) for file in files]
    return _display.rows(("file", "rows", "bytes", "etag", "checksum"), rows)


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes between the last delivery and this run, counted in rows.

    This run had `added + changed + unchanged` rows, and the last delivery `changed + unchanged + removed`. `num_rows`
    of them are delivered.
    """

    added: int
    changed: int
    removed: int
    unchanged: int

    @property
    def num_rows(self) -> int:
        """The number of rows that were added, changed or removed."""
        return self.added + self.changed + self.removed

    @property
    def num_rows_now(self) -> int:
        """The number of rows of this run."""
        return self.added + self.changed + self.unchanged

    @property
    def num_rows_before(self) -> int:
        """The number of rows of the last delivery."""
        return self.changed + self.removed + self.unchanged

    def __add__(self, other: Changes) -> Changes:
        """Add the counts of another part of the run."""
        return Changes(*(one + another for one, another in zip(astuple(self), astuple(other), strict=True)))

    def __str__(self) -> str:
        return f"{self.added:,} added, {self.changed:,} changed, {self.removed:,} removed, {self.unchanged:,} unchanged"

    def _repr_html_(self) -> str:
        return _display.rows(
            ("added", "changed", "removed", "unchanged"), [(self.added, self.changed, self.removed, self.unchanged)]
        )


def added_up(parts: Iterable[Changes | None]) -> Changes | None:
    """Add up the changes of all parts of a run; None without changes."""
    return reduce(add, found) if (found := [changes for changes in parts if changes]) else None
