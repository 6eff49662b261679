"""Each block of code in the README and the docs runs as it stands: Python and commands are executed, TOML is loaded."""

from __future__ import annotations

import getpass
import json
import re
import shlex
import tomllib
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

import mc_sink
from mc_sink._runtime.state_dir import state_folder
from mc_sink.connector import history
from mc_sink.connector.cli.app import app
from mc_sink.connector.connections import load
from mc_sink.presets.preset_file import read_preset
from mc_sink.testing import sample
from tests.servers.fault import FaultServer
from tests.servers.faults import Status
from tests.servers.rules import Rules
from tests.support.command_line import commands
from tests.support.doc_blocks import ROOT, Block, all_blocks, blocks_of
from tests.support.keyrings import installed

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCKS = all_blocks()
MAX_NOT_RUN = 12
LANGUAGES = {"python", "console", "toml", "yaml", "json", "sql", "crontab", "dockerfile", "ini", "text"}


def test_every_block_names_its_language() -> None:
    """So that each is run, loaded or shown."""
    assert [block.place for block in BLOCKS if block.language not in LANGUAGES] == []


def test_few_blocks_are_not_run_and_each_says_why() -> None:
    """A block that another test runs names a test file that reads its page."""
    assert len([block for block in BLOCKS if block.reason]) <= MAX_NOT_RUN
    for block in BLOCKS:
        if block.run_by:
            text = (ROOT / block.run_by).read_text(encoding="utf-8")
            assert block.page.name in text or (block.page.name == "README.md" and "run_snippet" in text), block.place


BUCKETS = ("bucket", "their-bucket", "feeds")
LOCAL = "http://127.0.0.1:9000"  # where a reader's own server is
# What a reader has typed instead of what these words stand for.
ANSWERS = "FAULTSERVERWRITER\nfault-server-secret\n\n"
# They run until they are stopped, or need a program of the machine; their words are checked and nothing more.
ENDLESS = {"schedule"}
CONNECTION = """
target = "s3://bucket/nightly/"
platform = "acme"
[source]
files = "data/*.parquet"
[schedule]
every = "6h"
"""


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    """Yield a store with the buckets that the pages name, and give the process a reader's folder and credentials."""
    audience = sample("audience", 40).collect()
    for name in ("audience", "data", "last"):
        (tmp_path / name).mkdir()
    audience.write_parquet(tmp_path / "audience" / "1.parquet")
    audience.write_parquet(tmp_path / "data" / "1.parquet")
    audience.write_csv(tmp_path / "a.csv")
    customers = pl.DataFrame({"customer_id": [1, 2, 3], "country": ["US", "DE", "GB"]})
    customers.write_parquet(tmp_path / "customers.parquet")
    customers.head(2).write_parquet(tmp_path / "last" / "customers.parquet")
    for name in ("nightly", "hourly"):
        (tmp_path / f"{name}.toml").write_text(CONNECTION, encoding="utf-8")
    rules = Rules(buckets=BUCKETS)
    with FaultServer(rules) as server, chdir(tmp_path):
        key = rules.credentials[0]
        keys = f"region=us-east-1\naws_access_key_id={key.key}\naws_secret_access_key={key.secret}\n"
        (tmp_path / "aws").write_text(
            "".join(f"[profile {name}]\n{keys}" for name in ("madconnect", "partner", "work"))
        )
        for name, value in {
            "AWS_ACCESS_KEY_ID": key.key,
            "AWS_SECRET_ACCESS_KEY": key.secret,
            "AWS_ENDPOINT_URL_S3": server.url,
            "AWS_CONFIG_FILE": str(tmp_path / "aws"),
            "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
            "HOME": str(tmp_path),
        }.items():
            monkeypatch.setenv(name, value)
        yield server


def names_of(page: Path) -> dict[str, Any]:
    """Return what a reader of a page has at hand."""
    made = {
        "identity": pl.LazyFrame({"email": ["a@example.com", None], "phone": ["+4930123456", None]}),
        "changes": pl.LazyFrame({"user_id": [1, 2], "country": ["US", "DE"]}),
        "partitions": pl.LazyFrame({"id": [1, 2], "country": ["US", "DE"], "date": ["2026-11-21", "2026-11-22"]}),
        "reruns": pl.LazyFrame({"id": range(1_000_001)}),  # two files
    }
    if page.stem == "changes":
        made["changes"].head(1).collect().write_parquet("last/audience.parquet")
    frame = made.get(page.stem, pl.scan_parquet("audience/*.parquet"))
    return {"frame": frame, "pl": pl, "mc_sink": mc_sink, "__name__": page.stem}


