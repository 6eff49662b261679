"""The tables of errors.md and json.md are those of the code."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from typer.testing import CliRunner

import mc_sink
from mc_sink import Platform, SinkError, platforms
from mc_sink.connector.cli.app import app
from mc_sink.connector.cli.exit import code_of
from mc_sink.platforms import CheckReport
from tests.servers.fault import FaultServer
from tests.servers.faults import FOREVER, Status
from tests.support.doc_blocks import ROOT
from tests.support.keyrings import installed

if TYPE_CHECKING:
    from pathlib import Path

ERRORS = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
JSON = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")


def kinds(base: type[SinkError]) -> dict[str, type[SinkError]]:
    """Return the errors that derive from one, by their names."""
    below = {kind.__name__: kind for kind in base.__subclasses__()}
    return below | {name: kind for one in below.values() for name, kind in kinds(one).items()}


def test_each_error_has_a_row_with_its_exit_code_and_its_base() -> None:
    """An error that is added needs a row."""
    public = {name: kind for name, kind in kinds(SinkError).items() if name in mc_sink.__all__}
    rows = [line.split(" | ") for line in ERRORS.splitlines() if line.startswith("| `")]
    table = {row[0].strip("| `"): row for row in rows if len(row) == 6}
    assert {*table} == {*public}
    for name, kind in public.items():
        assert int(table[name][5].strip(" |")) == code_of(kind("text")), name
        assert all(base in {one.__name__ for one in kind.__mro__} for base in re.findall(r"`(\w+)`", table[name][1]))


def mistakes(folder: Path, server: FaultServer) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return a target and options for each message that is often met, by a word of its row."""
    server.fault("List", Status(301, "PermanentRedirect"), times=FOREVER)
    keys = {"key": "k", "secret": "s"}
    acme = Platform(name="acme", access_key_id="k", secret_access_key="s", buckets=("s3://elsewhere/",))
    return {
        "aws_access_key_id": ("s3://bucket/x/", {"storage_options": {"aws_access_key_id": "k"}}),
        "plain http": ("s3://bucket/x/", {"storage_options": {**keys, "endpoint_url": "http://s3.example.com"}}),
        "certificates": (
            "s3://bucket/x/",
            {"storage_options": {**keys, "client_kwargs": {"verify": str(folder / "gone.pem")}}},
        ),
        "region": (server.writer.target("x/"), {"storage_options": server.storage_options}),
        "platform": ("s3://bucket/x/", {"platform": acme}),
    }


def test_the_messages_that_are_often_met_are_those_of_real_errors(tmp_path: Path) -> None:
    """Each row's words are in the message of the delivery that makes the mistake, in order."""
    text = ERRORS.partition("## Messages that are often met")[2]
    rows = re.findall(r"^\| `(.*?)` \| ", text, re.MULTILINE)
    with FaultServer() as server:
        made = mistakes(tmp_path, server)
        assert len(rows) == len(made)
        for word, (target, options) in made.items():
            (row,) = [row for row in rows if word in row]
            with pytest.raises(SinkError) as raised:
                mc_sink.sink_madconnect(pl.DataFrame({"a": [1]}), target, progress=False, **options)
            assert raised.value.visible == "nothing"
            assert re.search(".*".join(map(re.escape, row.split("…"))), raised.value.message), raised.value.message


def fields_of(section: str, start: str = "") -> set[str]:
    """Return the fields that a section of json.md lists, in the row that starts so or in the first column of all."""
    text = JSON.partition(f"## {section}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith(f"| {start or '`'}")]
    cells = [line.split(" | ")[1 if start else 0] for line in lines]
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


def test_the_fields_of_json_are_those_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the commands print them, for a delivery to a folder."""
    monkeypatch.chdir(tmp_path)
    pl.DataFrame({"id": [1, 2]}).write_csv("rows.csv")

    def printed(*words: str) -> Any:
        with installed():
            ended = CliRunner().invoke(app, [*words, "--json"], prog_name="mc-sink")
        assert ended.exit_code == 0, ended.output
        return json.loads(ended.stdout)

    run = printed("send", "rows.csv", "./out/", "--format", "csv", "--run-id", "first")
    assert {*run} == fields_of("A run") == {*printed("show", "first")}
    assert {*run["files"][0]} == fields_of("A file")
    assert {*printed("verify", "first")} == fields_of("Other commands", "`verify`")
    dry = printed("send", "rows.csv", "./out/", "--format", "csv", "--dry-run")
    assert {*dry} == fields_of("Other commands", "`preview`")
    with installed():
        platforms.save(Platform(name="acme", profile="work"))
    assert {*printed("platforms", "list")[0]} == fields_of("Other commands", "`platforms list`")
    assert set(CheckReport.__dataclass_fields__) == fields_of("Other commands", "`platforms check`")
