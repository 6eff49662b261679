"""What a stranger runs first: the demonstration and the notebooks, against the real server."""

from __future__ import annotations

import asyncio
import json
import os
import re
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest
from nbclient import NotebookClient

from mc_sink.sandbox.seaweed import weed_binary
from tests.support.wheels import installed_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
EXPECTED = {
    "quickstart": [
        "1 file; nothing was sent",
        "1 of 1 file is there",
        "AlreadyExistsError: An object is already at",
        "2 files and a manifest",
        "1 row failed 1 check of schema 'audience'",
        "<th>removed</th><th>unchanged</th>",
        "staged:    []",
        "published: 1 object",
    ],
    "validation_and_rejects": [
        "50,000 rows, ",
        "3 rows failed 3 checks of schema 'Orders'.",
        "row 20,000: -1.0",
        '(4, 4)</small><table border="1" class="dataframe">',
        "49,997 rows, 3 rejected",
        "3 of 50,000 rows were rejected, more than max_rejects=2 allows",
        "'google_customer_match',",
    ],
    "scheduled_export": [
        "nightly.toml: valid; delivers to s3://their-bucket/exports/",
        "would make  1 file; nothing was sent",
        "delivered  20,000 rows",
        "repeated   nothing was done: an earlier attempt had delivered 20,000 rows",
        "exit code of the scheduler: 0",
        "<td>schedule</td>",
        "started at",
        "1 of 1 file is there",
        "missing: s3://their-bucket/exports/nightly-2026-11-22.csv.gz",
        "exit code 9",
    ],
    "cross_account_delivery": [
        '"s3:prefix"',
        '"AWS": "arn:aws:iam::123456789012:role/deliver"',
        '"sts:ExternalId": "an-id-for-both-sides"',
        "profile work, as arn:aws:iam::210987654321:role/receive",
        # All permissions are there; without a probe, it is open what a store that isn't AWS takes of a delivery.
        "Unverified objects, uploads not known" if weed_binary() else "Unverified",
        "20,000 rows, ",
        "1 of 1 file is there",
        "their-bucket has from-us/RUN_ID.csv.gz",
        "ConfigurationError: s3://their-bucket/elsewhere/ is outside",
        "PermissionDenied: s3:PutObject at",
    ],
}
# No module of a checkout can be imported, and mc_sink is that of the wheel.
APART = """
import sys
from importlib.util import find_spec
from pathlib import Path

import mc_sink

assert Path(mc_sink.__file__).is_relative_to(sys.prefix), mc_sink.__file__
assert [name for name in ("tests", "notebooks", "benchmarks") if find_spec(name)] == []
"""
_STYLES = re.compile(r' style="text-align:(?:left|right)"')
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a folder for all that a notebook may write, its state included."""
    return {path.stem: tmp_path_factory.mktemp(path.stem) for path in NOTEBOOKS}


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Install the wheel with what notebooks need into an environment of its own, and give the name of its kernel."""
    home, kernels = installed_wheel(tmp_path_factory.mktemp("wheel"), "demo", "notebooks"), tmp_path_factory.mktemp("k")
    spec = kernels / "kernels" / "wheel" / "kernel.json"
    spec.parent.mkdir(parents=True)
    line = [str(home / "bin" / "python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec.write_text(json.dumps({"argv": line, "display_name": "wheel", "language": "python"}), encoding="utf-8")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("JUPYTER_PATH", str(kernels))
        yield "wheel"


@pytest.fixture(scope="module")
def printed(kernel: str, folders: dict[str, Path]) -> dict[str, str | BaseException]:
    """Run all notebooks at once: most of what each does is to wait for its server."""

    async def run() -> list[str | BaseException]:
        return await asyncio.gather(
            *(executed(path, kernel, folders[path.stem]) for path in NOTEBOOKS), return_exceptions=True
        )

    return dict(zip(folders, asyncio.run(run()), strict=True))


async def executed(path: Path, kernel: str, folder: Path) -> str:
    """Run a notebook from the top, apart from the checkout, and give all that it printed as a person reads it."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(APART))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}
    environment |= {"TMPDIR": str(folder), "MC_SINK_STATE_DIR": str(folder)}
    client = NotebookClient(notebook, timeout=120, kernel_name=kernel, resources={"metadata": {"path": str(folder)}})
    await client.async_execute(env=environment)
    cells = [cell.get("outputs", ()) for cell in notebook.cells]
    ended_text = ["".join(output.get("text") or _shown(output) for output in outputs) for outputs in cells]
    return _COLOURS.sub("", "\n".join(ended_text))


def _shown(output: nbformat.NotebookNode) -> str:
    data = output.get("data", {})
    return unescape(_STYLES.sub("", data.get("text/html") or data.get("text/plain", ""))) + "\n"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the kernel's own machinery
@pytest.mark.parametrize("name", [path.stem for path in NOTEBOOKS])
def test_a_notebook_runs_shows_what_it_tells_and_leaves_nothing(
    name: str, printed: dict[str, str | BaseException], folders: dict[str, Path]
) -> None:
    """Every cell runs; the outputs are those that the text speaks of; no file stays, nor a record or a key."""
    found = printed[name]
    if isinstance(found, BaseException):
        raise found
    assert [words for words in EXPECTED[name] if words not in found] == []
    assert [left.name for left in folders[name].iterdir()] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_a_notebook_is_stored_without_outputs(path: Path) -> None:
    """Outputs of one machine and time are not part of it: the tests and the pictures show them again."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert {(len(cell.outputs), cell.execution_count) for cell in code} == {(0, None)}
    assert notebook.metadata.keys() == {"kernelspec", "language_info"}
