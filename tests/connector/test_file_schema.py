"""The JSON Schema of connection files: it knows the loader's keys, and refuses what the loader refuses."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft7Validator
from typer.testing import CliRunner

from mc_sink import ConfigurationError, Csv, ObjectOptions, Parquet
from mc_sink.connector.cli.app import app
from mc_sink.connector.connections import connection_schema, deliver, inspect, load, rehearse
from mc_sink.connector.connections.settings import Guard, History, Hooks, Schedule, Settings, Source, Webhook
from tests.support.doc_blocks import all_blocks
from tests.support.file_schemas import faults_of

if TYPE_CHECKING:
    from pathlib import Path

BASE = 'target = "s3://bucket/p/"\n'
FILES = '[source]\nfiles = "*.csv"\n'
TABLES = {"source": Source, "guard": Guard, "schedule": Schedule, "hooks": Hooks, "history": History}


def keys_of(*path: str) -> dict[str, Any]:
    """Return the keys of a table in the schema."""
    node = connection_schema()
    for name in path:
        node = node["properties"][name]
    keys: dict[str, Any] = node["properties"]
    return keys


def refused(tmp_path: Path, text: str) -> ConfigurationError | None:
    """Return what `connections check` refuses a file with; None for a valid one."""
    (tmp_path / "one.toml").write_text(text, "utf-8")
    try:
        inspect(load(tmp_path / "one.toml"))
    except ConfigurationError as error:
        return error
    return None


def test_the_command_prints_a_schema_of_the_draft_that_editors_read() -> None:
    """It is valid itself, and is JSON in ASCII."""
    printed = json.loads(CliRunner().invoke(app, ["connections", "schema"]).stdout)
    Draft7Validator.check_schema(printed)
    assert printed == json.loads(json.dumps(connection_schema()))
    assert printed["$schema"] == Draft7Validator.META_SCHEMA["$schema"]


def test_schema_and_loader_have_the_same_keys(tmp_path: Path) -> None:
    """Those that the loader lists for an unknown key, those of the classes that it makes, and those of the schema."""
    for name, kind in {"": Settings, **TABLES}.items():
        known = set(keys_of(*filter(None, [name])))
        assert known == {one.name for one in fields(kind)}
        table = f"[{name}]\nqqqqqq = 1\n" if name not in {"", "source"} else ""
        source = f"{FILES}qqqqqq = 1\n" if name == "source" else FILES
        text = ("qqqqqq = 1\n" if not name else "") + BASE + source + table
        listed = re.search(r"unknown key\. Use one of (.*)\.", str(refused(tmp_path, text)))
        assert listed is not None
        assert known == set(listed[1].split(", "))
        assert any("'qqqqqq' was unexpected" in fault for fault in faults_of(text))
    for name, kind in {"csv": Csv, "parquet": Parquet}.items():
        tables = [one["properties"] for one in connection_schema()["properties"]["format"]["anyOf"][1:]]
        (keys,) = [one for one in tables if one["type"]["const"] == name]
        assert set(keys) == {"type"} | {one.name for one in fields(kind) if one.init}
    assert set(keys_of("object_options")) == {one.name for one in fields(ObjectOptions) if one.init}
    webhook = connection_schema()["properties"]["hooks"]["properties"]["on_failure"]["anyOf"][-1]
    assert set(webhook["properties"]) == {one.name for one in fields(Webhook)}


def test_every_key_is_described() -> None:
    """In the words of the docstrings, so that an editor shows what a key is for."""
    for path in ([], *([name] for name in TABLES)):
        assert [key for key, one in keys_of(*path).items() if not one.get("description", "").endswith(".")] == []
    for one in connection_schema()["properties"]["format"]["anyOf"][1:]:
        assert [key for key, found in one["properties"].items() if not found.get("description")] == []


def test_every_example_is_one_that_the_loader_accepts(tmp_path: Path) -> None:
    """Each alone in a file, with what it needs."""
    (tmp_path / "feeds.py").write_text("def audience(): ...\n")
    needed = {"uri_env": "query = 'select 1'\n", "timezone": 'cron = "@daily"\n', "timeout": 'every = "1d"\n'}
    num_examples = 0
    for table in ("", "source", "schedule", "guard", "hooks"):
        for key, one in keys_of(*filter(None, [table])).items():
            for value in one.get("examples", ()):
                line = f"{key} = {toml(value)}\n" + needed.get(key, "")
                own = f"[{table}]\n{line}" if table not in {"", "source"} else ""
                top = "" if table else line
                top += 'on_invalid = "reject"\nschema = "audience"\n' if "reject" in key else ""
                top += 'previous = "old.csv"\n' if key == "keys" else ""
                text = (BASE if key != "target" else "") + top + (f"[source]\n{line}" if table == "source" else FILES)
                if key != "platform":  # none is saved here
                    assert refused(tmp_path, text + own) is None, text + own
                assert faults_of(text + own) == []
                num_examples += 1
    assert num_examples > 30


def test_a_size_with_a_unit_is_read_by_every_command(tmp_path: Path) -> None:
    """By the check and a dry run as by a run."""
    (tmp_path / "a.csv").write_text("x\n1\n2\n")
    (tmp_path / "one.toml").write_text(f'target = "out/"\nmax_bytes_per_file = "1MB"\n{FILES}')
    assert inspect(load(tmp_path / "one.toml")) == f"{tmp_path}/out/"
    assert rehearse(load(tmp_path / "one.toml")).preview.target == f"{tmp_path}/out/"
    assert deliver(load(tmp_path / "one.toml"), progress=False).num_rows == 2


def toml(value: Any) -> str:
    """Return a value of an example as TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {toml(one)}" for name, one in value.items()) + "}"
    return json.dumps(value)


