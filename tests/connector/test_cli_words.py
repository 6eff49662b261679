"""What people type: parts of ids, `last`, flags, coming times, and what the shell completes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import polars as pl
import pytest
from typer.testing import CliRunner

from mc_sink import __version__, platforms
from mc_sink.connector.cli import completion
from mc_sink.connector.cli.app import app
from mc_sink.connector.cli.exit import Code
from mc_sink.connector.history import Beginning, begin, find_run, full_id
from mc_sink.exceptions import ConfigurationError
from tests.support.command_line import commands

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

    from mc_sink.sandbox.admin import Admin, Writer


def mc_sink(*words: object, code: Code = Code.DONE, width: int = 80) -> Result:
    """Run the command on a terminal of a width, and expect an exit code."""
    found = CliRunner().invoke(app, list(map(str, words)), prog_name="mc-sink", env={"COLUMNS": str(width)})
    assert found.exit_code == code, f"{found.exit_code}: {found.output}"
    return found


def ended(*run_ids: str) -> None:
    """Record failed runs with these ids."""
    for run_id in run_ids:
        begin(Beginning(run_id=run_id, connection="nightly", target="s3://bucket/p/")).failed(ValueError())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write a connection that delivers two rows to a local folder."""
    pl.DataFrame({"x": [1, 2]}).write_csv(tmp_path / "some.csv")
    file = tmp_path / "nightly.toml"
    schedule = '[schedule]\ncron = "30 2 * * *"\ntimezone = "Asia/Kolkata"\n'
    file.write_text(f'target = "./out/"\n[source]\nfiles = "some.csv"\n{schedule}')
    return file


def test_a_run_is_found_by_the_beginning_of_its_id() -> None:
    """Where no other run has it; a whole id is found although it begins another one."""
    ended("2026-a", "2026-ab", "2027-x", "last-week")
    assert find_run("2027").run_id == "2027-x"
    assert find_run("2026-a").run_id == "2026-a"
    assert find_run("last").run_id == "last-week"
    with pytest.raises(ConfigurationError, match=r"begins with 2026: 2026-a, 2026-ab\. Write more of the id"):
        find_run("2026")
    for unknown in ("2028", "%", "_026-a", ""):
        with pytest.raises(ConfigurationError, match="List the runs with mc-sink history"):
            find_run(unknown)
    ended("last")
    assert find_run("last").run_id == "last"
    assert full_id("2027", ["2027-journal"][:0]) == "2027-x"
    with pytest.raises(ConfigurationError, match="2027-journal, 2027-x"):
        full_id("2027", ["2027-journal"])


def test_the_last_run_is_verified(file: Path) -> None:
    """`last` and the beginning of an id do where an id does."""
    mc_sink("run", file)
    run = find_run("last")
    assert "with the size and ETag" in mc_sink("verify", "last").output
    for words in (("show", "last"), ("show", run.run_id[:-2])):
        assert run.run_id in mc_sink(*words).output
    missing = mc_sink("recover", "last", code=Code.CONFIGURATION).output
    assert run.run_id in missing


@pytest.mark.parametrize("width", [80, 40])
def test_ids_are_never_cut(width: int) -> None:
    """In a narrow terminal other columns give way."""
    ended("a-run-id-that-is-longer-than-others-2026-11-22")
    assert "a-run-id-that-is-longer-than-others-2026-11-22" in mc_sink("history", width=width).output


def test_a_check_goes_on_past_an_invalid_file(tmp_path: Path, file: Path) -> None:
    """Every file is checked, and the code is that of the first failure."""
    (tmp_path / "bad.toml").write_text("target = 7")
    printed = mc_sink("connections", "check", tmp_path / "bad.toml", file, code=Code.CONFIGURATION)
    assert f"{file}: valid" in printed.output
    assert "bad.toml is invalid" in printed.output


