"""What people type every day: short run ids, `last`, rows judged before a run, and plain flags."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mc_sink.connector.cli.completion import formats, platforms_saved, run_ids, schemas
from mc_sink.connector.cli.exit import Code
from mc_sink.connector.history import Beginning, begin, find_run, full_id
from mc_sink.exceptions import ConfigurationError
from tests.support.command_line import Machine

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.fault import FaultServer

SCHEMA = """
schema_type: polars_dataframe
name: people
columns:
  id:
    dtype: int64
    nullable: false
    checks:
      less_than: 8
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Have a folder with a source, a schema and a connection, and a state of its own."""
    folder, state = tmp_path / "work", tmp_path / "state"
    folder.mkdir()
    (folder / "rows.csv").write_text("id\n" + "".join(f"{n}\n" for n in range(10)), "utf-8")
    (folder / "people.yaml").write_text(SCHEMA, "utf-8")
    (folder / "daily.toml").write_text('target = "out/"\n[source]\nfiles = "rows.csv"\n', "utf-8")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MC_SINK_STATE_DIR", str(state))
    return Machine(folder, state)


def test_the_beginning_of_an_id_is_enough(machine: Machine) -> None:
    """For `show`, `verify` and `recover`, as long as one run has it; an id that is whole is meant even so."""
    for run_id in ("night-1", "night-10", "day"):
        machine.here("run", "daily.toml", "--run-id", run_id)
    assert machine.here("show", "d", "--json").json()["run_id"] == "day"
    assert machine.here("show", "night-1", "--json").json()["run_id"] == "night-1"
    assert machine.here("show", "last", "--json").json()["run_id"] == "day"
    assert machine.here("verify", "last", "--json").json()["ok"] is True
    several = machine.here("show", "night", code=Code.CONFIGURATION).err
    assert "Several runs have an id that begins with night: night-1, night-10." in several
    unknown = machine.here("show", "x", code=Code.CONFIGURATION).err
    assert "No run of this machine has an id that is or begins with x" in unknown
    assert "night-10" in machine.here("recover", "night-10", code=Code.CONFIGURATION).err
    (machine.folder / "out").rename(machine.folder / "gone")
    machine.here("verify", "da", code=Code.DIFFERENT)


@pytest.mark.usefixtures("machine")
def test_last_is_the_newest_run_unless_a_run_has_this_id() -> None:
    """Without any run, the error says so; an empty text is the beginning of nothing."""
    with pytest.raises(ConfigurationError, match="begins with last"):
        find_run("last")
    for run_id in ("last", "newest"):
        begin(Beginning(run_id=run_id, connection="c", target="t")).failed(ValueError())
        assert find_run("last").run_id == "last"
    with pytest.raises(ConfigurationError):
        find_run("")


@pytest.mark.parametrize("columns", ["80", "120"])
def test_ids_are_whole_at_any_width(machine: Machine, columns: str) -> None:
    """A narrow terminal folds other columns."""
    run_id = "a-very-long-id-of-a-run-20261122T101530Z-4f2a9c"
    machine.here("run", "daily.toml", "--run-id", run_id)
    narrow = Machine(machine.folder, machine.state, {"COLUMNS": columns, "FORCE_COLOR": "1", "TERM": "xterm"})
    assert run_id in narrow.here("history").out


def test_every_file_is_checked(machine: Machine) -> None:
    """Invalid files between valid ones are all reported, and the code is that of the first."""
    for name in ("first", "second"):
        (machine.folder / f"{name}.toml").write_text("[source]\n", "utf-8")
    ended = machine.here("connections", "check", "first.toml", "daily.toml", "second.toml", code=Code.CONFIGURATION)
    assert ended.out.startswith("daily.toml: valid")
    assert ("first.toml" in ended.err, "second.toml" in ended.err) == (True, True)


@pytest.mark.parametrize(
    ("rows", "judged", "code"), [("5", 5, Code.DONE), ("all", 10, Code.INVALID), ("10", 10, Code.INVALID)]
)
def test_a_dry_run_judges_rows(machine: Machine, rows: str, judged: int, code: Code) -> None:
    """As many as it is asked for; invalid ones end it as they would end a run, and nothing is written."""
    words = ("send", "rows.csv", "out/", "--schema", "people.yaml", "--dry-run", "--rows", rows)
    ended = machine.here(*words, code=code)
    assert f"judged       {judged} rows" in ended.out
    assert ("less_than" in ended.err) == (code is Code.INVALID)
    found = machine.here(*words, "--on-invalid", "reject", "--json").json()
    assert (found["judged"], found["num_rejected"]) == (judged, 2 if code else 0)
    assert not (machine.folder / "out").exists()


@pytest.mark.parametrize("rows", ["-1", "some", "1.5"])
def test_rows_are_a_number_or_all(machine: Machine, rows: str) -> None:
    """Other words are a usage error."""
    machine.here("run", "daily.toml", "--dry-run", "--rows", rows, code=Code.USAGE)


def test_send_has_the_flags_that_people_look_for(machine: Machine) -> None:
    """They are options of a delivery, without TOML."""
    words = ("send", "rows.csv", "out/", "--name", "{run_id}{ext}", "--run-id", "r")
    machine.here(*words)
    assert (machine.folder / "out" / "r.csv").exists()
    machine.here(*words[:2], "out/r.csv", code=Code.EXISTS)
    machine.here(*words[:2], "out/r.csv", "--if-exists", "overwrite")
    (machine.folder / "two.csv").write_text("id,country\n1,DE\n2,US\n", "utf-8")
    machine.here("send", "two.csv", "parts/", "--partition-by", "country")
    assert {one.name for one in (machine.folder / "parts").glob("*=*")} == {"country=DE", "country=US"}


def test_a_new_platform_is_checked_where_its_bucket_is_known(machine: Machine, fault_s3: FaultServer) -> None:
    """The check says what it found, and the platform is saved all the same."""
    (machine.folder / "key").write_text("AKIAEXAMPLEEXAMPLE00\nnever-shown\n", "utf-8")
    words = ("--endpoint-url", fault_s3.url, "--from", "key", "--store", "file")
    prefix = ("--prefix", "s3://bucket/p/")
    assert "Failing at s3://bucket/p/: credentials: 403" in machine.here("platforms", "add", "one", *words, *prefix).err
    assert "It is unverified." in machine.here("platforms", "add", "two", *words, *prefix, "--no-check").err
    assert "It is unverified." in machine.here("platforms", "add", "three", *words).err
    assert [*platforms_saved("t")] == ["three", "two"]


def test_names_are_completed(machine: Machine) -> None:
    """Run ids newest first, schemas and formats."""
    for run_id in ("night-1", "night-2"):
        machine.here("run", "daily.toml", "--run-id", run_id)
    assert [*run_ids("")] == ["last", "night-2", "night-1"]
    assert [*schemas("aud")] == ["audience"]
    assert [*formats("csv")] == ["csv", "csv.gz"]


def test_an_id_is_meant_by_itself_among_many(machine: Machine) -> None:
    """Also where more runs begin with it than are looked at; and an unfinished delivery needs no history."""
    for number in range(105):
        begin(Beginning(run_id=f"r-1{number:03}", connection="c", target="t")).failed(ValueError())
    begin(Beginning(run_id="r-1", connection="c", target="t")).failed(ValueError())
    assert find_run("r-1").run_id == "r-1"
    (machine.state / "history.sqlite3").write_bytes(b"not a table")
    assert full_id("night-1", ["night-10", "night-1"]) == "night-1"
    assert [*run_ids("")] == ["last"]