# Each is refused by the loader, or by the check of its options; and by the schema.
MISTAKES = [
    "",
    FILES,
    BASE,
    f"{BASE}targt = 's3://b/p/'\n{FILES}",
    f"target = 7\n{FILES}",
    f"{BASE}[source]\n",
    f"{BASE}[source]\nfiles = ''\n",
    f"{BASE}[source]\nfiles = []\n",
    f"{BASE}[source]\nfiles = [1]\n",
    f"{BASE}{FILES}query = 'select 1'\n",
    f"{BASE}{FILES}database = 'a.duckdb'\n",
    f"{BASE}{FILES}format = 'xlsx'\n",
    f"{BASE}{FILES}arguments = {{rows = 1}}\n",
    f"{BASE}{FILES}uri_env = 'DB'\n",
    f"{BASE}[source]\nfunction = 'a:b'\nformat = 'csv'\n",
    f"{BASE}[source]\nquery = 'select 1'\ndatabase = 'a'\nuri_env = 'B'\n",
    f"{BASE}[source]\nquery = 'select 1'\nuri = 'sqlite://a'\nuri_env = 'B'\n",
    f"{BASE}[source]\nquery = 'select 1'\nuri_env = 'not a name'\n",
    f"{BASE}[source]\nquery = 'select 1'\nuri = 'postgresql://u:canary@host/d'\n",
    f"{BASE}[source]\nquery = 'select 1'\nuri = 'host=h Password=canary'\n",
    f"{BASE}[source]\nquery = 'select 1'\n[source.options]\nPassword = 'canary'\n",
    f"{BASE}[source]\nfunction = 'a:b'\n[source.arguments.deep]\napi_key = 'canary'\n",
    f"{BASE}format = 'tsv'\n{FILES}",
    f"{BASE}{FILES}[format]\nseparator = ';'\n",
    f"{BASE}{FILES}[format]\ntype = 'tsv'\n",
    f"{BASE}{FILES}[format]\ntype = 'csv'\nseperator = ';'\n",
    f"{BASE}{FILES}[format]\ntype = 'parquet'\ncompression = 'zip'\n",
    f"{BASE}{FILES}[format]\ntype = 'parquet'\nstatistics = 'yes'\n",
    f"{BASE}preset = 'livramp'\n{FILES}",
    f"{BASE}on_invalid = 'drop'\n{FILES}",
    f"{BASE}if_exists = 'replace'\n{FILES}",
    f"{BASE}on_empty = 'send'\n{FILES}",
    f"{BASE}manifest = 'athena'\n{FILES}",
    f"{BASE}max_rows_per_file = 0\n{FILES}",
    f"{BASE}max_rows_per_file = true\n{FILES}",
    f"{BASE}max_rows_per_file = 1.5\n{FILES}",
    f"{BASE}max_bytes_per_file = 0\n{FILES}",
    f"{BASE}max_bytes_per_file = 'big'\n{FILES}",
    f"{BASE}row_group_size = 100_000_000_000\n{FILES}",
    f"{BASE}min_rows = -1\n{FILES}",
    f"{BASE}min_rows = 'all'\n{FILES}",
    f"{BASE}max_rejects = 'half'\non_invalid = 'reject'\n{FILES}",
    f"{BASE}partition_by = 3\n{FILES}",
    f"{BASE}include_key = 'maybe'\n{FILES}",
    f"{BASE}action_column = ''\n{FILES}",
    f"{BASE}run_id = 'x'\n{FILES}",
    f"{BASE}progress = true\n{FILES}",
    f"{BASE}min_rows = 1\n{FILES}[guard]\nmin_rows = 2\n",
    f"{BASE}{FILES}[guard]\nmax_change = 50\n",
    f"{BASE}{FILES}[guard]\nmax_change = -0.1\n",
    f"{BASE}{FILES}[guard]\nmax_change = '50'\n",
    f"{BASE}{FILES}[guard]\nmin_rows = true\n",
    f"{BASE}{FILES}[schedule]\n",
    f"{BASE}{FILES}[schedule]\ncron = '@daily'\nevery = '1d'\n",
    f"{BASE}{FILES}[schedule]\nevery = 'daily'\n",
    f"{BASE}{FILES}[schedule]\nevery = '0h'\n",
    f"{BASE}{FILES}[schedule]\nevery = '1d'\ntimeout = '5'\n",
    f"{BASE}{FILES}[schedule]\nevery = '1d'\nmissed = 'all'\n",
    f"{BASE}{FILES}[schedule]\nevery = '1d'\npause_after = 0\n",
    f"{BASE}{FILES}[schedule]\nevery = '1d'\nrun_id = 'same'\n",
    f"{BASE}{FILES}[history]\nkeep = 0\n",
    f"{BASE}{FILES}[history]\nkep = 5\n",
    f"{BASE}{FILES}[hooks]\non_success = 5\n",
    f"{BASE}{FILES}[hooks.on_failure]\nurl_env = 'A'\nform = 'mail'\n",
    f"{BASE}{FILES}[hooks.on_failure]\nform = 'json'\n",
    f"{BASE}{FILES}[hooks.on_failure]\nurl_env = 'https://hooks.example.com/canary'\n",
    f"{BASE}{FILES}[hooks]\non_failure = ['curl', 'https://host/x?token=canary']\n",
    f"{BASE}{FILES}[hooks]\non_failure = ['curl', '-H', 'Authorization: Bearer canary-canary-canary']\n",
    f"{BASE}{FILES}[storage_options]\nkey = 'canary'\n",
    f"{BASE}{FILES}[storage_options]\nregion = 'eu-west-1'\n",
    f"{BASE}{FILES}[storage_options]\nendpoint_url = 'https://canary:canary@host'\n",
    f"{BASE}{FILES}[storage_options.client_kwargs]\naws_secret_access_key = 'canary'\n",
    f"{BASE}{FILES}[object_options]\naccl = 'private'\n",
    f"{BASE}{FILES}[object_options]\nacl = 'friends'\n",
    f"{BASE}{FILES}[object_options.metadata]\nowner = 'AKIACANARY1234567890'\n",
    f"{BASE}{FILES}[encrypt]\nrecipients = ['a.asc']\n",
    f"{BASE}{FILES}[encrypt]\ntype = 'zip'\nrecipients = ['a.asc']\n",
    f"{BASE}{FILES}[encrypt]\ntype = 'pgp'\nrecipients = ['a.asc']\npassphrase = 'canary'\n",
    f"{BASE}{FILES}[encrypt]\ntype = 'age'\n",
    f"{BASE}{FILES}[encrypt]\ntype = 'age'\nrecipients = []\n",
]


@pytest.mark.parametrize("text", MISTAKES)
def test_what_the_loader_refuses_is_refused_by_the_schema_too(tmp_path: Path, text: str) -> None:
    """Each class of mistake that a schema can express."""
    assert refused(tmp_path, text) is not None
    assert faults_of(text) != []


@pytest.mark.parametrize(
    "block",
    [pytest.param(one, id=one.place) for one in all_blocks() if one.language == "toml" and "[limits" not in one.code],
)
def test_documented_files_are_valid(block: Any) -> None:
    """Each of the pages, with what it lacks of a file."""
    known = tomllib.loads(block.code)
    text = ("" if "target" in known else BASE) + block.code + ("" if "source" in known else f"\n{FILES}")
    assert faults_of(text) == []
