"""The receipt of a delivery: frozen facts that people can read and programs can check."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from mc_sink import _display
from mc_sink._display import counted, labelled, lines
from mc_sink._lazy import load_part
from mc_sink.exceptions import ConfigurationError
from mc_sink.receipt.changes import ACTIONS, Action, Changes, added_up
from mc_sink.receipt.details import FailedCheck, Stage, StageName, added_checks, failed_checks
from mc_sink.receipt.verified import Verification
from mc_sink.receipt.written_file import (
    CountedWarning,
    CreateOnly,
    Integrity,
    WarningKind,
    WrittenFile,
    summed,
    unproven,
    weakest,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable
    from datetime import datetime, timedelta
    from pathlib import Path

    import polars as pl

    from mc_sink.content import Content
    from mc_sink.encrypted import Encryption
    from mc_sink.sweep import Sweep

    Verifier = Callable[["Receipt"], "Verification"]

__all__ = [
    "ACTIONS",
    "LABELS",
    "Action",
    "Changes",
    "CountedWarning",
    "CreateOnly",
    "FailedCheck",
    "Integrity",
    "Receipt",
    "Rejects",
    "Stage",
    "StageName",
    "Verification",
    "WarningKind",
    "WrittenFile",
    "added_checks",
    "added_up",
    "failed_checks",
    "summed",
    "unproven",
    "weakest",
]

LABELS = 11  # the width of the labels of a receipt
# What is known where the store isn't known to support `If-None-Match`.
_WINDOWS: dict[CreateOnly, str] = {
    "listing": (
        "by a listing right before the request; a window of one request remained, in which another writer's object "
        "would have been replaced, because the store isn't known to keep If-None-Match"
    ),
    "unproven": "not proven: the listing was refused, and the store isn't known to keep If-None-Match",
}


@dataclass(frozen=True, slots=True)
class Rejects:
    """The rejected rows: their number, the files that hold them with the reasons, and how often each check failed.

    A row may fail several checks. `checks` has the most frequent ones first.
    """

    num_rows: int
    files: tuple[WrittenFile, ...]
    checks: tuple[FailedCheck, ...] = ()

    def _repr_html_(self) -> str:
        return _display.line(
            f"{counted(self.num_rows, 'row')} {'was' if self.num_rows == 1 else 'were'} rejected.", strong=True
        ) + _listed(self.files)


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
    content
        The format with its options, the columns with their dtypes, and the schema's name; None if not recorded.
    stages
        The time of each stage; together they are `elapsed`.
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
    content: Content | None = field(default=None, hash=False)
    stages: tuple[Stage, ...] = ()
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

    def load_statement(self, table: str, dialect: str | None = None, *, access: str | None = None) -> str:
        """Return the statement by which a receiver loads this delivery into a table; see docs/loading.md."""
        load, files = load_part("loading").load_statement, {file.path: file.partition for file in self.files}
        statement: str = load(self.content, self.target, files, self.manifest, table, dialect, access)
        return statement

    @property
    def encryption(self) -> Encryption | None:
        """The fingerprints of the keys that the files were encrypted for and signed with; None where they weren't."""
        return self.content.encryption if self.content else None

    @property
    def is_repeated(self) -> bool:
        """Whether an earlier attempt of the same run had published all files, so that nothing was done."""
        return bool(self.files) and self.num_found == len(self.files)

    def to_dict(self) -> dict[str, Any]:
        """Return the facts as values that JSON has: times in ISO 8601, durations in seconds. Holds no credentials."""
        facts: dict[str, Any] = {
            "run_id": self.run_id,
            "target": self.target,
            "num_rows": self.num_rows,
            "num_bytes": self.num_bytes,
            "num_files": self.num_files,
            "num_rejected": self.rejects.num_rows if self.rejects else None,
            "validated": self.validated,
            "skipped": self.skipped,
            "repeated": self.is_repeated,
            "started_at": self.started_at.isoformat(),
            "elapsed": self.elapsed.total_seconds(),
            "manifest": self.manifest,
            "success_marker": self.success_marker,
            "lost_uploads": str(self.sweep) if self.sweep else None,
        }
        for name in ("changes", "content", "rejects"):
            value = getattr(self, name)
            facts[name] = asdict(value) if value else None
        for name in ("files", "closing", "warnings", "stages"):
            facts[name] = [asdict(one) for one in getattr(self, name)]
        facts["stale"] = list(self.stale)
        return _plain(facts)  # type: ignore[no-any-return]

    def to_frame(self) -> pl.DataFrame:
        """Return a frame with a row for each file, those of the rejects, the manifest and the marker included.

        Its columns are `role` ("rows", "rejects", "manifest" or "success_marker") and those of `WrittenFile`, without
        the values of partitions. `clear` is a struct, set for encrypted files.
        """
        import polars as pl

        names = [one.name for one in fields(WrittenFile) if one.name != "partition"]
        kinds: dict[str, Any] = {"num_rows": pl.Int64, "num_bytes": pl.Int64}
        kinds |= {"clear": pl.Struct({"num_bytes": pl.Int64, "checksum": pl.String})}
        kinds |= dict.fromkeys(("from_prior_attempt", "etag_is_computed"), pl.Boolean)
        stored = [("rows", file) for file in self.files]
        stored += [("rejects", file) for file in (self.rejects.files if self.rejects else ())]
        rows = [{"role": role} | asdict(file) for role, file in stored]
        closing = {file.path: asdict(file) for file in self.closing}  # of a recorded run only the URLs are known
        closed = {"manifest": self.manifest, "success_marker": self.success_marker}
        rows += [{"role": role, "path": url} | closing.get(url, {}) for role, url in closed.items() if url]
        schema = {"role": pl.String} | {name: kinds.get(name, pl.String) for name in names}
        return pl.from_dicts(rows, schema=schema)

    def report(self, path: str | os.PathLike[str]) -> Path:
        """Write the report of this delivery to `path`, one HTML page that needs no other file, and return its path.

        Needs `pip install 'mc-sink[report]'`. A file that is not a report is not replaced: `ConfigurationError`. See
        docs/report.md.
        """
        report = load_part("report")
        return report.write_page(path, report.run_page(self.to_dict()))  # type: ignore[no-any-return]

    def __str__(self) -> str:
        rows = labelled(self._facts(), LABELS)
        rows += [
            f"  {f.path}  {counted(f.num_rows, 'row')}  {_display.size(f.num_bytes)}  {f.checksum}" for f in self.files
        ]
        return lines(*rows)

    def _repr_html_(self) -> str:
        return _display.facts(self._facts()) + _listed(self.files)

    def _facts(self) -> list[tuple[str, str]]:
        return [
            *self._headed(),
            *([("changes", str(self.changes))] if self.changes else []),
            ("to", self.target),
            *(("rejects", file.path) for file in (self.rejects.files if self.rejects else ())),
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

    def _headed(self) -> list[tuple[str, str]]:
        """Return the first lines: how much was delivered, and how much of it an earlier attempt had published."""
        rejected = f", {self.rejects.num_rows:,} rejected" if self.rejects else ""
        if self.skipped:
            return [("skipped", f"0 rows{rejected}: no file was made")]
        files = counted(len(self.files), "file")
        amount = f"{counted(self.num_rows, 'row')}{rejected}, {_display.size(self.num_bytes)}, {files}"
        if self.is_repeated:
            return [("repeated", f"nothing was done: an earlier attempt had delivered {amount}")]
        done = ("delivered", amount)
        if not self.num_found:
            return [done]
        found = f"an earlier attempt had published {self.num_found:,} of {files}; the others were published now"
        return [done, ("repeated", found)]

    def _unguarded(self) -> list[tuple[str, str]]:
        """Return a line for each weaker way in which files were kept from replacing others."""
        files = [*self.files, *(self.rejects.files if self.rejects else ())]
        counts = Counter(file.create_only for file in files)
        return [
            ("create-only", f"{counts[way]:,} of {counted(len(files), 'file')} {text}")
            for way, text in _WINDOWS.items()
            if counts[way]
        ]

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


def _plain(value: Any) -> Any:
    """Return a value as JSON has it; a value that it lacks becomes text."""
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
