"""A connection: a saved source, target and options, in a TOML file that may be committed.

file ─load─► Connection ─deliver─► record: running ─► sink_madconnect ─► record: delivered ─► hooks
                 └─rehearse─► Rehearsal: schema, sample, keys; nothing is written

Every run leaves a record, however it ends. `hooks.py` calls the hooks with the record.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import UTC
from functools import cache
from importlib.util import find_spec
from inspect import signature
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from mc_sink import validation
from mc_sink._display import counted, logger
from mc_sink._frames import as_lazyframe
from mc_sink._runtime.batches import pull
from mc_sink.connector import history
from mc_sink.connector.connections.connection_file import (
    Connection,
    arguments_for,
    guard_of,
    load,
    of_document,
    target_of,
)
from mc_sink.connector.connections.file_schema import FORMAT_NAMES, connection_schema
from mc_sink.connector.connections.hooks import call_hooks
from mc_sink.connector.connections.scheduler import Scheduler, coming_times
from mc_sink.connector.connections.settings import Settings
from mc_sink.connector.connections.sources import opened, refuse_own_target
from mc_sink.connector.connections.triggers import seconds_of
from mc_sink.exceptions import NOTHING_VISIBLE, SinkError, ValidationError, add_note, panics_as_query_errors
from mc_sink.keys import new_run_id
from mc_sink.secret import seal
from mc_sink.sink import SinkOptions, check_before, deliver_frame, preview, resolve, sink_madconnect
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from mc_sink.connector.history import Beginning, Run
    from mc_sink.delivery_spec import DeliverySpec
    from mc_sink.receipt import Receipt
    from mc_sink.sink import Preview

__all__ = [
    "FORMAT_NAMES",
    "Connection",
    "Rehearsal",
    "Scheduler",
    "Settings",
    "arguments_for",
    "coming_times",
    "connection_schema",
    "deliver",
    "inspect",
    "load",
    "of_document",
    "opened",
    "rehearse",
    "seconds_of",
]

_log = logger(__name__)
SAMPLE_ROWS = 5
# Of a run id's 64 characters, 17 are those of the time.
MAX_NAME = 47
_NAME = "mc_sink"


def deliver(  # noqa: PLR0913  each has a default
    connection: Connection,
    *,
    run_id: str | None = None,
    progress: bool | None = None,
    trigger: str = "manual",
    due_at: datetime | None = None,
    ended: Callable[[Run], None] = lambda _run: None,
) -> Run:
    """Deliver a connection now, and return the record of the run.

    - `connection`: from `load`.
    - `run_id`: repeated runs of one id deliver once. Without it, every run writes new objects under a prefix, and
      raises `AlreadyExistsError` for an existing file before the source is opened.
    - `progress`: as in `sink_madconnect`.
    - `trigger`: recorded; "manual" or "schedule".
    - `due_at`: the time of the schedule that the run serves, recorded. With `run_id = "due"` in `[schedule]` the run id
      is made of it.
    - `ended`: called with the record, also when the run fails or is interrupted.

    Raises `Busy` while the same connection runs, and the exceptions of the source and of `sink_madconnect`. The record
    keeps only the redacted error.
    """
    settings, target = connection.settings, "?"
    if run_id is None and due_at is not None and settings.schedule and settings.schedule.run_id == "due":
        run_id = run_id_of(connection.name, due_at)
    chosen = run_id or new_run_id()
    with suppress(SinkError):  # an invalid target is left out, because it may contain a secret
        target = parse_target(target_of(settings.target, connection.folder)).url
    facts = history.Beginning(
        run_id=chosen,
        connection=connection.name,
        target=target,
        file=str(connection.file) if connection.file else None,
        trigger=trigger,
        platform=settings.platform,
        storage_options=settings.storage_options,
        due_at=due_at,
    )
    alone: AbstractContextManager[None] = nullcontext()
    if connection.file is not None:  # a second run of the file is refused
        name = hashlib.sha256(str(connection.file.resolve()).encode()).hexdigest()[:16]
        alone = history.hold(f"connection-{name}", f"The connection {connection.name} is running")
    with alone, traced(facts) as observe:
        ongoing, receipt = history.begin(facts, keep=settings.history.keep), None
        observers = [_log_end, observe, ended, lambda run: call_hooks(run, connection)]
        _log.info("Run %s of %s to %s began.", chosen, connection.name, facts.target)
        try:
            receipt = _sink(connection, facts, run_id_given=bool(run_id), progress=progress)
            _notify(observers, ongoing.delivered(receipt))
        except BaseException as error:
            if receipt is None:
                _notify(observers, ongoing.failed(error))
            else:  # everything is visible, whatever the later error
                add_note(error, f"run {chosen} was delivered before this error: everything is visible.")
                _notify(observers, ongoing.delivered(receipt))
            raise
    return ongoing.run


def run_id_of(name: str, due_at: datetime) -> str:
    """Return the run id of a connection at a time that is due: the same on every machine."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name)
    if plain != name or len(name) > MAX_NAME:  # two names must not become one
        plain = f"{plain[: MAX_NAME - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return f"{plain}-{due_at.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def _sink(connection: Connection, facts: Beginning, *, run_id_given: bool, progress: bool | None) -> Receipt:
    given: Any = arguments_for(sink_madconnect, connection) | {"run_id": facts.run_id, "progress": progress}
    given["storage_options"] = seal(given.get("storage_options"))
    spec = resolve(_options_of(given), is_new=not run_id_given)
    check_before(spec)
    refuse_own_target(connection.settings.source, connection.folder, spec)
    with ExitStack() as stack:
        try:
            frame = stack.enter_context(opened(connection.settings.source, connection.folder))
        except Exception as error:  # it arrives unchanged, with the note that a delivery would add
            if not isinstance(error, SinkError):
                add_note(error, NOTHING_VISIBLE)
            raise
        return deliver_frame(frame, spec, guard_of(connection.settings, facts))


def _options_of(arguments: dict[str, Any]) -> SinkOptions:
    """Return the options of a delivery, checked as those of a call in Python."""
    options: Any = {name: value for name, value in arguments.items() if name != "target"}
    return SinkOptions.of("sink_madconnect", arguments["target"], options)


def _notify(observers: list[Callable[[Run], Any]], run: Run) -> None:
    """Notify each observer of a run's end, once. A failing observer is logged and never fails the run.

    After an interruption, a second call notifies the remaining ones.
    """
    while observers:
        observe = observers.pop(0)
        try:
            observe(run)
        except (OSError, ValueError) as error:  # such as a full disk
            _log.warning("An observer of the end of run %s failed (%s).", run.run_id, type(error).__name__)


def _log_end(run: Run) -> None:
    if run.status == "delivered":
        rejected = f", {run.num_rejected:,} rejected" if run.num_rejected else ""
        rows, files = counted(run.num_rows or 0, "row"), counted(len(run.files), "file")
        _log.info("Run %s delivered %s%s in %s.", run.run_id, rows, rejected, files)
    elif run.status == "skipped":
        _log.info("Run %s had no rows to deliver, and wrote no file.", run.run_id)
    else:
        _log.info("Run %s ended as %s.", run.run_id, run.status)


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The first rows of a source, None where they were not asked for, and the preview of its delivery.

    `judged` counts the rows that were judged by the schema, of which `num_rejected` are invalid; None without a schema.
    `failure` is the error that a run would end with for these rows.
    """

    sample: pl.DataFrame | None
    preview: Preview
    judged: int | None = None
    num_rejected: int = 0
    failure: ValidationError | None = None


def inspect(connection: Connection) -> str:
    """Return the target's URL, or raise for contradictory options. Opens no source and sends nothing."""
    arguments = arguments_for(sink_madconnect, connection)
    refuse_own_target(connection.settings.source, connection.folder, resolve(_options_of(arguments)))
    if set(arguments) <= set(signature(preview).parameters):
        return preview(None, **arguments).target
    return parse_target(arguments["target"]).url


def rehearse(
    connection: Connection, *, run_id: str | None = None, rows: int | Literal["all"] | None = SAMPLE_ROWS
) -> Rehearsal:
    """Return the first `rows` of the source and a preview of its delivery, without writing anything.

    - `connection`: from `load`.
    - `run_id`: the id in the previewed names; by default a new one.
    - `rows`: as many, or `"all"` in a stream, are judged by the schema. With None the source is opened and not read.

    `max_rejects` is applied only to all rows, and `min_rows` and the guard are not applied. Raises the exceptions that
    a run would raise before its first byte.
    """
    arguments = arguments_for(preview, connection)
    refuse_own_target(connection.settings.source, connection.folder, resolve(_options_of(arguments)))
    with opened(connection.settings.source, connection.folder) as frame:
        seen = preview(frame, **arguments, run_id=run_id)
        if rows is None:
            return Rehearsal(None, seen)
        spec = resolve(_options_of(arguments_for(sink_madconnect, connection)))
        with panics_as_query_errors():
            plan = as_lazyframe(frame)
            if rows == "all":
                return _judge(plan, spec, Rehearsal(None, seen), is_all=True)
            sample = plan.head(rows).collect()
            return _judge(sample.lazy(), spec, Rehearsal(sample, seen), is_all=False)


def _judge(plan: pl.LazyFrame, spec: DeliverySpec, found: Rehearsal, *, is_all: bool) -> Rehearsal:
    """Return a rehearsal with what the schema says of a plan's rows, and with the first valid ones as the sample."""
    sample, failure = found.sample, None
    limit = spec.max_rejects if is_all else None
    with closing(validation.compile(spec.schema, plan, on_invalid=spec.on_invalid, max_rejects=limit)) as compiled:
        try:
            for batch in compiled.judge(pull(compiled.frame, spec.row_group_size)):
                sample = batch.head(SAMPLE_ROWS) if sample is None else sample
            failure = compiled.nothing_left() if is_all else None
        except ValidationError as error:
            failure = error
        if not (compiled.validated or is_all):
            return found
        if sample is None:
            sample = pl.DataFrame(schema=compiled.delivered)
        return replace(
            found, sample=sample, judged=compiled.num_rows, num_rejected=compiled.num_rejected, failure=failure
        )


@contextmanager
def traced(beginning: Beginning) -> Iterator[Callable[[Run], None]]:
    """Trace a run as a span of OpenTelemetry, and yield a function that records its end; without it, do nothing."""
    is_installed = False
    with suppress(ModuleNotFoundError):  # of the package that has both
        is_installed = all(map(find_spec, ("opentelemetry.metrics", "opentelemetry.trace")))
    if not is_installed:
        yield lambda _run: None
        return
    from opentelemetry import trace

    about = {
        "mc_sink.run_id": beginning.run_id,
        "mc_sink.connection": beginning.connection,
        "mc_sink.target": beginning.target,
        "mc_sink.trigger": beginning.trigger,
    }
    tracer = trace.get_tracer(_NAME)
    # An exception's text may quote cells.
    with tracer.start_as_current_span(
        "mc_sink.run", attributes=about, record_exception=False, set_status_on_exception=False
    ) as span:
        yield lambda run: _observe(span, run)


def _observe(span: Any, run: Run) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_attribute("mc_sink.status", run.status)
    for name in ("num_rows", "num_bytes", "num_rejected"):
        if (value := getattr(run, name)) is not None:
            span.set_attribute(f"mc_sink.{name}", value)
    span.set_status(Status(StatusCode.ERROR, run.error.kind) if run.error else Status(StatusCode.OK))
    labels = {"connection": run.connection, "status": run.status}
    runs, rows, num_bytes, duration = _instruments()
    runs.add(1, labels)
    rows.add(run.num_rows or 0, labels)
    num_bytes.add(run.num_bytes or 0, labels)
    if run.elapsed is not None:
        duration.record(run.elapsed.total_seconds(), labels)


@cache
def _instruments() -> tuple[Any, Any, Any, Any]:
    from opentelemetry import metrics

    meter = metrics.get_meter(_NAME)
    return (
        meter.create_counter("mc_sink.runs", "1", "runs that have ended"),
        meter.create_counter("mc_sink.rows", "1", "rows delivered"),
        meter.create_counter("mc_sink.bytes", "By", "bytes delivered, as stored"),
        meter.create_histogram("mc_sink.duration", "s", "how long a run took"),
    )
