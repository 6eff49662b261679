"""`mc-sink report`: of one run, of the last one, and an index of all with a page for each."""

from __future__ import annotations

import re
import sqlite3
from typing import TYPE_CHECKING

import pytest

from mc_sink import ValidationError, platforms
from mc_sink.connector.connections import deliver, load
from mc_sink.connector.history import find_run, list_runs
from mc_sink.platforms import Platform
from tests.support.canary import CANARIES, KEY, SECRET, TOKEN
from tests.support.command_line import Machine
from tests.support.report_pages import ReportPage

if TYPE_CHECKING:
    from pathlib import Path

CELL = "CanaryCell-4711"
MODULE = f"""
import pandera.polars as pa
import polars as pl

KINDS = pa.DataFrameSchema({{"kind": pa.Column(str, pa.Check.isin(["ok"]))}}, strict=False, name="kinds")

def rows(bad=2, number=10):
    kinds = ["{CELL}"] * bad + ["ok"] * (number - bad)
    return pl.DataFrame({{"kind": kinds, "day": ["{CELL}"] * number}})
"""
TEXT = """
target = "out/"
schema = "report_rows:KINDS"
on_invalid = "reject"
rejects = "rejects/"
partition_by = "day"
[source]
function = "report_rows:rows"
arguments = {{bad = {bad}}}
"""


@pytest.fixture
def machine(tmp_path: Path, state_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Run a connection: two rows are rejected, then all of them, which fails; then two again."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report_rows.py").write_text(MODULE)
    for number, bad in enumerate((2, 10, 2)):
        (tmp_path / "nightly.toml").write_text(TEXT.format(bad=bad))
        if bad == 10:
            with pytest.raises(ValidationError, match="Every row"):
                deliver(load(tmp_path / "nightly.toml"), run_id=f"r-{number}", progress=False)
        else:
            deliver(load(tmp_path / "nightly.toml"), run_id=f"r-{number}", progress=False)
    return Machine(tmp_path, state_folder)


def test_the_report_of_the_last_run_has_the_bars_of_its_connection(machine: Machine) -> None:
    """What the history kept is enough for checks, contents, stages and the row of bars; and no cell is in it."""
    assert machine.here("report").out == "Wrote report-r-2.html\n"
    html = (machine.folder / "report-r-2.html").read_text("utf-8")
    page = ReportPage(html)
    for fact in ("Delivered", "nightly", "8", "2 failures of kind", "kinds", "Make the files visible"):
        assert fact in page.text, fact
    assert "The last 3 runs of nightly, the oldest first: delivered, failed, delivered." in page.titles_of_pictures
    assert CELL not in html


def test_a_failed_run_shows_its_error_and_its_checks(machine: Machine) -> None:
    """The picture of the checks is there although nothing was delivered."""
    machine.here("report", "r-1", "--output", "failed.html")
    html = (machine.folder / "failed.html").read_text("utf-8")
    page = ReportPage(html)
    for fact in ("Failed", "ValidationError", "10 failures of kind", "Nothing became visible."):
        assert fact in page.text, fact
    assert CELL not in html
    machine.here("report", "r-9", code=3)
    machine.here("report", "r-1", "--all", code=3)


def test_the_index_links_to_the_page_of_each_run(machine: Machine) -> None:
    """Platforms with masked keys, connections with their bars, and runs; every link leads to a page."""
    saved = Platform(name="acme", access_key_id=KEY, secret_access_key=SECRET, session_token=TOKEN)
    platforms.save(saved, store="file")
    assert machine.here("report", "--all").out == "Wrote reports/index.html\n"
    folder = machine.folder / "reports"
    index = ReportPage((folder / "index.html").read_text("utf-8"))
    assert sorted(index.links) == ["run-r-0.html", "run-r-1.html", "run-r-2.html"]
    for link in index.links:
        ReportPage((folder / link).read_text("utf-8"))
    for fact in ("acme", "key AKIA…0001", "nightly", "2 delivered, 1 failed."):
        assert fact in index.text, fact
    written = "".join(path.read_text("utf-8") for path in folder.iterdir())
    assert [one for one in (*CANARIES, CELL) if one in written] == []
    machine.here("report", "--all")  # over reports, which are replaced


def test_a_machine_without_runs(tmp_path: Path, state_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last run needs one; the index is a page in any case."""
    monkeypatch.chdir(tmp_path)
    machine = Machine(tmp_path, state_folder)
    assert "No run of this machine is recorded" in machine.here("report", code=3).err
    machine.here("report", "--all", "-o", "pages")
    page = ReportPage((tmp_path / "pages" / "index.html").read_text("utf-8"))
    assert {"No platform is saved.", "No connection has run.", "No run is recorded."} <= set(page.texts)


def test_a_history_of_an_earlier_version_is_read_and_reported(machine: Machine) -> None:
    """Its table has no column for what a report shows besides; a run's own facts are there all the same."""
    with sqlite3.connect(machine.state / "history.sqlite3") as table:
        table.execute("alter table runs drop column details")
    table.close()
    assert [run.details for run in list_runs()] == [None] * 3
    assert find_run("r-2").receipt().content is None
    machine.here("report", "r-2")
    page = ReportPage((machine.folder / "report-r-2.html").read_text("utf-8"))
    assert "Delivered" in page.texts
    assert not re.search("Contents|Make the files visible", page.text)


@pytest.mark.usefixtures("machine")
def test_the_record_gives_back_what_the_receipt_had() -> None:
    """Contents, stages and checks, as they were delivered."""
    receipt = find_run("r-2").receipt()
    assert receipt.content
    assert receipt.content.schema == "kinds"
    assert receipt.content.partition_by == ("day",)
    assert [stage.name for stage in receipt.stages] == ["prepare", "rows", "upload", "check", "publish"]
    assert receipt.rejects
    assert [(one.column, one.num_failures) for one in receipt.rejects.checks] == [("kind", 2)]
    assert list_runs()[0].as_json()["details"]["content"]["format"] == "csv"
