"""What a notebook shows in a real kernel: a receipt, an uncaught error, and the progress bar of a failed run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
START = """
import mc_sink
from mc_sink.testing import sample
rows = sample("audience", 1_000).collect()
"""
DELIVER = 'mc_sink.sink_madconnect(rows, "out/", format="parquet", schema="audience")'
FAIL = """
bad = rows.with_columns(action=rows["action"].replace_strict({}, default="?"))
def nightly():
    mc_sink.sink_madconnect(bad, "out/", format="parquet", schema="audience")

nightly()
"""


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Run the cells, and return the outputs of each."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in (START, DELIVER, FAIL)])
    folder = str(tmp_path_factory.mktemp("kernel"))
    client = NotebookClient(notebook, timeout=120, allow_errors=True, resources={"metadata": {"path": folder}})
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", str(ROOT))
        client.execute()
    return [cell["outputs"] for cell in notebook.cells]


def bars(outputs: list[Any]) -> list[str]:
    """Return the texts of the progress bars."""
    shown = [one["data"] for one in outputs if one["output_type"] == "display_data"]
    return [data["text/plain"] for data in shown if "application/vnd.jupyter.widget-view+json" in data]


def test_a_receipt_is_a_table_that_aligns_itself(cells: list[Any]) -> None:
    """JupyterLab drops style sheets in notebooks that are not trusted."""
    html = next(one["data"]["text/html"] for one in cells[1] if one["output_type"] == "execute_result")
    assert html.count("<table") == 2
    assert html.count("<td ") == html.count('<td style="text-align:left">') + html.count(
        '<td style="text-align:right">'
    )
    assert "<td>" not in html
    assert "<style" not in html


def test_an_uncaught_error_shows_its_report_first(cells: list[Any]) -> None:
    """The message, then where the person called; none of the lines within the package."""
    error = next(one for one in cells[2] if one["output_type"] == "error")
    lines = "\n".join(error["traceback"]).splitlines()
    assert lines[0].endswith("ValidationError: 1,000 rows failed 1 check of schema 'audience'.")
    assert any(line.startswith("  action: ") for line in lines)
    assert "Cell In[3], line 6" in lines
    assert "Cell In[3], line 4" in lines
    assert len(lines) < 15
    assert not re.search(r"site-packages|mc_sink/", "\n".join(lines))


def test_a_failed_run_leaves_a_bar_that_shows_it(cells: list[Any]) -> None:
    """And one that went well, one that ends where the receipt ends."""
    (good,), (bad,) = bars(cells[1]), bars(cells[2])
    assert "1.00k/1.00k" in good
    assert "delivered" in good
    assert "failed: ValidationError" in bad
