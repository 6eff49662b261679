"""`mc-sink run`, `send` and `preview`."""

from __future__ import annotations

import logging
import sys
import tomllib
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mc_sink._display import indented, logger
from mc_sink.connector.cli import completion, output
from mc_sink.connector.cli.exit import ending_soon
from mc_sink.connector.connections import Connection, deliver, load, of_document, rehearse, seconds_of
from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

File = Annotated[Path, typer.Argument(help="A connection file (TOML).", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show schema, sample and keys, judge rows, and write nothing.")]
Rows = Annotated[
    str, typer.Option("--rows", metavar="N|all", help="Rows that a dry run shows and judges; all judges every row.")
]
RunId = Annotated[str | None, typer.Option("--run-id", help="The run's id. Repeated runs of one id deliver once.")]
MinRows = Annotated[
    int | None, typer.Option("--min-rows", min=0, help="Fail, with nothing visible, if fewer rows are valid.")
]
Trigger = Annotated[str, typer.Option("--trigger", hidden=True)]
DueAt = Annotated[str | None, typer.Option("--due-at", hidden=True)]


def run(  # noqa: PLR0913  the options of a command
    file: File,
    *,
    dry_run: DryRun = False,
    rows: Rows = "5",
    run_id: RunId = None,
    min_rows: MinRows = None,
    as_json: Json = False,
    trigger: Trigger = "manual",
    due_at: DueAt = None,
) -> None:
    """Deliver a connection now: whole, or not at all."""
    connection = _at_least(load(file), min_rows)
    _go(connection, dry_run=dry_run, rows=rows, run_id=run_id, as_json=as_json, trigger=trigger, due_at=due_at)


def send(  # noqa: PLR0913  the options of a command
    files: Annotated[
        list[str], typer.Argument(help="Source files or globs, followed by the target.", metavar="FILES... TARGET")
    ],
    *,
    format: Annotated[
        str | None, typer.Option(help="csv, csv.gz or parquet.", autocompletion=completion.formats)
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option(help="A schema's name, YAML file, or module:name.", autocompletion=completion.schemas),
    ] = None,
    name: Annotated[str | None, typer.Option(help="A template for the names under a prefix.")] = None,
    partition_by: Annotated[
        list[str] | None, typer.Option(help="A column whose values make folders; may be repeated.")
    ] = None,
    on_invalid: Annotated[str | None, typer.Option(help="For invalid rows: fail (default) or reject.")] = None,
    if_exists: Annotated[str | None, typer.Option(help="For keys that exist: fail (default) or overwrite.")] = None,
    platform: Annotated[
        str | None, typer.Option(help="Saved credentials, by their name.", autocompletion=completion.platforms_saved)
    ] = None,
    endpoint_url: Annotated[str | None, typer.Option(help="The store's URL, if it is not AWS.")] = None,
    region: Annotated[str | None, typer.Option(help="The bucket's region.")] = None,
    profile: Annotated[str | None, typer.Option(help="A profile in ~/.aws/config.")] = None,
    options: Annotated[
        list[str] | None,
        typer.Option("--set", help="A key of a connection file, as TOML: 'if_exists=\"overwrite\"'."),
    ] = None,
    min_rows: MinRows = None,
    dry_run: DryRun = False,
    rows: Rows = "5",
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """Deliver files without a connection file."""
    if len(files) == 1:
        raise typer.BadParameter("pass at least one file, followed by the target", param_hint="FILES... TARGET")
    document: dict[str, Any] = {"source": {"files": files[:-1]}, "target": files[-1]}
    client = _given({"region_name": region})
    stored = _given({"endpoint_url": endpoint_url, "profile": profile, "client_kwargs": client})
    given: dict[str, Any] = {
        "format": format,
        "schema": schema,
        "platform": platform,
        "storage_options": stored,
        "name": name,
    }
    given |= {"partition_by": partition_by, "on_invalid": on_invalid, "if_exists": if_exists}
    _merge(document, _given(given))
    _merge(document, more_keys(options or ()))
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
    rows: str,
    run_id: str | None,
    as_json: bool,
    trigger: str = "manual",
    due_at: str | None = None,
) -> None:
    number: int | Literal["all"] = "all" if rows == "all" else int(rows) if rows.isdecimal() else -1
    if number == -1:
        raise typer.BadParameter(f"{rows!r} is not a number of rows: write 0 or more, or all", param_hint="--rows")
    schedule = connection.settings.schedule if trigger == "schedule" else None
    with ending_soon(seconds_of(schedule.timeout, "timeout") if schedule and schedule.timeout else None):
        if dry_run:
            with output.reserved_stdout():
                found = rehearse(connection, run_id=run_id, rows=number)
            output.rehearsal(found, as_json=as_json)
            if found.failure is not None:
                raise found.failure
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
                due_at=datetime.fromisoformat(due_at) if due_at else None,
                ended=lambda run: output.ended(run, stdout, as_json=as_json),
            )


class _Line(logging.Formatter):
    """Formats records with control characters escaped; further lines of other libraries' records are indented."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line of the log."""
        return indented(super().format(record))


def log_lines() -> None:
    """Log records of mc_sink to standard error, one line each."""
    printed = logging.StreamHandler(sys.stderr)
    printed.setFormatter(_Line("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(handlers=[printed])
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


def more_keys(options: Iterable[str]) -> dict[str, Any]:
    """Return the keys of a connection file in the values of `--set`."""
    document: dict[str, Any] = {}
    for option in options:
        _merge(document, _parsed(option))
    return document


def _parsed(option: str) -> dict[str, Any]:
    """Parse KEY=VALUE as TOML; a value that is not valid TOML is text."""
    name, equals, value = option.partition("=")
    if not equals:
        raise ConfigurationError(f"--set needs KEY=VALUE, not {name!r}: write it as in max_rows_per_file=1000000.")
    try:
        return tomllib.loads(option)
    except tomllib.TOMLDecodeError:
        quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    try:
        return tomllib.loads(f'{name} = "{quoted}"')
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(
            f"--set {name}=… is not valid TOML: {error}. Quote a text for TOML and for the shell: '{name}=\"text\"'."
        ) from None
