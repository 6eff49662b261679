"""The history of runs on this machine: one record for each run, in SQLite, without secrets or cell values.

    begin ──► running ──► delivered | skipped | failed | interrupted

The file `history.sqlite3` is beside the folder of journals, and only its owner can read it. A run holds a lock that
ends with its process. So a "running" record whose lock is free belongs to a killed run, and reads as "interrupted".
Every function here opens the file, runs one transaction and closes it.
"""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from mc_sink import _display
from mc_sink._display import logger
from mc_sink._runtime import state_dir
from mc_sink.connector.history.record import Failure, Run, Status, as_row, as_run, facts_of, now
from mc_sink.connector.history.redact import failure_of
from mc_sink.exceptions import ConfigurationError, SinkError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from mc_sink.receipt import Receipt

__all__ = [
    "Beginning",
    "Busy",
    "Run",
    "Status",
    "begin",
    "failure_of",
    "find_run",
    "hold",
    "last_rows",
    "list_runs",
    "note_recovered",
]

_log = logger(__name__)
FILE, LOCKS = "history.sqlite3", "runs"
PATIENCE_SECONDS = 30.0
_TABLE = """
create table if not exists runs (
    number integer primary key autoincrement,
    run_id text not null, connection text not null, file text, trigger text not null, target text not null,
    platform text, storage_options text not null, status text not null, started_at text not null, ended_at text,
    num_rows integer, num_bytes integer, num_rejected integer, files text, rejects text, manifest text,
    validated integer, error text, token text not null);
create index if not exists runs_by_id on runs (run_id);
create index if not exists runs_by_status on runs (status);
"""
# Columns are named, because a later version may have added others.
_SELECT = f"select {', '.join(one.name for one in fields(Run))} from runs"  # noqa: S608  our own names
_KILLED = Failure("Killed", "The run was killed, or the machine went down.", "unknown")
LOCKS_FOLDER = "locks"


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


class Ongoing:
    """A run that is going on. Its end may be recorded again where the first attempt was interrupted."""

    def __init__(self, run: Run, lock: state_dir.Lock) -> None:
        self.run = run
        self._lock = lock

    def delivered(self, receipt: Receipt) -> Run:
        """Record that everything is visible, or that the run had no rows to deliver."""
        return self._end(_status_of(receipt), facts_of(receipt))

    def failed(self, error: BaseException) -> Run:
        """Record the error that ended the run; a signal makes it "interrupted"."""
        status: Status = "failed" if isinstance(error, Exception) else "interrupted"
        return self._end(status, {"error": failure_of(error, known=(self.run.target,))})

    def _end(self, status: Status, facts: dict[str, Any]) -> Run:
        """Return the record, also where it can't be written: the run has ended in either case."""
        self.run = replace(self.run, status=status, ended_at=now(), **facts)
        ended = facts | {"status": status, "ended_at": self.run.ended_at}
        try:
            _update(self.run, ended)
        except SinkError as error:  # without its traceback, whose chain has the error of the run
            _log.error("Run %s ended as %s, and its record can't be written: %s", self.run.run_id, status, error)
        except BaseException:  # interrupted, which rolled the transaction back
            _update(self.run, ended)
            raise
        finally:
            self._lock.release()
        return self.run


def begin(beginning: Beginning) -> Ongoing:
    """Record that a run begins, before anything is sent, or raise `ConfigurationError`."""
    token = secrets.token_hex(8)
    lock = _lock_in(LOCKS, token)
    try:
        with _locking(lock):  # before the record exists, so that it is never seen without its lock
            lock.acquire()
        run = Run(number=0, status="running", started_at=now(), token=token, **asdict(beginning))
        row = as_row({one.name: getattr(run, one.name) for one in fields(run) if one.name != "number"})
        with _opened() as table:
            marks = ", ".join(f":{name}" for name in row)
            done = table.execute(f"insert into runs ({', '.join(row)}) values ({marks})", row)  # noqa: S608  our own names
            return Ongoing(replace(run, number=int(done.lastrowid or 0)), lock)
    except BaseException:
        lock.release()
        raise


def list_runs(
    *,
    connection: str | None = None,
    status: Status | None = None,
    trigger: str | None = None,
    limit: int | None = 20,
) -> _display.Listing[Run]:
    """List the runs of this machine, or those with the given facts, newest first."""
    with _opened() as table:
        _settle(table)
        found = table.execute(
            f"{_SELECT} where connection = coalesce(?, connection) and status = coalesce(?, status) "
            "and trigger = coalesce(?, trigger) order by number desc limit ?",
            (connection, status, trigger, -1 if limit is None else limit),
        )
        return _display.Listing(as_run(row) for row in found)


