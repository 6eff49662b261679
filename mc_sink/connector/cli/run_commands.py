"""`mc-sink run`, `send`, `preview`, `schedule` and `connections`."""

from __future__ import annotations

import logging
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from mc_sink._display import indented, logger
from mc_sink.connector.cli import output
from mc_sink.connector.cli.examples import example
from mc_sink.connector.cli.exit import calling, ending_soon
from mc_sink.connector.cli.output import out
from mc_sink.connector.connections import Connection, Scheduler, deliver, inspect, load, of_document, rehearse
from mc_sink.exceptions import ConfigurationError

File = Annotated[Path, typer.Argument(help="A connection file (TOML).", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show schema, sample and keys, and write nothing.")]
Rows = Annotated[int, typer.Option("--rows", min=0, help="Rows in the sample of a dry run.")]
RunId = Annotated[str | None, typer.Option("--run-id", help="The run's id. Repeated runs of one id deliver once.")]
MinRows = Annotated[
    int | None, typer.Option("--min-rows", min=0, help="Fail, with nothing visible, if fewer rows are valid.")
]
Trigger = Annotated[str, typer.Option("--trigger", hidden=True)]
connections = typer.Typer(help="Connection files: a source, a target and options.", no_args_is_help=True)


def run(  # noqa: PLR0913  the options of a command
    file: File,
    *,
    dry_run: DryRun = False,
    rows: Rows = 5,
    run_id: RunId = None,
    min_rows: MinRows = None,
    as_json: Json = False,
    trigger: Trigger = "manual",
) -> None:
    """Deliver a connection now: whole, or not at all."""
    _go(_at_least(load(file), min_rows), dry_run=dry_run, rows=rows, run_id=run_id, as_json=as_json, trigger=trigger)


def send(  # noqa: PLR0913  the options of a command
    files: Annotated[
        list[str], typer.Argument(help="Source files or globs, followed by the target.", metavar="FILES... TARGET")
    ],
    *,
    format: Annotated[str | None, typer.Option(help="csv, csv.gz or parquet.")] = None,
    schema: Annotated[str | None, typer.Option(help="A schema's name, YAML file, or module:name.")] = None,
    platform: Annotated[str | None, typer.Option(help="Saved credentials, by their name.")] = None,
    endpoint_url: Annotated[str | None, typer.Option(help="The store's URL, if it is not AWS.")] = None,
    profile: Annotated[str | None, typer.Option(help="A profile in ~/.aws/config.")] = None,
    options: Annotated[
        list[str] | None,
        typer.Option("--set", help="A key of a connection file, as TOML: 'if_exists=\"overwrite\"'."),
    ] = None,
    min_rows: MinRows = None,
    dry_run: DryRun = False,
    rows: Rows = 5,
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """Deliver files without a connection file."""
    if len(files) == 1:
        raise typer.BadParameter("pass at least one file, followed by the target", param_hint="FILES... TARGET")
    document: dict[str, Any] = {"source": {"files": files[:-1]}, "target": files[-1]}
    stored = {"endpoint_url": endpoint_url, "profile": profile}
    given = {"format": format, "schema": schema, "platform": platform, "storage_options": _given(stored)}
    _merge(document, _given(given))
    for option in options or ():
        _merge(document, _parsed(option))
    connection = of_document(document, name="send", file=None, folder=Path.cwd())
    _go(_at_least(connection, min_rows), dry_run=dry_run, rows=rows, run_id=run_id, as_json=as_json)


def show_preview(
    file: File,
    *,
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """Show the keys that a run would write. Sends nothing."""
    with output.reserved_stdout():
        found = rehearse(load(file), run_id=run_id, rows=None)
    output.rehearsal(found, as_json=as_json)


def _go(  # noqa: PLR0913  the options of a command
    connection: Connection,
    *,
    dry_run: bool,
    rows: int,
    run_id: str | None,
    as_json: bool,
    trigger: str = "manual",
) -> None:
    with ending_soon():
        if dry_run:
            with output.reserved_stdout():
                found = rehearse(connection, run_id=run_id, rows=rows)
            output.rehearsal(found, as_json=as_json)
            return
        watched = not as_json and trigger == "manual" and sys.stderr.isatty()
        if not watched:
            log_lines()
        with output.reserved_stdout() as stdout:
            deliver(
                connection,
                run_id=run_id,
                progress=watched,
                trigger=trigger,
                ended=lambda run: output.ended(run, stdout, as_json=as_json),
            )


class _Line(logging.Formatter):
    """Formats records with control characters escaped; further lines of other libraries' records are indented."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line of the log."""
        return indented(super().format(record))


def log_lines() -> None:
    """Log records of mc_sink to standard error, one line each."""
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(_Line("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(handlers=[lines])
    logger("mc_sink").setLevel(logging.INFO)


def _at_least(connection: Connection, min_rows: int | None) -> Connection:
    """Return the connection with another minimum of rows than its file states."""
    if min_rows is None:
        return connection
    guard = replace(connection.settings.guard, min_rows=min_rows)
    settings: Any = connection.settings  # its delivery options are made from a list that type checkers can't see
    return replace(connection, settings=replace(settings, min_rows=None, guard=guard))


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value not in (None, {})}


def _merge(document: dict[str, Any], more: dict[str, Any]) -> None:
    """Merge keys into a document and its tables."""
    for name, value in more.items():
        if isinstance(value, dict) and isinstance(document.get(name), dict):
            _merge(document[name], value)
        else:
            document[name] = value


def _parsed(option: str) -> dict[str, Any]:
    """Parse KEY=VALUE as TOML; a value that is not valid TOML is text."""
    name, equals, value = option.partition("=")
    if not equals:
        raise ConfigurationError(f"--set needs KEY=VALUE, not {name!r}. Nothing was done.")
    try:
        return tomllib.loads(option)
    except tomllib.TOMLDecodeError:
        quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    try:
        return tomllib.loads(f'{name} = "{quoted}"')
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"--set {name}=… is not valid TOML: {error}. Nothing was done.") from None


def schedule(
    files: Annotated[list[Path], typer.Argument(help="Connection files with a [schedule].", show_default=False)],
    *,
    at_once: Annotated[int, typer.Option(min=1, help="The largest number of runs at a time.")] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record of each run as a line of JSON.")] = False,
) -> None:
    """Run connections at the times of their schedules.

    Stops at SIGTERM or Ctrl-C, and then stops its runs too.

    Skips a run that is due while the same connection is still running. A second scheduler exits at once with code 75.
    """
    log_lines()
    more = ["--json"] if as_json else []

    def command(connection: Connection) -> list[str]:
        # The words that started this program, without its arguments: an installed script, or a module.
        own = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv) + 1]
        return [sys.executable, *own, "run", str(connection.file), "--trigger", "schedule", *more]

    scheduler = Scheduler([load(file) for file in files], command, at_once=at_once)
    with calling(lambda _number, _frame: scheduler.stop()):
        scheduler.run()


@connections.callback()
def _group() -> None:
    """Make `check` a command of a group although it is the only one."""


@connections.command("check", epilog=example("connections check"))
def check(
    files: Annotated[list[Path], typer.Argument(help="Connection files (TOML).", show_default=False)],
) -> None:
    """Check every key and value of connection files. Opens no source and sends nothing."""
    for file in files:
        out(f"{file}: valid; delivers to {inspect(load(file))}")
