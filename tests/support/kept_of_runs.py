"""What is kept and shown of the runs of a machine: the places that a canary searches for cells and credentials.

A new place is one line in `SHOWN`.
"""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mc_sink.connector.history import list_runs
from mc_sink.connector.metrics import metrics_text, serve_metrics, write_metrics

if TYPE_CHECKING:
    from collections.abc import Callable


def _metrics_file() -> str:
    with TemporaryDirectory() as folder:
        write_metrics(Path(folder, "mc_sink.prom"))
        return Path(folder, "mc_sink.prom").read_text(encoding="utf-8")


def metrics_at_a_port() -> str:
    """Return what the port answers; its server takes half a second to stop."""
    with serve_metrics(0) as port, urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as reply:
        text: str = reply.read().decode()
        return text


SHOWN: dict[str, Callable[[], str]] = {
    "records": lambda: "\n".join(json.dumps(run.as_json()) for run in list_runs(limit=None)),
    "records as text": lambda: "\n".join(f"{run!r} {run} {run._repr_html_()}" for run in list_runs(limit=None)),
    "metrics": metrics_text,
    "metrics in a file": _metrics_file,
}


def stored_in(folder: Path) -> dict[str, bytes]:
    """Return the files of the state folder but for journals and notes, which must have the paths of files."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.parent.name not in {"journals", "hidden"}]
    return {path.name: path.read_bytes() for path in files}


def kept(state: Path) -> dict[str, object]:
    """Return what is stored and shown of all runs, by place."""
    return {**stored_in(state), **{place: show() for place, show in SHOWN.items()}}


def places_of(word: str, texts: dict[str, object]) -> set[str]:
    """Return the places whose text has a word."""
    return {place for place, text in texts.items() if word.lower() in str(text).lower()}
