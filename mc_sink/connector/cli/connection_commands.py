"""`mc-sink connections`: check connection files, and print the schema that editors read them by."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path  # noqa: TC003  typer reads these types
from typing import Annotated

import typer

from mc_sink.connector.cli import output
from mc_sink.connector.cli.examples import example
from mc_sink.connector.cli.exit import report, say
from mc_sink.connector.cli.output import out
from mc_sink.connector.connections import connection_schema, inspect, load
from mc_sink.exceptions import ConfigurationError

connections = typer.Typer(help="Connection files: a source, a target and options.", no_args_is_help=True)


@connections.command("check", epilog=example("connections check"))
def check(
    ctx: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="Connection files (TOML).", show_default=False)],
) -> None:
    """Check every key and value of connection files. Opens no source and sends nothing.

    Each file is checked, also after one that is invalid. Exits with the code of the first invalid one, mostly 3.
    """
    codes = []
    for file in files:
        try:
            out(f"{file}: valid; delivers to {inspect(load(file))}")
        except (Exception, SystemExit) as error:  # noqa: BLE001  a module beside the file may raise anything
            say(f"{file}: invalid")
            codes.append(report(error, "connections", debug=ctx.meta.get("--debug", False)))
    if codes:
        raise typer.Exit(codes[0])


@connections.command("schema", epilog=example("connections schema"))
def print_schema(
    *,
    file: Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file instead.")] = None,
) -> None:
    """Print the JSON Schema of a connection file, for editors of TOML."""
    if file is None:
        output.print_json(connection_schema(), indent=2)
        return
    written(file, f"{json.dumps(connection_schema(), indent=2)}\n", is_new=False)


def written(file: Path, text: str, *, is_new: bool) -> None:
    """Write a text file whole, or raise `ConfigurationError`; with `is_new`, never in place of another one."""
    part = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        part.write_text(text, "utf-8")
        (os.link if is_new else os.replace)(part, file)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its text is not UTF-8"
        raise ConfigurationError(f"Cannot write {file}: {reason}. Choose another path.") from None
    finally:
        part.unlink(missing_ok=True)
    say(f"Wrote {file}.")
