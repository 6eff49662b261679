"""Run connections on their schedules, each run in a child of its own.

So a crash ends only one run, its memory is returned to the system, and it handles SIGTERM as `mc-sink run` does. Only
one scheduler runs on a machine at a time, and never two runs of one connection.

    due ──► a slot is free ──► child ──► its record; without one, the scheduler writes it
     └─ too late, or the run before goes on ──► a "missed" record

A child ends itself at its `timeout`, and is killed seconds later if it doesn't. A run that is still going on when its
connection is due again gives its slot back, so that runs that block don't stop the others.
"""

from __future__ import annotations

import logging
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from mc_sink._display import counted, logger
from mc_sink.connector import history
from mc_sink.connector.connections.triggers import seconds_of, trigger_of
from mc_sink.exceptions import ConfigurationError, SinkError
from mc_sink.keys import new_run_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mc_sink.connector.connections.connection_file import Connection
    from mc_sink.connector.connections.settings import Schedule
    from mc_sink.connector.connections.triggers import Trigger

_log = logger(__name__)
AT_ONCE = 4
# A run that is later than this counts as missed.
GRACE_SECONDS = 60
# A child exits at most five seconds after SIGTERM, or after its timeout.
PATIENCE_SECONDS = 7.0
# How long to sleep at most: a clock that is set, or a machine that slept, is noticed within this time.
LOOK_SECONDS, POLL_SECONDS = 15.0, 0.1
# A run that has lasted this long, and whose connection is due again, counts no longer among those at once.
LENT_SECONDS = 10.0
# A clock that is set back by more is a correction: the times are planned again. A smaller step repeats no run.
BACK = timedelta(hours=3)
MAX_COUNTED = 1_000
TIMED_OUT, BUSY = 124, 75


@dataclass(frozen=True, slots=True)
class Child:
    """A run that has ended: its connection and exit code; a negative one is the signal that killed it."""

    connection: Connection
    code: int


@dataclass(slots=True)
class _Plan:
    """A connection in this scheduler: when it is due next, and its run that is going on."""

    connection: Connection
    schedule: Schedule
    trigger: Trigger
    due: datetime | None = None
    child: subprocess.Popen[bytes] | None = None
    serves: datetime | None = None
    began: float = 0.0
    is_timed_out: bool = False
    is_paused: bool = False

    @property
    def file(self) -> str:
        return str(self.connection.file)

    @property
    def seconds(self) -> float:
        """How long the run has been going on."""
        return time.monotonic() - self.began

    def after(self, moment: datetime) -> datetime | None:
        """Return the first time that is due after a moment."""
        return self.trigger.get_next_fire_time(moment, moment)

    def passed(self, now: datetime) -> tuple[int, datetime | None, datetime | None]:
        """Return how many times were due by now (at most `MAX_COUNTED`), the last of them, and the one before it."""
        number, before, last, found = 0, None, None, self.due
        while found is not None and found <= now and number < MAX_COUNTED:
            number, before, last, found = number + 1, last, found, self.after(found)
        if found is not None and found <= now:  # too many to count: the last ones are looked for from their end
            back = timedelta(seconds=2)
            while (found := self.trigger.get_next_fire_time(None, now - back)) is None or found > now:
                back *= 2
        while found is not None and found <= now:
            before, last, found = last, found, self.after(found)
        return number, last, before


def _plan_of(connection: Connection) -> _Plan:
    schedule = connection.settings.schedule
    if schedule is None or connection.file is None:
        raise ConfigurationError(f"{connection.name} has no [schedule]. Add cron or every.")
    return _Plan(connection, schedule, trigger_of(schedule, connection.name))


def coming_times(connection: Connection, number: int) -> list[datetime]:
    """Return the next times at which a connection is due, in the zone of its schedule: `number`, or all if fewer."""
    plan, times, moment = _plan_of(connection), list[datetime](), datetime.now(UTC)
    while len(times) < number and (due := plan.after(moment)) is not None:
        times.append(due.astimezone(ZoneInfo(plan.schedule.timezone)))
        moment = due
    return times


