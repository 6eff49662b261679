"""The commands, in the order in which `mc-sink --help` shows them, and the one place where they are registered."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from mc_sink.cli import _check, _deliver, _past, _platforms, _timetable
from mc_sink.cli._ends import escaped, told
from mc_sink.cli._examples import example

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_DEBUG = "--debug"


class Commands(TyperGroup):
    """All commands: what they raise is told without a traceback, and `--debug` may stand anywhere."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take `--debug` out of the words, up to a `--` of their own."""
        end = args.index("--") if "--" in args else len(args)
        ctx.meta[_DEBUG] = _DEBUG in args[:end]
        with escaped():
            return super().parse_args(ctx, [word for word in args[:end] if word != _DEBUG] + args[end:])

    def invoke(self, ctx: Any) -> Any:
        """Run a command and tell what it raises."""
        with escaped(), told(debug=ctx.meta[_DEBUG]):
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
    ("run", _deliver.run),
    ("send", _deliver.send),
    ("preview", _deliver.show_preview),
    ("schedule", _timetable.schedule),
    ("history", _past.show_history),
    ("show", _past.show),
    ("verify", _past.verify),
    ("recover", _past.recover),
    ("policy", _platforms.policy),
    ("lifecycle", _platforms.lifecycle),
)
for _name, _function in _COMMANDS:
    app.command(_name, epilog=example(_name))(_function)
app.add_typer(_check.connections, name="connections", epilog=example("connections"))
app.add_typer(_platforms.platforms, name="platforms", epilog=example("platforms"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that the words name, and exit with its code."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error does what its encoding hasn't
    app(list(arguments) if arguments is not None else None, prog_name="mc-sink")
