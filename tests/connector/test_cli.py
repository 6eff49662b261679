"""The `mc-sink` command as its users meet it: words, exit codes, tables and JSON, errors without tracebacks."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import tomllib
from dataclasses import fields
from importlib import import_module
from inspect import signature
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from mc_sink import sink_madconnect
from mc_sink.connector.cli.app import app
from mc_sink.connector.cli.exit import Code
from mc_sink.connector.connections.settings import Guard, Hooks, Schedule, Settings, Source
from mc_sink.connector.history import list_runs
from tests.servers.faults import FOREVER, Call, Reset
from tests.support.command_line import commands
from tests.support.connection_files import FRAME, ROOT, environment, start_command, wait_until, write_connection

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

    from mc_sink.sandbox.admin import Admin, Writer
    from tests.conftest import Recorded
    from tests.servers.operations import Request


@pytest.fixture
def ambient(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> Writer:
    """Have the environment know the writer's key, as a service's does."""
    for name, value in environment(writer).items():
        monkeypatch.setenv(name, value)
    return writer


def mc_sink(*words: object, code: Code = Code.DONE) -> Result:
    """Run the command here, and expect an exit code."""
    found = CliRunner().invoke(app, list(map(str, words)), prog_name="mc-sink")
    assert found.exit_code == code, f"{found.exit_code}: {found.output}"
    assert "Traceback" not in found.output or "--debug" in words
    return found


def as_json(*words: object, code: Code = Code.DONE) -> Any:
    """Run the command with --json, and give what it prints."""
    return json.loads(mc_sink(*words, "--json", code=code).stdout)


def test_the_script_is_the_command() -> None:
    """What is installed as `mc-sink` is the function that `python -m mc_sink.connector.cli` calls."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    module, _, name = scripts["mc-sink"].partition(":")
    assert getattr(import_module(module), name).__module__ == "mc_sink.connector.cli.app"


def test_an_unknown_command_gets_the_nearest_right_one() -> None:
    """Or the list of all, and control characters in it are escaped."""
    assert "No such command 'histroy'. Did you mean 'history'?" in mc_sink("histroy", code=Code.USAGE).stderr
    other = mc_sink("xyz\x1b[2J", code=Code.USAGE).stderr
    assert "Commands: demo, run, send, preview, schedule, resume, metrics, history" in other
    assert "\x1b" not in other


@pytest.mark.parametrize(("own", "expected"), [({}, "2"), ({"POLARS_ROW_GROUP_PREFETCH_SIZE": "5"}, "5")])
def test_the_command_bounds_what_polars_reads_ahead(tmp_path: Path, own: dict[str, str], expected: str) -> None:
    """For its own process, unless the user chose a number; the library alone changes no environment."""
    name = "POLARS_ROW_GROUP_PREFETCH_SIZE"
    (tmp_path / "rows.py").write_text(
        f"import os\nimport polars as pl\n\ndef made():\n    return pl.DataFrame({{'n': [os.environ.get('{name}')]}})\n"
    )
    (tmp_path / "rows.toml").write_text('target = "out.csv"\n[source]\nfunction = "rows:made"\n')
    around = {key: value for key, value in os.environ.items() if key != name} | own
    command = [sys.executable, "-m", "mc_sink.connector.cli", "run", str(tmp_path / "rows.toml")]
    subprocess.run(command, cwd=ROOT, env=around, check=True, capture_output=True)
    assert (tmp_path / "out.csv").read_text() == f"n\n{expected}\n"
    library = f"import os, mc_sink, mc_sink.connector; print(os.environ.get({name!r}))"
    ended = subprocess.run(
        [sys.executable, "-c", library], cwd=ROOT, env=around, check=True, capture_output=True, text=True
    )
    assert ended.stdout.strip() == own.get(name, "None")


def test_help_is_light() -> None:
    """What takes its time to load is left to the command that needs it."""
    heavy = "{'aiobotocore', 'apscheduler', 'duckdb', 'keyring', 'pandera', 'pyarrow', 'pydantic', 's3fs', 'sqlite3'}"
    ended_text = f"import sys, atexit; atexit.register(lambda: print(sorted({heavy} & set(sys.modules))));"
    script = ended_text + "from mc_sink.connector.cli import main; main(['--help'])"
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "[]"


def test_help_teaches_by_example() -> None:
    """The help of the whole, of every group and of every command shows words that can be typed."""
    whole = mc_sink("--help").stdout
    assert "mc-sink run nightly.toml" in whole
    for command in commands():
        group, _, _ = command.partition(" ")
        assert re.search(rf"^  {group}  ", whole, re.MULTILINE)
        for words in {group, command}:
            _, _, examples = mc_sink(*words.split(), "--help").stdout.partition("Examples:\n")
            assert f"  mc-sink {words}" in examples, words


