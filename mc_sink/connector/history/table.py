"""The table of runs: the file, its transactions and its locks, one function for each change of a row."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from mc_sink._runtime import state_dir
from mc_sink.exceptions import ConfigurationError, SinkError
from mc_sink.records import PYTHON, Failure, Run, as_row, as_run, has_lines, taken

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping
    from pathlib import Path

FILE, LOCKS = "history.sqlite3", "runs"
KEEP = 10_000
PATIENCE_SECONDS = 30.0
_TABLE = """
create table if not exists runs (
    number integer primary key autoincrement,
    run_id text not null, connection text not null, file text, trigger text not null, target text not null,
    platform text, storage_options text not null, status text not null, started_at text not null, ended_at text,
    num_rows integer, num_bytes integer, num_rejected integer, files text, rejects text, manifest text,
    validated integer, error text, due_at text, token text not null, details text);
create index if not exists runs_by_id on runs (run_id);
create index if not exists runs_by_status on runs (status);
create index if not exists runs_by_file on runs (file, number);
create table if not exists agendas (
    file text primary key, planned_at text not null, after integer not null default 0, paused_at text);
"""
_ADDED = {"due_at", "details"}  # columns that the first version had not
# Columns are named, because a later version may have added others.
SELECT = f"select {', '.join(one.name for one in fields(Run))} from runs"  # noqa: S608  our own names
_KILLED = Failure("Killed", "The run was killed, or the machine went down.", "unknown")
LOCKS_FOLDER = "locks"


def insert(table: sqlite3.Connection, run: Run) -> int:
    """Insert a record and return its number."""
    row = as_row({one.name: getattr(run, one.name) for one in fields(run) if one.name != "number"})
    return _insert_row(table, row)


def _insert_row(table: sqlite3.Connection, row: Mapping[str, Any]) -> int:
    marks = ", ".join(f":{name}" for name in row)
    return int(table.execute(f"insert into runs ({', '.join(row)}) values ({marks})", row).lastrowid or 0)  # noqa: S608  our own names


def update(run: Run, facts: Mapping[str, Any], *, keep: int | None = None) -> Run:
    """Update the record of a run and return it. With `keep`, remove the oldest ones of its connection."""
    row, number = as_row(facts, run.target), run.number
    changes = ", ".join(f"{name} = :{name}" for name in row)
    with transaction() as table:
        table.execute(f"update runs set {changes} where number = :number", row | {"number": number})  # noqa: S608  our own names
        if keep is not None:
            prune(table, run, keep)
        return as_run(table.execute(f"{SELECT} where number = ?", (number,)).fetchone())


def prune(table: sqlite3.Connection, run: Run, keep: int) -> None:
    """Remove the connection's oldest records. This run, runs that go on, and the last delivery stay."""
    by = "file = :file" if run.file else "file is null and connection = :connection and target = :target"
    table.execute(
        f"delete from runs where {by} and status <> 'running' and number <> :number "  # noqa: S608  our own names
        f"and number <= (select number from runs where {by} order by number desc limit 1 offset :keep) "
        f"and number <> coalesce((select max(number) from runs where {by} and status = 'delivered' "
        "and num_rows > 0), 0)",
        {"file": run.file, "connection": run.connection, "target": run.target, "keep": keep, "number": run.number},
    )


def settle(table: sqlite3.Connection) -> None:
    """Mark "running" records whose lock is free as interrupted."""
    going = table.execute("select number, token from runs where status = 'running'").fetchall()
    for row in going:
        lock = lock_in(LOCKS, row["token"])
        if lock.is_free():
            facts = as_row({"status": "interrupted", "error": _KILLED, "number": row["number"]})
            table.execute(
                "update runs set status = :status, error = :error where number = :number and status = 'running'", facts
            )
            lock.path.unlink(missing_ok=True)


@contextmanager
def transaction() -> Iterator[sqlite3.Connection]:
    """Open the file for one transaction, or raise `ConfigurationError`."""
    import sqlite3

    folder = prepared_state_folder()
    path = folder / FILE
    try:
        os.close(state_dir.open_private(path, os.O_RDWR | os.O_CREAT))
        table = sqlite3.connect(path, timeout=PATIENCE_SECONDS, isolation_level="IMMEDIATE")
        try:
            table.row_factory = sqlite3.Row
            table.executescript(_TABLE)
            with table:
                present = {row["name"] for row in table.execute("select name from pragma_table_info('runs')")}
                for name in _ADDED - present:  # the file is of an earlier version
                    table.execute(f"alter table runs add column {name} text")
            if has_lines(folder):
                _take_in(table, folder)
            with table:
                yield table
        finally:
            table.close()
    except (sqlite3.Error, OSError, ValueError, TypeError) as error:  # the last two are for invalid rows
        raise ConfigurationError(
            f"Cannot open the run history at {path}: {type(error).__name__}: {error}. Free disk space, or move the "
            "file; a new one will be created."
        ) from error


def _take_in(table: sqlite3.Connection, folder: Path) -> None:
    """Move the records of deliveries from Python into the table, each once, and remove the oldest of them.

    The table is locked first, so that no delivery waits for a transaction of another process.
    """
    with table:
        table.execute("begin immediate")
        present = {row["token"] for row in table.execute("select token from runs where trigger = ?", (PYTHON,))}
        with taken(folder) as rows:
            for row in rows:
                if row["token"] not in present:  # the machine may have gone down before the inbox was emptied
                    _insert_row(table, row)
            oldest = "select number from runs where trigger = :python order by number desc limit 1 offset :keep"
            table.execute(
                f"delete from runs where trigger = :python and number <= ({oldest})",  # noqa: S608  our own names
                {"python": PYTHON, "keep": KEEP},
            )
            table.commit()  # before they are removed from the inbox


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
    lock = lock_in(LOCKS_FOLDER, name)
    try:
        with locking(lock):
            is_held = lock.acquire()
        if not is_held:
            raise Busy(f"{what} already, as process {lock.holder}. Wait until it ends, or stop it.")
        yield
    finally:
        lock.release()


@contextmanager
def in_turn(name: str) -> Iterator[None]:
    """Hold the lock `name` of this machine within the `with`, after waiting for it."""
    lock = lock_in(LOCKS_FOLDER, name)
    try:
        with locking(lock):
            lock.acquire(lambda: None)
        yield
    finally:
        lock.release()


def lock_in(folder: str, name: str) -> state_dir.Lock:
    """Return a lock of the state folder, not held yet, or raise `ConfigurationError`."""
    lock = state_dir.Lock(prepared_state_folder() / folder / f"{name}.lock")
    with locking(lock):
        state_dir.prepare_folder(folder)
    return lock


@contextmanager
def locking(lock: state_dir.Lock) -> Iterator[None]:
    """Raise an `OSError` of the block as a `ConfigurationError` that names the lock."""
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            f"Cannot open the lock {error.filename or lock.path}: {error.strerror}. {state_dir.advice(error)}"
        ) from error
