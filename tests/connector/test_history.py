"""The records of runs: safe under several processes, true after a kill, and without secrets or cell values."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from mc_sink import ConfigurationError, sink_madconnect, verify
from mc_sink.connector import connections
from mc_sink.connector.history import Beginning, begin, find_run, list_runs, note_recovered
from mc_sink.exceptions import AlreadyExistsError, CommitError, PermissionDenied, SinkError, ValidationError
from mc_sink.records import failure_of
from mc_sink.scrub import masked
from tests.support.connection_files import ROOT

FACTS = Beginning(run_id="r-1", connection="nightly", target="s3://bucket/p/")
WRITE_TWENTY = """
import sys
from mc_sink.connector.history import Beginning, begin; from mc_sink.connector import list_runs
for number in range(20):
    ongoing = begin(Beginning(run_id=f"{sys.argv[1]}-{number}", connection=sys.argv[1], target="t"))
    list_runs()
    ongoing.failed(ValueError())
"""
BEGIN_AND_DIE = """
import os, signal
from mc_sink.connector.history import Beginning, begin
ongoing = begin(Beginning(run_id="r-1", connection="nightly", target="s3://bucket/p/"))
print("begun", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_record_is_all_of_a_delivery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered of a delivery verifies it as its own receipt does, and JSON has all of it."""
    monkeypatch.setenv("MC_SINK_HISTORY", "off")  # the call below would be a run of its own, with the same id
    ongoing = begin(FACTS)
    receipt = sink_madconnect(pl.DataFrame({"a": [1, 2]}), f"{tmp_path}/x.csv", run_id="r-1")
    run = ongoing.delivered(receipt)
    found = find_run("r-1")
    assert found == run
    assert (found.status, found.num_rows, found.files) == ("delivered", 2, receipt.files)
    assert verify(found.receipt()).ok
    (tmp_path / "x.csv").write_text("changed", encoding="utf-8")
    assert not verify(found.receipt()).ok
    assert json.loads(json.dumps(found.as_json()))["files"][0]["num_rows"] == 2


def test_a_run_that_goes_on_is_running() -> None:
    """While a process holds a run, it reads as running, in every process; the last attempt of an id is the run."""
    first = begin(FACTS)
    assert find_run("r-1").status == "running"
    assert first.failed(AlreadyExistsError("1 object is already at s3://bucket/p/x")).status == "failed"
    begin(FACTS)
    assert [run.status for run in list_runs()] == ["running", "failed"]
    assert find_run("r-1").status == "running"
    assert [run.number for run in list_runs(status="failed", connection="nightly")] == [1]
    with pytest.raises(ConfigurationError, match="No run of this machine"):
        find_run("r-2")


def test_a_killed_run_reads_as_interrupted() -> None:
    """A run whose process was killed leaves a record that says so, and no lock."""
    child = subprocess.run([sys.executable, "-c", BEGIN_AND_DIE], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (child.stdout, child.returncode) == ("begun\n", -9)
    found = find_run("r-1")
    assert (found.status, found.ended_at) == ("interrupted", None)
    assert found.error is not None
    assert found.error.kind == "Killed"


def test_several_processes_write_at_once() -> None:
    """Three processes write and read at once, and no record is lost."""
    children = [subprocess.Popen([sys.executable, "-c", WRITE_TWENTY, name], cwd=ROOT) for name in "abc"]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    runs = list_runs(limit=None)
    assert sorted(run.run_id for run in runs) == sorted(f"{name}-{number}" for name in "abc" for number in range(20))
    assert {run.status for run in runs} == {"failed"}


def test_only_the_owner_can_read_it(state: Path) -> None:
    """The history and its locks are for their owner alone."""
    begin(FACTS)
    files = [path for path in state.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"history.sqlite3"}
    assert {path.stat().st_mode & 0o077 for path in files} == {0}


def test_no_cell_and_no_secret_is_kept(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record has an error's type, place and counts, and none of the values that it quotes."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary/secret/4711")
    checks = pl.DataFrame(
        {"column": ["mail"], "check": ["str_matches"], "failures": [7], "examples": ["canary-cell"]},
        schema_overrides={"failures": pl.UInt64},
    )
    errors: list[BaseException] = [
        ValidationError("7 rows: 'canary-cell'", schema_name="audience", checks=checks),
        ValueError("canary-cell is not a number"),
        ConfigurationError(
            "1 cell is 'canary-cell', or \"canary-cell\", under canary/secret/4711 at AKIACANARY1234567"
        ),
        KeyboardInterrupt("canary-cell"),
    ]
    for error in errors:
        begin(FACTS).failed(error)
    output = [run.error.text for run in list_runs() if run.error]
    assert len(output) == len(errors)
    assert "7 of str_matches in mail" in output[-1]
    assert b"canary" not in (state / "history.sqlite3").read_bytes().lower()


CELL = "canary 'cell' \"x\" \\' of `it`"
CELLS = [
    CELL,
    f"{CELL}\x85",
    f"line\n'{CELL}\x85",
    f"{CELL}/..",
    "canary",
    "canary@example.com",
    "Nothing canary became visible.",
    "4711canary4711",
]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", [None, "{k}/{run_id}{part:05d}{ext}", "{k}/{run_id}-{part:05d}{ext}"])
def test_no_quoting_brings_a_cell_into_a_record(state: Path, tmp_path: Path, cell: str, name: str | None) -> None:
    """No cell reaches a record, wherever a message or a path has it: in a refusal, a second attempt's, a delivery's."""
    frame = pl.DataFrame({"k": [cell, "b"], "x": [1, 2]})
    options: dict[str, Any] = {"partition_by": "k", "name": name, "run_id": "r-1", "progress": False}
    for rows in (frame, frame.with_columns(x=pl.lit(5))):
        ongoing = begin(Beginning(run_id="r-1", connection="nightly", target=f"{tmp_path}/"))
        try:
            ongoing.delivered(sink_madconnect(rows, f"{tmp_path}/", **options))
        except Exception as error:  # noqa: BLE001  the record is read after any error
            ongoing.failed(error)
    kept = b"".join(path.read_bytes() for path in state.rglob("*") if path.is_file())
    assert b"canary" not in kept
    assert all(run.status != "running" and (run.error is None or run.error.text) for run in list_runs())


def test_a_record_keeps_our_own_words() -> None:
    """What failed and what to do next are there, and the target; what was put in between is not."""
    assert connections.__name__ in sys.modules  # what raises it is loaded, as it is wherever it is raised
    target = "s3://bucket/p/"
    error = ConfigurationError(f"No file matches {target}mail=canary/r.csv in /canary. Correct source.files.")
    error.add_note("mc_sink: Nothing became visible. (s3://bucket/p/mail=canary/r.csv)")
    kept = failure_of(error, known=(target,)).text
    assert kept.startswith("No file matches s3://bucket/p/…. Correct source.files. Nothing became visible. ")
    assert "canary" not in kept
    stopped = CommitError("canary", committed=["a"], uncommitted=["b", "c"])
    assert failure_of(stopped).text == "… 1 of 3 files are visible."
    denied = PermissionDenied("canary", action="s3:PutObject")
    assert failure_of(denied).text == "Missing: s3:PutObject. … Nothing became visible."


def test_a_partitions_file_is_found_again_without_its_name(state: Path, tmp_path: Path) -> None:
    """A record verifies a delivery by partitions, of whose paths it has aliases; the run itself has the true ones."""
    frame = pl.DataFrame({"mail": ["canary@example.com", "b"], "x": [1, 2]})
    ongoing = begin(Beginning(run_id="r-1", connection="nightly", target=f"{tmp_path}/"))
    receipt = sink_madconnect(frame, f"{tmp_path}/", partition_by="mail", run_id="r-1", progress=False)
    assert ongoing.delivered(receipt).files == receipt.files
    found = find_run("r-1")
    assert b"canary" not in (state / "history.sqlite3").read_bytes()
    assert all(file.path.startswith(f"{tmp_path}/…") for file in found.files)
    assert [file.checksum for file in found.files] == [file.checksum for file in receipt.files]
    assert verify(found.receipt()).ok
    (changed, gone) = (file.path for file in receipt.files)
    Path(changed).write_text("changed", "utf-8")
    Path(gone).unlink()
    seen = verify(found.receipt())
    assert (seen.changed, seen.missing[:1]) == ((changed,), (found.files[1].path,))


@pytest.mark.parametrize("options", [{}, {"partition_by": "mail"}], ids=["one file", "partitions"])
def test_a_record_has_the_statement_that_loads_its_files(state: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    """A record reads back every row by the dialect that was written; partitions are found by a pattern."""
    frame = pl.DataFrame({"mail": ["canary@example.com", None], "x": [1, 2]})
    ongoing = begin(Beginning(run_id="r-1", connection="nightly", target=f"{tmp_path}/"))
    ongoing.delivered(sink_madconnect(frame, f"{tmp_path}/", run_id="r-1", preset="snowflake", **options))
    sink_madconnect(frame, f"{tmp_path}/", run_id="r-10", **options)
    statement = find_run("r-1").receipt().load_statement("t", "duckdb")
    assert "canary" not in statement
    assert b"canary" not in (state / "history.sqlite3").read_bytes()
    with duckdb.connect() as database:
        database.execute(statement)
        assert database.sql("SELECT mail, x FROM t ORDER BY x").fetchall() == frame.rows()


def test_a_history_of_an_earlier_version_gets_the_new_column(state: Path) -> None:
    """Its records have no statement, and say why."""
    begin(FACTS).failed(ValueError())
    with sqlite3.connect(state / "history.sqlite3") as table:
        table.execute("alter table runs drop column details")
    table.close()
    with pytest.raises(ConfigurationError, match="doesn't have the dialect of its files"):
        find_run("r-1").receipt().load_statement("t", "duckdb")


def test_a_failure_says_where_it_was_raised() -> None:
    """Of a foreign error the record keeps the type, and the file and line that raised it."""
    with pytest.raises(ZeroDivisionError) as caught:
        _ = 1 // 0
    found = failure_of(caught.value)
    assert found.kind == "ZeroDivisionError"
    assert __file__ in found.text


def test_urls_lose_their_passwords() -> None:
    """A message that names a database by its URL is shown without what stands before the host."""
    assert masked("postgresql://me:canary@host/db") == "postgresql://…@host/db"
    assert masked("'postgresql://me:can@ry@host/db'") == "'postgresql://…@host/db'"


@pytest.mark.parametrize("name", ["SNOWFLAKE_PRIVATE_KEY_PASSPHRASE", "FEED_API_KEY", "AUDIENCE_DSN"])
def test_what_the_environment_keeps_secret_is_cut_out(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A text that quotes a secret of the environment is shown without it."""
    monkeypatch.setenv(name, "canary-canary")
    assert masked("canary-canary is refused") == "… is refused"


def test_what_can_not_be_noted_does_not_begin(state: Path) -> None:
    """An unreadable history fails the run before anything is sent, and leaves no lock behind."""
    (state / "history.sqlite3").write_bytes(b"no database at all" * 100)
    with pytest.raises(ConfigurationError, match=r"Cannot open the run history at"):
        begin(FACTS)
    assert list((state / "runs").iterdir()) == []


def test_a_delivery_is_true_even_if_its_record_can_not_be_written(state: Path, tmp_path: Path) -> None:
    """When the disk is lost after a delivery, the run still ends as delivered."""
    ongoing = begin(FACTS)
    receipt = sink_madconnect(pl.DataFrame({"a": [1]}), f"{tmp_path}/x.csv", run_id="r-1")
    (state / "history.sqlite3").write_bytes(b"no database at all" * 100)
    assert ongoing.delivered(receipt).status == "delivered"


def test_a_recovered_run_is_delivered(tmp_path: Path) -> None:
    """A run that had stopped part way, and was ended later, reads as delivered, with its files."""
    run = begin(FACTS).failed(SinkError("1 of 2 files are visible"))
    receipt = sink_madconnect(pl.DataFrame({"a": [1]}), f"{tmp_path}/x.csv", run_id="r-1")
    note_recovered(run, receipt)
    found = find_run("r-1")
    assert (found.status, found.error, found.num_rows) == ("delivered", None, 1)


def test_the_table_can_be_read_by_others(state: Path) -> None:
    """Any SQLite client reads the history while a run goes on."""
    ongoing = begin(FACTS)
    with sqlite3.connect(f"file:{state}/history.sqlite3?mode=ro", uri=True) as table:
        assert table.execute("select run_id, status from runs").fetchall() == [("r-1", "running")]
    table.close()
    ongoing.failed(KeyboardInterrupt())
    assert find_run("r-1").status == "interrupted"


def test_columns_of_a_later_version_are_left_alone(state: Path) -> None:
    """A file that a later version has widened is read and written, and what this one doesn't know stays."""
    begin(FACTS).failed(ValueError())
    with sqlite3.connect(state / "history.sqlite3") as table:
        table.execute("alter table runs add column mood text default 'good'")
    assert begin(FACTS).failed(KeyboardInterrupt()).status == "interrupted"
    assert [run.status for run in list_runs()] == ["interrupted", "failed"]
    assert table.execute("select distinct mood from runs").fetchall() == [("good",)]
    table.close()


def test_a_record_of_an_earlier_version_is_read(state: Path) -> None:
    """A file in it says under its old name whether it is of a prior attempt, and lacks the fields that came later."""
    begin(FACTS).failed(ValueError())
    files = (
        '[{"path": "s3://b/p/x.csv", "num_rows": 3, "num_bytes": 40, "etag": "e", "version_id": null, '
        '"checksum": "crc32:01234567", "partition": null, "found": true, "create_only": null}]'
    )
    with sqlite3.connect(state / "history.sqlite3") as table:
        table.execute("update runs set status = 'delivered', error = null, files = ?", (files,))
    table.close()
    (file,) = find_run("r-1").files
    assert (file.path, file.num_rows, file.from_prior_attempt, file.integrity) == ("s3://b/p/x.csv", 3, True, None)
    assert find_run("r-1").receipt().num_found == 1


def test_a_record_that_can_not_be_read_is_said(state: Path) -> None:
    """A record that another program has changed is an error that names the file, and changes no run's end."""
    ongoing = begin(FACTS)
    with sqlite3.connect(state / "history.sqlite3") as table:
        table.execute("update runs set storage_options = 'none'")
    table.close()
    with pytest.raises(ConfigurationError, match=r"history\.sqlite3"):
        list_runs()
    assert ongoing.failed(KeyboardInterrupt()).status == "interrupted"


def test_an_end_is_told_without_a_folder_to_note_it_in(state: Path) -> None:
    """When the whole folder is gone for good, a run still ends as it has ended."""
    ongoing = begin(FACTS)
    shutil.rmtree(state)
    state.write_text("in its place", encoding="utf-8")
    assert ongoing.failed(KeyboardInterrupt()).status == "interrupted"


def test_a_signal_while_it_is_noted_loses_no_record(state: Path, tmp_path: Path) -> None:
    """A signal while a delivery is being recorded ends the program, and the delivery is recorded."""
    ongoing = begin(FACTS)
    receipt = sink_madconnect(pl.DataFrame({"a": [1]}), f"{tmp_path}/x.csv", run_id="r-1")
    other = sqlite3.connect(state / "history.sqlite3", isolation_level=None, check_same_thread=False)
    other.execute("begin exclusive")  # so that noting has to wait
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    threading.Timer(0.6, other.close).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            ongoing.delivered(receipt)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert find_run("r-1").status == "delivered"
