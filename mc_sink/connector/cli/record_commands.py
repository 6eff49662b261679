"""`mc-sink history`, `show`, `verify` and `recover`."""

from __future__ import annotations

import json
from collections.abc import Iterator  # noqa: TC003  typer reads these types
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mc_sink import publishing
from mc_sink._display import lines
from mc_sink.connector import history
from mc_sink.connector.cli import output
from mc_sink.connector.cli.exit import Code
from mc_sink.connector.connections import stored_at
from mc_sink.connector.history import Status  # noqa: TC001  typer reads these types
from mc_sink.exceptions import ConfigurationError
from mc_sink.publishing import list_journals

if TYPE_CHECKING:
    from mc_sink.connector.history import Run


def _complete(incomplete: str) -> Iterator[str]:
    """Complete the id of a run."""
    yield from (run.run_id for run in history.list_runs(limit=200) if run.run_id.startswith(incomplete))


RunId = Annotated[str, typer.Argument(help="A run's id.", show_default=False, autocompletion=_complete)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for a program to read.")]
Endpoint = Annotated[str | None, typer.Option("--endpoint-url", help="Where the store is, if not as the run had it.")]
Profile = Annotated[str | None, typer.Option("--profile", help="A profile of ~/.aws/config.")]
Platform = Annotated[str | None, typer.Option("--platform", help="Saved credentials, if not those of the run.")]
NoPlatform = Annotated[bool, typer.Option("--no-platform", help="Use the environment's credentials instead.")]


def show_history(
    *,
    connection: Annotated[str | None, typer.Option(help="Only runs of this connection, by its name.")] = None,
    status: Annotated[Status | None, typer.Option(help="Only runs that ended so.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 20,
    as_json: Json = False,
) -> None:
    """List the runs of this machine, the newest first."""
    output.runs(history.list_runs(connection=connection, status=status, limit=limit), as_json=as_json)


def show(run_id: RunId, *, as_json: Json = False) -> None:
    """Show all that is remembered of a run."""
    output.one_run(history.find_run(run_id), as_json=as_json)


def verify(  # noqa: PLR0913  the options of a command
    run_id: RunId,
    *,
    endpoint_url: Endpoint = None,
    profile: Profile = None,
    platform: Platform = None,
    no_platform: NoPlatform = False,
    as_json: Json = False,
) -> None:
    """Compare what a run delivered with what is there.

    It lists the bucket: every file has to be there, with its size and ETag.

    Exit code 9 says that a file is missing or is another one now.
    """
    run = history.find_run(run_id)
    if run.status != "delivered":
        raise ConfigurationError(
            f"Run {run_id} is {run.status} by its record, which lists no files to compare: `mc-sink show {run_id}` "
            "tells more, and `mc-sink recover` lists what waits to be ended."
        )
    stored = _stored(
        run, {"endpoint_url": endpoint_url, "profile": profile}, _asked_for(run, platform, none=no_platform)
    )
    found = publishing.verify(run.receipt(), **stored)
    output.verification(found, as_json=as_json)
    if not found.ok:
        raise typer.Exit(Code.DIFFERENT)


def recover(  # noqa: PLR0913  the options of a command
    run_id: Annotated[str | None, typer.Argument(help="A run's id; none lists those that wait.")] = None,
    *,
    discard: Annotated[bool, typer.Option("--discard", help="Throw away what isn't visible yet.")] = False,
    target: Annotated[str | None, typer.Option(help="Tells two deliveries of one run id apart.")] = None,
    endpoint_url: Endpoint = None,
    profile: Profile = None,
    platform: Platform = None,
    no_platform: NoPlatform = False,
    as_json: Json = False,
) -> None:
    """End a delivery that was cut short.

    One that stopped while it was published may be visible in part: this makes the rest visible, once.
    """
    if run_id is None:
        output.journals(list_journals(), as_json=as_json)
        return
    run = _remembered(run_id)
    stored = _stored(
        run, {"endpoint_url": endpoint_url, "profile": profile}, _asked_for(run, platform, none=no_platform)
    )
    if discard:
        left = publishing.recover(run_id, target=target, action="discard", **stored)
        output.out(json.dumps({"left": left}) if as_json else lines("Discarded.", *left))
        return
    receipt = publishing.recover(run_id, target=target, **stored)
    ended = history.note_recovered(run, receipt) if run else None
    if as_json and ended:
        output.one_run(ended, as_json=True)
    else:
        output.out(str(receipt))


def _remembered(run_id: str) -> Run | None:
    """Give the record of a run, where there is one: a delivery from Python has none."""
    with suppress(ConfigurationError):
        return history.find_run(run_id)
    return None


def _asked_for(run: Run | None, platform: str | None, *, none: bool) -> str | None:
    """Say whose credentials are meant: those that were asked for, or else the run's."""
    if platform and none:
        raise ConfigurationError("--platform and --no-platform contradict each other: leave one out.")
    return None if none else platform or (run.platform if run else None)


def _stored(run: Run | None, asked: dict[str, str | None], platform: str | None) -> dict[str, Any]:
    known = dict(run.storage_options) if run else {}
    return stored_at(platform, known | {name: value for name, value in asked.items() if value is not None})
