"""`mc-sink history`, `show`, `verify` and `recover`: what became of the runs of this machine."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mc_sink import publishing
from mc_sink._display import lines
from mc_sink.connector import history
from mc_sink.connector.cli import completion, output
from mc_sink.connector.cli.exit import Code
from mc_sink.connector.cli.output import out
from mc_sink.connector.cli.run_commands import Json  # noqa: TC001  typer reads these types
from mc_sink.connector.history import Status  # noqa: TC001  typer reads these types
from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from mc_sink.connector.history import Run

RecordId = Annotated[
    str,
    typer.Argument(
        help="The id of a run, the beginning of one, or `last`.", show_default=False, autocompletion=completion.run_ids
    ),
]
Endpoint = Annotated[str | None, typer.Option("--endpoint-url", help="The store's URL. Default: that of the run.")]
Profile = Annotated[str | None, typer.Option("--profile", help="A profile in ~/.aws/config.")]
Platform = Annotated[
    str | None,
    typer.Option(
        "--platform", help="Saved credentials. Default: those of the run.", autocompletion=completion.platforms_saved
    ),
]
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
        out(lines(*run.receipt().load_statement(table, dialect, access=access).split("\n")))
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
            f"Cannot verify run {run.run_id}: its status is {run.status}, and its record lists no files. See mc-sink "
            f"show {run.run_id}; mc-sink recover lists unfinished deliveries."
        )
    found = publishing.verify(run.receipt(), **_access(run, platform, endpoint_url, profile, no_platform=no_platform))
    output.verification(found, as_json=as_json)
    if not found.ok:
        raise typer.Exit(Code.DIFFERENT)


def recover(  # noqa: PLR0913  the options of a command
    run_id: Annotated[
        str | None,
        typer.Argument(
            help="The id of a run, the beginning of one, or `last`. Without it, unfinished deliveries are listed.",
            autocompletion=completion.run_ids,
        ),
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
    unfinished = [one.run_id for one in publishing.journal.read_all()[0]]
    unfinished += [one.run_id for one in publishing.hidden_files.list_left()]
    run_id = history.full_id(run_id, unfinished)
    run: Run | None = None
    with suppress(ConfigurationError):  # a delivery may have no record
        run = history.find_run(run_id)
    access = _access(run, platform, endpoint_url, profile, no_platform=no_platform)
    if discard:
        left = publishing.recover(run_id, target=target, action="discard", **access)
        out(json.dumps({"left": left}) if as_json else lines("Discarded.", *left))
        return
    finish = publishing.recover_unrecorded if run else publishing.recover
    receipt = finish(run_id, target=target, **access)
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
