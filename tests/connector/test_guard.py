"""A connection's guard: how few rows, and how far from the last delivery's, before anything is visible."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from mc_sink import ConfigurationError, SinkError, ValidationError
from mc_sink.connector import history
from mc_sink.connector.cli.exit import Code
from mc_sink.connector.connections import deliver, inspect, load
from tests.support.command_line import Machine

if TYPE_CHECKING:
    from pathlib import Path


def connection(folder: Path, rows: int, more: str, source: str = 'files = "in.parquet"') -> Path:
    """Write a connection of so many rows; a second time in the same folder it is the same connection."""
    folder.mkdir(exist_ok=True)
    pl.DataFrame({"id": range(rows)}, schema={"id": pl.Int64}).write_parquet(folder / "in.parquet")
    file = folder / "nightly.toml"
    file.write_text(f'target = "out/"\n{more}\n[source]\n{source}\n', encoding="utf-8")
    return file


def made(folder: Path) -> int:
    """Count the files that were delivered."""
    return len(list(folder.glob("out/*.csv")))


@pytest.mark.parametrize(
    ("guard", "rows", "fails"),
    [
        ("max_change = 0.5", 50, None),
        ("max_change = 0.5", 150, None),
        (
            "max_change = 0.5",
            49,
            r"49 rows .* 100 rows the last time: a change of -51\.0%, and max_change allows 50\.0%",
        ),
        ("max_change = 0.5", 151, r"151 rows .* 100 rows the last time: a change of \+51\.0%"),
        ("max_change = '50%'", 151, "100 rows the last time"),
        ("max_change = '300%'", 400, None),
        ("max_change = '300%'", 401, "100 rows the last time"),
        ("max_change = 0", 101, "100 rows the last time"),
        ("max_change = 1", 0, None),
        ("max_change = 0.99", 0, r"0 rows would be delivered after 100 rows"),
        ("min_rows = 100", 99, "Only 99 rows.*min_rows=100"),
        ("min_rows = 100\nmax_change = 0.5", 100, None),
    ],
)
def test_a_change_is_held_to_its_bound_up_and_down(tmp_path: Path, guard: str, rows: int, fails: str | None) -> None:
    """Both figures are in the message, nothing is visible, and the last delivered run stays the measure."""
    deliver(load(connection(tmp_path, 100, f"[guard]\n{guard}")))
    file = load(connection(tmp_path, rows, f"[guard]\n{guard}"))
    if fails is None:
        assert deliver(file).num_rows == rows
        return
    for _ in range(2):
        with pytest.raises(ValidationError, match=f"{fails}.*Nothing became visible"):
            deliver(file)
    assert made(tmp_path) == 1
    deliver(load(connection(tmp_path, 100, f"[guard]\n{guard}")))


def test_the_first_run_and_another_connections_runs_are_no_measure(tmp_path: Path) -> None:
    """Two connections of one name in two folders don't know each other; nor is a run without rows a measure."""
    guard = "[guard]\nmax_change = '10%'"
    deliver(load(connection(tmp_path / "a", 100, guard)))
    assert deliver(load(connection(tmp_path / "b", 0, guard))).num_rows == 0
    assert deliver(load(connection(tmp_path / "b", 5, guard))).num_rows == 5
    with pytest.raises(ValidationError, match=r"6 rows .* 5 rows the last time"):
        deliver(load(connection(tmp_path / "b", 6, guard)))


def test_changes_are_held_to_the_rows_of_the_last_delivery(tmp_path: Path) -> None:
    """With previous= the measure is its rows, and what is counted are the rows of this run, not those that differ."""
    pl.DataFrame({"id": range(100)}).write_parquet(tmp_path / "last.parquet")
    more = 'previous = "last.parquet"\nkeys = ["id"]\nmanifest = false\n[guard]\nmax_change = 0.2'
    assert deliver(load(connection(tmp_path, 100, more))).num_rows == 0
    assert deliver(load(connection(tmp_path, 90, more))).num_rows == 10
    with pytest.raises(ValidationError, match=r"10 rows .* 100 rows the last time: a change of -90\.0%"):
        deliver(load(connection(tmp_path, 10, more)))


