"""`mc-sink report`: write the report of a run, or of everything on this machine, as HTML pages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mc_sink import platforms
from mc_sink.connector import history
from mc_sink.connector.cli.completion import run_ids
from mc_sink.connector.cli.output import out
from mc_sink.exceptions import ConfigurationError
from mc_sink.report import index_page, run_page, write_page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mc_sink.connector.history import Run

LAST_RUNS = 30  # of a connection, as bars
LISTED_RUNS = 200  # in the index, each with a page


def report(
    run_id: Annotated[
        str | None, typer.Argument(help="The id of a run. Default: the last run.", autocompletion=run_ids)
    ] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Write an index of all runs, and a page for each.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file; with --all, the folder.", show_default=False)
    ] = None,
) -> None:
    """Write the report of a run as one HTML page, which needs no other file.

    Default of --output: report-RUN_ID.html, or with --all the folder reports.
    """
    if every:
        if run_id is not None:
            raise ConfigurationError("--all writes the reports of all runs. Leave the run id out, or --all.")
        out(f"Wrote {_write_all(output or Path('reports'))}")
        return
    run = history.find_run(run_id) if run_id else _last_run()
    out(f"Wrote {write_page(output or Path(f'report-{run.run_id}.html'), _page(run))}")


def _last_run() -> Run:
    runs = history.list_runs(limit=1)
    if not runs:
        raise ConfigurationError("No run of this machine is recorded. Run a connection first: mc-sink run FILE.")
    return runs[0]


def _page(run: Run) -> str:
    return run_page(run.report_facts(), [_bar(one) for one in _last_runs(run)])


def _last_runs(run: Run) -> list[Run]:
    """Return the last runs of the same connection, the oldest first. Two files may have connections of one name.

    Runs without a file, of `mc-sink send` and from Python, belong together by their target.
    """
    found = history.list_runs(connection=run.connection, limit=5 * LAST_RUNS)
    return [one for one in found if _series(one) == _series(run)][:LAST_RUNS][::-1]


def _series(run: Run) -> tuple[str, ...]:
    return (run.file,) if run.file else (run.connection, run.target)


def _bar(run: Run) -> dict[str, Any]:
    facts = {name: getattr(run, name) for name in ("run_id", "status", "num_rows", "num_rejected", "connection")}
    return facts | {"started_at": run.started_at.isoformat(), "page": _page_name(run)}


def _page_name(run: Run) -> str:
    return f"run-{run.run_id}.html"


def _write_all(folder: Path) -> Path:
    """Write the index and the page of each run of the last ones, and return the path of the index."""
    runs = history.list_runs(limit=LISTED_RUNS)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"Cannot create the folder {folder}: {error.strerror}. Choose another one with --output."
        ) from error
    # Of several attempts of a run, the page shows the last.
    for run in {run.run_id: run for run in reversed(runs)}.values():
        write_page(folder / _page_name(run), _page(run))
    saved = [one.shown() for one in platforms.list()]
    page = index_page(saved, _connections(runs), [_bar(run) for run in runs])
    return write_page(folder / "index.html", page)


def _connections(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return each connection with its last target and its last runs, the one that ran last first."""
    newest = {_series(run): run for run in reversed(runs)}
    return [
        {"connection": run.connection, "target": run.target, "runs": [_bar(one) for one in _last_runs(run)]}
        for run in sorted(newest.values(), key=lambda run: run.number, reverse=True)
    ]
