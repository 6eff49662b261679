"""Run connections on their schedules, each run in a child of its own.

So a run that crashes takes nobody with it, memory goes back to the system, and SIGTERM reaches it as it would reach
`mc-sink run`. One scheduler runs on a machine at a time, and never two runs of one connection.
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
# Later than this, a run counts as missed.
GRACE_SECONDS = 60
# A child that was told to end takes five seconds at most.
PATIENCE_SECONDS = 7.0
LOOK_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Child:
    """A run that has ended: of which connection, and with which exit code; below 0, the signal that killed it."""

    connection: Connection
    code: int


class Scheduler:
    """Runs connections by their schedules until `stop()` is called; `command` gives the words that run one."""

    def __init__(
        self,
        connections: Sequence[Connection],
        command: Callable[[Connection], list[str]],
        *,
        at_once: int = AT_ONCE,
        ended: Callable[[Child], None] = lambda _child: None,
    ) -> None:
        self._planned = [(one, _schedule_of(one)) for one in connections]
        self._command, self._at_once, self._ended = command, at_once, ended
        self._children: set[subprocess.Popen[bytes]] = set()
        self._lock, self._is_stopped = threading.Lock(), False
        # A signal's function may come in between anything of its own thread, where an Event could wait for itself.
        self._told: SimpleQueue[None] = SimpleQueue()

    def stop(self) -> None:
        """Have `run` come to its end; may be called from a signal's function."""
        self._is_stopped = True
        self._told.put(None)

    def run(self) -> None:
        """Run until stopped, then end what is going on; raises `Busy` while another scheduler runs."""
        with history.hold("scheduler", "A scheduler runs"):
            scheduler = self._make()
            scheduler.start()
            try:
                self._wait(scheduler)
            finally:
                self._is_stopped = True
                scheduler.shutdown(wait=False)
                self._end_children()

    def _wait(self, scheduler: Any) -> None:
        """Wait for `stop`, and have the clock looked at: one that was set, or slept, makes a wait too long."""
        while not self._is_stopped:
            with suppress(Empty):
                self._told.get(timeout=LOOK_SECONDS)
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
            when = "now, for a run was missed" if overdue else trigger.get_next_fire_time(None, datetime.now(UTC))
            _log.info("%s runs next: %s", connection.name, when)
        return made

    def _run_one(self, connection: Connection) -> None:
        with self._lock:
            if self._is_stopped:
                return
            # A session of its own: Ctrl-C is ours to pass on.
            child = subprocess.Popen(self._command(connection), start_new_session=True)  # noqa: S603  ourselves
            self._children.add(child)
        code = child.wait()
        with self._lock:
            self._children.discard(child)
        _log.log(logging.WARNING if code else logging.INFO, "%s ended with exit code %s.", connection.name, code)
        self._ended(Child(connection, code))

    def _end_children(self) -> None:
        """Tell every run to end, wait for it, and kill what doesn't; nothing of that becomes visible by half."""
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


def _schedule_of(connection: Connection) -> Schedule:
    if connection.settings.schedule is None or connection.file is None:
        raise ConfigurationError(f"{connection.name} has no [schedule]: add cron or every. Nothing was started.")
    return connection.settings.schedule


def _is_overdue(connection: Connection, trigger: Any) -> bool:
    """Say whether a run fell due after the last one that a scheduler began, and before now."""
    runs = history.list_runs(connection=connection.name, trigger="schedule", limit=100)
    ours = [run for run in runs if run.file == str(connection.file)]
    if not ours:
        return False
    due: datetime | None = trigger.get_next_fire_time(None, ours[0].started_at + timedelta(seconds=1))
    return due is not None and due < datetime.now(UTC)
