"""OpenTelemetry, where its API is installed: a span for each run, and counters; no URL's query, no text of an error."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mc_sink.history import Beginning, Run

_NAME = "mc_sink"


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
