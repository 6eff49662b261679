"""The record of a run: frozen facts, and their form as a row of the table."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from mc_sink import _display
from mc_sink.content import Content
from mc_sink.encrypted import ClearBytes, Encryption
from mc_sink.receipt import (
    Changes,
    CountedWarning,
    FailedCheck,
    Receipt,
    Rejects,
    Stage,
    WrittenFile,
)
from mc_sink.records.aliases import aliased

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mc_sink.exceptions import Visible

Status = Literal["running", "delivered", "failed", "interrupted", "skipped", "missed"]
_JSON = ("storage_options", "files", "rejects", "error", "details")
# Records of version 0.1 have this field of a file under another name.
_RENAMED = {"found": "from_prior_attempt"}
_TIMES = ("started_at", "ended_at", "due_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """The facts of a run before it begins."""

    run_id: str
    connection: str
    target: str
    file: str | None = None
    trigger: str = "manual"
    platform: str | None = None
    storage_options: Mapping[str, Any] = field(default_factory=dict)
    due_at: datetime | None = None


class TimedOut(SystemExit):
    """The time that `[schedule] timeout` allows has passed. Sources that catch every `Exception` don't catch it."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The error that ended a run, without cell values and secrets.

    `kind` is its type, `text` the redacted message. `visible` is that of a `SinkError`, "nothing", "some" or "unknown",
    and None for other errors.
    """

    kind: str
    text: str
    visible: Visible | None = None


@dataclass(frozen=True, slots=True)
class FailureCase:
    """One row that failed a check, without its value.

    `row` counts from 0 over the whole run, and is None where the failure belongs to no row. `column` is None for a
    check of whole rows.
    """

    row: int | None
    column: str | None
    check: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What the report of a run shows besides, without cell values: see `Receipt` and `Rejects`.

    `checks` are those that rejected rows, or that ended the run, and `cases` the first failures that ended it.
    """

    content: Content | None = None
    checks: tuple[FailedCheck, ...] = ()
    cases: tuple[FailureCase, ...] = ()
    stages: tuple[Stage, ...] = ()
    changes: Changes | None = None
    warnings: tuple[CountedWarning, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of one connection.

    - `number` counts the runs of this machine. Two attempts of one run id have two numbers.
    - `file` is the connection's file, None for a run of `mc-sink send` and a delivery from Python.
    - `trigger` is "manual", "schedule", or "python" for a delivery from Python, whose `connection` is "python" too.
    - `storage_options` are those of the connection, which hold no secret.
    - `due_at` is the time of the schedule that the run serves. A record with the status "missed" is of no run: its
      error counts the times that passed without one, the last of them at `due_at`.
    - `num_bytes` counts the stored bytes.
    - `files` became visible, and `rejects` hold the rejected rows. The path of a partition's file contains the
      partition's values, so a record that was read from the table has an alias, by which `mc_sink.verify` finds the
      file. The `partition` of such a file is an empty mapping.
    - `details` is None for a run that is going on, and for records of earlier versions.
    """

    number: int
    run_id: str
    connection: str
    file: str | None
    trigger: str
    target: str
    platform: str | None
    storage_options: Mapping[str, Any]
    status: Status
    started_at: datetime
    ended_at: datetime | None = None
    num_rows: int | None = None
    num_bytes: int | None = None
    num_rejected: int | None = None
    files: tuple[WrittenFile, ...] = ()
    rejects: tuple[WrittenFile, ...] = ()
    manifest: str | None = None
    validated: bool = False
    error: Failure | None = None
    due_at: datetime | None = None
    token: str = field(default="", repr=False)
    details: Details | None = None

    @property
    def elapsed(self) -> timedelta | None:
        """The duration; None for a run that is going on or was killed."""
        return None if self.ended_at is None else self.ended_at - self.started_at

    def as_json(self) -> dict[str, Any]:
        """Return the facts as JSON: times in ISO 8601, and values of partitions only in the paths."""
        facts = asdict(replace(self, files=_without_values(self.files), rejects=_without_values(self.rejects)))
        del facts["token"]
        return facts | {name: _iso(getattr(self, name)) for name in _TIMES}

    def shown(self) -> dict[str, object]:
        """Return the labelled facts, in display order."""
        return {
            "run id": self.run_id,
            "connection": self.connection,
            "trigger": self.trigger,
            "started at": f"{self.started_at:%Y-%m-%d %H:%M:%S} UTC",
            "status": self.status,
            "rows": self.num_rows,
            "bytes": self.num_bytes,
            "rejected": self.num_rejected,
            "error": self.error.kind if self.error else None,
        }

    def _repr_html_(self) -> str:
        return _display.facts({"to": self.target, **self.shown()}.items())

    def receipt(self) -> Receipt:
        """Return the receipt of the run, from the recorded facts. Its `verify()` has no credentials."""
        details = self.details or Details()
        rejects = None if self.num_rejected is None else Rejects(self.num_rejected, self.rejects, details.checks)
        return Receipt(
            run_id=self.run_id,
            target=self.target,
            files=self.files,
            num_rows=self.num_rows or 0,
            num_bytes=self.num_bytes or 0,
            rejects=rejects,
            validated=self.validated,
            manifest=self.manifest,
            started_at=self.started_at,
            elapsed=self.elapsed or timedelta(0),
            skipped=self.status == "skipped",
            content=details.content,
            stages=details.stages,
            changes=details.changes,
            warnings=details.warnings,
        )

    def report_facts(self) -> dict[str, Any]:
        """Return the facts of the run's report; see `mc_sink.report.run_page`."""
        own = {
            "status": self.status,
            "connection": self.connection,
            "platform": self.platform,
            "trigger": self.trigger,
            "error": asdict(self.error) if self.error else None,
            "checks": [asdict(check) for check in self.details.checks] if self.details else [],
            "elapsed": self.elapsed.total_seconds() if self.elapsed is not None else None,
        }
        return self.receipt().to_dict() | own


def facts_of(receipt: Receipt) -> dict[str, Any]:
    """Return the facts of a receipt that a record keeps."""
    return {
        "num_rows": receipt.num_rows,
        "num_bytes": receipt.num_bytes,
        "num_rejected": receipt.rejects.num_rows if receipt.rejects else None,
        "files": receipt.files,
        "rejects": receipt.rejects.files if receipt.rejects else (),
        "manifest": receipt.manifest,
        "validated": receipt.validated,
        "details": Details(
            content=receipt.content,
            checks=receipt.rejects.checks if receipt.rejects else (),
            stages=receipt.stages,
            changes=receipt.changes,
            warnings=receipt.warnings,
        ),
    }


def status_of(receipt: Receipt) -> Status:
    """Return the status of a run that ended with this receipt."""
    return "skipped" if receipt.skipped else "delivered"


def as_row(facts: Mapping[str, Any], target: str = "") -> dict[str, Any]:
    """Convert the facts of a run to `target` to the columns of the table, without cell values."""
    row = dict(facts)
    for name in {"files", "rejects"} & set(row):
        row[name] = tuple(aliased(file, target) for file in row[name])
    for name in _JSON:
        if row.get(name) is not None:
            row[name] = json.dumps(row[name], default=asdict, ensure_ascii=False)
    for name in _TIMES:
        if name in row:
            row[name] = _iso(row[name])
    return row


def as_run(row: Mapping[str, Any]) -> Run:
    """Convert a row of the table to a run."""
    facts = dict(row)
    for name in ("files", "rejects"):
        files = json.loads(facts[name] or "[]")
        facts[name] = tuple(_written_file({_RENAMED.get(key, key): file[key] for key in file}) for file in files)
    facts["storage_options"] = json.loads(facts["storage_options"] or "{}")
    facts["error"] = Failure(**json.loads(facts["error"])) if facts["error"] else None
    facts["details"] = _details_of(json.loads(facts["details"])) if facts["details"] else None
    for name in _TIMES:
        facts[name] = datetime.fromisoformat(facts[name]) if facts[name] else None
    return Run(**facts | {"validated": bool(facts["validated"])})


def _details_of(facts: Mapping[str, Any]) -> Details:
    """Convert what the table holds to the details of a run."""
    return Details(
        content=facts["content"] and _content_of(facts["content"]),
        checks=tuple(FailedCheck(**one) for one in facts["checks"]),
        cases=tuple(FailureCase(**one) for one in facts.get("cases", ())),
        stages=tuple(Stage(**one) for one in facts["stages"]),
        changes=Changes(**facts["changes"]) if facts["changes"] else None,
        warnings=tuple(CountedWarning(**one) for one in facts["warnings"]),
    )


def _content_of(facts: Mapping[str, Any]) -> Content:
    keys = facts.get("encryption")
    lists = {name: tuple(value) for name, value in (keys or {}).items() if isinstance(value, list)}
    encryption = keys and Encryption(**keys | lists)
    return Content(**dict(facts) | {"partition_by": tuple(facts["partition_by"]), "encryption": encryption})


def _written_file(facts: dict[str, Any]) -> WrittenFile:
    clear = facts.get("clear")
    return WrittenFile(**facts | {"clear": clear and ClearBytes(**clear)})


def now() -> datetime:
    """Return the present time in UTC, in milliseconds."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _without_values(files: Iterable[WrittenFile]) -> tuple[WrittenFile, ...]:
    return tuple(replace(file, partition=None) if file.partition else file for file in files)


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="milliseconds") if moment else None