@pytest.mark.parametrize(
    "guard",
    [
        "max_change = 50",
        "max_change = 1.01",
        "max_change = -0.1",
        "max_change = nan",
        "max_change = inf",
        "max_change = true",
        "max_change = '50'",
        "max_change = 'half'",
        "max_change = '-5%'",
        "max_change = []",
        "min_rows = true",
        "min_rows = 1.5",
        "max_changes = 0.5",
        "min_rows = -1",
    ],
)
def test_a_guard_that_could_mean_two_things_is_refused_when_it_is_read(tmp_path: Path, guard: str) -> None:
    """50 may be fifty times or percent; so is a text that is not a number, and an unknown key."""
    with pytest.raises(ConfigurationError, match=r"guard|min_rows"):
        inspect(load(connection(tmp_path, 1, f"[guard]\n{guard}")))


def test_one_bound_is_said_once(tmp_path: Path) -> None:
    """min_rows is a key of its own, too; both of them contradict each other."""
    with pytest.raises(ConfigurationError, match=r"min_rows and guard\.min_rows"):
        load(connection(tmp_path, 1, "min_rows = 1\n[guard]\nmin_rows = 1"))
    with pytest.raises(ValidationError, match=r"Only 1 row .*min_rows=2"):
        deliver(load(connection(tmp_path, 1, "min_rows = 2")))
    for key in ("max_rows_per_file", "row_group_size", "min_rows"):
        with pytest.raises(ConfigurationError, match=f"{key} .* not true or false"):
            load(connection(tmp_path, 1, f"{key} = true"))


def test_an_empty_run_is_skipped_in_the_record_and_no_failure(tmp_path: Path) -> None:
    """The record says so, on_success is called, and the exit code is 0; with "fail" it is that of invalid rows."""
    machine = Machine(tmp_path / "work", tmp_path / "state")
    hook = "[hooks]\non_success = ['touch', 'succeeded']\non_failure = ['touch', 'failed']"
    file = connection(machine.folder, 0, f'on_empty = "skip"\n{hook}')
    ended = machine.here("run", file, "--json").json()
    assert (ended["status"], ended["num_rows"], ended["files"], ended["error"]) == ("skipped", 0, [], None)
    assert made(machine.folder) == 0
    assert (machine.folder / "succeeded").exists()
    assert not (machine.folder / "failed").exists()
    assert "skipped" in machine.here("run", file).out
    assert len(machine.here("history", "--status", "skipped", "--json").out.splitlines()) == 2
    machine.here("verify", ended["run_id"], code=Code.CONFIGURATION)
    failing = connection(machine.folder, 0, 'on_empty = "fail"')
    assert 'on_empty is "fail"' in machine.here("run", failing, code=Code.INVALID).err


def test_min_rows_on_the_command_line_is_the_last_word(tmp_path: Path) -> None:
    """A flag of `run` and of `send`, in place of what the file says."""
    machine = Machine(tmp_path / "work", tmp_path / "state")
    file = connection(machine.folder, 5, "[guard]\nmin_rows = 3")
    assert "Only 5 rows" in machine.here("run", file, "--min-rows", 6, code=Code.INVALID).err
    assert (
        "Only 5 rows"
        in machine.here(
            "send", machine.folder / "in.parquet", f"{tmp_path}/sent/", "--min-rows", 6, code=Code.INVALID
        ).err
    )
    machine.here("send", machine.folder / "in.parquet", f"{tmp_path}/sent/", "--min-rows", 5)
    machine.here("run", file, "--min-rows", 5)
    assert made(machine.folder) == 1
    machine.here("send", machine.folder / "in.parquet", f"{tmp_path}/sent/", "--set", "guard.max_change=0.1")
    machine.here("run", file, "--min-rows", -1, code=Code.USAGE)


def test_a_history_that_has_no_delivered_run_is_no_measure(tmp_path: Path) -> None:
    """Runs that failed or were skipped delivered nothing."""
    file = load(connection(tmp_path, 0, 'on_empty = "skip"\n[guard]\nmax_change = 0.1'))
    assert deliver(file).status == "skipped"
    with pytest.raises(SinkError):
        deliver(load(connection(tmp_path, 0, 'on_empty = "fail"\n[guard]\nmax_change = 0.1')))
    found: Any = history.last_rows(history.Beginning(run_id="x", connection="nightly", target="t", file=str(file.file)))
    assert found is None
    assert deliver(load(connection(tmp_path, 7, "[guard]\nmax_change = 0.1"))).num_rows == 7
