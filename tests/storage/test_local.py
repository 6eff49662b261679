"""Local files: whole or not at all, never replaced unasked, and checked against what is on the disk."""

from __future__ import annotations

import os
import resource
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import mc_sink
from mc_sink import AlreadyExistsError, CommitError, ConfigurationError, SinkError, Staged, TargetError, UploadError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FRAME = pl.DataFrame({"n": [1, 2, 3], "s": ["x", "y", None]})
TEXT = "n,s\n1,x\n2,y\n3,\n"
RACER = """
import sys, time
import mc_sink, polars as pl
staged = mc_sink.stage(pl.DataFrame({"who": [sys.argv[2]], "n": [1]}), sys.argv[1], run_id="race")
print("ready", flush=True)
sys.stdin.readline()
try:
    mc_sink.publish([staged])
    print("won")
except mc_sink.AlreadyExistsError:
    mc_sink.discard([staged])
    print("lost")
"""


def names(folder: Path) -> list[str]:
    """List everything under a folder, hidden names too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def staged_in(folder: Path, name: str = "x.csv") -> Staged:
    """Stage the frame as a file in a folder."""
    return mc_sink.stage(FRAME, folder / name)


def test_a_file_is_delivered_whole(tmp_path: Path) -> None:
    """The file holds the frame, nothing else is left beside it, and the receipt says what is on the disk."""
    receipt = mc_sink.sink_madconnect(FRAME, tmp_path / "x.csv")
    (file,) = receipt.files
    assert (tmp_path / "x.csv").read_text() == TEXT
    assert names(tmp_path) == ["x.csv"]
    assert (file.path, file.num_rows, file.num_bytes) == (str(tmp_path / "x.csv"), 3, len(TEXT))
    assert (file.etag, file.version_id) == (None, None)


def test_a_prefix_gets_a_file_named_by_its_run(tmp_path: Path) -> None:
    """A folder with a slash gets a new file for each run, and a run id of one's own is its name."""
    mc_sink.sink_madconnect(FRAME, f"{tmp_path}/", run_id="one")
    mc_sink.sink_madconnect(FRAME, f"file://{tmp_path}/", run_id="two", format="parquet")
    assert names(tmp_path) == ["one.csv", "two.parquet"]


def test_a_staged_file_is_hidden_until_it_is_published(tmp_path: Path) -> None:
    """Before: one hidden file beside the place; after: the file, and no hidden one."""
    staged = staged_in(tmp_path)
    (hidden,) = names(tmp_path)
    assert hidden.startswith(".x.csv.")
    mc_sink.publish([staged])
    assert names(tmp_path) == ["x.csv"]


def test_a_discarded_file_leaves_nothing(tmp_path: Path) -> None:
    """Discarding removes the hidden file, and may be done twice."""
    staged = staged_in(tmp_path)
    assert mc_sink.discard([staged]) == []
    assert mc_sink.discard([staged]) == []
    assert names(tmp_path) == []


def test_a_discarded_file_cannot_be_published(tmp_path: Path) -> None:
    """What was thrown away doesn't come back, and the error names the place."""
    staged = staged_in(tmp_path)
    mc_sink.discard([staged])
    with pytest.raises(CommitError, match=r"x\.csv") as raised:
        mc_sink.publish([staged])
    assert raised.value.uncommitted == (str(tmp_path / "x.csv"),)
    assert names(tmp_path) == []


@pytest.mark.parametrize("format", ["csv", "csv.gz", "parquet"])
def test_a_frame_that_fails_leaves_nothing(tmp_path: Path, format: str) -> None:
    """The source's own exception arrives with a note, and no file is left, hidden or not."""

    def batches() -> Iterator[pl.DataFrame]:
        for _ in range(3):
            yield pl.DataFrame({"n": range(100_000), "m": range(100_000)})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as raised:
        mc_sink.sink_madconnect(batches(), tmp_path / f"x.{format}")
    assert any("Nothing became visible" in note for note in raised.value.__notes__)
    assert names(tmp_path) == []


