"""What a new user does with the wheel: no checkout is near, and everything comes from what `pip` installs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.wheels import installed_wheel

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# A script of the user's own, with a sandbox for a bucket: its deliveries, and every command that comes after them.
FIRST_DAY = """
import os
import subprocess
from importlib.util import find_spec
from pathlib import Path

import polars as pl

import mc_sink
from mc_sink.sandbox import Sandbox
from mc_sink.testing import sample

assert find_spec("tests") is None and find_spec("notebooks") is None
assert "site-packages" in mc_sink.__file__, mc_sink.__file__


def command(*words, code=0):
    ended = subprocess.run(["mc-sink", *words], capture_output=True, text=True)
    print("$ mc-sink", *words, ended.stdout, ended.stderr, sep="\\n")
    assert ended.returncode == code, ended.returncode


with Sandbox() as sandbox:
    writer = sandbox.server.new_writer()
    os.environ |= {"AWS_ACCESS_KEY_ID": writer.credentials.key, "AWS_SECRET_ACCESS_KEY": writer.credentials.secret}
    sample("audience", 1_000).sink_parquet("audience.parquet")
    pl.read_parquet("audience.parquet").with_columns(action=pl.lit("?")).write_parquet("bad.parquet")
    how = ["--schema", "audience", "--format", "csv.gz", "--endpoint-url", writer.url]
    command("send", "audience.parquet", writer.target("first/"), *how)
    command("send", "bad.parquet", writer.target("bad/"), *how, code=4)
    command("history")
    command("show", "last")
    command("report")
    (report,) = Path().glob("report-*.html")
    assert "ValidationError" in report.read_text()
    (delivered,) = sandbox.server.listing(writer.bucket)
    command("verify", delivered.removeprefix("first/").removesuffix(".csv.gz"))
"""
NOTEBOOK = """
import sys

import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
print(sum(cell.cell_type == "code" for cell in notebook.cells), "cells ran")
"""


class Home(NamedTuple):
    """An environment with the wheel, and an empty folder to be in."""

    environment: Path
    folder: Path

    def run(self, *words: str) -> str:
        """Run a program of the environment, and return its output; fail unless it ends well."""
        unrelated = ("PYTHON", "AWS_", "MC_SINK_", "VIRTUAL_ENV")
        env = {name: value for name, value in os.environ.items() if not name.startswith(unrelated)}
        env |= {"PATH": f"{self.environment / 'bin'}:{os.defpath}", "HOME": str(self.folder)}
        ended = subprocess.run(words, cwd=self.folder, env=env, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Install the wheel with the extras of the demonstration and the notebooks."""
    folder = tmp_path_factory.mktemp("new-user")
    (folder / "home").mkdir()
    return Home(installed_wheel(folder, "demo", "notebooks"), folder / "home")


def test_the_demonstration_delivers_verifies_and_fails_well(home: Home) -> None:
    """Three receipts, each verified; a failed run that left nothing; and one whose rerun published the rest, once."""
    printed = home.run("mc-sink", "demo", "--rows", "20000")
    assert printed.count("verified   1 of 1 file is there") == 3
    assert "shows 0 objects under failed/" in printed
    assert "CommitUnknown: Publishing stopped" in printed
    assert "an earlier attempt had published 2 of 4 files; the others were published now" in printed
    assert list(home.folder.iterdir()) == []


def test_a_first_day_works(home: Home, tmp_path: Path) -> None:
    """A delivery, one that is refused, and what the commands for the day after say of both."""
    (tmp_path / "first_day.py").write_text(FIRST_DAY, "utf-8")
    printed = home.run("python", str(tmp_path / "first_day.py"))
    assert "delivered  1,000 rows" in printed
    assert "1,000 rows failed 1 check of schema 'audience'" in printed
    assert "1 of 1 file is there" in printed


@pytest.mark.long
@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_a_notebook_needs_no_checkout(home: Home, tmp_path: Path, path: Path) -> None:
    """Each notebook, copied to an empty folder, runs from the top with what the wheel brings."""
    copied = shutil.copy(path, tmp_path)
    assert "cells ran" in home.run("python", "-c", NOTEBOOK, str(copied))
