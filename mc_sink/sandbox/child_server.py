"""A server from a third party's wheel, in a child process on loopback."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import sys
from abc import abstractmethod
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from mc_sink.sandbox.admin import Admin
from mc_sink.sandbox.lifeline import ChildFailedError, ServerChild

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ATTEMPTS = 3


class ChildServer(Admin):
    """A server that runs for the length of a `with`; `url` is its S3 endpoint, `pid` its process.

    `PORTS` are the names of the ports that it listens on, the one for S3 among them as `s3.port`.
    """

    PORTS: ClassVar[Sequence[str]] = ("s3.port",)
    READY_WITHIN: ClassVar[float] = 60.0  # seconds
    _child: ServerChild | None = None

    @abstractmethod
    def command(self, directory: Path, ports: Mapping[str, int]) -> list[str]:
        """Write what the server needs into `directory`, and return the command line that serves from it."""

    @abstractmethod
    def answers(self, port: int) -> bool:
        """Return True if the server is ready; an `OSError` means that it is not."""

    def environment(self) -> dict[str, str]:
        """Return the variables of the child, without the caller's settings for clouds."""
        return {name: os.environ[name] for name in ("PATH", "TMPDIR", "LANG") if name in os.environ}

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._child is None:
            raise RuntimeError("The server is not running.")
        return self._child.pid

    def start(self) -> None:
        """Start and wait until it answers; choose other ports where a program took one of the first in between."""
        for _ in range(_ATTEMPTS - 1):
            with contextlib.suppress(ChildFailedError):
                return self._start_on(_free_ports(self.PORTS))
        return self._start_on(_free_ports(self.PORTS))

    def _start_on(self, ports: Mapping[str, int]) -> None:
        port = ports["s3.port"]
        child = ServerChild(lambda directory: self.command(directory, ports), env=self.environment())
        try:
            child.wait_for(lambda: self.answers(port), seconds=self.READY_WITHIN)
        except BaseException:
            child.stop()
            raise
        self._child, self.url = child, f"http://127.0.0.1:{port}"

    def stop(self) -> None:
        """Kill the server and remove its directory."""
        if self._child is not None:
            self._child.stop()
            self._child = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def find_binary(name: str) -> str | None:
    """Return the path of a program that belongs to this Python, or of one on the PATH."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name)


def _free_ports(names: Sequence[str]) -> dict[str, int]:
    """Return ports that are free now, from below the range that outgoing connections are given from."""
    found: dict[str, int] = {}
    with ExitStack() as held:
        while len(found) < len(names):
            port = random.randint(12_000, 32_000)  # noqa: S311  a port isn't secret
            taken = held.enter_context(socket.socket())
            try:
                taken.bind(("127.0.0.1", port))
            except OSError:
                continue
            found[names[len(found)]] = port
    return found
