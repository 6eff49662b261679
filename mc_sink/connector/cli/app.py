"""All commands of `mc-sink`, over connections, the history of runs, recovery and platforms.

    arguments ─► app (the command) ─► …_commands ─► output (text or JSON)
                    └─ an exception ─► exit: one message, one exit code

Libraries that take long to load are loaded by the command that needs them.
"""

from __future__ import annotations

import os
from contextlib import suppress
from importlib.metadata import version as find_version
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from mc_sink._display import nearest
from mc_sink._runtime.engine_thread import leave_at_once
from mc_sink._runtime.state_dir import STATE_DIR, state_folder
from mc_sink.connector.cli import (
    connection_commands,
    demonstration,
    handover_commands,
    output,
    platform_commands,
    record_commands,
    report_commands,
    run_commands,
    schedule_commands,
)
from mc_sink.connector.cli.examples import example
from mc_sink.connector.cli.exit import escaped_usage_errors, reported
from mc_sink.exceptions import SinkError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_DEBUG = "--debug"
# How many row groups Polars reads ahead in a scan of Parquet files. It reads the variable when a scan begins.
LOOK_AHEAD = ("POLARS_ROW_GROUP_PREFETCH_SIZE", "2")


class Commands(TyperGroup):
    """All commands. Their exceptions are reported without a traceback, and `--debug` may stand anywhere."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Remove `--debug` from the arguments, up to a `--`, and parse the others."""
        end = args.index("--") if "--" in args else len(args)
        ctx.meta[_DEBUG] = _DEBUG in args[:end]
        with escaped_usage_errors():
            return super().parse_args(ctx, [word for word in args[:end] if word != _DEBUG] + args[end:])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the first argument names; an unknown one gets the nearest right name."""
        if args[0] in self.commands or args[0].startswith("-"):
            return super().resolve_command(ctx, args)
        listed = nearest(args[0], self.commands) or f" Commands: {', '.join(self.commands)}."
        return ctx.fail(f"No such command {args[0]!r}.{listed}")

    def invoke(self, ctx: Any) -> Any:
        """Run a command, and report what it raises in the words of that command."""
        with escaped_usage_errors(), reported(lambda: ctx.invoked_subcommand, debug=ctx.meta[_DEBUG]):
            return super().invoke(ctx)


app = typer.Typer(
    cls=Commands,
    name="mc-sink",
    help="Deliver data into another organisation's bucket: validated, and whole or not at all.",
    epilog=example("mc-sink"),
    rich_markup_mode=None,  # rich takes a tenth of a second to load for a help page (measured)
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:  # noqa: FBT001  typer calls it so
    if value:
        output.out(f"mc-sink {find_version('mc-sink')}")
        raise typer.Exit


@app.callback()
def _options_of_all_commands(
    *,
    debug: Annotated[bool, typer.Option(_DEBUG, help="Show the traceback of an error, with secrets masked.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Register the options of all commands, for the help. `Commands.parse_args` reads them."""


_COMMANDS: tuple[tuple[str, Callable[..., None]], ...] = (
    ("demo", demonstration.demo),
    ("run", run_commands.run),
    ("send", run_commands.send),
    ("preview", run_commands.show_preview),
    ("schedule", schedule_commands.schedule),
    ("resume", schedule_commands.resume),
    ("metrics", schedule_commands.metrics),
    ("history", record_commands.show_history),
    ("show", record_commands.show),
    ("report", report_commands.report),
    ("verify", record_commands.verify),
    ("recover", record_commands.recover),
    ("handover", handover_commands.handover),
    ("policy", platform_commands.policy),
    ("lifecycle", platform_commands.lifecycle),
)
_CLASSES = {"schedule": schedule_commands.ScheduleCommand}
for _name, _function in _COMMANDS:
    app.command(_name, cls=_CLASSES.get(_name), epilog=example(_name))(_function)
app.add_typer(connection_commands.connections, name="connections", epilog=example("connections"))
app.add_typer(platform_commands.platforms, name="platforms", epilog=example("platforms"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that the arguments name, and exit with its code."""
    output.prepare_streams()
    # For this process alone: a library must not change the environment of its host. See docs/performance.md.
    os.environ.setdefault(*LOOK_AHEAD)
    if os.environ.get(STATE_DIR):
        with suppress(SinkError):  # a relative path begins here, also for a source or a hook that starts elsewhere
            os.environ[STATE_DIR] = str(state_folder())
    try:
        app(list(arguments) if arguments is not None else None, prog_name="mc-sink")
    except SystemExit as leaving:
        if isinstance(leaving.code, int):
            leave_at_once(leaving.code)
        raise
