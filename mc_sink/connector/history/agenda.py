"""What a scheduler must remember of a connection file: which times are accounted for, and whether it is paused.

Every time of a schedule ends up in one record: that of the run that served it, or a "missed" one, which may count
several times. So a scheduler that was killed goes on where its last record ends.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from mc_sink.connector.history.table import SELECT, insert, prune, settle, transaction, update
from mc_sink.records import Failure, Run, as_row, as_run, now

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mc_sink.records import Beginning, Status

# Ends that say nothing of the connection: they neither count as failures nor end a row of them.
_LATEST = "order by number desc limit 1"
_NEUTRAL = ("missed", "running")
TIMED_OUT = Failure(
    "TimedOut", "The run took longer than its connection's [schedule] timeout, and was killed.", "unknown"
)


@dataclass(frozen=True, slots=True)
class Standing:
    """What the records say of a connection file.

    - `last_due` is the last time that is accounted for, or from when the file was planned; None before that.
    - `failures` counts the failed scheduled runs since the last good one, or since the last resume.
    - `paused_at` is None for a connection that runs.
    """

    last_due: datetime | None
    failures: int
    paused_at: datetime | None


def standing_of(file: str) -> Standing:
    """Return what the records say of a connection file."""
    with transaction() as table:
        settle(table)
        last = table.execute(
            "select coalesce(due_at, started_at) as due from runs where file = ? and trigger = 'schedule' "
            "order by number desc limit 1",
            (file,),
        ).fetchone()
        pause = table.execute("select after, paused_at, planned_at from agendas where file = ?", (file,)).fetchone()
        runs = table.execute(
            "select status, error from runs where file = ? and trigger = 'schedule' and number > ? "
            "and status not in (?, ?) order by number desc limit 1000",
            (file, pause["after"] if pause else 0, *_NEUTRAL),
        ).fetchall()
    failures = 0
    for run in runs:
        if run["status"] == "failed" or '"Killed"' in (run["error"] or ""):
            failures += 1
        elif run["status"] != "interrupted":  # the scheduler was stopped
            break
    paused_at = datetime.fromisoformat(pause["paused_at"]) if pause and pause["paused_at"] else None
    accounted = last["due"] if last else pause["planned_at"] if pause else None
    return Standing(datetime.fromisoformat(accounted) if accounted else None, failures, paused_at)


def record_missed(beginning: Beginning, kind: str, text: str, *, keep: int, status: Status = "missed") -> Run:
    """Record times of a schedule that passed without a run, or a run that ended before it could write its record."""
    moment = now()
    run = Run(
        number=0,
        status=status,
        started_at=moment,
        ended_at=moment,
        error=Failure(kind, text, "nothing"),
        **asdict(beginning),
    )
    with transaction() as table:
        insert(table, run)
        prune(table, run, keep)
    return run


def find_due(file: str, due: datetime) -> Run | None:
    """Return the record of the run that served a time of a connection file; None where it left none."""
    with transaction() as table:
        settle(table)
        row = table.execute(
            f"{SELECT} where file = ? and due_at = ? and status <> 'missed' order by number desc limit 1",
            (file, as_row({"due_at": due})["due_at"]),
        ).fetchone()
    return None if row is None else as_run(row)


def plan_from(files: Iterable[str], moment: datetime) -> None:
    """Record from when connection files are planned, where they are not yet: times after it are accounted for."""
    rows = [(file, moment.isoformat()) for file in files]
    with transaction() as table:
        table.executemany("insert or ignore into agendas (file, planned_at) values (?, ?)", rows)


def pause(file: str) -> None:
    """Pause a connection file, until it is resumed."""
    moment = now().isoformat()
    with transaction() as table:
        table.execute(
            "insert into agendas (file, planned_at, paused_at) values (:file, :moment, :moment) "
            "on conflict (file) do update set paused_at = excluded.paused_at",
            {"file": file, "moment": moment},
        )


def resume(file: str) -> bool:
    """Resume a connection file, whose failures count from here, and return whether it was paused."""
    with transaction() as table:
        found = table.execute("select paused_at from agendas where file = ?", (file,)).fetchone()
        newest = "select coalesce(max(number), 0) from runs"
        table.execute(f"update agendas set paused_at = null, after = ({newest}) where file = ?", (file,))  # noqa: S608  our own names
    return bool(found and found["paused_at"])


def paused_files() -> frozenset[str]:
    """Return the connection files that are paused."""
    with transaction() as table:
        return frozenset(row["file"] for row in table.execute("select file from agendas where paused_at is not null"))


def record_timeout(run: Run) -> None:
    """Record that a run was ended by its timeout, where it could not do so itself."""
    if run.status == "interrupted":
        update(run, {"status": "failed", "error": TIMED_OUT, "ended_at": run.ended_at or now()})


@dataclass(frozen=True, slots=True)
class Summary:
    """A connection in numbers, by the names of its metrics; and how many of its records have which status."""

    connection: str
    file: str | None
    numbers: dict[str, float] = field(default_factory=dict)
    runs: dict[str, int] = field(default_factory=dict)


def summaries() -> list[Summary]:
    """Return every connection that has a record, in numbers. Runs of `mc-sink send` are one connection."""
    of_one = "from runs where connection = ? and file is ?"
    with transaction() as table:
        settle(table)
        names = table.execute("select distinct connection, file from runs order by connection, file").fetchall()
        found = []
        for key in ((row["connection"], row["file"]) for row in names):
            last, good = (
                table.execute(f"{SELECT} where connection = ? and file is ? and {kept} {_LATEST}", key).fetchone()
                for kept in (
                    "status not in ('running', 'missed')",
                    "status in ('delivered', 'skipped')",
                )
            )
            began = table.execute(f"select max(started_at) {of_one} and status <> 'missed'", key).fetchone()[0]
            counts = table.execute(f"select status, count(*) {of_one} group by status order by status", key)
            numbers = _numbers(as_run(good) if good else None, as_run(last) if last else None)
            if began:
                numbers["mc_sink_last_run_timestamp_seconds"] = datetime.fromisoformat(began).timestamp()
            found.append(Summary(key[0], key[1], numbers, {row[0]: row[1] for row in counts}))
    for one in found:
        if one.file:
            standing = standing_of(one.file)
            one.numbers["mc_sink_failures_in_a_row"] = standing.failures
            one.numbers["mc_sink_paused"] = standing.paused_at is not None
    return found


def _numbers(good: Run | None, last: Run | None) -> dict[str, float]:
    numbers: dict[str, float] = {}
    if last:
        numbers["mc_sink_last_run_ok"] = last.status in {"delivered", "skipped"}
    if good and good.ended_at and good.elapsed is not None:
        begin = "mc_sink_last_success_"
        numbers |= {
            f"{begin}timestamp_seconds": good.ended_at.timestamp(),
            f"{begin}age_seconds": max(0.0, (now() - good.ended_at).total_seconds()),
            f"{begin}rows": good.num_rows or 0,
            f"{begin}bytes": good.num_bytes or 0,
            f"{begin}rejects": good.num_rejected or 0,
            f"{begin}duration_seconds": good.elapsed.total_seconds(),
        }
    return numbers
