"""Print results: tables for people, JSON for programs, colour only on a terminal."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from math import isfinite
from typing import TYPE_CHECKING, Any

from mc_sink._display import Printable, labelled, lines, printable
from mc_sink.formats import options_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TextIO

    from mc_sink.connector.connections import Rehearsal
    from mc_sink.connector.history import Run
    from mc_sink.publishing import Journal
    from mc_sink.receipt import Verification

_COLOURS = {"delivered": "green", "failed": "red", "interrupted": "yellow", "skipped": "yellow", "running": "cyan"}


def out(text: str) -> None:
    """Print to standard output, with control characters escaped; a reader that has gone away isn't an error."""
    try:
        print(printable(text), file=sys.stdout, flush=True)  # noqa: T201  the command line speaks
    except OSError as error:
        # What is still held back would be written when the interpreter ends, and complained about then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise


@contextmanager
def ours_alone() -> Iterator[TextIO]:
    """Keep standard output for what is printed here, and give it: what a source or a hook prints goes elsewhere."""
    ours = sys.stdout
    with redirect_stdout(sys.stderr):
        yield ours


def ended(run: Run, ours: TextIO, *, as_json: bool) -> None:
    """Print what came of a run; of one that failed, only for a program: a person is told by the error."""
    with redirect_stdout(ours):
        if as_json:
            one_run(run, as_json=True)
        elif run.status in {"delivered", "skipped"}:
            out(str(run.receipt()))


def one_run(run: Run, *, as_json: bool) -> None:
    """Print all of a record."""
    if as_json:
        _json(run.as_json())
        return
    facts = {
        "run id": run.run_id,
        "connection": run.connection + (f"  ({run.file})" if run.file else ""),
        "trigger": run.trigger,
        "status": run.status,
        "to": run.target,
        "started at": f"{run.started_at:%Y-%m-%d %H:%M:%S} UTC",
        "took": None if run.elapsed is None else f"{run.elapsed.total_seconds():.2f} s",
        "rows": _number(run.num_rows),
        "bytes": _number(run.num_bytes),
        "rejected": _number(run.num_rejected),
        "manifest": run.manifest,
        "error": f"{run.error.kind}: {run.error.text}" if run.error else None,
    }
    out(lines(*labelled(((name, value) for name, value in facts.items() if value is not None), 12)))
    for file in (*run.files, *run.rejects):
        out(f"  {file.path}  {file.num_rows:,} rows  {file.num_bytes:,} bytes  {file.checksum}")


def runs(found: Sequence[Run], *, as_json: bool) -> None:
    """Print records as a table, or a line of JSON for each."""
    if as_json:
        for run in found:
            _json(run.as_json())
        return
    from rich.markup import escape

    rows = [
        (
            run.run_id,
            escape(run.connection),
            f"{run.started_at:%Y-%m-%d %H:%M:%S}",
            f"[{_COLOURS[run.status]}]{run.status}[/]",
            _number(run.num_rows) or "",
            _number(run.num_bytes) or "",
            run.error.kind if run.error else "",
        )
        for run in found
    ]
    _table(["run id", "connection", "started at (UTC)", "status", "rows", "bytes", "error"], rows)


def journals(found: Sequence[Journal], *, as_json: bool) -> None:
    """Print the deliveries that wait to be ended."""
    if as_json:
        for one in found:
            _json({"run_id": one.run_id, "target": one.target, "noted_at": one.noted_at, "num_files": one.num_files})
    elif not found:
        out("Nothing waits: every delivery of this machine that was begun to be published has ended.")
    else:
        from rich.markup import escape

        rows = [
            (one.run_id, escape(one.target), f"{one.noted_at:%Y-%m-%d %H:%M:%S}", str(one.num_files)) for one in found
        ]
        _table(["run id", "target", "noted at (UTC)", "files"], rows)


def verification(found: Verification, *, as_json: bool) -> None:
    """Print what a listing showed."""
    if as_json:
        _json(asdict(found) | {"ok": found.ok})
    else:
        out(str(found))


def rehearsal(found: Rehearsal, *, as_json: bool) -> None:
    """Print what a run would do."""
    preview, sample = found.preview, found.sample
    if as_json:
        facts = {name: getattr(preview, name) for name in ("run_id", "target", "files", "num_files", "pattern")}
        facts |= {name: getattr(preview, name) for name in ("manifest", "rejects", "columns", "permissions", "preset")}
        facts |= {"format": preview.format.extension.removeprefix("."), "dialect": options_of(preview.format)}
        facts["lost"] = preview.lost
        if sample is not None:
            facts["schema"] = {name: str(dtype) for name, dtype in sample.schema.items()}
            facts["sample"] = sample.rows()
        _json(facts)
        return
    if sample is not None:
        out(lines(*(f"{name}: {dtype}" for name, dtype in sample.schema.items())))
        out(lines(*str(sample).split("\n"), ""))
    out(str(preview))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.table import Table

    table = Table(*head, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(printable, row))
    drawn(table)


def drawn(table: Any) -> None:
    """Print a table of rich's, or its text: as wide as a person's terminal, or as it wants to be for a file or a pipe.

    Colour is for terminals, and for who asks for it by FORCE_COLOR, as rich has it.
    """
    from rich.console import Console

    wide = Console() if sys.stdout.isatty() or os.environ.get("FORCE_COLOR") else Console(width=250)
    with wide.capture() as captured:
        wide.print(table, soft_wrap=isinstance(table, str))
    out(Printable(captured.get().rstrip("\n")))  # its cells are, and its colours are ours


def _number(value: int | None) -> str | None:
    return None if value is None else f"{value:,}"


def _json(facts: Any) -> None:
    """Print one line of JSON that any encoding has room for."""
    out(json.dumps(_finite(facts), default=str, allow_nan=False))


def _finite(value: Any) -> Any:
    """Write as text the numbers that JSON has not: NaN and the infinities."""
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return str(value) if isinstance(value, float) and not isfinite(value) else value
