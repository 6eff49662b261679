"""`mc-sink schedule`: run connections at their times, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003  typer reads these types
from typing import TYPE_CHECKING, Annotated

import typer

from mc_sink.cli._deliver import log_lines
from mc_sink.cli._signals import calling
from mc_sink.connections import Scheduler, load

if TYPE_CHECKING:
    from mc_sink.connections import Connection


def schedule(
    files: Annotated[list[Path], typer.Argument(help="Connection files with a [schedule].", show_default=False)],
    *,
    at_once: Annotated[int, typer.Option(min=1, help="How many runs may go on at once.")] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print each run's record as a line of JSON.")] = False,
) -> None:
    """Run connections at the times of their schedules.

    It goes on until SIGTERM or Ctrl-C, and then ends the runs that are going on, too.

    A run that falls due while the last one of its connection goes on is left out. A second scheduler ends at once with
    exit code 75.
    """
    log_lines()
    more = ["--json"] if as_json else []

    def command(connection: Connection) -> list[str]:
        return [*_ourselves(), "run", str(connection.file), "--trigger", "schedule", *more]

    scheduler = Scheduler([load(file) for file in files], command, at_once=at_once)
    with calling(lambda _number, _frame: scheduler.stop()):
        scheduler.run()


def _ourselves() -> list[str]:
    """Give the words that started this very command, up to its own arguments: an installed script, or a module."""
    return [sys.executable, *sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv) + 1]]
