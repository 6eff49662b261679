"""What a local delivery that didn't end well leaves on the disk: nothing, or what the next run and `recover` remove."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from typer.testing import CliRunner

import mc_sink
from mc_sink import ConfigurationError
from mc_sink.connector.cli.app import app
from mc_sink.publishing import hidden_files, journal
from mc_sink.storage.local import is_hidden
from tests.support.child_deliveries import start_python
from tests.support.connection_files import wait_until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

RUN = "r1"
FRAME = pl.DataFrame({"k": ["a", "b", "c"], "x": [1, 2, 3]})
CHILD = """
import sys, time
import polars as pl
import mc_sink

def rows():
    for key in "abcdefgh":
        yield pl.DataFrame({"k": [key] * 1000, "x": range(1000)})
    time.sleep(600)
    yield pl.DataFrame({"k": ["a"], "x": [1]})

mc_sink.sink_madconnect(
    rows(), sys.argv[1], run_id="r1", format="csv", partition_by="k", row_group_size=1000, progress=False
)
"""


@pytest.fixture
def writing(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Yield a process that is in the middle of a partitioned delivery to `out` in the test's folder."""
    child = start_python("-c", CHILD, f"{tmp_path}/out/")
    wait_until(lambda: len(hidden(tmp_path)) == 8, child)
    yield child
    child.kill()
    child.communicate()


def kill(child: subprocess.Popen[str]) -> None:
    """End a process in a way that it can't answer."""
    child.send_signal(signal.SIGKILL)
    child.wait()


def hidden(folder: Path) -> list[str]:
    """Return the names of the hidden files anywhere in a folder."""
    return sorted(path.name for path in folder.rglob("*") if is_hidden(path.name))


def deliver(target: str, **options: Any) -> mc_sink.Receipt:
    """Deliver the rows in partitions under the run id of the child."""
    given: dict[str, Any] = {"run_id": RUN, "format": "csv", "partition_by": "k", "progress": False}
    return mc_sink.sink_madconnect(FRAME, target, **given | options)


def test_the_next_run_removes_what_a_killed_process_left(tmp_path: Path, writing: subprocess.Popen[str]) -> None:
    """Not while the process lives, not those of another run, and not twice."""
    before = hidden(tmp_path)
    assert before
    deliver(f"{tmp_path}/other/", run_id="r2")
    with pytest.raises(ConfigurationError, match="has no journal"):
        mc_sink.recover(RUN)
    assert hidden(tmp_path) == before
    kill(writing)
    deliver(f"{tmp_path}/elsewhere/")  # the same id, and another target
    assert hidden(tmp_path) == before
    assert len(hidden_files.list_left()) == 1
    assert deliver(f"{tmp_path}/out/").num_rows == 3
    assert hidden(tmp_path) == []
    assert hidden_files.list_left() == []


def test_recover_lists_and_removes_it(tmp_path: Path, writing: subprocess.Popen[str], state_folder: Path) -> None:
    """The command lists the run with its target; discarding leaves neither files nor the folders that were made."""
    num_files = len(hidden(tmp_path))
    command = CliRunner()
    assert command.invoke(app, ["recover"]).stdout == "No delivery of this machine is unfinished.\n"
    kill(writing)
    listed = command.invoke(app, ["recover", "--json"])
    assert json.loads(listed.stdout) | {"noted_at": ""} == {
        "run_id": RUN,
        "target": f"{tmp_path}/out/",
        "noted_at": "",
        "num_hidden_files": num_files,
    }
    assert "mc-sink recover ID --discard, removes them:\nrun id  target" in command.invoke(app, ["recover"]).stdout
    discarded = command.invoke(app, ["recover", RUN, "--discard"])
    assert (discarded.exit_code, discarded.stdout) == (0, "Discarded.\n")
    assert list(tmp_path.iterdir()) == []
    assert list((state_folder / "hidden").iterdir()) == []


def test_recover_without_a_journal_says_what_it_removed(tmp_path: Path, writing: subprocess.Popen[str]) -> None:
    """Nothing can be published of a run whose publishing had not begun; its hidden files are removed all the same."""
    kill(writing)
    with pytest.raises(ConfigurationError, match=r"The hidden files that a killed process left were removed\. Rerun"):
        mc_sink.recover(RUN, target=f"{tmp_path}/out/")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_stays_is_named(tmp_path: Path, writing: subprocess.Popen[str]) -> None:
    """One that can't be removed, because a folder has taken its name, and `recover` says so."""
    kill(writing)
    name = next(path for path in (tmp_path / "out" / "k=a").iterdir())
    name.unlink()
    name.mkdir()
    left = mc_sink.recover(RUN, action="discard")
    assert left == [f"{name} could not be removed: Is a directory. Remove it."]
    assert hidden(tmp_path) == [name.name]


