"""What people see, to be looked at after a change of it: `make screenshots`.

A browser shows the outputs of the quickstart's cells as a notebook lays them out, the report of a delivery and of a
failed run, and a terminal of 80 and of 120 columns; reports and cells in light and in dark. Needs a Chromium
(CONTRIBUTING.md says how it is found).
"""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

import mc_sink
from mc_sink import report
from mc_sink.testing import sample
from notebooks.pictures import seen_cells, terminal
from tests.support.browser import Browser

# As JupyterLab lays out an output: its font, and tables whose cells are aligned to the right unless they say otherwise.
CELLS = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Cells</title><style>
:root { color-scheme: light dark; }
body { font: 13px/1.5 system-ui, sans-serif; margin: 1.5rem; background: Canvas; color: CanvasText; }
pre { background: rgb(128 128 128 / 12%%); padding: .5rem; }
table { border: none; border-collapse: collapse; font-size: 12px; } tr, th, td { text-align: right; padding: .5em; }
</style>%s</html>"""


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
        "report": report.run_page(receipt | own, past),
        "report-failed": report.run_page(failed | own | {"status": "failed", "error": error}, past),
    }


def outputs(cell: Any) -> str:
    """Return the outputs of a cell as HTML."""
    found = [one.get("data", {}).get("text/html") or "" for one in cell.outputs]
    return "".join(found)


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