def test_examples_are_words_that_exist() -> None:
    """Every option in an example of the help is one that the command has."""
    for command in commands():
        ended_text, _, examples = mc_sink(*command.split(), "--help").stdout.partition("Examples:")
        ours = "\n".join(re.findall(r"^  mc-sink [^|>\n]*", examples, re.MULTILINE))
        assert set(re.findall(r"(?<= )--[a-z-]+", ours)) <= set(re.findall(r"--[a-z-]+", ended_text)), command


def test_the_documentation_has_every_key_and_code() -> None:
    """docs/cli.md tells of every key of a connection file, every exit code and every command."""
    ended_text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    keys = {one.name for kind in (Settings, Source, Guard, Schedule, Hooks) for one in fields(kind)}
    assert [key for key in sorted(keys) if not re.search(rf"\b{key}\b", ended_text)] == []
    assert [
        code for code in Code if not re.search(rf"^\|.*\b{int(code)}\b.*\|.*\|.*\|", ended_text, re.MULTILINE)
    ] == []
    table = "\n".join(re.findall(r"^\| `mc-sink (.*) \|$", ended_text, re.MULTILINE))
    assert [word for command in commands() for word in command.split() if not re.search(rf"\b{word}\b", table)] == []


def test_check_finds_what_a_run_would_refuse(tmp_path: Path) -> None:
    """Checking a file tells of contradictions between its keys, and of a schema that isn't there."""
    for more, shown in (
        ('rejects = "bad/"', 'on_invalid = "reject"'),
        ('schema = "no-such-schema"', "no-such-schema"),
        ('platform = "acme"', "acme" if "platform" in signature(sink_madconnect).parameters else "platform"),
        ("[schedule]\ncron = '0 0 * * 9'", "9 is not a weekday"),
    ):
        file = write_connection(tmp_path, "s3://bucket/p/", more)
        assert shown in mc_sink("connections", "check", file, code=Code.CONFIGURATION).stderr


def test_run_history_show_verify(ambient: Writer, seaweed: Admin, tmp_path: Path) -> None:
    """A run delivers, its record says what, and verifying notices when the bucket changes."""
    file = write_connection(tmp_path, ambient.target("p/"), "max_rows_per_file = 30")
    mc_sink("connections", "check", file)
    run = as_json("run", file)
    assert (run["status"], run["num_rows"], len(run["files"])) == ("delivered", FRAME.height, 2)
    assert set(seaweed.listing(ambient.bucket)) >= {one["path"].split("/", 3)[3] for one in run["files"]}
    assert run["run_id"] in mc_sink("history").stdout
    assert as_json("history")["run_id"] == run["run_id"]
    assert run["files"][0]["path"] in mc_sink("show", run["run_id"]).stdout
    loads = mc_sink("show", run["run_id"], "--load", "--dialect", "snowflake", "--table", "sales").stdout
    assert loads.startswith("-- ")
    assert "\nCOPY INTO sales (" in loads
    assert "Give one of redshift" in mc_sink("show", run["run_id"], "--load", code=Code.CONFIGURATION).stderr
    assert "3 of 3 files are there" in mc_sink("verify", run["run_id"]).stdout
    with seaweed.client() as s3:
        s3.delete_object(Bucket=ambient.bucket, Key=run["files"][0]["path"].split("/", 3)[3])
    assert as_json("verify", run["run_id"], code=Code.DIFFERENT)["missing"] == [run["files"][0]["path"]]


def test_a_dry_run_writes_nothing(ambient: Writer, seaweed: Admin, tmp_path: Path) -> None:
    """A dry run shows schema, sample and keys; a preview the keys; neither leaves an object or a record."""
    file = write_connection(tmp_path, ambient.target("p/"))
    ended_text = mc_sink("run", file, "--dry-run", "--run-id", "r-1").stdout
    assert "id: Int64" in ended_text
    assert "row 0" in ended_text
    assert ambient.target("p/r-1.csv") in ended_text
    assert as_json("preview", file, "--run-id", "r-1")["files"] == [ambient.target("p/r-1.csv")]
    assert (seaweed.listing(ambient.bucket), list_runs()) == ({}, [])