def page_with(language: str) -> list[Any]:
    """Return the pages that have a block to run in this language, as a test's parameters."""
    found = {one.page for one in BLOCKS if one.language == language and not (one.run_by or one.reason)}
    return [pytest.param(page, id=page.stem) for page in sorted(found)]


@pytest.mark.parametrize("page", page_with("python"))
def test_python_runs_as_it_stands(page: Path, reader: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page run in their order, and those that deliver to S3 leave objects."""
    answers = iter([*ANSWERS.split("\n")] * 3)
    monkeypatch.setattr(getpass, "getpass", lambda *_, **__: next(answers))
    names = names_of(page)
    ran = [block for block in blocks_of(page) if block.language == "python" and not (block.run_by or block.reason)]
    if page.stem == "reruns":  # its first delivery is one that is cut short
        reader.fault("Complete", Status(403, "AccessDenied"), n=2)
        with pytest.raises(mc_sink.CommitError):
            run(ran.pop(0), reader, names)
    for block in ran:
        run(block, reader, names)
    delivers = any(re.search(r"sink_madconnect\(.*?\"s3://|preset=", block.code, re.DOTALL) for block in ran)
    assert any(reader.listing(bucket) for bucket in BUCKETS) == delivers


def run(block: Block, reader: FaultServer, names: dict[str, Any]) -> None:
    """Run a block, with the reader's own address and key in place of those that it shows."""
    options = reader.storage_options
    code = block.code.replace(LOCAL, reader.url)
    for shown, meant in {"KEY": "key", "AKIA…": "key", "SECRET": "secret", "…": "secret"}.items():
        code = code.replace(f'"{shown}"', f'"{options[meant]}"')
    exec(compile("\n" * block.line + code, str(block.page), "exec"), names)  # noqa: S102  our own pages


@pytest.mark.parametrize("block", [pytest.param(one, id=one.place) for one in BLOCKS if one.language == "toml"])
def test_toml_is_loaded(block: Block, reader: FaultServer, tmp_path: Path) -> None:  # noqa: ARG001  it makes the folder
    """As a preset where it has limits, and else as a connection file, with what it lacks of one."""
    file = tmp_path / "shown.toml"
    known = tomllib.loads(block.code)
    missing = "" if "target" in known else 'target = "s3://bucket/nightly/"\n'
    source = "" if "source" in known else '\n[source]\nfiles = "data/*.parquet"\n'
    if "limits" in known:
        file.write_text(block.code, encoding="utf-8")
        assert read_preset(file).name == known["name"]
    else:
        file.write_text(missing + block.code + source, encoding="utf-8")
        assert load(file).settings.target


@pytest.mark.parametrize(
    "block", [pytest.param(one, id=one.place) for one in BLOCKS if one.language in {"json", "yaml"}]
)
def test_json_and_yaml_are_valid(block: Block) -> None:
    """Each can be copied as it stands."""
    assert json.loads(block.code) if block.language == "json" else yaml.safe_load(block.code)


@pytest.mark.parametrize("page", page_with("console"))
def test_commands_run_as_they_stand(page: Path, reader: FaultServer) -> None:  # noqa: ARG001  it makes the folder
    """Each command succeeds, in the order of the page."""
    for block in blocks_of(page):
        if block.language != "console" or block.run_by or block.reason:
            continue
        for line in re.findall(r"^\$ (.*)$", block.code, re.MULTILINE):
            words = shlex.split(line.replace("RUN_ID", last_run()), comments=True)
            assert words[0] == "mc-sink", f"{block.place}: no other command is run"
            command(block.place, words[1:])


def command(place: str, words: list[str]) -> None:
    """Run a command in this process, with a key for what asks for one; the words of an endless one are only parsed."""
    words = [found for word in words for found in (sorted(map(str, Path().glob(word))) if word == "*.toml" else [word])]
    if words[0] in ENDLESS:
        parsed = commands()[words[0]].make_context(words[0], words[1:])
        assert all(load(file) for file in parsed.params["files"])
        return
    if words[0] == "metrics":
        pytest.importorskip("prometheus_client")
    with installed():
        ended = CliRunner().invoke(app, words, prog_name="mc-sink", input=ANSWERS)
    # platforms.md: the first check of a store that isn't AWS ends as Unverified.
    unverified = words[:2] == ["platforms", "check"] and "\nUnverified objects" in ended.output
    assert ended.exit_code == int(unverified), f"{place}: mc-sink {shlex.join(words)}\n{ended.output}"


def last_run() -> str:
    """Return the id of the last run in the history, or a word that is none."""
    found = [*history.list_runs()] if state_folder().is_dir() else []
    return found[0].run_id if found else "RUN_ID"
