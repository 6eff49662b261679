"""`mc-sink connections new`: it asks, checks each answer as a run would, and writes a file that runs."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from typer.testing import CliRunner

from mc_sink import platforms
from mc_sink.connector.cli.app import app
from mc_sink.connector.cli.exit import Code
from mc_sink.connector.connections import load
from tests.support.connection_files import environment
from tests.support.file_schemas import faults_of

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

    from tests.servers.fault import FaultServer


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with two rows in a.csv and three in a.parquet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    (tmp_path / "a.csv").write_text("x,name\n1,a\n2,b\n")
    pl.DataFrame({"n": [1, 2, 3]}).write_parquet(tmp_path / "a.parquet")
    return tmp_path


def new(*words: object, typed: str | None = None, code: int = Code.DONE) -> Result:
    """Run the command with what is typed, and expect an exit code."""
    found = CliRunner().invoke(
        app, ["connections", "new", *map(str, words)], prog_name="mc-sink", input=typed, env={"COLUMNS": "300"}
    )
    assert found.exit_code == code, f"{found.exit_code}: {found.output}"
    return found


def written(file: Path) -> dict[str, Any]:
    """Return the content of a file, which the loader and the schema for editors accept."""
    text = file.read_text("utf-8")
    assert load(file).name == file.stem
    assert faults_of(text) == []
    return tomllib.loads(text)


def test_flags_are_answers(folder: Path) -> None:
    """Without a terminal, `--yes` writes what the flags say; the file is shown, and runs."""
    words = ["--source", "a.csv", "--target", "out/", "--format", "parquet", "--schedule", "30 2 * * *"]
    words += ["--timezone", "Asia/Kolkata", "--webhook", "ALERTS slack", "--set", 'if_exists="overwrite"']
    shown = new("nightly", "--yes", *words).stderr
    assert written(folder / "nightly.toml") == {
        "target": "out/",
        "format": "parquet",
        "if_exists": "overwrite",
        "source": {"files": "a.csv"},
        "schedule": {"cron": "30 2 * * *", "timezone": "Asia/Kolkata"},
        "hooks": {"on_failure": {"url_env": "ALERTS", "form": "slack"}},
    }
    assert "The source has 2 columns and 2 rows:\n  x: Int64\n  name: String\n" in shown
    assert (folder / "nightly.toml").read_text() in shown
    assert CliRunner().invoke(app, ["run", "nightly.toml"]).exit_code == Code.DONE
    (file,) = (folder / "out").glob("*.parquet")
    assert pl.read_parquet(file).height == 2


def test_questions_are_asked_again_with_the_reason(folder: Path) -> None:
    """Each invalid answer is followed by what is wrong with it, and by the same question."""
    answers = {
        "missing.csv": "No file matches missing.csv",
        "a.csv": "2 columns",
        "http:/x": "is not a URL",
        "out/": "",
        "livramp": "preset",
        " ": "",
        "xml": "xml",
        "csv": "",
        "no-such-schema": "doesn't exist",
        "  ": "",
        "6": "cron has 1 field",
        "6h": "",
        "https://hooks.example.com/canary": "is a secret",
        "ALERTS": "",
        "y": "Wrote",
    }
    printed = new("nightly", typed="".join(f"{one.strip()}\n" for one in answers)).output
    at = 0
    for reason in answers.values():
        at = printed.index(reason, at)
    assert "canary" not in (folder / "nightly.toml").read_text()
    assert written(folder / "nightly.toml") == {
        "target": "out/",
        "format": "csv",
        "source": {"files": "a.csv"},
        "schedule": {"every": "6h"},
        "hooks": {"on_failure": {"url_env": "ALERTS"}},
    }


@pytest.mark.parametrize(
    ("source", "key", "shown"),
    [
        ("*.parquet", "files", "1 column and 3 rows:\n  n: Int64"),
        ("select x + 1 as y\nfrom 'a.csv'", "query", "1 column:\n  y: Int64"),
        ("feeds:rows", "function", "read by a run"),
    ],
)
def test_every_kind_of_source(folder: Path, source: str, key: str, shown: str) -> None:
    """Files, a query and a function are recognised by their form."""
    assert shown in new("one", "--yes", "--source", source, "--target", "out/").stderr
    assert written(folder / "one.toml")["source"] == {key: source}


def test_a_query_that_fails_is_asked_for_again(folder: Path) -> None:
    """With its database, which may be what is wrong."""
    typed = "select * from nowhere\n\nselect x from 'a.csv'\n\nout/\n\n\n\n\n\ny\n"
    printed = new("one", typed=typed).output
    assert "Cannot read the source: CatalogException" in printed
    assert written(folder / "one.toml")["source"] == {"query": "select x from 'a.csv'"}


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--target", "out/"], "needs a source. Pass --source"),
        (["--source", "a.csv"], "needs a target. Pass --target"),
        (["--source", "b.csv", "--target", "out/"], "No file matches b.csv"),
        (["--source", "a.csv", "--target", "s3://bucket/p/", "--platform", "acme"], "acme"),
        (["--source", "a.csv", "--target", "out/", "--schedule", "@daily", "--timezone", "Mars/North"], "Mars/North"),
        (["--source", "a.csv", "--target", "out/", "--set", 'storage_options.secret="canary"'], "has credentials"),
        (["--source", "a.csv", "--target", "out/", "--webhook", "https://hooks.example.com/canary"], "is a secret"),
        (["--source", "select 1", "--database", "postgresql://u:canary@h/d", "--target", "out/"], "credential"),
    ],
)
def test_an_invalid_flag_writes_nothing(folder: Path, words: list[str], reason: str) -> None:
    """The reason is shown, and no secret in it."""
    printed = new("one", "--yes", *words, code=Code.CONFIGURATION).output
    assert reason in printed
    assert "canary" not in printed
    assert not list(folder.glob("*.toml"))


def test_a_file_is_replaced_only_when_asked_for(folder: Path) -> None:
    """By a question, or by `--replace`; a declined question leaves it."""
    (folder / "one.toml").write_text("# mine\n")
    words = ["--source", "a.csv", "--target", "out/"]
    assert "Pass --replace" in new("one", "--yes", *words, code=Code.CONFIGURATION).stderr
    new("one", *words, typed="n\n", code=Code.FAILED)
    assert (folder / "one.toml").read_text() == "# mine\n"
    new("one.toml", "--yes", "--replace", *words)
    assert written(folder / "one.toml")["target"] == "out/"
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_a_schema_beside_the_file_is_named_for_editors(folder: Path) -> None:
    """In its first line, if it is there."""
    assert CliRunner().invoke(app, ["connections", "schema", "-o", "connection.schema.json"]).exit_code == Code.DONE
    new("one", "--yes", "--source", "a.csv", "--target", "out/")
    assert (folder / "one.toml").read_text().startswith("#:schema ./connection.schema.json\n")
    assert written(folder / "one.toml")["target"] == "out/"


def test_a_platform_is_added_on_the_way(fault_s3: FaultServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its key goes to the store of secrets, and the file, which has its name, delivers with it."""
    for name in environment(fault_s3.writer):
        monkeypatch.delenv(name, raising=False)
    keys = fault_s3.writer.credentials
    target = fault_s3.writer.target("p/")
    typed = f"a.csv\n{target}\nacme\ny\n\n{fault_s3.url}\n{keys.key}\n{keys.secret}\n\n\n\n\n\n\ny\n"
    printed = new("one", typed=typed).output
    assert keys.secret not in printed + (folder / "one.toml").read_text()
    assert written(folder / "one.toml") == {"target": target, "platform": "acme", "source": {"files": "a.csv"}}
    assert platforms.describe("acme").platform.endpoint == fault_s3.url
    assert CliRunner().invoke(app, ["run", "one.toml"]).exit_code == Code.DONE
    assert len(fault_s3.listing(fault_s3.bucket)) == 1