def test_send_needs_no_file(writer: Writer, seaweed: Admin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files, globs and a target on the command line are a delivery, with every key of a connection file by --set."""
    for name, value in environment(writer).items():
        if name != "AWS_ENDPOINT_URL":
            monkeypatch.setenv(name, value)
    write_connection(tmp_path, "unused/")
    words = ["--endpoint-url", writer.url, "--format", "parquet", "--set", "max_rows_per_file=20"]
    run = as_json(
        "send", tmp_path / "data" / "*.parquet", writer.target("p/"), *words, "--set", "name={run_id}-{part}{ext}"
    )
    assert (run["num_rows"], len(run["files"])) == (FRAME.height, 3)
    mc_sink("verify", run["run_id"])
    assert len(seaweed.listing(writer.bucket)) == 4
    shown = mc_sink("send", "a.csv", writer.target("p/"), "--set", "if_exist=fail", code=Code.CONFIGURATION).stderr
    assert "Did you mean 'if_exists'?" in shown
    mc_sink("send", "a.csv", code=Code.USAGE)


@pytest.mark.parametrize(
    ("more", "source", "code"),
    [
        ("manifesto = true", 'files = "data/*"', Code.CONFIGURATION),
        ('schema = "audience"', 'files = "data/*.parquet"', Code.INVALID),
        ("", 'files = "none/*.parquet"', Code.CONFIGURATION),
        ("", 'function = "sources_of_tests:broken"', Code.FAILED),
    ],
)
def test_each_end_has_its_code(  # noqa: PLR0913, PLR0917  a row of the table
    ambient: Writer, seaweed: Admin, tmp_path: Path, more: str, source: str, code: Code
) -> None:
    """What goes wrong is one message and one code, and nothing becomes visible."""
    file = write_connection(tmp_path, ambient.target("p/"), more, source)
    assert "visible" in mc_sink("run", file, code=code).stderr
    assert seaweed.listing(ambient.bucket) == {}


def test_other_ends(ambient: Writer, seaweed: Admin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is taken, and a key without rights, have codes of their own."""
    file = write_connection(tmp_path, ambient.target("one.csv"))
    mc_sink("run", file)
    assert as_json("run", file, code=Code.EXISTS)["error"]["kind"] == "AlreadyExistsError"
    other = seaweed.new_writer()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", other.credentials.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", other.credentials.secret)
    mc_sink("run", file, "--run-id", "r-2", code=Code.DENIED)


def test_debug_shows_a_traceback_without_secrets(ambient: Writer, tmp_path: Path) -> None:
    """`--debug` may stand anywhere, shows where an error was raised, and cuts credentials out."""
    module = f'def leaking():\n    raise ValueError("{ambient.credentials.secret} is not a number")\n'
    (tmp_path / "leaking_of_tests.py").write_text(module, encoding="utf-8")
    file = write_connection(tmp_path, ambient.target("p/"), source='function = "leaking_of_tests:leaking"')
    for words in (["--debug", "run", file], ["run", file, "--debug"]):
        ended_text = mc_sink(*words, code=Code.FAILED).output
        assert "leaking_of_tests.py" in ended_text
        assert ambient.credentials.secret not in ended_text
    assert ambient.credentials.secret not in mc_sink("run", file, code=Code.FAILED).output


