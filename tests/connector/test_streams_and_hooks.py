"""A run that is left alone: streams that are closed, broken or full, no terminal, and hooks that do not end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import polars as pl
import pytest

import mc_sink
from mc_sink.connector.connections import deliver, hooks, load
from mc_sink.connector.history import list_runs
from tests.support.connection_files import ROOT

if TYPE_CHECKING:
    from pathlib import Path

MODULE = """
import os
import sys
import time

import polars as pl


def rows():
    print("spoken by the source")
    sys.stderr.write("and on the other stream\\n")
    os.write(2, b"and by a library\\n")
    return pl.DataFrame({"x": [1]})


def hook(run):
    print("spoken by the hook", flush=True)


def endless(run):
    time.sleep(600)


def breaks(run):
    raise ValueError("broken")
"""
# How the shell starts the command, and what standard output then has.
STREAMS = {
    "standard error is closed": '"$@" 2>&-',
    "standard output is closed": '"$@" >&-',
    "all are closed": '"$@" <&- >&- 2>&-',
    "standard error is full": '"$@" 2>/dev/full',
    "standard output is full": '"$@" >/dev/full',
    "the pipe of standard output is broken": '{ "$@"; echo $? >code; } | true',
    "the pipe of standard error is broken": '{ sleep 0.1; "$@" 2>&1 >/dev/null; echo $? >code; } | true',
    "no terminal and no input": 'setsid -w "$@" </dev/null',
}


def write(folder: Path, hooks: str = 'on_success = "spoken:hook"') -> Path:
    """Write a connection to a local folder, whose source and hook print."""
    (folder / "spoken.py").write_text(MODULE)
    (folder / "c.toml").write_text(f'target = "./out/"\n[source]\nfunction = "spoken:rows"\n[hooks]\n{hooks}\n')
    return folder / "c.toml"


@pytest.mark.parametrize("way", STREAMS)
def test_the_run_goes_on_and_is_recorded(tmp_path: Path, way: str) -> None:
    """It ends with 0, and nothing that was printed is in the file that was delivered."""
    command = [sys.executable, "-m", "mc_sink.connector.cli", "run", str(write(tmp_path))]
    shell = ["/bin/sh", "-c", STREAMS[way], "sh", *command]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run(shell, cwd=tmp_path, env=environment, check=False, **pipes)  # type: ignore[call-overload]
    code = (tmp_path / "code").read_text().strip() if (tmp_path / "code").exists() else str(ran.returncode)
    assert code == "0", ran.stderr
    (run,) = list_runs()
    assert (run.status, run.num_rows) == ("delivered", 1)
    (file,) = (tmp_path / "out").iterdir()
    assert file.read_text() == "x\n1\n"


@pytest.mark.parametrize("broken", ["closed", "a broken pipe", "missing"])
def test_a_bar_that_can_not_be_drawn_fails_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """Of a program whose standard error is gone, with the bar that was asked for and by default."""
    read, written = os.pipe()
    os.close(read)
    stream = open(written, "w", encoding="utf-8")  # noqa: PTH123, SIM115  a descriptor; it is closed below
    if broken == "closed":
        stream.close()
    monkeypatch.setattr(sys, "stderr", None if broken == "missing" else stream)
    frame = pl.DataFrame({"x": range(10)})
    for progress in (True, None):
        target = f"{tmp_path}/{progress}/"
        assert mc_sink.sink_madconnect(frame, target, row_group_size=2, progress=progress).num_rows == 10
    monkeypatch.undo()
    with pytest.MonkeyPatch.context() as patch:  # what is buffered can't be written either
        patch.setattr(os, "write", lambda *_: 0)
        try:
            stream.close()
        except OSError:
            assert broken != "closed"


def test_a_function_that_does_not_end_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As a command is after the same time: the run has delivered, and the log has the hook's name."""
    monkeypatch.setattr(hooks, "PATIENCE_SECONDS", 0.3)
    began = time.monotonic()
    run = deliver(load(write(tmp_path, 'on_success = "spoken:endless"')), progress=False)
    assert time.monotonic() - began < 30
    assert run.status == "delivered"
    assert "The hook on_success (spoken:endless) failed: TimeoutError." in caplog.text
    deliver(load(write(tmp_path, 'on_success = "spoken:breaks"')), progress=False)
    assert "The hook on_success (spoken:breaks) failed: ValueError." in caplog.text


def test_a_command_ends_although_its_hook_does_not(tmp_path: Path) -> None:
    """The thread that goes on holds nothing up, and the interpreter ends with the run's code."""
    code = (
        "import sys; from mc_sink.connector.connections import hooks as c; c.PATIENCE_SECONDS = 0.3\n"
        "from mc_sink.connector.cli.app import main; main(['run', sys.argv[1], '--json'])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(write(tmp_path, 'on_success = "spoken:endless"'))],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=True,
    )
    assert json.loads(ran.stdout)["status"] == "delivered"
    assert "failed: TimeoutError" in ran.stderr
