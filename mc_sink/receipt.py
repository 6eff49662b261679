"""The receipt of a delivery: frozen facts that people can read and programs can check."""

from __future__ import annotations

from collections import Counter
from dataclasses import astuple, dataclass, field, fields
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, Literal

from mc_sink import _display
from mc_sink._display import labelled, lines
from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime, timedelta

    Verifier = Callable[["Receipt"], "Verification"]

Integrity = Literal["crc32", "crc64", "sha256", "etag", "unproven"]
# The width of the labels of a receipt.
LABELS = 11
_STRENGTH: tuple[Integrity, ...] = ("unproven", "etag", "sha256", "crc64", "crc32")
CreateOnly = Literal["condition", "listing", "unproven"]
WarningKind = Literal["formula", "escaped", "nulled", "unproven"]
# The store isn't known to keep `If-None-Match`: what is known instead.
_WINDOWS: dict[CreateOnly, str] = {
    "listing": (
        "by a listing right before the request; a window of one request remained, in which another writer's object "
        "would have been replaced, because the store isn't known to keep If-None-Match"
    ),
    "unproven": "not proven: the listing was refused, and the store isn't known to keep If-None-Match",
}
_TOLD: dict[WarningKind, str] = {
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
    """Cells of one column that a receiver may stumble over, or that were changed for its sake; the header's among them.

    `kind` is "formula" (written as it is, and a spreadsheet would execute it), "escaped" (given an apostrophe) or
    "nulled" (NaN or an infinity, written as null). "unproven" counts files instead, and its `column` is empty.
    """

    kind: WarningKind
    column: str
    num_cells: int

    def __str__(self) -> str:
        if self.kind == "unproven":
            return f"{self.num_cells:,} {'file' if self.num_cells == 1 else 'files'} {_TOLD[self.kind]}"
        return f"{self.num_cells:,} cell(s) of {self.column!r} {_TOLD[self.kind]}"


def summed(warnings: Iterable[CountedWarning]) -> tuple[CountedWarning, ...]:
    """Add up what was counted in several files, in an order that doesn't depend on theirs."""
    counts: Counter[tuple[WarningKind, str]] = Counter()
    for warning in warnings:
        counts[warning.kind, warning.column] += warning.num_cells
    return tuple(CountedWarning(kind, column, number) for (kind, column), number in sorted(counts.items()))


def weakest(proofs: Iterable[Integrity]) -> Integrity:
    """Return the weakest of several proofs, which is that of what they prove together."""
    return min(proofs, key=_STRENGTH.index)


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """One file that the receiver sees: its URL, what is in it, and how the store identifies it.

    `checksum` is of the whole file, "crc32:" and eight hex digits. `etag` and `version_id` are the store's, and None
    where it has none. `partition` holds the values of the partition columns that all rows of the file share. `found`
    says that an earlier try of the same run had published it, and that it was left as it is.

    `integrity` says how it was proven that the bytes in the store are those that were sent:

    - "crc32", "crc64": the store echoed the CRC32 or the CRC64NVME, and so has summed them itself.
    - "sha256": the store echoed the SHA-256, or every request with bytes was signed with it, which stores check.
    - "etag": the store's ETag is the one that these bytes have.
    - "unproven": nothing shows it. None where the store isn't S3.

    `etag_is_computed` is False where the store makes ETags of its own: then `etag` only shows, as long as it stays,
    that the object wasn't replaced.

    `create_only` says how it was kept from replacing another file: by the store's "condition"; by a "listing" right
    before the request, after which a window of one request remained; or "unproven", because the listing was refused and
    the store isn't known to keep the condition. None: it was found, or it was to replace what is there.
    """

    path: str
    num_rows: int
    num_bytes: int
    etag: str | None
    version_id: str | None
    checksum: str
    partition: Mapping[str, Any] | None = None
    found: bool = False
    create_only: CreateOnly | None = None
    integrity: Integrity | None = None
    etag_is_computed: bool = True


def unproven(files: Iterable[WrittenFile]) -> tuple[CountedWarning, ...]:
    """Count the files that nothing proves to have arrived as they were sent."""
    number = sum(file.integrity == "unproven" for file in files)
    return (CountedWarning("unproven", "", number),) if number else ()


@dataclass(frozen=True, slots=True)
class Rejects:
    """Rows that were kept out of the delivery, and the files that hold them with their reasons."""

    num_rows: int
    files: tuple[WrittenFile, ...]

    def _repr_html_(self) -> str:
        return _display.line(f"{self.num_rows:,} rows were rejected.", strong=True) + _listed(self.files)


@dataclass(frozen=True, slots=True)
class Verification:
    """What a listing of the store showed: `missing` URLs, and `changed` ones, whose size or ETag is another.

    `uncomputed` are URLs of files that are there, whose ETag can't be computed from their bytes: they were compared by
    their size and by what the store itself had answered when they were delivered.
    """

    checked: int
    missing: tuple[str, ...]
    changed: tuple[str, ...]
    uncomputed: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every file of the receipt is there as it was delivered."""
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
    """A delivery that is complete and visible. Holds no credentials; a pickled one can't verify itself any more.

    `num_rows` and `num_bytes` count what was delivered (bytes as stored); `validated` says whether a schema judged
    every row; `rejects` is None where all rows were delivered; `manifest` is its URL, and `success_marker` that of the
    empty file which was shown last, if there is one, and `closing` are these two as they were stored; `warnings` count
    the cells that a receiver may stumble over, and files whose integrity is unproven; `changes` counts what differs
    from the last delivery, where that is all that was delivered; `skipped` says that no row was to be delivered and,
    with `on_empty="skip"`, nothing was made but the rejects; `stale` are the URLs of files of an earlier run that stay
    beside this one, because the caller accepted that;
    `elapsed` is the time that staging and publishing took, by a clock that is never set.
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
    _verifier: Verifier | None = field(default=None, repr=False, compare=False)

    @property
    def num_files(self) -> int:
        """Files of the delivery, without its rejects' and its manifest."""
        return len(self.files)

    @property
    def num_found(self) -> int:
        """Files that were there already, from an earlier try of the same run; all of them where nothing was done."""
        return sum(file.found for file in self.files)

    def verify(self) -> Verification:
        """List the store and compare: every file there, with its size and ETag. Needs only the right to list."""
        if self._verifier is None:
            raise ConfigurationError(
                "This receipt was loaded and holds no credentials: use mc_sink.verify(receipt, storage_options=…)."
            )
        return self._verifier(self)

    def __str__(self) -> str:
        rows = labelled(self._facts(), LABELS)
        rows += [f"  {f.path}  {f.num_rows:,} rows  {_size(f.num_bytes)}  {f.checksum}" for f in self.files]
        return lines(*rows)

    def _repr_html_(self) -> str:
        return _display.facts(self._facts()) + _listed(self.files)

    def _facts(self) -> list[tuple[str, str]]:
        rejected = f", {self.rejects.num_rows:,} rejected" if self.rejects else ""
        done = ("delivered", f"{self.num_rows:,} rows{rejected}, {_size(self.num_bytes)}, {len(self.files)} file(s)")
        return [
            ("skipped", f"0 rows{rejected}: no file was made") if self.skipped else done,
            *self._repeated(),
            *([("changes", str(self.changes))] if self.changes else []),
            ("to", self.target),
            ("run id", self.run_id),
            ("validated", "yes" if self.validated else "no"),
            ("started at", f"{self.started_at:%Y-%m-%d %H:%M:%S} UTC, took {self.elapsed.total_seconds():.2f} s"),
            *self._unguarded(),
            *([("manifest", self.manifest)] if self.manifest else []),
            *([("marker", self.success_marker)] if self.success_marker else []),
            *(("warning", str(warning)) for warning in self.warnings),
            *(("stale", f"{url} is of an earlier run, and stays") for url in self.stale),
        ]

    def _unguarded(self) -> list[tuple[str, str]]:
        """Return a line for each weaker way in which files were kept from replacing others."""
        files = [*self.files, *(self.rejects.files if self.rejects else ())]
        counts = Counter(file.create_only for file in files)
        return [
            ("create-only", f"{counts[way]} of {len(files)} {text}") for way, text in _WINDOWS.items() if counts[way]
        ]

    def _repeated(self) -> list[tuple[str, str]]:
        """Say what an earlier try of the same run had done."""
        if not self.num_found:
            return []
        done = "nothing was done" if self.num_found == len(self.files) else "the others were published now"
        return [("repeated", f"{self.num_found} of {len(self.files)} file(s) were there from an earlier try; {done}")]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the verifier behind: it holds the way to the credentials."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {"_verifier": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)


def _listed(files: Iterable[WrittenFile]) -> str:
    """Give files as a notebook shows them."""
    rows = [(file.path, file.num_rows, file.num_bytes, file.etag, file.checksum) for file in files]
    return _display.rows(("file", "rows", "bytes", "etag", "checksum"), rows)


def _size(num_bytes: int) -> str:
    """Write a number of bytes in binary units, exact below 1 KiB."""
    size = float(num_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:  # noqa: PLR2004  the step between binary units
            return f"{num_bytes} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


@dataclass(frozen=True, slots=True)
class Changes:
    """How this run's rows differ from the last delivery's, in rows.

    This run had `added + changed + unchanged` rows, the last delivery `changed + unchanged + removed`; what is
    delivered is `num_rows` of them.
    """

    added: int
    changed: int
    removed: int
    unchanged: int

    @property
    def num_rows(self) -> int:
        """Rows that differ: those added, changed and removed."""
        return self.added + self.changed + self.removed

    @property
    def num_rows_now(self) -> int:
        """Rows that this run had."""
        return self.added + self.changed + self.unchanged

    @property
    def num_rows_before(self) -> int:
        """Rows that the last delivery had."""
        return self.changed + self.removed + self.unchanged

    def __add__(self, other: Changes) -> Changes:
        """Count what two parts of one run hold together."""
        return Changes(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    def __str__(self) -> str:
        return f"{self.added:,} added, {self.changed:,} changed, {self.removed:,} removed, {self.unchanged:,} unchanged"

    def _repr_html_(self) -> str:
        return _display.rows(
            ("added", "changed", "removed", "unchanged"), [(self.added, self.changed, self.removed, self.unchanged)]
        )


def added_up(parts: Iterable[Changes | None]) -> Changes | None:
    """Count what all parts of one run hold; None where nothing was compared."""
    return reduce(add, found) if (found := [changes for changes in parts if changes]) else None
