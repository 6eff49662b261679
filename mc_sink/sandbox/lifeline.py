"""A child that lives no longer than its parent, in a directory that goes with it.

The parent may be killed by a signal that can't be caught, so a third process tidies up: this file, run as a
script between the two. The parent holds the other end of its standard input; when a byte arrives, or it closes
for any reason, the child is killed and the directory removed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")


class ChildFailedError(RuntimeError):
    """The command ended, or was silent for too long, before it was ready; the message ends with its standard error."""


class ServerChild:
    """A running command with a directory of its own; leaving the `with` kills the command and removes the directory.

    `command` is called with the directory and gives the argument list, so that the arguments can name files in it. The
    command's standard output and error are the files `stdout` and `stderr` there.
    """

    def __init__(self, command: Callable[[Path], Sequence[str]], env: Mapping[str, str] | None = None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="mc-sink-server-"))
        try:
            self._watch = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__, str(self.directory), *command(self.directory)],
                stdin=subprocess.PIPE,
                env=dict(os.environ if env is None else env),
                start_new_session=True,
            )
        except BaseException:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise

    @property
    def pid(self) -> int:
        """The command's own process id."""
        return int(self.wait_for(lambda: self.output("pid"), seconds=10))

    def output(self, name: str = "stdout") -> str:
        """Return everything that the command has printed so far to `stdout` or `stderr`."""
        path = self.directory / name
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def wait_for(self, look: Callable[[], T], *, seconds: float) -> T:
        """Return the first true answer of `look`, which may raise OSError until then; fail once the child has ended."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self.output("ended"):
            with contextlib.suppress(OSError):
                if found := look():
                    return found
            time.sleep(0.02)
        raise ChildFailedError(f"Not ready within {seconds} s:\n{self.output('stderr')[-2000:]}")

    def stop(self) -> None:
        """Kill the command at once and remove its directory; a second call does nothing."""
        if self._watch.stdin and not self._watch.stdin.closed:
            # A word as well as the end of the file: a fork of this process may hold another copy of this pipe.
            with contextlib.suppress(BrokenPipeError), self._watch.stdin as lifeline:
                lifeline.write(b"stop")
        self._watch.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _write_at_once(path: Path, text: str) -> None:
    """Write `text` to `path` so that half of it can never be read."""
    draft = path.with_suffix(".draft")
    draft.write_text(text, encoding="ascii")
    draft.rename(path)


def _watch_over(directory: Path, command: Sequence[str]) -> None:
    """Run `command` until our standard input speaks or ends; then kill it and remove the directory."""
    with (directory / "stdout").open("wb") as out, (directory / "stderr").open("wb") as err:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True)
    # Only our standard input may end us: a signal would leave the child behind.
    for deaf in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(deaf, signal.SIG_IGN)
    _write_at_once(directory / "pid", str(child.pid))
    reaper = threading.Thread(target=lambda: _write_at_once(directory / "ended", str(child.wait())))
    reaper.start()
    os.read(0, 1)
    child.kill()
    reaper.join()
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    _watch_over(Path(sys.argv[1]), sys.argv[2:])