def test_a_check_goes_on_past_a_file_whose_module_breaks_down(tmp_path: Path, file: Path) -> None:
    """The error of a module is of its file, which is named."""
    (tmp_path / "checks.py").write_text('raise RuntimeError("no such feed")')
    (tmp_path / "bad.toml").write_text(f'schema = "checks:schema"\n{file.read_text()}')
    printed = mc_sink("connections", "check", tmp_path / "bad.toml", file, code=Code.FAILED)
    assert printed.stdout == f"{file}: valid; delivers to {tmp_path / 'out'}/\n"
    assert f"{tmp_path / 'bad.toml'}: invalid\nRuntimeError: no such feed" in printed.stderr


@pytest.mark.parametrize(
    ("words", "number"),
    [(["FILE", "--next"], 5), (["--next", "FILE"], 5), (["--next", "2", "FILE"], 2), (["--next=7", "FILE"], 7)],
)
def test_coming_times_need_no_number(file: Path, words: list[str], number: int) -> None:
    """Without one, five of them are printed, wherever the option stands."""
    printed = mc_sink("schedule", *(str(file) if word == "FILE" else word for word in words), "--json").stdout
    assert len(printed.splitlines()) == number


@pytest.mark.parametrize("number", [0, -1])
def test_a_number_of_coming_times_is_at_least_one(file: Path, number: int) -> None:
    """Others are refused, and are not taken for the name of a file."""
    assert "--next" in mc_sink("schedule", file, "--next", number, code=Code.USAGE).stderr


def test_coming_times_are_printed(file: Path) -> None:
    """In UTC and in the zone of the schedule, and nothing runs."""
    lines = [json.loads(line) for line in mc_sink("schedule", file, "--next", 3, "--json").stdout.splitlines()]
    assert [line["due_at"][10:] for line in lines] == ["T02:30:00+05:30"] * 3
    table = mc_sink("schedule", file, "--next", 2, width=120).output
    assert table.count("21:00:00") == 2
    assert table.count("02:30:00 +0530") == 2
    assert not (file.parent / "out").exists()


def test_send_has_the_flags_that_people_look_for(
    tmp_path: Path, writer: Writer, seaweed: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each does what its key of a connection file does, and messages name the flags."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", writer.credentials.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", writer.credentials.secret)
    pl.DataFrame({"x": [1, 2], "country": ["US", "DE"]}).write_csv(tmp_path / "some.csv")
    target = writer.target("flags/")
    words = ["send", tmp_path / "some.csv", target, "--endpoint-url", writer.url, "--region", "us-east-1"]
    words += ["--partition-by", "country", "--if-exists", "fail", "--format", "parquet", "--run-id", "r"]
    mc_sink(*words, "--name", "country={country}/{run_id}{ext}")
    assert {"flags/country=DE/r.parquet", "flags/country=US/r.parquet"} <= set(seaweed.listing(writer.bucket))
    refused = mc_sink(*words, "--on-invalid", "reject", code=Code.CONFIGURATION).output
    assert "--on-invalid reject needs a schema" in refused
    mc_sink(*words, "--on-invalid", "drop", code=Code.CONFIGURATION)


def test_the_shell_completes_names() -> None:
    """Of runs, saved platforms, schemas and formats."""
    ended("2026-a", "2027-b")
    platforms.save(platforms.Platform(name="acme", profile="p"))
    assert list(completion.run_ids("2026")) == ["2026-a"]
    assert list(completion.platforms_saved("ac")) == ["acme"]
    assert "audience" in list(completion.schemas("aud"))
    assert list(completion.formats("csv")) == ["csv", "csv.gz"]


def test_version_and_short_help() -> None:
    """`--version` prints the version, and `-h` is `--help` for every command."""
    assert mc_sink("--version").output == f"mc-sink {__version__}\n"
    for name in ("", *commands()):
        words = name.split()
        assert mc_sink(*words, "-h").output == mc_sink(*words, "--help").output