def test_what_a_journal_lists_is_left_to_recover(tmp_path: Path) -> None:
    """A note that outlived its process and lists files which wait to be published: they are published."""
    staged = mc_sink.stage(FRAME, f"{tmp_path}/out/", run_id=RUN, partition_by="k", format="csv", progress=False)
    journal.prepare()
    journal.write([staged])
    leave_note([(file.path, file.upload) for file in staged.files], staged.target)
    assert deliver(f"{tmp_path}/out/").num_rows == 3
    assert hidden(tmp_path) == []
    assert len(list((tmp_path / "out").rglob("r1-*.csv"))) == 3


def test_a_note_removes_nothing_but_hidden_files(tmp_path: Path) -> None:
    """A file with another name stays, although a note in the state folder lists it; a line cut short is left out."""
    (tmp_path / "precious").write_text("x")
    place = {"path": f"{tmp_path}/x", "temporary": f"{tmp_path}/precious", "folders": [str(tmp_path)]}
    note = leave_note([(f"{tmp_path}/x", place)], f"{tmp_path}/")
    with note.open("a") as opened:
        opened.write('{"url": "/x", "pla')
    assert hidden_files.list_left() == []
    deliver(f"{tmp_path}/")
    assert (tmp_path / "precious").read_text() == "x"


def leave_note(files: list[tuple[str, Any]], target: str) -> Path:
    """Write a note as a killed process leaves it."""
    noted: list[Path] = []
    with hidden_files.noted(RUN, target) as note:
        note(*files[0])
        noted += (journal.folder().parent / "hidden").glob("*.json")
        text = noted[0].read_text().splitlines()[0]
    lines = [{"url": url, "place": journal.as_json(place)} for url, place in files if not isinstance(place, dict)]
    lines += [{"url": url, "place": place} for url, place in files if isinstance(place, dict)]
    noted[0].write_text("".join(f"{line}\n" for line in [text, *map(json.dumps, lines)]))
    return noted[0]


def fail_late() -> Iterator[pl.DataFrame]:
    """Yield rows of many partitions, and fail."""
    for number in range(12):
        yield pl.DataFrame({"k": [f"p{number:02d}"] * 100, "x": range(100)})
    raise RuntimeError("gone")


def stage_and_discard(target: str, **options: Any) -> None:
    """Stage, and discard in another order; nothing stays."""
    staged = mc_sink.stage(FRAME, target, progress=False, **options)
    assert mc_sink.discard([staged]) == []


def fail(target: str, **options: Any) -> None:
    """Deliver rows whose source fails."""
    with pytest.raises(RuntimeError, match="gone"):
        mc_sink.sink_madconnect(fail_late(), target, row_group_size=100, progress=False, **options)


def fail_a_share(target: str, **options: Any) -> None:
    """Stage a share whose source fails, and one whose rows are refused."""
    delivery = mc_sink.open_delivery(target, {"k": pl.String, "x": pl.Int64}, on_empty="fail", **options)
    with pytest.raises(RuntimeError, match="gone"):
        delivery.stage(fail_late(), number=0)
    share = delivery.stage(FRAME, number=1)
    assert delivery.discard([share]) == []


WAYS: dict[str, Callable[..., None]] = {"fails": fail, "is discarded": stage_and_discard, "in shares": fail_a_share}


@pytest.mark.parametrize("options", [{"partition_by": "k"}, {"max_rows_per_file": 100}, {}], ids=str)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_no_folder_that_was_made_stays(tmp_path: Path, way: Callable[..., None], options: dict[str, Any]) -> None:
    """Neither those of the partitions nor those above them; one that was there before stays."""
    (tmp_path / "kept").mkdir()
    way(f"{tmp_path}/kept/new/deep/", format="csv", **options)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["kept"]


def test_a_folder_that_another_program_uses_stays(tmp_path: Path) -> None:
    """Only empty folders are removed."""
    staged = mc_sink.stage(FRAME, f"{tmp_path}/new/", partition_by="k", format="csv", progress=False)
    (tmp_path / "new" / "k=a" / "of_another").write_text("x")
    assert mc_sink.discard([staged]) == []
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        "new",
        "new/k=a",
        "new/k=a/of_another",
    ]


def test_one_unreadable_journal_hides_no_other(tmp_path: Path, state: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The others are listed, and recovered by their target; the command names the bad one and exits with 3."""
    staged = mc_sink.stage(FRAME, f"{tmp_path}/out/", run_id=RUN, progress=False)
    journal.prepare()
    journal.write([staged])
    (state / "journals" / f"{RUN}-0123abcd.json").write_text("{}")
    (state / "journals" / "other-0123abcd.json").mkdir()
    assert [one.run_id for one in mc_sink.list_journals()] == [RUN]
    assert caplog.text.count("can't be read") == 2
    listed = CliRunner().invoke(app, ["recover"])
    assert (listed.exit_code, listed.stderr.count("can't be read")) == (3, 2)
    assert f"{tmp_path}/out/" in listed.stdout
    assert mc_sink.recover(RUN, target=f"{tmp_path}/out/").num_rows == 3
    listed = CliRunner().invoke(app, ["recover"])
    assert (listed.exit_code, listed.stdout) == (3, "")
