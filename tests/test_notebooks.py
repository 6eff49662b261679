"""What a stranger runs first: the demonstration and the notebooks, against the real server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
EXPECTED = {
    "quickstart": [
        "1 of 1 files are there",
        "AlreadyExistsError: 1 object is already at",
        "1 row failed 1 check of schema 'audience'",
        "99,999 rows delivered, 1 rejected",
        "published: 1 object",
    ],
}


def executed(path: Path) -> str:
    """Run a notebook from the top, and give all that it printed."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(ROOT)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return "\n".join(output.get("text") or str(output.get("data", {})) for output in outputs)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the kernel's own machinery
@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_a_notebook_runs_and_shows_what_it_tells(path: Path) -> None:
    """Every cell runs, and the outputs are the ones that the text speaks of."""
    printed = executed(path)
    assert [words for words in EXPECTED[path.stem] if words not in printed] == []


def test_the_demonstration_delivers_verifies_and_fails_well() -> None:
    """`make demo` ends well by itself: three receipts, each verified, and a failed run that left nothing."""
    run = subprocess.run(
        [sys.executable, "-m", "notebooks.demo"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("verified   1 of 1 files are there") == 3
    assert "shows 0 objects under failed/" in run.stdout
