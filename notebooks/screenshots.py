"""What people see, to be looked at after a change of it: `make screenshots`.

A browser shows the outputs of the quickstart's cells as a notebook lays them out; those of a delivery with its bar,
and of an error that nothing catches, from a kernel; the report of a delivery and of a failed run; and a terminal of 80
and of 120 columns. Reports and cells are in light and in dark. Needs a Chromium (CONTRIBUTING.md says how it is found).
"""

from __future__ import annotations

import re
import sys
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
import polars as pl
from nbclient import NotebookClient

import mc_sink
from mc_sink import report
from mc_sink.testing import sample
from notebooks.pictures import seen_cells, terminal
from tests.support.browser import Browser

# As JupyterLab lays out an output: its font, and tables whose cells are aligned to the right unless they say otherwise.
CELLS = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Cells</title><style>
:root { color-scheme: light dark; }
body { font: 13px/1.5 system-ui, sans-serif; margin: 1.5rem; background: Canvas; color: CanvasText; }
pre { background: rgb(128 128 128 / 12%%); padding: .5rem; white-space: pre-wrap; }
progress.success { accent-color: #4caf50; } progress.danger { accent-color: #f44336; }
table { border: none; border-collapse: collapse; font-size: 12px; } tr, th, td { text-align: right; padding: .5em; }
</style>%s</html>"""


START = """
import mc_sink
from mc_sink.testing import sample
rows = sample("audience", 100_000).collect()
"""
DELIVER = """mc_sink.sink_madconnect(rows, "out/", format="parquet", schema="audience", progress=True)"""
FAIL = """
bad = rows.with_columns(action=rows["action"].replace_strict({}, default="?"))
mc_sink.sink_madconnect(bad, "out/", format="parquet", schema="audience", progress=True)
"""
_STATE, _VIEW = "application/vnd.jupyter.widget-state+json", "application/vnd.jupyter.widget-view+json"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def pages(folder: Path) -> dict[str, str]:
    """Return what is shown, by its name: HTML, or the SVG of a terminal."""
    rows = sample("audience", 10_000).with_columns(
        consent=pl.when(pl.int_range(pl.len()) % 50 == 0).then(pl.lit("?")).otherwise(pl.col("consent"))
    )
    asked: Any = {"schema": "audience", "on_invalid": "reject", "rejects": f"{folder}/rejects/", "progress": False}
    receipt = mc_sink.sink_madconnect(rows, f"{folder}/out/", format="csv.gz", **asked).to_dict()
    past: list[dict[str, Any]] = [
        {"run_id": f"nightly-{day}", "status": status, "num_rows": 9_000 + 40 * day, "elapsed": 1.0,
         "started_at": f"2026-11-{day}T02:15:00+00:00"}
        for day, status in enumerate(["delivered"] * 4 + ["failed"] + ["delivered"] * 3, start=21)
    ]  # fmt: skip
    error = {"kind": "UploadError", "text": "Cannot upload a part: the store did not answer.", "visible": "nothing"}
    failed = receipt | {"files": [], "num_files": 0, "rejects": None, "manifest": None, "stages": []}
    own = {"connection": "nightly", "platform": "acme", "trigger": "schedule"}
    return {
        "cells": CELLS % "".join(f"<pre>{escape(cell.source)}</pre>{outputs(cell)}" for cell in seen_cells()),
        "kernel": CELLS % kernel(folder),
        "report": report.run_page(receipt | own, past),
        "report-failed": report.run_page(failed | own | {"status": "failed", "error": error}, past),
    }


def kernel(folder: Path) -> str:
    """Run a delivery and one that fails in a kernel, and return their cells as HTML."""
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text.strip()) for text in (START, DELIVER, FAIL)])
    NotebookClient(made, timeout=120, allow_errors=True, resources={"metadata": {"path": str(folder)}}).execute()
    widgets = made.metadata["widgets"][_STATE]["state"]
    return "".join(f"<pre>{escape(cell.source)}</pre>{outputs(cell, widgets)}" for cell in made.cells)


def outputs(cell: Any, widgets: Any = None) -> str:
    """Return the outputs of a cell as HTML; text, such as a traceback, as it is, without its colours."""
    return "".join(_shown(output, widgets) for output in cell.outputs)


def _shown(output: Any, widgets: Any) -> str:
    data = output.get("data", {})
    if _VIEW in data and widgets:
        return _bar(widgets[data[_VIEW]["model_id"]]["state"]["children"], widgets)
    if html := data.get("text/html"):
        return str(html)
    text = output.get("text") or data.get("text/plain") or "\n".join(output.get("traceback", ()))
    return f"<pre>{escape(_COLOURS.sub('', text))}</pre>" if text else ""


def _bar(children: list[str], widgets: Any) -> str:
    """Return a progress bar in its last state."""
    left, bar, right = (widgets[name.removeprefix("IPY_MODEL_")]["state"] for name in children)
    shown = f'<progress class="{bar["bar_style"]}" value="{bar["value"]}" max="{bar["max"]}"></progress>'
    return f"<p>{left['value']} {shown} {right['value']}</p>"


def main(folder: Path) -> None:
    """Make all pictures in a folder."""
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as around, Browser(Path(around) / "profile") as browser:
        for name, html in pages(Path(around)).items():
            place = Path(around) / f"{name}.html"
            place.write_text(html, encoding="utf-8")
            for scheme in ("light", "dark"):
                browser.open(place.as_uri(), scheme=scheme)
                browser.picture(folder / f"{name}-{scheme}.png")
        for width in (80, 120):
            place = folder / f"terminal-{width}.svg"
            place.write_text(terminal(width), encoding="utf-8")
            browser.open(place.as_uri(), width=width * 12)
            browser.picture(place.with_suffix(".png"))
    print(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
