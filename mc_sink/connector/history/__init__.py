"""The history of runs on this machine: one record for each run, in SQLite, without secrets or cell values.

    begin ──► running ──► delivered | skipped | failed | interrupted      missed: a time of a schedule without a run

The file `history.sqlite3` is beside the folder of journals, and only its owner can read it. A run holds a lock that
ends with its process. So a "running" record whose lock is free belongs to a killed run, and reads as "interrupted".
Every function here opens the file, runs one transaction and closes it. When a run ends, the oldest records of its
connection are removed, up to the number that `[history] keep` says. The last delivery's record always stays.
"""

from __future__ import annotations

import secrets
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from mc_sink import _display
from mc_sink._display import logger
from mc_sink.connector.history.agenda import (
    Standing,
    Summary,
    find_due,
    pause,
    paused_files,
    plan_from,
    record_missed,
    record_timeout,
    resume,
    standing_of,
    summaries,
)
from mc_sink.connector.history.table import (
    KEEP,
    LOCKS,
    SELECT,
    Busy,
    hold,
    in_turn,
    insert,
    lock_in,
    locking,
    prepared_state_folder,
    settle,
    transaction,
    update,
)
from mc_sink.exceptions import ConfigurationError, SinkError
from mc_sink.records import (
    Beginning,
    Failure,
    Run,
    Status,
    TimedOut,
    as_run,
    ending_of,
    facts_of,
    failure_of,
    now,
    status_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mc_sink._runtime import state_dir
    from mc_sink.receipt import Receipt

__all__ = [
    "LAST",
    "Beginning",
    "Busy",
    "Failure",
    "Run",
    "Standing",
    "Status",
    "Summary",
    "TimedOut",
    "begin",
    "failure_of",
    "find_due",
    "find_run",
    "full_id",
    "hold",
    "in_turn",
    "last_rows",
    "list_runs",
    "note_recovered",
    "pause",
    "paused_files",
    "plan_from",
    "prepared_state_folder",
    "record_missed",
    "record_timeout",
    "resume",
    "standing_of",
    "summaries",
]

_log = logger(__name__)


class Ongoing:
    """A run that is going on. Its end may be recorded again where the first attempt was interrupted."""

    def __init__(self, run: Run, lock: state_dir.Lock, keep: int) -> None:
        self.run = run
        self._lock = lock
        self._keep = keep

    def delivered(self, receipt: Receipt) -> Run:
        """Record that everything is visible, or that the run had no rows to deliver."""
        return self._end({"status": status_of(receipt)} | facts_of(receipt))

    def failed(self, error: BaseException) -> Run:
        """Record the error that ended the run; a signal makes it "interrupted", a timeout "failed"."""
        return self._end(ending_of(error, self.run.target))

    def _end(self, facts: dict[str, Any]) -> Run:
        """Return the record, also where it can't be written: the run has ended in either case."""
        self.run = replace(self.run, ended_at=now(), **facts)
        ended = facts | {"ended_at": self.run.ended_at}
        try:
            update(self.run, ended, keep=self._keep)
        except SinkError as error:  # without its traceback, whose chain has the error of the run
            _log.error(
                "Run %s ended as %s, and its record can't be written: %s", self.run.run_id, facts["status"], error
            )
        except BaseException:  # interrupted, which rolled the transaction back
            update(self.run, ended)
            raise
        finally:
            self._lock.release()
        return self.run


# The word for the newest run where an id is asked for, and how many ids a message lists.
LAST, SHOWN_IDS = "last", 5


def begin(beginning: Beginning, *, keep: int = KEEP) -> Ongoing:
    """Record that a run begins, before anything is sent, or raise `ConfigurationError`.

    `keep` is the number of records of its connection that stay when it ends.
    """
    token = secrets.token_hex(8)
    lock = lock_in(LOCKS, token)
    try:
        with locking(lock):  # before the record exists, so that it is never seen without its lock
            lock.acquire()
        run = Run(number=0, status="running", started_at=now(), token=token, **asdict(beginning))
        with transaction() as table:
            return Ongoing(replace(run, number=insert(table, run)), lock, keep)
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
    """List the runs of this machine, newest first.

    - `connection`: only those of this connection's name.
    - `status`: only those that ended so, such as "failed".
    - `trigger`: only those begun so: "manual" or "schedule".
    - `limit`: at most this many; None lists all.
    """
    with transaction() as table:
        settle(table)
        found = table.execute(
            f"{SELECT} where connection = coalesce(?, connection) and status = coalesce(?, status) "
            "and trigger = coalesce(?, trigger) order by number desc limit ?",
            (connection, status, trigger, -1 if limit is None else limit),
        )
        return _display.Listing(as_run(row) for row in found)


def find_run(run_id: str) -> Run:
    """Return the last attempt of a run. Raises `ConfigurationError` for an unknown id.

    `run_id` is a whole id, the beginning of one that no other run has, or "last" for the newest run.
    """
    full = full_id(run_id)
    with transaction() as table:
        settle(table)
        row = table.execute(f"{SELECT} where run_id = ? order by number desc limit 1", (full,)).fetchone()
    if row is None:
        raise ConfigurationError(
            f"No run of this machine has an id that is or begins with {run_id}. List the runs with mc-sink history."
        )
    return as_run(row)


def full_id(text: str, others: Iterable[str] = ()) -> str:
    """Return the id that a text stands for among the records and `others`; a text that fits none stays as it is.

    The records are not opened for an id of `others`: an unfinished delivery is recovered without a history too.
    """
    others = set(others)
    if not text or text in others:
        return text
    with transaction() as table:
        rows = table.execute(
            "select distinct run_id from runs where substr(run_id, 1, length(?)) = ? "
            "order by length(run_id) limit 100",  # the whole id is the shortest
            (text, text),
        )
        fitting = {row["run_id"] for row in rows} | {one for one in others if one.startswith(text)}
        newest = table.execute("select run_id from runs where status <> 'missed' order by number desc limit 1")
        last = newest.fetchone()
    if text in fitting:
        return text
    if text == LAST and last is not None:
        return str(last["run_id"])
    if len(fitting) > 1:
        raise ConfigurationError(
            f"Several runs have an id that begins with {text}: {', '.join(sorted(fitting)[:SHOWN_IDS])}"
            f"{', …' if len(fitting) > SHOWN_IDS else ''}. Write more of the id."
        )
    return next(iter(fitting), text)


def note_recovered(run: Run, receipt: Receipt) -> Run:
    """Record that a run that stopped while it was published was finished later, and that everything is visible."""
    ended = {"status": status_of(receipt), "ended_at": now(), "error": None}
    return update(run, facts_of(receipt) | ended)


def last_rows(beginning: Beginning) -> int | None:
    """Return the number of rows of the connection's last delivery; None before its first one.

    A connection is identified by its file and, without one, by its name and target.
    """
    by = "file = :file" if beginning.file else "file is null and connection = :connection and target = :target"
    with transaction() as table:
        row = table.execute(
            f"select num_rows from runs where status = 'delivered' and num_rows > 0 and {by} "  # noqa: S608  our own names
            "order by number desc limit 1",
            asdict(beginning) | {"storage_options": None},
        ).fetchone()
    return None if row is None else int(row["num_rows"])
