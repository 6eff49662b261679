"""`mc-sink connections`: look at connection files without running them."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  typer reads these types
from typing import Annotated

import typer

from mc_sink.cli._examples import example
from mc_sink.cli._shown import out
from mc_sink.connections import inspect, load

connections = typer.Typer(help="Connection files: a saved source, target and options.", no_args_is_help=True)


@connections.callback()
def _all() -> None:
    """Keep `check` a command of its own, while it is the only one."""


@connections.command("check", epilog=example("connections check"))
def check(
    files: Annotated[list[Path], typer.Argument(help="Connection files (TOML).", show_default=False)],
) -> None:
    """Check connection files: every key and value; no source is opened, and nothing is sent."""
    for file in files:
        out(f"{file}: sound; delivers to {inspect(load(file))}")
