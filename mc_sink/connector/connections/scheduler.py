"""Run connections on their schedules, each run in a child of its own.

So a crash ends only one run, its memory is returned to the system, and it handles SIGTERM as `mc-sink run` does. Only
one scheduler runs on a machine at a time, and never two runs of one connection.
"""

from __future__ import annotations

import logging
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from mc_sink._display import logger
from mc_sink.connector import history
from mc_sink.connector.connections.triggers import trigger_of
from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mc_sink.connector.connections.connection_file import Connection
    from mc_sink.connector.connections.settings import Schedule

_log = logger(__name__)
AT_ONCE = 4
# A run that is later than this counts as missed.
GRACE_SECONDS = 60
# A child exits at most five seconds after SIGTERM.
PATIENCE_SECONDS = 7.0
LOOK_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Child:
    """A run that has ended: its connection and exit code; a negative one is the signal that killed it."""

    connection: Connection
    code: int


class Scheduler:
    """Runs connections on their schedules until `stop()` is called.

    `command` returns the arguments of the child that runs a connection. `ended` is called after each run.
    """

    def __init__(
        self,
        connections: Sequence[Connection],
        command: Callable[[Connection], list[str]],
        *,
        at_once: int = AT_ONCE,
        ended: Callable[[Child], None] = lambda _child: None,
    ) -> None:
        self._planned: list[tuple[Connection, Schedule]] = []
        for one in connections:
            if one.settings.schedule is None or one.file is None:
                raise ConfigurationError(f"{one.name} has no [schedule]. Add cron or every.")
            self._planned.append((one, one.settings.schedule))
        self._command, self._at_once, self._ended = command, at_once, ended
        self._children: set[subprocess.Popen[bytes]] = set()
        self._lock, self._is_stopped = threading.Lock(), False
        # `stop` may run as a signal's function within `_wait`, where the lock of an Event would wait for itself.
        self._stops: SimpleQueue[None] = SimpleQueue()

    def stop(self) -> None:
        """Stop `run`; may be called from a signal's function."""
        self._is_stopped = True
        self._stops.put(None)

    def run(self) -> None:
        """Run until stopped, then stop the children. Raises `Busy` while another scheduler runs."""
        with history.hold("scheduler", "A scheduler is running"):
            scheduler = self._make()
            scheduler.start()
            try:
                self._wait(scheduler)
            finally:
                self._is_stopped = True
                scheduler.shutdown(wait=False)
                self._end_children()

    def _wait(self, scheduler: Any) -> None:
        """Wait for `stop`, and wake the scheduler regularly: a change of the clock would make its own wait too long."""
        while not self._is_stopped:
            with suppress(Empty):
                self._stops.get(timeout=LOOK_SECONDS)
            scheduler.wakeup()

    def _make(self) -> Any:
        from apscheduler.executors.pool import ThreadPoolExecutor
        from apscheduler.schedulers.background import BackgroundScheduler

        made: Any = BackgroundScheduler(timezone=UTC, executors={"default": ThreadPoolExecutor(self._at_once)})
        for connection, schedule in self._planned:
            trigger = trigger_of(schedule, connection.name)
            overdue = schedule.missed == "once" and _is_overdue(connection, trigger)
            made.add_job(
                self._run_one,
                trigger,
                args=(connection,),
                name=connection.name,
                max_instances=1,
                coalesce=True,
                misfire_grace_time=None if schedule.missed == "once" else GRACE_SECONDS,
                **({"next_run_time": datetime.now(UTC)} if overdue else {}),
            )
            when = "now, because a run was missed" if overdue else trigger.get_next_fire_time(None, datetime.now(UTC))
            _log.info("%s runs next: %s", connection.name, when)
        return made

    def _run_one(self, connection: Connection) -> None:
        with self._lock:
            if self._is_stopped:
                return
            # In a session of its own, so that Ctrl-C reaches only the scheduler, which ends its children.
            child = subprocess.Popen(self._command(connection), start_new_session=True)  # noqa: S603  this program
            self._children.add(child)
        code = child.wait()
        with self._lock:
            self._children.discard(child)
        _log.log(logging.WARNING if code else logging.INFO, "%s ended with exit code %s.", connection.name, code)
        self._ended(Child(connection, code))

    def _end_children(self) -> None:
        """Stop every run by SIGTERM, and kill those that do not end in time. Deliveries stay whole or invisible."""
        with self._lock:
            children = list(self._children)
        for child in children:
            child.terminate()
        deadline = time.monotonic() + PATIENCE_SECONDS
        for child in children:
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()


def _is_overdue(connection: Connection, trigger: Any) -> bool:
    """Return True if a run was due after the last one that a scheduler began, and before now."""
    runs = history.list_runs(connection=connection.name, trigger="schedule", limit=100)
    last = next((run for run in runs if run.file == str(connection.file)), None)
    if last is None:
        return False
    due: datetime | None = trigger.get_next_fire_time(None, last.started_at + timedelta(seconds=1))
    return due is not None and due < datetime.now(UTC)
