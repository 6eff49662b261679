"""The commands, in the order in which `mc-sink --help` shows them, and the one place where they are registered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from mc_sink.cli import _check, _deliver, _past, _timetable
from mc_sink.cli._ends import told

if TYPE_CHECKING:
    from collections.abc import Sequence

_DEBUG = "--debug"
_EPILOG = """
[bold]By example[/bold]

mc-sink send 'data/*.parquet' s3://bucket/prefix/ --schema audience

mc-sink connections check nightly.toml

mc-sink run nightly.toml --dry-run

mc-sink run nightly.toml

mc-sink schedule nightly.toml hourly.toml

mc-sink history && mc-sink verify RUN_ID

Exit codes: 0 done, 1 failed, 2 wrong words, 3 wrong configuration, 4 invalid rows, 5 permission denied, 6 exists
already, 7 partly or perhaps visible, 8 upload failed, 9 not as delivered, 75 busy, 130 Ctrl-C, 143 SIGTERM.
"""


class Commands(TyperGroup):
    """All commands: what they raise is told without a traceback, and `--debug` may stand anywhere."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take `--debug` out of the words, up to a `--` of their own."""
        end = args.index("--") if "--" in args else len(args)
        ctx.meta[_DEBUG] = _DEBUG in args[:end]
        return super().parse_args(ctx, [word for word in args[:end] if word != _DEBUG] + args[end:])

    def invoke(self, ctx: Any) -> Any:
        """Run a command and tell what it raises."""
        with told(debug=ctx.meta[_DEBUG]):
            return super().invoke(ctx)


app = typer.Typer(
    cls=Commands,
    name="mc-sink",
    help="Deliver frames into somebody else's bucket: validated, whole or not at all.",
    epilog=_EPILOG,
    rich_markup_mode="rich",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def _all(
    *,
    debug: Annotated[bool, typer.Option(_DEBUG, help="Show the traceback of an error, secrets masked.")] = False,
) -> None:
    """Nothing but the options of all commands; `Commands` takes them."""


app.command("run")(_deliver.run)
app.command("send")(_deliver.send)
app.command("preview")(_deliver.show_preview)
app.command("schedule")(_timetable.schedule)
app.command("history")(_past.show_history)
app.command("show")(_past.show)
app.command("verify")(_past.verify)
app.command("recover")(_past.recover)
app.add_typer(_check.connections, name="connections")
# Platforms belong here: app.add_typer(_platforms.platforms, name="platforms"), app.command("policy")(…) and so on.


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that the words name, and exit with its code."""
    app(list(arguments) if arguments is not None else None, prog_name="mc-sink")
