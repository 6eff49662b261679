"""`mc-sink run`, `send`, `preview` and `connections`; `history`, `show`, `verify` and `recover`."""

from __future__ import annotations

import json
import logging
import sys
import tomllib
from collections.abc import Iterator  # noqa: TC003  typer reads these types
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mc_sink import publishing
from mc_sink._display import indented, lines, logger
from mc_sink.connector import history
from mc_sink.connector.cli import output
from mc_sink.connector.cli.examples import example
from mc_sink.connector.cli.exit import Code, ending_soon
from mc_sink.connector.cli.output import out
from mc_sink.connector.connections import Connection, deliver, inspect, load, of_document, rehearse, seconds_of
from mc_sink.connector.history import Status  # noqa: TC001  typer reads these types
from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from mc_sink.connector.history import Run

File = Annotated[Path, typer.Argument(help="A connection file (TOML).", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show schema, sample and keys, and write nothing.")]
Rows = Annotated[int, typer.Option("--rows", min=0, help="Rows in the sample of a dry run.")]
RunId = Annotated[str | None, typer.Option("--run-id", help="The run's id. Repeated runs of one id deliver once.")]
MinRows = Annotated[
    int | None, typer.Option("--min-rows", min=0, help="Fail, with nothing visible, if fewer rows are valid.")
]
Trigger = Annotated[str, typer.Option("--trigger", hidden=True)]
DueAt = Annotated[str | None, typer.Option("--due-at", hidden=True)]
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
    due_at: str | None = None,
) -> None:
    schedule = connection.settings.schedule if trigger == "schedule" else None
    with ending_soon(seconds_of(schedule.timeout, "timeout") if schedule and schedule.timeout else None):
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


def _complete(incomplete: str) -> Iterator[str]:
    """Yield the run ids that begin with a text, for shell completion."""
    yield from (run.run_id for run in history.list_runs(limit=200) if run.run_id.startswith(incomplete))


RecordId = Annotated[str, typer.Argument(help="The id of a run.", show_default=False, autocompletion=_complete)]
Endpoint = Annotated[str | None, typer.Option("--endpoint-url", help="The store's URL. Default: that of the run.")]
Profile = Annotated[str | None, typer.Option("--profile", help="A profile in ~/.aws/config.")]
Platform = Annotated[str | None, typer.Option("--platform", help="Saved credentials. Default: those of the run.")]
NoPlatform = Annotated[bool, typer.Option("--no-platform", help="Use the environment's credentials.")]


def show_history(
    *,
    connection: Annotated[str | None, typer.Option(help="Only runs of the connection of this name.")] = None,
    status: Annotated[Status | None, typer.Option(help="Only runs with this status.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The number of runs to list.")] = 20,
    as_json: Json = False,
) -> None:
    """List the runs of this machine, newest first."""
    output.runs(history.list_runs(connection=connection, status=status, limit=limit), as_json=as_json)


def show(  # noqa: PLR0913  the options of a command
    run_id: RecordId,
    *,
    load: Annotated[bool, typer.Option("--load", help="Print the statement that loads the files instead.")] = False,
    table: Annotated[str, typer.Option(help="The table to load into.")] = "t",
    dialect: Annotated[str | None, typer.Option(help="The receiver. Default: that of the preset.")] = None,
    access: Annotated[str | None, typer.Option(help="What opens the bucket for the receiver, such as a role.")] = None,
    as_json: Json = False,
) -> None:
    """Show the record of a run, or the receiver's statement that loads its files."""
    run = history.find_run(run_id)
    if load:
        output.out(lines(*run.receipt().load_statement(table, dialect, access=access).split("\n")))
    else:
        output.one_run(run, as_json=as_json)


def verify(  # noqa: PLR0913  the options of a command
    run_id: RecordId,
    *,
    endpoint_url: Endpoint = None,
    profile: Profile = None,
    platform: Platform = None,
    no_platform: NoPlatform = False,
    as_json: Json = False,
) -> None:
    """Compare the files that a run delivered with a listing of the bucket.

    Every file must exist with the same size and ETag.

    Exits with code 9 if a file is missing or has changed.
    """
    run = history.find_run(run_id)
    if run.status != "delivered":
        raise ConfigurationError(
            f"Cannot verify run {run_id}: its status is {run.status}, and its record lists no files. See mc-sink show "
            f"{run_id}; mc-sink recover lists unfinished deliveries."
        )
    found = publishing.verify(run.receipt(), **_access(run, platform, endpoint_url, profile, no_platform=no_platform))
    output.verification(found, as_json=as_json)
    if not found.ok:
        raise typer.Exit(Code.DIFFERENT)


def recover(  # noqa: PLR0913  the options of a command
    run_id: Annotated[
        str | None, typer.Argument(help="The id of a run. Without it, unfinished deliveries are listed.")
    ] = None,
    *,
    discard: Annotated[bool, typer.Option("--discard", help="Discard the files that are not visible yet.")] = False,
    target: Annotated[str | None, typer.Option(help="The target, if two deliveries have the same run id.")] = None,
    endpoint_url: Endpoint = None,
    profile: Profile = None,
    platform: Platform = None,
    no_platform: NoPlatform = False,
    as_json: Json = False,
) -> None:
    """Finish a delivery that stopped while it was published.

    Its first files may be visible. This publishes the others, each once. Hidden files that a killed process left on a
    disk are removed.
    """
    if run_id is None:
        found, unreadable = publishing.journal.read_all()
        output.journals(found, publishing.hidden_files.list_left(), unreadable, as_json=as_json)
        if unreadable:
            raise typer.Exit(Code.CONFIGURATION)
        return
    run: Run | None = None
    with suppress(ConfigurationError):  # a delivery from Python has no record
        run = history.find_run(run_id)
    access = _access(run, platform, endpoint_url, profile, no_platform=no_platform)
    if discard:
        left = publishing.recover(run_id, target=target, action="discard", **access)
        out(json.dumps({"left": left}) if as_json else lines("Discarded.", *left))
        return
    receipt = publishing.recover(run_id, target=target, **access)
    ended = history.note_recovered(run, receipt) if run else None
    if as_json and ended:
        output.one_run(ended, as_json=True)
    else:
        out(str(receipt))


def _access(
    run: Run | None, platform: str | None, endpoint_url: str | None, profile: str | None, *, no_platform: bool
) -> dict[str, Any]:
    """Return how to reach the store: as the options say, or else as the run did."""
    if platform and no_platform:
        raise ConfigurationError("--platform and --no-platform contradict each other. Leave one of them out.")
    chosen = None if no_platform else platform or (run.platform if run else None)
    given = {"endpoint_url": endpoint_url, "profile": profile}
    options = dict(run.storage_options) if run else {}
    options |= {name: value for name, value in given.items() if value is not None}
    return {"platform": chosen, "storage_options": options or None}
