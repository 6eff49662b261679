"""Deliveries from Python are in the history: what `mc-sink` shows of them, what is kept, and what it may not cost."""

from __future__ import annotations

import json
import logging
import multiprocessing
import re
import sqlite3
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandera.polars as pa
import polars as pl
import pytest

import mc_sink
from mc_sink import ConfigurationError, Platform, SinkError, platforms
from mc_sink.connector import deliver, find_run, list_runs, load
from mc_sink.connector.cli.exit import Code
from mc_sink.records import inbox, recorded
from tests.support.canary import CANARIES, KEY, SECRET, TOKEN
from tests.support.command_line import Machine
from tests.support.report_pages import ReportPage

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.fault import FaultServer

CELL = "CanaryCell-4711"
# Options that hold no secret, unless one was written into the wrong place.
MISPLACED = ("endpoint_url", "client_kwargs", "default_block_size", "profile", "checksum_algorithm")
FEW = pl.DataFrame({"mail": [CELL, "b"], "x": [1, 2]})


@pytest.fixture
def machine(tmp_path: Path, state_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Work in a folder, with the state of this test."""
    monkeypatch.chdir(tmp_path)
    return Machine(tmp_path, state_folder)


def kept(state: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(state.rglob("*")) if path.is_file())


@pytest.mark.parametrize("rows", [2, 1_000])
def test_show_names_the_first_rows_that_failed(machine: Machine, state_folder: Path, rows: int) -> None:
    """Row, column and check, of at most 20 failures; the values are nowhere in the state folder."""
    bad = pl.DataFrame({"id": range(rows), "x": [CELL] * rows})
    schema = pa.DataFrameSchema({"id": pa.Column(int), "x": pa.Column(str, pa.Check.isin(["a", "b"]))}, name="own")
    with pytest.raises(mc_sink.ValidationError):
        mc_sink.sink_madconnect(bad, "out.csv", schema=schema, run_id="r-1", progress=False)
    assert CELL.encode() not in kept(state_folder)
    details = json.loads(machine.here("show", "r-1", "--json").out)["details"]
    assert [case["row"] for case in details["cases"]] == list(range(min(rows, 20)))
    assert {(case["column"], case["check"]) for case in details["cases"]} == {("x", details["checks"][0]["check"])}
    shown = machine.here("show", "last").out
    assert "The first rows that failed, counted from 0; values are not recorded:" in shown
    assert re.search(r"^1 +x +isin", shown, re.MULTILINE)
    (run,) = list_runs()
    assert run.details is not None
    assert len(run.details.cases) == min(rows, 20)


def test_the_commands_work_for_a_script(machine: Machine, fault_s3: FaultServer) -> None:
    """`verify last` finds the store by the options of the call, without its key; `report` has the row of bars."""
    prefix = f"s3://{fault_s3.bucket}/daily/"
    for name in ("r-1", "r-2"):
        mc_sink.sink_madconnect(FEW, prefix, storage_options=fault_s3.storage_options, run_id=name, progress=False)
    mc_sink.sink_madconnect(FEW, machine.folder / "else.csv", run_id="r-3", progress=False)
    with pytest.raises(SinkError):
        mc_sink.sink_madconnect(
            FEW, prefix, storage_options=fault_s3.storage_options, run_id="r-4", min_rows=3, progress=False
        )
    lines = machine.here("history", "--connection", "python", "--json").out.splitlines()
    runs = [json.loads(line) for line in lines]
    assert [(run["run_id"], run["status"], run["trigger"]) for run in runs] == [
        ("r-4", "failed", "python"),
        ("r-3", "delivered", "python"),
        ("r-2", "delivered", "python"),
        ("r-1", "delivered", "python"),
    ]
    assert runs[0]["error"]["visible"] == "nothing"
    assert machine.here("show", "r-2", "--json").json()["num_rows"] == 2
    machine.here("report", "r-2", "--output", "run.html")
    page = ReportPage((machine.folder / "run.html").read_text("utf-8"))
    assert "The last 3 runs of python, the oldest first: delivered, delivered, failed." in page.titles_of_pictures
    key = fault_s3.writer.credentials
    machine = replace(machine, more={"AWS_ACCESS_KEY_ID": key.key, "AWS_SECRET_ACCESS_KEY": key.secret})
    assert machine.here("verify", "r-2", "--json").json()["ok"] is True
    machine.here("verify", "last", code=Code.CONFIGURATION)
    fault_s3.store.bucket(fault_s3.bucket).clear()
    machine.here("verify", "r-2", code=Code.DIFFERENT)


def test_a_platform_is_recorded_by_its_name(machine: Machine, fault_s3: FaultServer) -> None:
    """`verify last` needs no option then."""
    writer = fault_s3.writer
    platforms.save(
        Platform(
            name="acme",
            access_key_id=writer.credentials.key,
            secret_access_key=writer.credentials.secret,
            endpoint=writer.url,
        )
    )
    mc_sink.sink_madconnect(FEW, f"s3://{fault_s3.bucket}/p/", platform="acme", progress=False)
    assert find_run("last").platform == "acme"
    assert machine.here("verify", "last", "--json").json() == {
        "ok": True,
        "checked": 1,
        "missing": [],
        "changed": [],
    } | {"uncomputed": []}


def test_each_way_to_publish_is_recorded_once(tmp_path: Path, fault_s3: FaultServer) -> None:
    """Staged files, shares of workers and a recovery are; a connection's own run is not recorded twice."""
    options: dict[str, Any] = {"storage_options": fault_s3.storage_options, "progress": False}
    staged = mc_sink.stage(FEW, f"s3://{fault_s3.bucket}/p/", run_id="staged", **options)
    assert not list_runs()
    mc_sink.publish([staged], storage_options=fault_s3.storage_options)
    delivery = mc_sink.open_delivery(f"{tmp_path}/shares/", FEW.schema, run_id="shares")
    delivery.publish([delivery.stage(FEW, number=0)], num_shares=1)
    (tmp_path / "rows.csv").write_text("id\n1\n", "utf-8")
    (tmp_path / "c.toml").write_text('target = "out/"\n[source]\nfiles = "rows.csv"\n', "utf-8")
    deliver(load(tmp_path / "c.toml"), run_id="connection", progress=False)
    assert [(run.run_id, run.status) for run in list_runs()] == [
        ("connection", "delivered"),
        ("shares", "delivered"),
        ("staged", "delivered"),
    ]


@pytest.mark.parametrize("value", ["off", "0", "False", "no"])
def test_one_setting_turns_it_off(
    tmp_path: Path, state_folder: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """Then nothing of the delivery is kept."""
    monkeypatch.setenv(inbox.SWITCH, value)
    mc_sink.sink_madconnect(FEW, tmp_path / "a.csv", progress=False)
    assert not [path for path in state_folder.iterdir() if path.name.startswith("history")]
    assert not list_runs()


def test_a_misspelt_setting_records_nothing(
    tmp_path: Path, state_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A setting is made mostly to turn it off; the log says so."""
    monkeypatch.setenv(inbox.SWITCH, "of")
    mc_sink.sink_madconnect(FEW, tmp_path / "a.csv", progress=False)
    assert not (state_folder / inbox.FILE).exists()
    assert "MC_SINK_HISTORY is neither on nor off" in caplog.text


def test_no_folder_is_made_for_it(tmp_path: Path, state_folder: Path) -> None:
    """A call that ends before any delivery needs the state folder leaves none."""
    with pytest.raises(ConfigurationError):
        mc_sink.publish([], storage_options={})
    with pytest.raises(ZeroDivisionError):
        recorded(lambda: 1 // 0, run_id="r", target=str(tmp_path))  # type: ignore[arg-type, return-value]
    assert not state_folder.exists()


def test_a_record_that_cannot_be_written_is_a_warning(
    tmp_path: Path, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The delivery succeeds, and an error of a delivery stays the error that it is."""
    (state / inbox.FILE).mkdir()
    receipt = mc_sink.sink_madconnect(FEW, tmp_path / "a.csv", run_id="r-1", progress=False)
    assert receipt.verify().ok
    with pytest.raises(SinkError):
        mc_sink.sink_madconnect(FEW, tmp_path / "b.csv", run_id="r-2", min_rows=3, progress=False)
    warnings = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert [text.partition(":")[0] for text in warnings] == [
        "Run r-1 ended, and its record can't be written",
        "Run r-2 ended, and its record can't be written",
    ]


def test_a_stopped_reader_stops_no_delivery(
    tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The lock is waited for, but not for long."""
    monkeypatch.setattr(inbox, "PATIENCE_SECONDS", 0.05)
    with inbox._turn(state / inbox.FILE):  # noqa: SLF001  as a reader that was stopped holds it
        assert mc_sink.sink_madconnect(FEW, tmp_path / "a.csv", progress=False).num_rows == 2
    assert "its record can't be written: TimeoutError" in caplog.text


def test_nothing_secret_is_kept(tmp_path: Path, state: Path, fault_s3: FaultServer) -> None:
    """Neither credentials of the options nor cells: in paths of partitions, in errors, in what a source raises."""
    options = fault_s3.storage_options | {"key": KEY, "secret": SECRET, "token": TOKEN}
    options["client_kwargs"] = {"region_name": "eu-west-1", "aws_session_token": TOKEN}
    regional = fault_s3.storage_options | {"client_kwargs": {"region_name": "eu-west-1"}}
    address = fault_s3.storage_options | {"endpoint_url": f"http://{KEY}:{SECRET}@127.0.0.1:1"}

    def rows() -> Any:
        yield FEW
        raise ValueError(f"cannot use {CELL}")

    calls: list[tuple[Any, str | Path, dict[str, Any]]] = [
        (FEW, f"s3://{fault_s3.bucket}/p/", {"storage_options": options}),
        (FEW, f"s3://{fault_s3.bucket}/p/", {"storage_options": address}),
        (FEW, f"s3://{fault_s3.bucket}/q/", {"storage_options": regional, "partition_by": "mail"}),
        (rows(), tmp_path / "b.csv", {}),
        *((FEW, f"s3://{fault_s3.bucket}/r/", {"storage_options": {name: SECRET}}) for name in MISPLACED),
        (FEW.lazy().with_columns(pl.col("mail").cast(pl.Int64)), tmp_path / "c.csv", {}),
    ]
    for frame, target, given in calls:
        try:
            mc_sink.sink_madconnect(frame, target, progress=False, **given)
        except Exception:  # noqa: BLE001, S112  how they end is proven elsewhere
            continue
    for _ in ("inbox", "table"):
        text = kept(state)
        assert not [one for one in (*CANARIES, CELL, fault_s3.writer.credentials.secret) if one.encode() in text]
        assert {run.status for run in list_runs()} == {"delivered", "failed"}
    assert len(list_runs()) == len(calls)
    endpoint = {"endpoint_url": fault_s3.url}
    assert list_runs()[-1].storage_options == endpoint  # of a failure only the address
    (delivered,) = list_runs(status="delivered")
    assert delivered.storage_options == endpoint | {"client_kwargs": {"region_name": "eu-west-1"}}


def record_many(folder: str, first: int, number: int) -> None:
    """Record deliveries, in a process of their own."""
    receipt = mc_sink.sink_madconnect(FEW, f"{folder}/{first}.csv", run_id=f"r-{first}", progress=False)
    for one in range(first + 1, first + number):
        recorded(lambda: receipt, run_id=f"r-{one}", target=receipt.target)


@pytest.mark.long
def test_processes_and_threads_write_while_another_reads(tmp_path: Path, state: Path) -> None:
    """Each delivery is in the history once in any order of their turns."""
    child = multiprocessing.get_context("spawn").Process(target=record_many, args=(str(tmp_path), 0, 50))
    thread = threading.Thread(target=record_many, args=(str(tmp_path), 50, 50))
    child.start()
    thread.start()
    while thread.is_alive() or child.is_alive():
        list_runs(limit=None)
        time.sleep(0.05)
    assert child.exitcode == 0
    assert sorted(int(run.run_id[2:]) for run in list_runs(limit=None)) == list(range(100))
    assert (state / inbox.FILE).stat().st_size == 0


def test_a_record_is_taken_once(tmp_path: Path, state: Path) -> None:
    """Also if the machine went down between the table and the inbox."""
    mc_sink.sink_madconnect(FEW, tmp_path / "a.csv", run_id="r-1", progress=False)
    lines = (state / inbox.FILE).read_bytes()
    assert len(list_runs()) == 1
    (state / inbox.FILE).write_bytes(lines)
    mc_sink.sink_madconnect(FEW, tmp_path / "b.csv", run_id="r-2", progress=False)
    assert [run.run_id for run in list_runs()] == ["r-2", "r-1"]


def test_a_damaged_line_hides_no_other(tmp_path: Path, state: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A machine that went down may leave half a line, or zeros."""
    mc_sink.sink_madconnect(FEW, tmp_path / "a.csv", run_id="r-1", progress=False)
    whole = (state / inbox.FILE).read_bytes()
    (state / inbox.FILE).write_bytes(whole[: len(whole) // 2] + b"\n" + bytes(20) + b"\n" + whole + b'{"run_id": 1}\n')
    assert [run.run_id for run in list_runs()] == ["r-1"]
    assert "3 records of deliveries from Python can't be read" in caplog.text
    assert not (state / inbox.FILE).stat().st_size


def test_the_inbox_is_bounded(tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing ever reads it, the newest records stay; the table keeps the newest too."""
    receipt = mc_sink.sink_madconnect(FEW, tmp_path / "a.csv", run_id="r-0", progress=False)
    monkeypatch.setattr(inbox, "MAX_BYTES", 10_000)
    for number in range(1, 40):
        recorded(lambda: receipt, run_id=f"r-{number}", target=receipt.target)
        assert (state / inbox.FILE).stat().st_size <= 10_000
    found = [run.run_id for run in list_runs(limit=None)]
    assert found == [f"r-{39 - one}" for one in range(len(found))]
    assert len(found) > 2
    monkeypatch.setattr("mc_sink.connector.history.table.KEEP", 2)
    recorded(lambda: receipt, run_id="r-40", target=receipt.target)
    assert [run.run_id for run in list_runs(limit=None)] == ["r-40", "r-39"]


def test_a_history_that_cannot_be_opened_keeps_the_inbox(tmp_path: Path, state: Path) -> None:
    """The records are moved once it can be."""
    mc_sink.sink_madconnect(FEW, tmp_path / "a.csv", run_id="r-1", progress=False)
    (state / "history.sqlite3").write_bytes(b"no database at all" * 100)
    with pytest.raises(ConfigurationError, match="Cannot open the run history"):
        list_runs()
    (state / "history.sqlite3").unlink()
    assert [run.run_id for run in list_runs()] == ["r-1"]
    with sqlite3.connect(state / "history.sqlite3") as table:
        assert table.execute("select count(*) from runs").fetchone() == (1,)