def find_run(run_id: str) -> Run:
    """Return the last attempt of a run. Raises `ConfigurationError` for an unknown id."""
    with _opened() as table:
        _settle(table)
        row = table.execute(f"{_SELECT} where run_id = ? order by number desc limit 1", (run_id,)).fetchone()
    if row is None:
        raise ConfigurationError(f"No run of this machine has the id {run_id}. List the runs with mc-sink history.")
    return as_run(row)


def note_recovered(run: Run, receipt: Receipt) -> Run:
    """Record that a run that stopped while it was published was finished later, and that everything is visible."""
    ended = {"status": _status_of(receipt), "ended_at": now(), "error": None}
    return _update(run, facts_of(receipt) | ended)


def last_rows(beginning: Beginning) -> int | None:
    """Return the number of rows of the connection's last delivery; None before its first one.

    A connection is identified by its file and, without one, by its name and target.
    """
    by = "file = :file" if beginning.file else "file is null and connection = :connection and target = :target"
    with _opened() as table:
        row = table.execute(
            f"select num_rows from runs where status = 'delivered' and num_rows > 0 and {by} "  # noqa: S608  our own names
            "order by number desc limit 1",
            asdict(beginning) | {"storage_options": None},
        ).fetchone()
    return None if row is None else int(row["num_rows"])


def _status_of(receipt: Receipt) -> Status:
    return "skipped" if receipt.skipped else "delivered"


def _update(run: Run, facts: Mapping[str, Any]) -> Run:
    row, number = as_row(facts, run.target), run.number
    changes = ", ".join(f"{name} = :{name}" for name in row)
    with _opened() as table:
        table.execute(f"update runs set {changes} where number = :number", row | {"number": number})  # noqa: S608  our own names
        return as_run(table.execute(f"{_SELECT} where number = ?", (number,)).fetchone())


def _settle(table: sqlite3.Connection) -> None:
    """Mark "running" records whose lock is free as interrupted."""
    going = table.execute("select number, token from runs where status = 'running'").fetchall()
    for row in going:
        lock = _lock_in(LOCKS, row["token"])
        if lock.is_free():
            facts = as_row({"status": "interrupted", "error": _KILLED, "number": row["number"]})
            table.execute(
                "update runs set status = :status, error = :error where number = :number and status = 'running'", facts
            )
            lock.path.unlink(missing_ok=True)


@contextmanager
def _opened() -> Iterator[sqlite3.Connection]:
    """Open the file for one transaction, or raise `ConfigurationError`."""
    import sqlite3

    path = prepared_state_folder() / FILE
    try:
        os.close(state_dir.open_private(path, os.O_RDWR | os.O_CREAT))
        table = sqlite3.connect(path, timeout=PATIENCE_SECONDS, isolation_level="IMMEDIATE")
        try:
            table.row_factory = sqlite3.Row
            table.executescript(_TABLE)
            with table:
                yield table
        finally:
            table.close()
    except (sqlite3.Error, OSError, ValueError, TypeError) as error:  # the last two are for invalid rows
        raise ConfigurationError(
            f"Cannot open the run history at {path}: {type(error).__name__}: {error}. Free disk space, or move the "
            "file; a new one will be created."
        ) from error


class Busy(SinkError):  # noqa: N818  the name states the condition
    """Another process holds the lock. Nothing was done; try again later."""


def prepared_state_folder() -> Path:
    """Create the state folder where it is missing, for its owner alone, and return it.

    Raises `UploadError` where it can't be written.
    """
    with state_dir.writing("state folder", state_dir.state_folder()):
        return state_dir.prepare_folder()


@contextmanager
def hold(name: str, what: str) -> Iterator[None]:
    """Hold the lock `name` of this machine within the `with`, or raise `Busy`; `what` says what holds it then."""
    lock = _lock_in(LOCKS_FOLDER, name)
    with _locking(lock):
        is_held = lock.acquire()
    if not is_held:
        raise Busy(f"{what} already, as process {lock.holder}. Wait until it ends, or stop it.")
    try:
        yield
    finally:
        lock.release()


def _lock_in(folder: str, name: str) -> state_dir.Lock:
    """Return a lock of the state folder, not held yet, or raise `ConfigurationError`."""
    lock = state_dir.Lock(prepared_state_folder() / folder / f"{name}.lock")
    with _locking(lock):
        state_dir.prepare_folder(folder)
    return lock


@contextmanager
def _locking(lock: state_dir.Lock) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            f"Cannot open the lock {error.filename or lock.path}: {error.strerror}. {state_dir.advice(error)}"
        ) from error
