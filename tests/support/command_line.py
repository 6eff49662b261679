"""The `mc-sink` command as a user on a machine of their own has it: a home, a terminal, and nothing of the tests'."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import typer
from typer.testing import CliRunner

from mc_sink.connector.cli.app import app
from tests.support.connection_files import ROOT
from tests.support.keyrings import installed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

COMMAND = [sys.executable, "-m", "mc_sink.connector.cli"]


def commands() -> dict[str, Any]:
    """Return every command, by its words, as the application itself has them."""
    return dict(_under(typer.main.get_command(app)))


def _under(command: Any, *words: str) -> Iterator[tuple[str, Any]]:
    inner: Mapping[str, Any] | None = getattr(command, "commands", None)
    if inner is None:
        yield " ".join(words), command
    for name, one in (inner or {}).items():
        yield from _under(one, *words, name)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and all of its output."""

    words: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """Everything, as a terminal would show it."""
        return self.out + self.err

    def json(self) -> Any:
        """Return the JSON that it printed."""
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Machine:
    """A folder to work in, and another one where the command keeps what it remembers; no AWS credentials exist here."""

    folder: Path
    state: Path
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables of a child."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        own = {
            "HOME": str(self.folder),
            "MC_SINK_STATE_DIR": str(self.state),
            "PYTHONPATH": str(ROOT),
            "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
            "AWS_EC2_METADATA_DISABLED": "true",
            "COLUMNS": "300",
        }
        return {**kept, **own, **self.more}

    def start(self, *words: object, typed: bool = False) -> subprocess.Popen[str]:
        """Start the command; its umask lets others read each file that it doesn't protect."""
        return subprocess.Popen(
            [*COMMAND, *map(str, words)],
            stdin=subprocess.PIPE if typed else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=self.environment,
            umask=0,
        )

    @contextmanager
    def running(self, *words: object) -> Iterator[subprocess.Popen[str]]:
        """Run the command for the length of a `with`, and never longer."""
        with self.start(*words) as child:
            try:
                yield child
            finally:
                child.terminate()

    def mc_sink(self, *words: object, typed: str | None = None, code: int = 0) -> Ended:
        """Run the command to its end, and expect an exit code."""
        child = self.start(*words, typed=typed is not None)
        out, err = child.communicate(typed, timeout=120)
        assert child.returncode == code, f"{words} ended with {child.returncode}: {out}{err}"
        return Ended(tuple(map(str, words)), child.returncode, out, err)

    def here(self, *words: object, code: int = 0) -> Ended:
        """Run the command in this interpreter, which is quicker, and expect an exit code."""
        hidden = dict.fromkeys(name for name in os.environ if name.startswith("AWS_"))
        with installed():
            found = CliRunner(env=hidden | self.environment).invoke(app, [*map(str, words)], prog_name="mc-sink")
        assert found.exit_code == code, f"{words} ended with {found.exit_code}: {found.output}"
        return Ended(tuple(map(str, words)), code, found.stdout, found.stderr)

    def at_a_terminal(self, *words: object, answers: Mapping[str, str]) -> str:
        """Run the command at a terminal, answer each question when it is asked, and give what the terminal showed."""
        ours, theirs = pty.openpty()
        child = subprocess.Popen(
            [*COMMAND, *map(str, words)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=self.folder,
            env=self.environment,
            start_new_session=True,
        )
        os.close(theirs)
        with open(ours, "r+b", buffering=0) as terminal:  # noqa: PTH123  a descriptor is not a path
            shown = "".join(_answered(terminal, answers))
        assert child.wait(120) == 0, shown
        return shown


def _answered(terminal: Any, answers: Mapping[str, str]) -> Iterator[str]:
    """Yield what a terminal shows, to its end, and type the answers."""
    waiting, shown = dict(answers), ""
    while said := _read(terminal):
        yield said
        shown += said
        question = next((one for one in waiting if shown.endswith(f"{one}: ")), None)
        if question is not None:
            terminal.write(f"{waiting.pop(question)}\n".encode())
            shown = ""
    assert not waiting, f"never asked: {[*waiting]}"


def _read(terminal: Any) -> str:
    try:
        said: bytes = terminal.read(4096)
    except OSError:  # what Linux says when the other side has gone
        return ""
    return said.decode()
