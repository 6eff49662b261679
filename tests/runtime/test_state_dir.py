"""The folder that this machine keeps things in: what lies there is opened by what it is, and no link is followed."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import polars as pl
import pytest

from mc_sink import SinkError, platforms, sink_madconnect
from mc_sink.connector.history import Beginning, begin, hold, list_runs
from mc_sink.platforms import Platform
from mc_sink.publishing import journal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


PRECIOUS = "precious"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """Make a file that is no business of ours."""
    path = tmp_path / "victim.txt"
    path.write_text(PRECIOUS, "utf-8")
    return path


def use_history(_state: Path) -> object:
    """Write a record and read it."""
    return begin(Beginning(run_id="r", connection="c", target="t")).failed(ValueError()), list_runs()


def use_lock(_state: Path) -> None:
    """Hold a lock."""
    with hold("some", "A test runs"):
        pass


def use_journal_lock(state: Path) -> None:
    """Publish, under a lock whose name is a function of the run and its target."""
    with journal.lock("r", f"{state}/out/"):
        pass


def use_platform(_state: Path) -> object:
    """Save a platform with its secret in a file, and load it."""
    platforms.save(Platform(name="acme", access_key_id="AKIAX", secret_access_key="x" * 40), store="file")
    return platforms.load("acme")


def places(state: Path) -> dict[str, Callable[[Path], object]]:
    """Name every file of the folder that is opened under a name that is known beforehand, and what opens it."""
    with journal.lock("r", f"{state}/out/"):
        (lock,) = (state / "journals").iterdir()
    return {
        "history.sqlite3": use_history,
        "history.sqlite3-journal": use_history,
        "locks/some.lock": use_lock,
        f"journals/{lock.name}": use_journal_lock,
        "platforms/acme.json": use_platform,
        "platforms/acme.secrets": use_platform,
    }


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("link", [os.symlink, os.link, lambda _victim, path: os.mkfifo(path)])
def test_no_link_is_followed(state: Path, victim: Path, number: int, link: Callable[[Path, Path], None]) -> None:
    """What a link points at stays as it was, and what would have used it either replaces the link or refuses."""
    name, use = list(places(state).items())[number]
    path = state / name
    path.parent.mkdir(parents=True, exist_ok=True)
    link(victim, path)
    with suppress(SinkError):  # or it was replaced
        use(state)
    assert victim.read_text("utf-8") == PRECIOUS


def test_a_journal_that_is_a_link_is_not_believed(state: Path, tmp_path: Path) -> None:
    """A journal from elsewhere would have us publish what another user wrote down."""
    forged = tmp_path / "forged.json"
    forged.write_text("{}", "utf-8")
    (state / "journals").mkdir(parents=True)
    (state / "journals" / "r-00000000.json").symlink_to(forged)
    with pytest.raises(SinkError, match="it is a symbolic link"):
        journal.list_journals()


@pytest.mark.parametrize("name", ["journals", "locks", "runs", "platforms"])
def test_a_folder_that_is_a_link_is_refused(state: Path, tmp_path: Path, name: str) -> None:
    """Else what lies in the folder would lie wherever the link points."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    state.mkdir(parents=True, exist_ok=True)
    (state / name).symlink_to(elsewhere)
    uses = {"journals": use_journal_lock, "locks": use_lock, "runs": use_history, "platforms": use_platform}
    with pytest.raises(SinkError, match="it is a link, and not a folder"):
        uses[name](state)
    assert list(elsewhere.iterdir()) == []


def test_a_folder_that_others_may_write_to_is_closed(state: Path) -> None:
    """Ours alone again, before anything is put there."""
    (state / "locks").mkdir(parents=True)
    (state / "locks").chmod(0o777)
    use_lock(state)
    assert (state / "locks").stat().st_mode & 0o777 == 0o700


def test_a_relative_folder_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins where it was first asked for, whatever the working directory is later."""
    monkeypatch.setenv("MC_SINK_STATE_DIR", f"state-{tmp_path.name}")
    (tmp_path / "later").mkdir()
    monkeypatch.chdir(tmp_path)
    use_history(tmp_path)
    monkeypatch.chdir(tmp_path / "later")
    sink_madconnect(pl.DataFrame({"a": [1]}), f"{tmp_path}/out/")
    use_history(tmp_path)
    assert len(list_runs()) == 2
    assert list((tmp_path / "later").iterdir()) == []