def test_a_failing_run_leaves_no_folders(tmp_path: Path) -> None:
    """Folders that were made for a delivery that failed go with it."""
    with pytest.raises(pl.exceptions.InvalidOperationError):
        mc_sink.sink_madconnect(
            FRAME.lazy().with_columns(pl.col("s").cast(pl.Int8)), tmp_path / "new" / "deep" / "x.csv"
        )
    assert names(tmp_path) == []


def test_a_taken_name_is_refused_before_any_work(tmp_path: Path) -> None:
    """With a file there nothing is run, and the file stays byte for byte."""
    (tmp_path / "x.csv").write_text("mine")
    frame = FRAME.lazy().map_batches(lambda _: pytest.fail("the query was run"), schema=FRAME.schema)
    with pytest.raises(AlreadyExistsError, match="stays as it was"):
        mc_sink.sink_madconnect(frame, tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text() == "mine"
    assert names(tmp_path) == ["x.csv"]


def test_a_name_taken_in_the_meantime_is_never_replaced(tmp_path: Path) -> None:
    """A file that appears between staging and publishing stays, and what was staged can still be discarded."""
    staged = staged_in(tmp_path)
    (tmp_path / "x.csv").write_text("foreign")
    with pytest.raises(AlreadyExistsError):
        mc_sink.publish([staged])
    assert (tmp_path / "x.csv").read_text() == "foreign"
    mc_sink.discard([staged])
    assert names(tmp_path) == ["x.csv"]


def test_one_of_many_racing_interpreters_wins(tmp_path: Path) -> None:
    """Of four that publish the same name at the same moment, one does, and its file is whole."""
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, tmp_path / "x.csv", str(who)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for who in range(4)
    ]
    try:
        assert [racer.stdout.readline().strip() for racer in racers if racer.stdout] == ["ready"] * 4
        ends = [racer.communicate("go\n", timeout=30)[0].strip() for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
            racer.wait()
    assert sorted(ends) == ["lost", "lost", "lost", "won"]
    assert (tmp_path / "x.csv").read_text() == f"who,n\n{ends.index('won')},1\n"
    assert names(tmp_path) == ["x.csv"]


def test_overwriting_replaces_whole_files(tmp_path: Path) -> None:
    """Asked to overwrite, the old file stays until the new one is whole, and then is gone."""
    (tmp_path / "x.csv").write_text("old")
    staged = mc_sink.stage(FRAME, tmp_path / "x.csv", if_exists="overwrite")
    assert (tmp_path / "x.csv").read_text() == "old"
    mc_sink.publish([staged])
    assert (tmp_path / "x.csv").read_text() == TEXT
    assert names(tmp_path) == ["x.csv"]


def test_an_overwrite_that_fails_keeps_the_old_file(tmp_path: Path) -> None:
    """A failing query takes nothing away."""
    (tmp_path / "x.csv").write_text("old")
    with pytest.raises(pl.exceptions.InvalidOperationError):
        mc_sink.sink_madconnect(
            FRAME.lazy().with_columns(pl.col("s").cast(pl.Int8)), tmp_path / "x.csv", if_exists="overwrite"
        )
    assert (tmp_path / "x.csv").read_text() == "old"
    assert names(tmp_path) == ["x.csv"]


def test_missing_folders_are_made(tmp_path: Path) -> None:
    """Missing folders are made."""
    mc_sink.sink_madconnect(FRAME, f"{tmp_path}/a/b/", run_id="run")
    assert names(tmp_path) == ["a", "a/b", "a/b/run.csv"]


@pytest.mark.parametrize("if_exists", ["fail", "overwrite"])
def test_a_folder_is_no_file(tmp_path: Path, if_exists: mc_sink.staged.IfExists) -> None:
    """A folder written without its slash is refused, and the message shows the slash."""
    with pytest.raises(TargetError, match=f"{tmp_path}/ for a new file"):
        mc_sink.sink_madconnect(FRAME, tmp_path, if_exists=if_exists)


def test_a_file_in_the_place_of_a_folder_is_told(tmp_path: Path) -> None:
    """A path that leads through a file is a bad target, and not a file that exists already."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(TargetError):
        mc_sink.sink_madconnect(FRAME, tmp_path / "file" / "x.csv")
    assert names(tmp_path) == ["file"]


def test_the_longest_name_is_delivered(tmp_path: Path) -> None:
    """A name as long as the filesystem takes gets a hidden name that it takes too."""
    name = "n" * 251 + ".csv"
    mc_sink.sink_madconnect(FRAME, tmp_path / name)
    assert names(tmp_path) == [name]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_permissions_are_those_of_any_new_file(tmp_path: Path, mask: int, mode: int) -> None:
    """A delivered file is as open as the umask says, neither private like a temporary file nor open to all."""
    before = os.umask(mask)
    try:
        mc_sink.sink_madconnect(FRAME, tmp_path / "x.csv")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x.csv").stat().st_mode) == mode
    assert (tmp_path / "x.csv").stat().st_nlink == 1


def test_a_file_cut_short_after_it_was_staged_is_not_published(tmp_path: Path) -> None:
    """A loss of power, or a program that tidies up, has left a part of the hidden file: nothing becomes visible."""
    staged = mc_sink.stage(FRAME, tmp_path / "x.csv")
    (hidden,) = tmp_path.iterdir()
    hidden.write_bytes(hidden.read_bytes()[:3])
    with pytest.raises(CommitError, match=r"it has 3 bytes, and [\d,]+ were written") as raised:
        mc_sink.publish([staged])
    assert raised.value.visible == "nothing"
    assert not (tmp_path / "x.csv").exists()


def test_the_disk_holds_the_names_of_new_folders_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each folder that got a new name is synced: that of the file, and those of the folders that were made."""
    synced, sync = set[str](), os.fsync

    def noting(descriptor: int) -> None:
        synced.add(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    mc_sink.sink_madconnect(FRAME, tmp_path / "a" / "b" / "x.csv")
    assert {str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a" / "b")} <= synced


def test_an_interrupt_while_a_new_folder_is_synced_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file was just opened: it is removed, and its folders too."""

    def interrupted(_descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        mc_sink.sink_madconnect(FRAME, tmp_path / "a" / "x.csv")
    assert names(tmp_path) == []


def test_a_symlink_to_a_folder_is_followed(tmp_path: Path) -> None:
    """A folder reached through a link gets the file."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    mc_sink.sink_madconnect(FRAME, f"{tmp_path}/link/", run_id="run")
    assert (tmp_path / "real" / "run.csv").read_text() == TEXT


@pytest.mark.parametrize("points_at", ["there", "nowhere"])
def test_a_symlink_is_a_taken_name(tmp_path: Path, points_at: str) -> None:
    """A link, also one that leads nowhere, is never written through."""
    (tmp_path / "there").write_text("mine")
    (tmp_path / "x.csv").symlink_to(points_at)
    with pytest.raises(AlreadyExistsError):
        mc_sink.sink_madconnect(FRAME, tmp_path / "x.csv")
    assert (tmp_path / "there").read_text() == "mine"
    assert names(tmp_path) == ["there", "x.csv"]


def test_overwriting_replaces_no_symlink_and_nothing_it_points_at(tmp_path: Path) -> None:
    """A link is not a regular file: it is refused before a row is read, and so where it comes during the run."""
    (tmp_path / "there").write_text("mine")
    (tmp_path / "x.csv").symlink_to("there")
    with pytest.raises(TargetError, match=r"is a symbolic link.*Nothing became visible"):
        mc_sink.sink_madconnect(FRAME, tmp_path / "x.csv", if_exists="overwrite")
    staged = mc_sink.stage(FRAME, tmp_path / "y.csv", if_exists="overwrite")
    (tmp_path / "y.csv").symlink_to("there")
    with pytest.raises(TargetError, match="is a symbolic link"):
        mc_sink.publish([staged])
    mc_sink.discard([staged])
    assert (tmp_path / "there").read_text() == "mine"
    assert (tmp_path / "x.csv").is_symlink()
    assert (tmp_path / "y.csv").is_symlink()
    assert names(tmp_path) == ["there", "x.csv", "y.csv"]


def _make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


ODD: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a named pipe": ("x.csv", os.mkfifo),
    "a socket": ("x.csv", _make_socket),
    "a folder": ("x.csv", Path.mkdir),
    "a device": ("/dev/null", lambda _path: None),
}


@pytest.mark.parametrize("if_exists", ["fail", "overwrite"])
@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_regular_file_is_never_replaced(
    tmp_path: Path, kind: str, if_exists: mc_sink.staged.IfExists, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pipes, sockets, devices and folders are refused by their kind, by a preview too, and stay as they were."""
    monkeypatch.chdir(tmp_path)  # a socket's path may not be long
    name, make = ODD[kind]
    make(Path(name))
    before = Path(name).lstat()
    for call in (mc_sink.sink_madconnect, mc_sink.preview):
        with pytest.raises(TargetError, match=f"is {kind}.*Nothing became visible"):
            call(FRAME, name, format="csv", if_exists=if_exists)
    after = Path(name).lstat()
    assert (before.st_ino, before.st_mode) == (after.st_ino, after.st_mode)
    rejects: Any = {"on_invalid": "reject", "schema": "audience", "rejects": f"{tmp_path}/r.csv"}
    os.mkfifo(tmp_path / "r.csv")
    with pytest.raises(TargetError, match="is a named pipe"):
        mc_sink.preview(FRAME, "./out/", **rejects)


def test_a_full_disk_is_an_upload_error(tmp_path: Path) -> None:
    """Bytes that the disk doesn't take end in an UploadError with the system's own as its cause, and in no file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match="too large") as raised:
            mc_sink.sink_madconnect(pl.LazyFrame({"n": range(1_000_000), "m": 1}), tmp_path / "x.csv")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == []
    assert isinstance(raised.value, UploadError)


def test_a_folder_that_cannot_be_made_is_this_librarys_error() -> None:
    """One `except SinkError` is enough where the system refuses a folder."""
    with pytest.raises(SinkError):
        mc_sink.sink_madconnect(FRAME, "/proc/no-such-folder/x.csv")


def test_verifying_reads_the_file_again(tmp_path: Path) -> None:
    """A file that is gone is missing; one of another size, or of the same size with a byte changed, is changed."""
    receipt = mc_sink.sink_madconnect(FRAME, tmp_path / "x.csv")
    path = str(tmp_path / "x.csv")
    assert receipt.verify() == mc_sink.Verification(1, (), ())
    Path(path).write_text(TEXT.replace("y", "z"))
    assert receipt.verify() == mc_sink.Verification(1, (), (path,))
    Path(path).write_text(TEXT + "4,w\n")
    assert receipt.verify() == mc_sink.Verification(1, (), (path,))
    Path(path).unlink()
    assert receipt.verify() == mc_sink.Verification(1, (path,), ())
    assert mc_sink.verify(receipt) == receipt.verify()


def test_a_local_target_takes_no_options_of_a_store(tmp_path: Path) -> None:
    """Options that would be ignored are refused, by name and without their values."""
    with pytest.raises(ConfigurationError, match="secret") as raised:
        mc_sink.sink_madconnect(FRAME, tmp_path / "x.csv", storage_options={"secret": "wJalrXUtnFEMI"})
    assert "wJalrXUtnFEMI" not in str(raised.value)
    with pytest.raises(ConfigurationError, match="object_options are for S3"):
        mc_sink.sink_madconnect(FRAME, tmp_path / "x.csv", object_options=mc_sink.ObjectOptions(acl="private"))
    assert names(tmp_path) == []
