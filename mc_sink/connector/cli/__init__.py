"""The `mc-sink` command: thin commands over connections, history and recovery.

    words ─► _app (which command) ─► _deliver, _past, _check, _timetable ─► _shown (for people, or JSON)
                     └─ what is raised ─► _ends: one message, one exit code

Libraries that take their time to load are loaded by the command that needs them.
"""

from __future__ import annotations

import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from mc_sink.connector.cli import platform_commands, record_commands, run_commands
from mc_sink.connector.cli.examples import example
from mc_sink.connector.cli.exit import escaped_text, told

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["app", "main"]

_DEBUG = "--debug"


class Commands(TyperGroup):
    """All commands: what they raise is told without a traceback, and `--debug` may stand anywhere."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take `--debug` out of the words, up to a `--` of their own."""
        end = args.index("--") if "--" in args else len(args)
        ctx.meta[_DEBUG] = _DEBUG in args[:end]
        with escaped_text():
            return super().parse_args(ctx, [word for word in args[:end] if word != _DEBUG] + args[end:])

    def invoke(self, ctx: Any) -> Any:
        """Run a command and tell what it raises."""
        with escaped_text(), told(debug=ctx.meta[_DEBUG]):
            return super().invoke(ctx)


app = typer.Typer(
    cls=Commands,
    name="mc-sink",
    help="Deliver frames into somebody else's bucket: validated, whole or not at all.",
    epilog=example("mc-sink"),
    rich_markup_mode=None,  # what rich needs to draw a help page takes a tenth of a second to load (measured)
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def _all(
    *,
    debug: Annotated[bool, typer.Option(_DEBUG, help="Show the traceback of an error, secrets masked.")] = False,
) -> None:
    """Nothing but the options of all commands; `Commands` takes them."""


_COMMANDS: tuple[tuple[str, Callable[..., None]], ...] = (
    ("run", run_commands.run),
    ("send", run_commands.send),
    ("preview", run_commands.show_preview),
    ("schedule", run_commands.schedule),
    ("history", record_commands.show_history),
    ("show", record_commands.show),
    ("verify", record_commands.verify),
    ("recover", record_commands.recover),
    ("policy", platform_commands.policy),
    ("lifecycle", platform_commands.lifecycle),
)
for _name, _function in _COMMANDS:
    app.command(_name, epilog=example(_name))(_function)
app.add_typer(run_commands.connections, name="connections", epilog=example("connections"))
app.add_typer(platform_commands.platforms, name="platforms", epilog=example("platforms"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that the words name, and exit with its code."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error does what its encoding hasn't
    app(list(arguments) if arguments is not None else None, prog_name="mc-sink")
