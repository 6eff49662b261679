"""`rclone serve s3`, a real server that is unlike AWS: it ignores conditions and checksums, and lists other ETags.

Its wheel is a third party's packaging of rclone's own releases, as SeaweedFS' is: the binary `rclone` beside Python.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.servers.lifeline import Child, ChildFailedError
from tests.servers.s3_admin import Admin, Credentials, Writer, unique_name
from tests.servers.seaweed import free_ports

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEY = Credentials("rclone-writer", "rclone-writer-secret")
_ABOUT = "rclone serve s3, a real server without users: it checks signatures; conditions and checksums are ignored."
_ATTEMPTS = 3
_READY_WITHIN = 30.0


class RcloneServer(Admin):
    """An `rclone serve s3` of a folder of its own, on loopback for the length of a `with`; one key may do all."""

    def __init__(self) -> None:
        super().__init__("", _KEY, _ABOUT)
        self._child: Child | None = None

    def start(self) -> None:
        """Start and wait until it answers; another port is tried when a program took the first one in between."""
        for _ in range(_ATTEMPTS - 1):
            with contextlib.suppress(ChildFailedError):
                return self._start_on(free_ports()["s3.port"])
        return self._start_on(free_ports()["s3.port"])

    def _start_on(self, port: int) -> None:
        child = Child(lambda directory: _command(directory, port), env=_environment())
        try:
            child.wait_for(lambda: _answers(port), seconds=_READY_WITHIN)
        except BaseException:
            child.stop()
            raise
        self._child, self.url = child, f"http://127.0.0.1:{port}"

    def stop(self) -> None:
        """Kill the server and remove its folder."""
        if self._child is not None:
            self._child.stop()
            self._child = None

    def new_writer(self) -> Writer:
        """Make a bucket, and return it with the only key of the server."""
        return Writer(self.url, self.create_bucket(unique_name("bucket")), self.credentials)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def rclone_binary() -> str | None:
    """Return the path of the `rclone` that belongs to this Python, or of one on the PATH."""
    beside = Path(sys.executable).with_name("rclone")
    return str(beside) if beside.exists() else shutil.which("rclone")


def _environment() -> Mapping[str, str]:
    """Return what a child needs, without the caller's own settings of rclone."""
    return {name: os.environ[name] for name in ("PATH", "TMPDIR", "LANG") if name in os.environ}


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2):
            return True
    except urllib.error.HTTPError:
        return True  # it refuses unsigned requests


def _command(directory: Path, port: int) -> list[str]:
    """Make the folder to be served, and return the command line that serves it."""
    binary = rclone_binary()
    if binary is None:
        raise FileNotFoundError("No `rclone` beside this Python: pip install 'mc-sink[test]'.")
    data = directory / "data"
    data.mkdir()
    (config := directory / "rclone.conf").touch()
    return [
        *(binary, "serve", "s3", f"--addr=127.0.0.1:{port}", f"--auth-key={_KEY.key},{_KEY.secret}"),
        *(f"--config={config}", f"--cache-dir={directory / 'cache'}", str(data)),
    ]
