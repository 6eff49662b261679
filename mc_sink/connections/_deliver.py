"""One run of a connection, from the lock to the hooks; every run leaves a record, however it ends."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import TYPE_CHECKING, Any

from mc_sink import history
from mc_sink._order import Order
from mc_sink._printable import logger
from mc_sink._sink import check_new_run, sink_guarded, sink_madconnect
from mc_sink.connections._arguments import arguments_for, target_of
from mc_sink.connections._guard import guard_of
from mc_sink.connections._hooks import tell
from mc_sink.connections._sources import opened, refuse_own_target
from mc_sink.connections._telemetry import traced
from mc_sink.exceptions import NOTHING_VISIBLE, SinkError, add_note
from mc_sink.secret import seal
from mc_sink.target import new_run_id, parse_target

if TYPE_CHECKING:
    from collections.abc import Callable

    from mc_sink.connections._load import Connection
    from mc_sink.history import Beginning, Run
    from mc_sink.receipt import Receipt

_log = logger(__name__)


def deliver(
    connection: Connection,
    *,
    run_id: str | None = None,
    progress: bool | None = None,
    trigger: str = "manual",
    ended: Callable[[Run], None] = lambda _run: None,
) -> Run:
    """Deliver now, and give the record; `ended` is called with it, too, when the run fails or is told to end.

    Without a `run_id` it makes a new object under a prefix, and raises `AlreadyExistsError` before the source is opened
    where the target is one file that is there already, were it the same. Raises `Busy` while the same connection runs,
    and whatever `sink_madconnect` raises; what the record keeps of an error is redacted.
    """
    settings, chosen = connection.settings, run_id or new_run_id()
    facts = history.Beginning(
        run_id=chosen,
        connection=connection.name,
        target=_shown(connection),
        file=str(connection.file) if connection.file else None,
        trigger=trigger,
        platform=settings.platform,
        storage_options=settings.storage_options,
    )
    with _alone(connection), traced(facts) as observe:
        ongoing, receipt = history.begin(facts), None
        observers = [_say, observe, ended, lambda run: tell(run, connection)]
        _log.info("Run %s of %s to %s began.", chosen, connection.name, facts.target)
        try:
            receipt = _sink(connection, facts, again=bool(run_id), progress=progress)
            _tell_each(observers, ongoing.delivered(receipt))
        except BaseException as error:
            if receipt is None:
                _tell_each(observers, ongoing.failed(error))
            else:  # whatever came then, what is visible stays so
                add_note(error, f"run {chosen} had delivered by then: everything is visible.")
                _tell_each(observers, ongoing.delivered(receipt))
            raise
    return ongoing.run


def _sink(connection: Connection, facts: Beginning, *, again: bool, progress: bool | None) -> Receipt:
    arguments = arguments_for(sink_madconnect, connection)
    arguments["storage_options"] = seal(arguments.get("storage_options"))
    given: Any = arguments | {"run_id": facts.run_id, "progress": progress}
    order = Order.of(given.pop("target"), given)
    if not again:
        check_new_run(order)  # a source may run its query when it is opened
    refuse_own_target(connection.settings.source, connection.folder, order)
    with ExitStack() as stack:
        frame = _opened(connection, stack)
        return sink_guarded(frame, order, guard_of(connection.settings, facts), is_new=not again)


def _opened(connection: Connection, stack: ExitStack) -> Any:
    """Open the source; its own error arrives as it is, with the note that a delivery would put on it."""
    try:
        return stack.enter_context(opened(connection.settings.source, connection.folder))
    except Exception as error:
        if not isinstance(error, SinkError):
            add_note(error, NOTHING_VISIBLE)
        raise


def _tell_each(observers: list[Callable[[Run], Any]], run: Run) -> None:
    """Tell each of them of a run's end, once: those that are left, where the last one was cut short."""
    while observers:
        _observed(observers.pop(0), run)


def _say(run: Run) -> None:
    if run.status == "delivered":
        rejected = f", {run.num_rejected:,} rejected" if run.num_rejected else ""
        _log.info("Run %s delivered %s rows%s in %s file(s).", run.run_id, run.num_rows, rejected, len(run.files))
    elif run.status == "skipped":
        _log.info("Run %s had 0 rows to deliver, and made no file.", run.run_id)
    else:
        _log.info("Run %s ended as %s.", run.run_id, run.status)


def _observed(observe: Callable[[Run], Any], run: Run) -> None:
    """Tell one observer; that nobody could be told, on a full disk for one, changes nothing of what became visible."""
    try:
        observe(run)
    except (OSError, ValueError) as error:
        _log.warning("What run %s came to could not be told (%s).", run.run_id, type(error).__name__)


def _alone(connection: Connection) -> AbstractContextManager[None]:
    """Keep a second run of the same connection file away meanwhile."""
    if connection.file is None:
        return nullcontext()
    name = hashlib.sha256(str(connection.file.resolve()).encode()).hexdigest()[:16]
    return history.hold(f"connection-{name}", f"Connection {connection.name} runs")


def _shown(connection: Connection) -> str:
    """Give the target as a record has it; nothing of one that can't be read, for it may hold anything."""
    try:
        return parse_target(target_of(connection.settings.target, connection.folder)).url
    except SinkError:
        return "?"
