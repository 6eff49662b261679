"""The metrics of this machine's connections in the text format of Prometheus, from the history of runs.

They are computed from the records when they are read, so that they survive a restart and count every run, also those
of cron or systemd. `write_metrics` writes them to a file for the textfile collector, and `serve_metrics` answers HTTP
requests. Labels are the names and files of connections; targets, cells and errors appear nowhere.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mc_sink._display import printable
from mc_sink.connector import history
from mc_sink.exceptions import ConfigurationError, UploadError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LABELS = ("connection", "file")
# Metric, help, and the number that it takes from the facts of a connection.
GAUGES = {
    "mc_sink_last_success_timestamp_seconds": "When the last run ended that delivered, or had no rows to deliver.",
    "mc_sink_last_success_age_seconds": "How long ago that was when the metrics were written.",
    "mc_sink_last_run_timestamp_seconds": "When the last run began.",
    "mc_sink_last_run_ok": "1 if the last run that ended delivered, or had no rows to deliver; 0 otherwise.",
    "mc_sink_last_success_rows": "Rows of the last successful run.",
    "mc_sink_last_success_bytes": "Stored bytes of the last successful run.",
    "mc_sink_last_success_rejects": "Rejected rows of the last successful run.",
    "mc_sink_last_success_duration_seconds": "How long the last successful run took.",
    "mc_sink_failures_in_a_row": "Failed scheduled runs since the last successful one, or since the last resume.",
    "mc_sink_paused": "1 if the connection is paused.",
}


class _Collector:
    """Reads the history whenever the metrics are collected."""

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import GaugeMetricFamily

        facts = history.summaries()
        for name, text in GAUGES.items():
            family = GaugeMetricFamily(name, text, labels=_LABELS)
            for one in facts:
                if (value := one.numbers.get(name)) is not None:
                    family.add_metric((printable(one.connection), printable(one.file or "")), value)
            yield family
        runs = GaugeMetricFamily("mc_sink_runs", "Records of runs that are kept.", labels=(*_LABELS, "status"))
        for one in facts:
            for status, number in one.runs.items():
                runs.add_metric((printable(one.connection), printable(one.file or ""), status), number)
        yield runs


def metrics_text() -> str:
    """Return the metrics of all connections that have a record.

    Raises `ConfigurationError` without the extra `mc-sink[metrics]`.
    """
    with _installed():
        from prometheus_client import generate_latest

        return generate_latest(_registry()).decode()


def write_metrics(file: Path) -> None:
    """Replace a file by the metrics, so that a reader finds either the old ones or all of the new ones.

    Its mode is 0644, because a collector is another user. Raises `UploadError` where it can't be written.
    """
    text, partial = metrics_text(), file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        try:
            partial.write_text(text, encoding="utf-8")
            partial.chmod(0o644)
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise UploadError(
            f"The metrics at {file} can't be written: {error.strerror}. Free disk space, or choose another folder.",
        ) from error


@contextmanager
def serve_metrics(port: int, address: str = "127.0.0.1") -> Iterator[int]:
    """Serve `GET /metrics` within the `with`, and yield the port; 0 chooses a free one."""
    with _installed():
        from prometheus_client import start_http_server

        try:
            server, thread = start_http_server(port, addr=address, registry=_registry())
        except OSError as error:
            raise ConfigurationError(
                f"Cannot serve metrics at {address}:{port}: {error.strerror}. Choose another port."
            ) from error
    try:
        yield int(server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _registry() -> Any:
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector())
    return registry


@contextmanager
def _installed() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "Metrics need the library prometheus-client. Install it: pip install 'mc-sink[metrics]'."
        ) from error
