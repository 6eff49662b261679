"""`mc-sink connections`: check connection files, and print the schema that editors read them by."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path  # noqa: TC003  typer reads these types
from typing import Annotated

import typer

from mc_sink._display import lines
from mc_sink.connector.cli import completion, output
from mc_sink.connector.cli.connection_form import Form, as_toml
from mc_sink.connector.cli.examples import example
from mc_sink.connector.cli.exit import report, say
from mc_sink.connector.cli.output import out
from mc_sink.connector.cli.run_commands import more_keys
from mc_sink.connector.connections import connection_schema, inspect, load
from mc_sink.exceptions import ConfigurationError

SCHEMA_FILE = "connection.schema.json"


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


@connections.command("new", epilog=example("connections new"))
def new(  # noqa: PLR0913  each is a question of the form
    name: Annotated[Path, typer.Argument(help="The connection's name, or the path of its file.", show_default=False)],
    *,
    source: Annotated[str | None, typer.Option(help="Files or a glob, a query (select …), or module:function.")] = None,
    database: Annotated[str | None, typer.Option(help="Of a query: a DuckDB file, or $VARIABLE with a URI.")] = None,
    target: Annotated[str | None, typer.Option(help="A prefix or a file.")] = None,
    platform: Annotated[
        str | None, typer.Option(help="Saved credentials, by their name.", autocompletion=completion.platforms_saved)
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="The receiver, by its preset.", autocompletion=completion.presets)
    ] = None,
    format: Annotated[
        str | None, typer.Option(help="csv, csv.gz or parquet.", autocompletion=completion.formats)
    ] = None,
    schema: Annotated[
        str | None, typer.Option(help="A schema's name, YAML file, or module:name.", autocompletion=completion.schemas)
    ] = None,
    schedule: Annotated[str | None, typer.Option(help="A duration such as 6h, or the fields of cron.")] = None,
    timezone: Annotated[str | None, typer.Option(help="The time zone of cron.")] = None,
    webhook: Annotated[
        str | None, typer.Option(help="For failed runs: VARIABLE of the URL, and slack, teams or json.")
    ] = None,
    options: Annotated[
        list[str] | None, typer.Option("--set", help="Another key of the file, as TOML: 'if_exists=\"overwrite\"'.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing: the flags are all answers.")] = False,
    overwrite: Annotated[bool, typer.Option("--replace", help="Replace the file if it exists.")] = False,
) -> None:
    """Write a connection file from answers, which are checked as they are given. Sends nothing.

    Asks for what no flag answers, unless --yes is given. Shows the source's columns, and the file before it is written.
    """
    file = (name if name.suffix == ".toml" else name.with_name(f"{name.name}.toml")).absolute()
    if file.exists() and not overwrite:
        if yes:
            raise ConfigurationError(f"{file} exists already. Pass --replace, or another name.")
        typer.confirm(f"{file} exists. Replace it?", abort=True, err=True)
        overwrite = True
    given = {"source": source, "database": database, "target": target, "platform": platform, "preset": preset}
    given |= {"format": format, "schema": schema, "schedule": schedule, "timezone": timezone, "webhook": webhook}
    document = Form(file, asks=not yes).fill(given, more_keys(options or ()))
    head = f"#:schema ./{SCHEMA_FILE}" if (file.parent / SCHEMA_FILE).exists() else ""
    text = as_toml(document, head)
    say(lines(*text.rstrip("\n").split("\n")))
    if not yes:
        typer.confirm(f"Write {file}?", default=True, abort=True, err=True)
    written(file, text, is_new=not overwrite)
    say(f"Next: mc-sink run {file} --dry-run")


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
