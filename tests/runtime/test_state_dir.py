"""The state folder: its files are judged by what was opened, links are refused, and locks and writes are exclusive."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from mc_sink import SinkError, platforms, sink_madconnect
from mc_sink._runtime.state_dir import Lock, prepare_folder, read_private, state_folder, write_private
from mc_sink.connector.history import Beginning, begin, hold, list_runs
from mc_sink.platforms import Platform
from mc_sink.publishing import journal
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Callable


PRECIOUS = "precious"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """Make a file that the library has no business with."""
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
        journal.journals_of("r")
    found, unreadable = journal.read_all()
    assert found == []
    assert "it is a symbolic link" in str(*unreadable)


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
    """It is its owner's alone again, before anything is put there."""
    (state / "locks").mkdir(parents=True)
    (state / "locks").chmod(0o777)
    use_lock(state)
    assert (state / "locks").stat().st_mode & 0o777 == 0o700


def test_a_relative_folder_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins where the program was started, whatever the working directory is later."""
    began = Path.cwd()
    monkeypatch.setenv("MC_SINK_STATE_DIR", f"state-{tmp_path.name}")
    monkeypatch.chdir(tmp_path)
    assert state_folder() == began / f"state-{tmp_path.name}"


def test_a_lock_that_its_holder_removed_is_not_held_by_two(state: Path) -> None:
    """A waiter that gets the lock of a removed file goes on to the new one: never two hold a lock of one name."""
    path = prepare_folder("locks") / "x.lock"
    inside: list[int] = []
    most: list[int] = []

    def hold_it(number: int) -> None:
        for _ in range(40):
            with Lock(path).held():
                inside.append(number)
                most.append(len(inside))
                inside.remove(number)

    threads = [threading.Thread(target=hold_it, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(most) == 240
    assert max(most) == 1
    assert list((state / "locks").iterdir()) == []


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("moment", [(Path, "unlink"), (Lock, "_write_holder"), (os.path, "samestat")])
def test_an_interrupt_leaves_no_lock_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: Any) -> None:
    """Ctrl-C in a notebook, while a lock is taken or released: the next run of this process doesn't wait for ever."""
    frame, target = pl.DataFrame({"n": [1]}), parse_target(str(tmp_path / "x.csv")).url
    with monkeypatch.context() as patch:
        patch.setattr(moment[0], moment[1], interrupted)
        with pytest.raises(KeyboardInterrupt), journal.lock("r", target):
            pass
    ended = threading.Event()

    def again() -> None:
        sink_madconnect(frame, target, run_id="r", progress=False)
        ended.set()

    threading.Thread(target=again, daemon=True).start()
    assert ended.wait(30)


def test_a_lock_names_its_holder(state: Path) -> None:
    """Who doesn't wait learns the process id, and the lock stays with its holder."""
    path = prepare_folder("locks") / "x.lock"
    assert path.is_relative_to(state)
    first, second = Lock(path), Lock(path)
    assert first.acquire()
    assert not second.acquire()
    assert second.holder == str(os.getpid())
    assert not second.is_free()
    second.release()
    assert path.exists()
    first.release()
    assert second.is_free()
    assert second.acquire()
    second.release()


def test_writers_of_one_file_take_turns(state: Path) -> None:
    """A reader finds one whole version at any moment, and nothing but the file stays."""
    path = prepare_folder("platforms") / "x.json"
    assert path.is_relative_to(state)
    (path.with_suffix(".partial")).write_bytes(b"of a process that was killed" * 10)
    versions = [bytes([number]) * 50_000 for number in range(8)]
    threads = [threading.Thread(target=partial(write_private, path, version)) for version in versions]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        with suppress(FileNotFoundError):
            assert read_private(path)[0] in versions
    assert read_private(path)[0] in versions
    assert [one.name for one in path.parent.iterdir()] == ["x.json"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_write_that_fails_leaves_the_old_file(state: Path) -> None:
    """Whole as it was, with nothing beside it."""
    path = prepare_folder("platforms") / "x.json"
    assert path.is_relative_to(state)
    write_private(path, b"old")

    def fails() -> bytes:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_private(path, fails)
    assert read_private(path)[0] == b"old"
    assert [one.name for one in path.parent.iterdir()] == ["x.json"]