class Scheduler:
    """Runs connections on their schedules until `stop()` is called.

    - `connections`: each has a `[schedule]`.
    - `command`: returns the arguments of the child that runs a connection. `--due-at TIME` is added to them.
    - `at_once`: how many run at a time.
    - `ended`: called after each run.
    - `looked`: called at least every `LOOK_SECONDS`.
    - `clock`: returns the present time.
    """

    def __init__(  # noqa: PLR0913  each has a default
        self,
        connections: Sequence[Connection],
        command: Callable[[Connection], list[str]],
        *,
        at_once: int = AT_ONCE,
        ended: Callable[[Child], None] = lambda _child: None,
        looked: Callable[[], None] = lambda: None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._plans = [_plan_of(one) for one in connections]
        self._command, self._at_once, self._ended = command, at_once, ended
        self._looked, self._clock, self._is_stopped = looked, clock, False
        # `stop` may run as a signal's function within `run`, where the lock of an Event would wait for itself.
        self._stops: SimpleQueue[None] = SimpleQueue()

    def stop(self) -> None:
        """Stop `run`; may be called from a signal's function."""
        self._is_stopped = True
        self._stops.put(None)

    def run(self) -> None:
        """Run until stopped, then stop the children. Raises `Busy` while another scheduler runs."""
        with history.hold("scheduler", "A scheduler is running"):
            seen = self._clock()
            history.plan_from((plan.file for plan in self._plans), seen)
            for plan in self._plans:
                self._resume(plan, seen)
            try:
                while not self._is_stopped:
                    now = self._clock()
                    if now < seen - BACK:
                        _log.warning("The clock was set back by %s: all times are planned again.", seen - now)
                        self._plan_again(now)
                    seen = now
                    self._look(now)
                    self._looked()
                    with suppress(Empty):
                        self._stops.get(timeout=self._pause(now))
            finally:
                self._is_stopped = True
                self._end_children()

    def _resume(self, plan: _Plan, now: datetime) -> None:
        """Plan a connection from where its records end."""
        standing = history.standing_of(plan.file)
        last = standing.last_due
        plan.is_paused = standing.paused_at is not None
        plan.due = plan.after(last if last is not None and last < now + BACK else now)
        name, is_overdue = plan.connection.name, plan.due is not None and plan.due < now
        if plan.is_paused:
            _log.error("%s is paused. Resume it: mc-sink resume %s", name, plan.file)
        elif is_overdue and plan.schedule.missed == "once":
            _log.info("%s runs next: now, because a run was missed", name)
        else:
            _log.info("%s runs next: %s", name, plan.after(now) if is_overdue else plan.due)

    def _plan_again(self, now: datetime) -> None:
        for plan in self._plans:
            plan.due = plan.trigger.get_next_fire_time(None, now)

    def _pause(self, now: datetime) -> float:
        """Return the seconds until something may happen."""
        if any(plan.child for plan in self._plans):
            return POLL_SECONDS
        due = min((plan.due for plan in self._plans if plan.due and not plan.is_paused), default=None)
        return LOOK_SECONDS if due is None else min(LOOK_SECONDS, max(0.0, (due - now).total_seconds()))

    def _look(self, now: datetime) -> None:
        """Record the runs that have ended, and begin those that are due, the longest due first."""
        self._settle(now)
        if any(plan.is_paused for plan in self._plans):
            with _logged("read which connections are paused"):
                paused = history.paused_files()
                for plan in self._plans:
                    if plan.is_paused and plan.file not in paused:
                        plan.is_paused = False
                        _log.info("%s was resumed.", plan.connection.name)
        waiting = [(plan.due, place) for place, plan in enumerate(self._plans) if plan.due and plan.due <= now]
        for _, place in sorted(waiting):
            plan = self._plans[place]
            if plan.child is None and not plan.is_paused and self._num_counted(now) < self._at_once:
                self._begin(plan, now)

    def _num_counted(self, now: datetime) -> int:
        """Count the runs that hold a slot."""
        going = (plan for plan in self._plans if plan.child is not None)
        return sum(not (plan.seconds > LENT_SECONDS and plan.due and plan.due <= now) for plan in going)

    def _begin(self, plan: _Plan, now: datetime) -> None:
        number, last, before = plan.passed(now)
        if last is None:
            return
        if plan.schedule.missed == "skip" and now - last > timedelta(seconds=GRACE_SECONDS):
            self._record_missed(plan, number, last, "the scheduler was not running, or had no free slot")
            plan.due = plan.after(now)
            return
        if before is not None:
            self._record_missed(plan, number - 1, before, "one run makes up for all of them")
        plan.due, plan.serves, plan.began, plan.is_timed_out = plan.after(now), last, time.monotonic(), False
        words = [*self._command(plan.connection), "--due-at", last.isoformat()]
        try:
            # In a session of its own, so that Ctrl-C reaches only the scheduler, which ends its children.
            plan.child = subprocess.Popen(words, start_new_session=True)  # noqa: S603  this program
        except OSError as error:
            _log.warning("%s can't be started: %s.", plan.connection.name, error.strerror)
            self._record(plan, last, "NotStarted", "The system can't start another process.", status="failed")

    def _settle(self, now: datetime) -> None:
        """Record the runs that have ended, and kill those that outlast their timeout."""
        for plan in self._plans:
            if plan.child is None:
                continue
            code = plan.child.poll()
            limit = seconds_of(plan.schedule.timeout, "timeout") if plan.schedule.timeout else None
            if code is None and limit is not None and plan.seconds > limit + PATIENCE_SECONDS:
                _log.warning("%s is killed: it didn't end by itself after its timeout.", plan.connection.name)
                plan.is_timed_out = True
                plan.child.kill()
                code = plan.child.wait()
            if code is not None:
                plan.child = None
                self._account(plan, code, now)

    def _account(self, plan: _Plan, code: int, now: datetime) -> None:
        """Ensure that the run that has ended has a record, and pause a connection that fails again and again."""
        name, due = plan.connection.name, plan.serves or now
        is_timed_out = plan.is_timed_out or code == TIMED_OUT
        reason = f" (it took longer than timeout = {plan.schedule.timeout})" if is_timed_out else ""
        _log.log(logging.WARNING if code else logging.INFO, "%s ended with exit code %s%s.", name, code, reason)
        with _logged(f"record how {name} ended"):
            run = history.find_due(plan.file, due)
            if run is None and self._is_stopped:
                pass  # it was stopped before it began: the next scheduler finds its time open
            elif run is None and code == BUSY:
                self._record_missed(plan, 1, due, "another run of the connection was going on")
            elif run is None and code:
                text = f"The run ended with exit code {code} before it began. Check the connection file."
                self._record(plan, due, "TimedOut" if is_timed_out else "NotStarted", text, status="failed")
            elif run is not None and is_timed_out:
                history.record_timeout(run)
            if not self._is_stopped:
                number, last, _ = plan.passed(now)
                if last is not None:
                    self._record_missed(plan, number, last, "the run before was still going on")
                    plan.due = plan.after(now)
                self._pause_after_failures(plan, code)
        self._ended(Child(plan.connection, code))

    def _pause_after_failures(self, plan: _Plan, code: int) -> None:
        if not code or plan.schedule.pause_after is None:
            return
        failures = history.standing_of(plan.file).failures
        if failures < plan.schedule.pause_after:
            return
        plan.is_paused = True
        history.pause(plan.file)
        _log.error(
            "%s is paused after %s in a row. Correct the cause, then: mc-sink resume %s",
            plan.connection.name,
            counted(failures, "failed run"),
            plan.file,
        )

    def _record_missed(self, plan: _Plan, number: int, last: datetime, why: str) -> None:
        times = f"{'At least ' if number >= MAX_COUNTED - 1 else ''}{counted(number, 'run')}"
        text = f"{times} that {'was' if number == 1 else 'were'} due did not take place, because {why}."
        if why.startswith("one run"):
            text = f"{times} that {'was' if number == 1 else 'were'} due did not take place: {why}."
        _log.warning("%s: %s", plan.connection.name, text)
        self._record(plan, last, "Missed", text, status="missed")

    def _record(self, plan: _Plan, due: datetime, kind: str, text: str, *, status: history.Status) -> None:
        one = plan.connection
        facts = history.Beginning(
            run_id=new_run_id(), connection=one.name, target="?", file=plan.file, trigger="schedule", due_at=due
        )
        with _logged(f"record how {one.name} ended"):
            history.record_missed(facts, kind, text, keep=one.settings.history.keep, status=status)

    def _end_children(self) -> None:
        """Stop every run by SIGTERM, and kill those that do not end in time. Deliveries stay whole or invisible."""
        children = [plan.child for plan in self._plans if plan.child]
        for child in children:
            child.terminate()
        deadline = time.monotonic() + PATIENCE_SECONDS
        for child in children:
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._settle(self._clock())


class _logged:  # noqa: N801  used as a statement
    """Logs a failure to use the history within the `with`: the scheduler goes on without its records."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        """Log an error of this package, and let any other pass."""
        if not isinstance(error, SinkError):
            return False
        _log.error("Cannot %s: %s", self._what, error)
        return True
