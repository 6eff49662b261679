"""The output of `mc-sink` is reliable: exit codes hold for all sources and hooks, and output can always be read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mc_sink.connector.cli.exit import Code
from mc_sink.connector.history import Beginning, begin, list_runs
from tests.support.connection_files import ROOT, write_connection

if TYPE_CHECKING:
    from collections.abc import Callable

MODULE = """
import sys

import polars as pl


def some():
    print("here I am")
    return pl.DataFrame({"x": [1.0, float("nan")], "text": ["caf\\u00e9\\u2028", "b"]})


def leaves():
    sys.exit(0)


def breaks():
    raise ValueError("no rows today")


def hook(run):
    print("hooked")
    sys.exit(0 if run.error else 3)
"""


@pytest.fixture
def connection(tmp_path: Path) -> Callable[..., Path]:
    """Give a function that writes a connection to a folder, whose source is a function."""
    (tmp_path / "speaking_of_tests.py").write_text(MODULE, encoding="utf-8")

    def write(function: str, more: str = "") -> Path:
        source = f'function = "speaking_of_tests:{function}"\n[hooks]\non_success = "speaking_of_tests:hook"\n'
        return write_connection(tmp_path, "out/", more, source + 'on_failure = "speaking_of_tests:hook"')

    return write


def command(*words: object, stdout: Any = subprocess.PIPE, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the real command."""
    line = [sys.executable, "-m", "mc_sink.connector.cli", *map(str, words)]
    ended_text = subprocess.run(
        line, stdout=stdout, stderr=subprocess.PIPE, cwd=ROOT, env=os.environ | env, encoding="utf-8", check=False
    )
    assert "Traceback" not in ended_text.stderr
    return ended_text


@pytest.mark.parametrize(
    ("function", "code", "status"),
    [
        ("some", Code.DONE, "delivered"),
        ("leaves", Code.FAILED, "interrupted"),
        ("breaks", Code.FAILED, "failed"),
    ],
)
def test_who_exits_in_mid_run_changes_no_code(
    connection: Callable[..., Path], function: str, code: Code, status: str
) -> None:
    """A source that exits with 0 has not delivered, a hook that exits has failed, and neither prints into the JSON."""
    ended_text = command("run", connection(function), "--json")
    assert ended_text.returncode == code, ended_text.stderr
    (line,) = ended_text.stdout.splitlines()
    assert json.loads(line)["status"] == status
    assert "hooked" in ended_text.stderr
    assert "(speaking_of_tests:hook) failed: SystemExit" in ended_text.stderr


def test_a_rehearsal_is_one_line_of_json(connection: Callable[..., Path]) -> None:
    """Numbers that JSON hasn't are text, and no character ends a line."""
    (line,) = command("run", connection("some"), "--dry-run", "--json").stdout.splitlines()
    found = json.loads(line, parse_constant=pytest.fail)
    assert found["sample"] == [[1.0, "café\u2028"], ["nan", "b"]]


def test_a_full_disk_under_the_output_is_no_failed_delivery(connection: Callable[..., Path]) -> None:
    """What can't be printed is warned of; what became visible stays delivered."""
    with Path("/dev/full").open("w", encoding="ascii") as full:
        ended_text = command("run", connection("some"), stdout=full)
    assert ended_text.returncode == Code.DONE, ended_text.stderr
    assert "failed (OSError)" in ended_text.stderr
    assert list_runs()[0].status == "delivered"


def test_an_encoding_without_the_characters_is_no_error(connection: Callable[..., Path]) -> None:
    """Where output is ASCII, other characters are written as their numbers."""
    ended_text = command("run", connection("some"), "--dry-run", PYTHONIOENCODING="ascii")
    assert ended_text.returncode == Code.DONE, ended_text.stderr
    assert r"caf\xe9" in ended_text.stdout


def test_names_in_tables_mean_nothing_else() -> None:
    """A name with brackets is shown as it is."""
    begin(Beginning(run_id="r-1", connection="[red]nightly[/x]", target="t")).failed(ValueError())
    assert "[red]nightly[/x]" in command("history").stdout


@pytest.mark.parametrize("words", [("history",), ("policy", "s3://bucket/p/"), ("platforms", "list")])
def test_a_reader_that_goes_away_is_no_error(words: tuple[str, ...]) -> None:
    """As with `| head`: nothing is reported, and the code is 0."""
    begin(Beginning(run_id="r-1", connection="nightly", target="t")).failed(ValueError())
    read, write = os.pipe()
    os.close(read)
    ended_text = command(*words, stdout=write)
    os.close(write)
    assert ended_text.returncode == Code.DONE
    assert "Broken" not in ended_text.stderr
