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
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run the cells, and return the notebook with their outputs."""
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in (START, DELIVER, FAIL)])
    folder = str(tmp_path_factory.mktemp("kernel"))
    client = NotebookClient(made, timeout=120, allow_errors=True, resources={"metadata": {"path": folder}})
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", str(ROOT))
        client.execute()
    return made


@pytest.fixture(scope="module")
def cells(notebook: Any) -> list[Any]:
    """Return the outputs of each cell."""
    return [cell["outputs"] for cell in notebook.cells]


def test_a_receipt_is_a_table_that_aligns_itself(cells: list[Any]) -> None:
    """JupyterLab drops style sheets in notebooks that are not trusted."""
    html = next(one["data"]["text/html"] for one in cells[1] if one["output_type"] == "execute_result")
    assert html.count("<table") == 2
    assert not re.search(r'<t[dh](?!(?: class="number")? style="text-align:(?:left|right)">)[ >]', html)
    assert "<style" not in html


def test_an_uncaught_error_shows_its_report_first(cells: list[Any]) -> None:
    """The message, then where the person called; none of the lines within the package."""
    error = next(one for one in cells[2] if one["output_type"] == "error")
    lines = "\n".join(error["traceback"]).splitlines()
    assert lines[0].endswith("ValidationError: 1,000 rows failed 1 check of schema 'audience'.")
    assert any(line.startswith("  action: ") for line in lines)
    assert "Cell In[3], line 5" in lines
    assert "Cell In[3], line 3" in lines
    assert len(lines) < 15
    assert not re.search(r"site-packages|mc_sink/", "\n".join(lines))


def test_a_failed_run_leaves_a_bar_that_shows_it(notebook: Any) -> None:
    """One that went well ends where the receipt ends. The bar of the other is red, and names the error."""
    state = notebook.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
    bars = [one["state"] for one in state.values() if one["model_name"] == "HBoxModel"]
    shown = []
    for bar in bars:
        left, middle, right = (state[child.removeprefix("IPY_MODEL_")]["state"] for child in bar["children"])
        shown.append((left["value"], middle["bar_style"], right["value"]))
    good, bad = sorted(shown, key=lambda one: one[1], reverse=True)
    assert "100%" in good[0]
    assert (good[1], bad[1]) == ("success", "danger")
    assert "1.00k/1.00k" in good[2]
    assert "delivered]" in good[2]
    assert "ValidationError]" in bad[2]
