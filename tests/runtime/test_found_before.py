"""What stands in the way of a run is found before a row is read, with advice that is right."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import mc_sink
from mc_sink import ConfigurationError, TargetError, UploadError
from mc_sink._runtime import state_dir
from mc_sink.connector.connections import deliver, load
from tests.support.child_deliveries import ROOT, start_python
from tests.support.refusing import needs_filters

if TYPE_CHECKING:
    from tests.servers.fault import FaultServer

UNREAD = """
import errno, os, sys
import polars as pl
import mc_sink
from tests.support.refusing import refuse

def rows():
    print("a row was read")
    yield pl.DataFrame({"x": [1]})

def deliver(target, **options):
    try:
        print(mc_sink.sink_madconnect(rows(), target, progress=False, **options).num_rows, "delivered")
    except mc_sink.SinkError as error:
        print(f"{type(error).__name__}: {error}")
"""
NAMESPACE = ("unshare", "-rm", "sh", "-c")


def told(code: str, *arguments: str, under: tuple[str, ...] = (), **environment: Any) -> str:
    """Return what a child printed that runs `code` after the functions above."""
    child = start_python("-c", UNREAD + code, *arguments, under=under, env=environment)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    return out


def test_a_state_folder_of_another_filesystem_is_found(tmp_path: Path, state: Path) -> None:
    """One that is full and one that can't be written, each with its own advice."""
    if subprocess.run([*NAMESPACE, "true"], check=False).returncode:
        pytest.skip("this system lets no user mount a filesystem")
    full = 'mount -t tmpfs -o size=64k none "$0" && (head -c 1m /dev/zero > "$0/x"; exec "$@")'
    read_only = 'mkdir "$0/journals" && mount -t tmpfs -o ro none "$0" && exec "$@"'
    code = "deliver(sys.argv[1])"
    out = told(code, f"{tmp_path}/out/", under=(*NAMESPACE, full, str(state)))
    assert out.startswith("UploadError: The folder of journals at ")
    assert "No space left on device. Free disk space, or set MC_SINK_STATE_DIR to a folder on another disk." in out
    out = told(code, f"{tmp_path}/out/", under=(*NAMESPACE, read_only, str(state)))
    assert "Read-only file system. Grant this user the permission to write there, or set MC_SINK_STATE_DIR" in out
    assert "a row was read" not in out
    assert not (tmp_path / "out").exists()


@needs_filters
@pytest.mark.parametrize("reason", ["ENOLCK", "ENOSYS", "EOPNOTSUPP"])
def test_a_state_folder_without_locks_is_found(tmp_path: Path, reason: str) -> None:
    """As some network filesystems are: more space would not help."""
    out = told(f"refuse('flock', errno.{reason}); deliver(sys.argv[1])", f"{tmp_path}/out/")
    assert "Its filesystem has no locks. Set MC_SINK_STATE_DIR to a folder on a local disk. Nothing became" in out
    assert "a row was read" not in out


@needs_filters
@pytest.mark.parametrize("reason", ["EPERM", "EOPNOTSUPP"])
def test_a_target_without_hard_links_is_found(tmp_path: Path, reason: str) -> None:
    """Neither rows nor folders; overwriting needs no links, and delivers."""
    code = f"refuse('link', errno.{reason}); deliver(sys.argv[1]); deliver(sys.argv[1], if_exists='overwrite')"
    first, *others = told(code, f"{tmp_path}/new/out/").splitlines()
    assert first.startswith(f"TargetError: Files can't be published in {tmp_path}: its filesystem has no hard links")
    assert others == ["a row was read", "1 delivered"]
    assert [path.name[-4:] for path in tmp_path.rglob("*") if path.is_file()] == [".csv"]


def unread(opened: list[str]) -> Any:
    """Yield a row, and note that it was read."""
    opened.append("read")
    yield pl.DataFrame({"x": [1]})


@pytest.mark.parametrize("how", ["environment", "verify"])
@pytest.mark.parametrize("kind", ["missing", "a folder", "another file"])
def test_certificates_that_can_not_be_used_are_found(
    tmp_path: Path, fault_s3: FaultServer, monkeypatch: pytest.MonkeyPatch, kind: str, how: str
) -> None:
    """Before any request, which would fail eight times and blame the network."""
    file = tmp_path / "authority.pem"
    if kind == "a folder":
        file.mkdir()
    elif kind == "another file":
        file.write_text("not a certificate")
    options: dict[str, Any] = dict(fault_s3.storage_options)
    if how == "environment":
        monkeypatch.setenv("AWS_CA_BUNDLE", str(file))
    else:
        options["client_kwargs"] = {"verify": str(file)}
    opened: list[str] = []
    with pytest.raises(ConfigurationError, match=r"The file of certificates .* can't be used: .* AWS_CA_BUNDLE"):
        mc_sink.sink_madconnect(unread(opened), fault_s3.writer.target("p/"), storage_options=options)
    assert (opened, len(fault_s3.log)) == ([], 0)


def test_a_connections_source_is_not_opened_either(tmp_path: Path, state: Path) -> None:
    """Also where the run id is given, and the rejects have a place of their own."""
    (tmp_path / "sources.py").write_text("def rows():\n    raise RuntimeError('opened')\n")
    (tmp_path / "file").write_text("x")
    (tmp_path / "c.toml").write_text('target = "./file/out/"\n[source]\nfunction = "sources:rows"\n')
    for run_id in (None, "r1"):
        with pytest.raises(TargetError, match="can't be written: Not a directory"):
            deliver(load(tmp_path / "c.toml"), run_id=run_id, progress=False)
    (state / "journals").rmdir()
    (state / "journals").write_text("x")
    (tmp_path / "c.toml").write_text('target = "out/"\n[source]\nfunction = "sources:rows"\n')
    with pytest.raises(UploadError, match="Set MC_SINK_STATE_DIR to a folder on a local disk"):
        deliver(load(tmp_path / "c.toml"), run_id="r1", progress=False)


MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 22 0:40 / /data rw,relatime shared:1 - nfs4 server:/data rw,vers=4.2
41 40 0:41 / /data/a\\040b/disk rw - ext4 /dev/vdb rw
42 22 0:42 / /mnt/share rw - cifs //server/share rw
"""


def test_a_disk_of_another_machine_is_known(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """By the nearest mount above the folder, in the form of Linux' own table; the table of this machine is readable."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    places = {"/data/user/state": "nfs4", "/data/a b/disk/state": None, "/mnt/share": "cifs", "/mnt/shared": None}
    assert {place: state_dir.remote_kind(Path(place), str(mounts)) for place in places} == places
    assert state_dir.remote_kind(tmp_path, f"{tmp_path}/missing") is None
    mc_sink.sink_madconnect(pl.DataFrame({"x": [1]}), f"{tmp_path}/out/", progress=False)
    assert "another machine" not in caplog.text


def test_a_relative_state_folder_begins_where_the_program_was_started(tmp_path: Path) -> None:
    """Also after a source, or the program itself, has gone to another folder."""
    (tmp_path / "elsewhere").mkdir()
    code = "import mc_sink, os; os.chdir('elsewhere'); print(mc_sink.list_journals()); mc_sink.stage"
    code += "; import polars as pl; mc_sink.sink_madconnect(pl.DataFrame({'x': [1]}), 'out/', progress=False)"
    environment = os.environ | {"MC_SINK_STATE_DIR": "state", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "state"]
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["out"]


def test_a_relative_state_folder_is_one_for_everything(tmp_path: Path) -> None:
    """The command, a source that goes elsewhere, the program that it starts, and a hook: all see one folder."""
    (tmp_path / "conn").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "conn" / "sources.py").write_text(
        "import os, subprocess, sys\nimport polars as pl\nimport mc_sink\n\n"
        "def rows():\n    os.chdir('elsewhere')\n"
        "    subprocess.run([sys.executable, '-m', 'mc_sink.connector.cli', 'history'], check=True)\n"
        "    return pl.DataFrame({'x': [1]})\n"
    )
    (tmp_path / "conn" / "c.toml").write_text(
        'target = "out/"\n[source]\nfunction = "sources:rows"\n[hooks]\n'
        'environment = ["PYTHONPATH"]\n'
        f"on_success = ['{sys.executable}', '-m', 'mc_sink.connector.cli', 'history', '--json']\n"
    )
    environment = os.environ | {"MC_SINK_STATE_DIR": "state", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "mc_sink.connector.cli", "run", "conn/c.toml"]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert '"status": "delivered"' in ran.stderr  # the hook saw the record
    assert sorted(path.name for path in tmp_path.rglob("history.sqlite3")) == ["history.sqlite3"]
    assert (tmp_path / "state" / "history.sqlite3").exists()


HOMES: dict[str, dict[str, Any]] = {
    "none": {"HOME": None},
    "empty": {"HOME": ""},
    "relative": {"HOME": "home"},
    "relative for state": {"HOME": "home", "XDG_STATE_HOME": "state"},
}


@pytest.mark.parametrize("home", HOMES.values(), ids=HOMES)
def test_without_a_home_the_variable_is_named(tmp_path: Path, home: dict[str, Any]) -> None:
    """A user without HOME, whom the system does not know either, can set one of the two."""
    code = "deliver(sys.argv[1]); del os.environ['MC_SINK_STATE_DIR']; os.setuid(54321); deliver(sys.argv[1])"
    if os.geteuid():
        pytest.skip("only root becomes a user without an entry")
    *loaded, out, _ = told(code, f"{tmp_path}/out/", **home).split("\n")  # the first delivery loads the libraries
    assert loaded == ["a row was read", "1 delivered"]
    assert out.startswith("ConfigurationError: The folder for the state of this user isn't known: HOME is not set to")
    assert "Set HOME, or set MC_SINK_STATE_DIR to a folder." in out


def test_a_folder_of_the_start_that_is_gone_is_told(tmp_path: Path) -> None:
    """A relative state folder has no beginning then, and an absolute one needs none."""
    code = (
        f"{UNREAD}\ndeliver(sys.argv[1]); os.environ['MC_SINK_STATE_DIR'] = sys.argv[1] + 'state'; deliver(sys.argv[1])"
    )
    shell = f'mkdir "{tmp_path}/gone" && cd "{tmp_path}/gone" && rmdir "{tmp_path}/gone" && exec "$@"'
    ran = subprocess.run(
        ["/bin/sh", "-c", shell, "sh", sys.executable, "-c", code, f"{tmp_path}/out/"],
        env=os.environ | {"MC_SINK_STATE_DIR": "state", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    first, *others = ran.stdout.splitlines()
    assert first.startswith("ConfigurationError: MC_SINK_STATE_DIR is a relative path, and the folder in which"), ran
    assert others == ["a row was read", "1 delivered"]


def test_the_advice_fits_the_reason() -> None:
    """Free space helps a full disk only."""
    assert [number for number in errno.errorcode if "Free disk" in state_dir.advice(OSError(number, ""))] == [
        errno.ENOSPC,
        errno.EDQUOT,
    ]
