"""Run one connection, from its lock to its hooks, or rehearse it. Every run leaves a record, however it ends.

Entry points of the groups `mc_sink.on_success` and `mc_sink.on_failure` are called with the record. A command gets it
as JSON on its standard input, and its main facts in the environment, which has nothing else of this program's than
`PASSED_ON` and what the connection names. A hook that fails never changes how a run ended.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from inspect import signature
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any

from mc_sink._display import lines, logger
from mc_sink._frames import as_lazyframe
from mc_sink.connector import history
from mc_sink.connector.connections.arguments import arguments_for, target_of
from mc_sink.connector.connections.connection_file import guard_of
from mc_sink.connector.connections.sources import find_named, opened, refuse_own_target
from mc_sink.exceptions import NOTHING_VISIBLE, SinkError, add_note, panics_as_query_errors
from mc_sink.keys import new_run_id
from mc_sink.secret import seal
from mc_sink.sink import SinkOptions, check_new_run, deliver_frame, preview, resolve, sink_madconnect
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import polars as pl

    from mc_sink.connector.connections.connection_file import Connection
    from mc_sink.connector.connections.settings import Hook
    from mc_sink.connector.history import Beginning, Run
    from mc_sink.receipt import Receipt
    from mc_sink.sink import Preview

_log = logger(__name__)
SAMPLE_ROWS = 5
# A run that was told to end has little time left.
PATIENCE_SECONDS, LEAVING_SECONDS = 60, 3
# What a command may need to run at all, and that is no secret; docs/cli.md has the list.
PASSED_ON = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TERM", "MC_SINK_STATE_DIR"}
)
MAX_PRINTED = 2**20
_NAME = "mc_sink"


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
            receipt = _sink(connection, facts, run_id_given=bool(run_id), progress=progress)
            _tell_each(observers, ongoing.delivered(receipt))
        except BaseException as error:
            if receipt is None:
                _tell_each(observers, ongoing.failed(error))
            else:  # whatever came then, what is visible stays so
                add_note(error, f"run {chosen} had delivered by then: everything is visible.")
                _tell_each(observers, ongoing.delivered(receipt))
            raise
    return ongoing.run


def _sink(connection: Connection, facts: Beginning, *, run_id_given: bool, progress: bool | None) -> Receipt:
    given: Any = arguments_for(sink_madconnect, connection) | {"run_id": facts.run_id, "progress": progress}
    given["storage_options"] = seal(given.get("storage_options"))
    spec = resolve(SinkOptions.of("sink_madconnect", given.pop("target"), given), is_new=not run_id_given)
    if not run_id_given:
        check_new_run(spec)  # a source may run its query when it is opened
    refuse_own_target(connection.settings.source, connection.folder, spec)
    with ExitStack() as stack:
        frame = _opened(connection, stack)
        return deliver_frame(frame, spec, guard_of(connection.settings, facts))


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


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The first rows of a source, None where nobody asked for them, and what a delivery of it would make."""

    sample: pl.DataFrame | None
    preview: Preview


def inspect(connection: Connection) -> str:
    """Give the target's URL, or raise what contradicts in a connection; opens no source, and sends nothing."""
    arguments = arguments_for(sink_madconnect, connection)
    refuse_own_target(connection.settings.source, connection.folder, resolve(SinkOptions(**arguments)))
    if set(arguments) <= set(signature(preview).parameters):
        return preview(None, **arguments).target
    return parse_target(arguments["target"]).url


def rehearse(connection: Connection, *, run_id: str | None = None, rows: int | None = SAMPLE_ROWS) -> Rehearsal:
    """Open the source, read `rows` of it, and name the keys; raises what the run would raise before its first byte.

    With `rows` None the source is opened and not read.
    """
    arguments = arguments_for(preview, connection)
    refuse_own_target(connection.settings.source, connection.folder, resolve(SinkOptions(**arguments)))
    with opened(connection.settings.source, connection.folder) as frame:
        seen = preview(frame, **arguments, run_id=run_id)
        with panics_as_query_errors():
            sample = None if rows is None else as_lazyframe(frame).head(rows).collect()
    return Rehearsal(sample, seen)


def tell(run: Run, connection: Connection) -> None:
    """Call every hook of this end; what fails is logged by its name and type."""
    group = "on_success" if run.status in {"delivered", "skipped"} else "on_failure"
    for name, call in _hooks(group, connection, run):
        try:
            call()
        except (Exception, SystemExit) as error:  # a hook is somebody else's code, and may exit, too
            if isinstance(error, SystemExit) and type(error) is not SystemExit:
                raise  # a signal's own kind: somebody else told this program to end
            _log.warning("The hook %s (%s) failed: %s.", group, name, type(error).__name__)


def _hooks(group: str, connection: Connection, run: Run) -> Iterator[tuple[str, Callable[[], object]]]:
    hook: Hook | None = getattr(connection.settings.hooks, group)
    if isinstance(hook, str):
        yield hook, lambda: find_named(hook, connection.folder)(run)
    elif hook:
        yield hook[0], lambda: _command(hook, connection, run)
    for point in entry_points(group=f"mc_sink.{group}"):
        yield point.name, lambda point=point: point.load()(run)  # type: ignore[misc]


def _command(words: list[str], connection: Connection, run: Run) -> None:
    """Run a command; what it prints goes to standard error, which no program reads, when it has ended."""
    with TemporaryFile() as printed:  # a pipe would have to be read for as long as any child of the command lives
        try:
            subprocess.run(  # noqa: S603  the connection's owner chose it
                words,
                input=json.dumps(run.as_json()).encode(),
                cwd=connection.folder,
                env=_environment(connection, run),
                stdout=printed,
                stderr=subprocess.STDOUT,
                check=True,
                timeout=LEAVING_SECONDS if run.status == "interrupted" else PATIENCE_SECONDS,
            )
        finally:
            _repeat(printed)


def _environment(connection: Connection, run: Run) -> dict[str, str]:
    names = {*PASSED_ON, *connection.settings.hooks.environment}
    given = {name: value for name, value in os.environ.items() if name in names or name.startswith("LC_")}
    facts = {"MC_SINK_RUN_ID": run.run_id, "MC_SINK_CONNECTION": run.connection, "MC_SINK_STATUS": run.status}
    return given | facts


def _repeat(printed: IO[bytes]) -> None:
    """Write what a command has printed to standard error, with control characters escaped."""
    printed.seek(0)
    text = printed.read(MAX_PRINTED).decode(errors="replace").rstrip("\n")
    if text and sys.stderr is not None:
        with suppress(OSError, ValueError):
            print(lines(*text.split("\n")), file=sys.stderr, flush=True)  # noqa: T201  the command's words, not ours


@contextmanager
def traced(beginning: Beginning) -> Iterator[Callable[[Run], None]]:
    """Have a span for a run, and give what notes its end on it; without OpenTelemetry, nothing."""
    if not _is_installed():
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


@cache
def _is_installed() -> bool:
    try:
        return find_spec("opentelemetry.metrics") is not None and find_spec("opentelemetry.trace") is not None
    except ModuleNotFoundError:
        return False