def test_recover_ends_what_was_cut_short(recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that stopped while it was published waits, is recovered, and reads as delivered then."""
    for name, value in environment(recorded.writer).items():
        monkeypatch.setenv(name, value)
    more = "max_rows_per_file = 20\n[storage_options.config_kwargs]\nread_timeout = 5"
    file = write_connection(tmp_path, recorded.writer.target("p/"), more)
    recorded.proxy.fault("Complete", Reset("head"), n=2, times=FOREVER)
    run = as_json("run", file, code=Code.PARTLY)
    assert run["status"] == "failed"
    mc_sink("verify", run["run_id"], code=Code.CONFIGURATION)
    assert run["run_id"] in mc_sink("recover").stdout
    monkeypatch.setenv("AWS_ENDPOINT_URL", recorded.server.url)  # past the cable
    mc_sink("recover", run["run_id"])
    assert as_json("show", run["run_id"])["status"] == "delivered"
    assert "4 of 4 files" in mc_sink("verify", run["run_id"]).stdout
    assert "No delivery of this machine is unfinished" in mc_sink("recover").stdout


def test_completion_knows_commands_and_runs(ambient: Writer, tmp_path: Path) -> None:
    """A shell completes commands, and the ids of runs."""
    run = as_json("run", write_connection(tmp_path, ambient.target("p/")))
    for words, expected in (("mc-sink rec", "recover"), ("mc-sink show 2", run["run_id"])):
        asked = {"_MC_SINK_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        ended_text = CliRunner().invoke(app, [], prog_name="mc-sink", env=asked).stdout
        assert expected in ended_text.split()


def test_the_real_command_in_a_pipe(writer: Writer, tmp_path: Path) -> None:
    """A pipe gets no colour and no bar: log lines on standard error, and the receipt on standard output."""
    file = write_connection(tmp_path, writer.target("p/"))
    child = start_command("run", file, env=environment(writer))
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert out.startswith("delivered  60 rows")
    assert re.fullmatch(r"(\d{4}-\d\d-\d\d [\d:,]+ INFO Run .*\n){2}", err)
    assert "\x1b" not in out + err


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colour_is_for_people(state: Path, no_color: str, coloured: bool) -> None:  # noqa: FBT001  a row of the table
    """A terminal gets colour, unless NO_COLOR is set."""
    from mc_sink.connector.history import Beginning, begin

    begin(Beginning(run_id="r-1", connection="nightly", target="t")).failed(ValueError())
    ours, theirs = pty.openpty()
    env = os.environ | {"TERM": "xterm-256color", "NO_COLOR": no_color, "MC_SINK_STATE_DIR": str(state)}
    subprocess.run(
        [sys.executable, "-m", "mc_sink.connector.cli", "history"], stdout=theirs, env=env, cwd=ROOT, check=True
    )
    ended_text = os.read(ours, 100_000).decode()
    os.close(ours)
    os.close(theirs)
    assert "r-1" in ended_text
    assert ("\x1b[31m" in ended_text) is coloured


@pytest.mark.parametrize(
    ("number", "code", "source"),
    [
        (signal.SIGTERM, Code.TERMINATED, "endless"),
        (signal.SIGINT, Code.INTERRUPTED, "endless"),
        (signal.SIGKILL, -signal.SIGKILL, "endless"),
        pytest.param(signal.SIGTERM, Code.TERMINATED, "deaf", marks=pytest.mark.long),
    ],
)
def test_a_signal_in_the_middle_of_a_run(  # noqa: PLR0913, PLR0917  a row of the table
    writer: Writer, seaweed: Admin, tmp_path: Path, number: signal.Signals, code: int, source: str
) -> None:
    """A run that is terminated or killed shows nothing, ends within seconds, and its record says "interrupted"."""
    file = write_connection(tmp_path, writer.target("p/"), source=f'function = "sources_of_tests:{source}"')
    child = start_command("run", file, env=environment(writer))
    wait_until((tmp_path / "started").exists, child)
    assert [run.status for run in list_runs()] == ["running"]
    mc_sink("run", file, code=Code.BUSY)
    child.send_signal(number)
    _, err = child.communicate(timeout=60)
    assert child.returncode == code, err
    assert "Traceback" not in err
    assert seaweed.listing(writer.bucket) == {}
    assert [run.status for run in list_runs()] == ["interrupted"]


def test_a_signal_when_all_is_visible(writer: Writer, seaweed: Admin, tmp_path: Path) -> None:
    """A run that is terminated while its hooks run has delivered, and its message and its record say so."""
    hook = """[hooks]\non_success = ["sh", "-c", "kill -TERM $PPID; sleep 2"]"""
    child = start_command("run", write_connection(tmp_path, writer.target("p/"), hook), env=environment(writer))
    _, err = child.communicate(timeout=60)
    assert child.returncode == Code.TERMINATED, err
    (run,) = list_runs()
    assert f"run {run.run_id} was delivered before this error: everything is visible" in err
    assert (run.status, len(seaweed.listing(writer.bucket))) == ("delivered", 1)


@pytest.mark.long
def test_a_signal_while_it_is_published(recorded: Recorded, tmp_path: Path) -> None:
    """A run that is terminated between two files ends within seconds, its record says so, and recovery finishes it."""
    file = write_connection(tmp_path, recorded.writer.target("p/"), "max_rows_per_file = 20")
    struck, over = Event(), Event()

    def hang(_request: Request) -> None:
        struck.set()
        over.wait(120)

    recorded.proxy.fault("Complete", Call(hang), n=2)
    child = start_command("run", file, env=environment(recorded.writer))
    wait_until(struck.is_set, child)
    child.send_signal(signal.SIGTERM)
    _, err = child.communicate(timeout=60)
    over.set()
    assert child.returncode == Code.TERMINATED, err
    (run,) = list_runs()
    assert run.status == "interrupted"
    assert "publishing was begun" in (run.error.text if run.error else "")
    stored = ["--endpoint-url", recorded.server.url]
    found = CliRunner().invoke(app, ["recover", run.run_id, *stored], env=environment(recorded.writer))
    assert found.exit_code == Code.DONE, found.output
    assert [run.status for run in list_runs()] == ["delivered"]
