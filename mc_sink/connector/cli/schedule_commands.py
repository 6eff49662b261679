"""`mc-sink schedule`, `resume` and `metrics`: what runs unattended."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from mc_sink._display import lines, logger
from mc_sink.connector import history
from mc_sink.connector.cli.exit import calling
from mc_sink.connector.cli.output import out, print_json, table
from mc_sink.connector.cli.run_commands import log_lines
from mc_sink.connector.connections import Connection, Scheduler, coming_times, load
from mc_sink.connector.metrics import metrics_text, serve_metrics, write_metrics
from mc_sink.exceptions import SinkError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_log = logger(__name__)
METRICS_SECONDS = 60.0
COMING_TIMES = 5
MetricsFile = Annotated[
    Path | None, typer.Option("--metrics-file", help="Write metrics to this file after each run and each minute.")
]
MetricsPort = Annotated[
    int | None, typer.Option("--metrics-port", min=0, max=65_535, help="Serve metrics at this port of this machine.")
]


class ScheduleCommand(TyperCommand):
    """`mc-sink schedule`, whose `--next` may stand without a number."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Write the default number after a `--next` that no number follows, up to a `--`, and parse the arguments."""
        words: list[str] = []
        for number, word in enumerate(args):
            if word == "--":
                return super().parse_args(ctx, words + args[number:])
            words.append(word)
            if word == "--next" and not "".join(args[number + 1 : number + 2]).lstrip("+-").isdecimal():
                words.append(str(COMING_TIMES))
        return super().parse_args(ctx, words)


def schedule(  # noqa: PLR0913  the options of a command
    files: Annotated[list[Path], typer.Argument(help="Connection files with a [schedule].", show_default=False)],
    *,
    upcoming: Annotated[
        int | None,
        typer.Option(
            "--next", min=1, help=f"Print so many coming times of each ({COMING_TIMES} by default), and run nothing."
        ),
    ] = None,
    at_once: Annotated[int, typer.Option(min=1, help="The largest number of runs at a time.")] = 4,
    metrics_file: MetricsFile = None,
    metrics_port: MetricsPort = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record of each run as a line of JSON.")] = False,
) -> None:
    """Run connections at the times of their schedules.

    Stops at SIGTERM or Ctrl-C, and then stops its runs too.

    Skips a run that is due while the same connection is still running. A second scheduler exits at once with code 75.
    """
    connections = [load(file) for file in files]
    if upcoming is not None:
        _print_coming(connections, upcoming, as_json=as_json)
        return
    log_lines()
    more = ["--json"] if as_json else []

    def command(connection: Connection) -> list[str]:
        # The words that started this program, without its arguments: an installed script, or a module.
        own = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv) + 1]
        return [sys.executable, *own, "run", str(connection.file), "--trigger", "schedule", *more]

    write = _writer(metrics_file)
    scheduler = Scheduler(
        connections,
        command,
        at_once=at_once,
        ended=lambda _child: write(is_due=True),
        looked=lambda: write(is_due=False),
    )
    with ExitStack() as stack:
        if metrics_port is not None:
            port = stack.enter_context(serve_metrics(metrics_port))
            _log.info("Metrics are served at http://127.0.0.1:%s/metrics", port)
        stack.enter_context(calling(lambda _number, _frame: scheduler.stop()))
        scheduler.run()


def _print_coming(connections: Sequence[Connection], number: int, *, as_json: bool) -> None:
    """Print the next times at which connections are due, as if none were paused."""
    coming = sorted(
        ((due, connection) for connection in connections for due in coming_times(connection, number)),
        key=lambda pair: pair[0],
    )
    if as_json:
        for due, one in coming:
            print_json({"connection": one.name, "file": str(one.file), "due_at": due.isoformat()})
        return
    rows = [(f"{due.astimezone(UTC):%F %T}", f"{due:%a %F %T %z}", one.name) for due, one in coming]
    table(("due at (UTC)", "in its zone", "connection"), rows)


def _writer(file: Path | None) -> Callable[..., None]:
    """Return a function that writes the metrics where it is due, or was not done for a minute."""
    if file is None:
        return lambda *, is_due: None  # noqa: ARG005  no file was named
    write_metrics(file)  # an error at the start ends the command
    written_at = time.monotonic()

    def write(*, is_due: bool) -> None:
        nonlocal written_at
        if not is_due and time.monotonic() - written_at < METRICS_SECONDS:
            return
        written_at = time.monotonic()
        try:
            write_metrics(file)
        except SinkError as error:  # a full disk ends no schedule
            _log.error("%s", error)

    return write


def resume(files: Annotated[list[Path], typer.Argument(help="Connection files.", show_default=False)]) -> None:
    """Resume connections that were paused after failed runs in a row. Their failures are counted from zero."""
    for file in files:
        is_resumed = history.resume(str(file.absolute()))
        out(f"{file}: {'resumed' if is_resumed else 'was not paused'}")


def metrics(
    file: Annotated[Path | None, typer.Argument(help="Write to this file instead of standard output.")] = None,
) -> None:
    """Print the metrics of all connections, in the text format of Prometheus."""
    if file is None:
        out(lines(*metrics_text().splitlines()))
    else:
        write_metrics(file)
