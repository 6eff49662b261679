"""SeaweedFS, a real S3 server: it checks signatures, users' and buckets' policies, conditions and checksums."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import socket
import sys
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.servers.lifeline import Child, ChildFailedError
from tests.servers.s3_admin import Admin, Credentials

if TYPE_CHECKING:
    from collections.abc import Mapping

_PORTS = ("volume.port", "master.port", "filer.port", "s3.port")
_ADMIN = Credentials("seaweed-admin", "seaweed-admin-secret")
_ABOUT = "SeaweedFS, a real server: it checks signatures, policies, conditions, part sizes and checksums."
_ATTEMPTS = 3
_READY_WITHIN = 60.0


class SeaweedServer(Admin):
    """A SeaweedFS on loopback for the length of a `with`: `url` is its S3 endpoint, `pid` its process."""

    def __init__(self) -> None:
        super().__init__("", _ADMIN, _ABOUT)
        self._child: Child | None = None

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._child is None:
            raise RuntimeError("The server is not running.")
        return self._child.pid

    def start(self) -> None:
        """Start and wait until it answers; another port is chosen when the first was taken in between."""
        for _ in range(_ATTEMPTS - 1):
            with contextlib.suppress(ChildFailedError):
                return self._start_on(free_ports())
        return self._start_on(free_ports())

    def _start_on(self, ports: Mapping[str, int]) -> None:
        port = ports["s3.port"]
        child = Child(lambda directory: _command(directory, ports), env=_environment())
        try:
            child.wait_for(lambda: _is_healthy(port), seconds=_READY_WITHIN)
        except BaseException:
            child.stop()
            raise
        self._child, self.url = child, f"http://127.0.0.1:{port}"

    def stop(self) -> None:
        """Kill the server and remove its directory; asked politely it would take 25 s."""
        if self._child is not None:
            self._child.stop()
            self._child = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def weed_binary() -> str | None:
    """Give the path of the `weed` that belongs to this Python, or of one on the PATH."""
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else shutil.which("weed")


def free_ports() -> dict[str, int]:
    """Give ports that are free now, from below the range that outgoing connections are given from."""
    names = [name for port in _PORTS for name in (port, f"{port}.grpc")]
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


def _environment() -> Mapping[str, str]:
    """Keep the caller's cloud settings away, and take one volume for a bucket instead of seven, which run out."""
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR", "LANG") if name in os.environ}
    return {**kept, "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"}


def _is_healthy(port: int) -> bool:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as reply:
        return bool(reply.status == 200)


def _command(directory: Path, ports: Mapping[str, int]) -> list[str]:
    """Write the admin's identity into `directory` and give the command line that serves from it."""
    binary = weed_binary()
    if binary is None:
        raise FileNotFoundError("No `weed` beside this Python: pip install 'mc-sink[demo]'.")
    identity = {
        "name": "admin",
        "credentials": [{"accessKey": _ADMIN.key, "secretKey": _ADMIN.secret}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    config = directory / "s3.json"
    config.write_text(json.dumps({"identities": [identity]}), encoding="utf-8")
    data = directory / "data"
    data.mkdir()
    return [
        *(binary, f"-logdir={directory}", "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(f"-{name}={port}" for name, port in ports.items()),
        *("-master.volumeSizeLimitMB=1024", "-master.volumePreallocate=false", "-volume.max=5000"),
        *("-filer", "-filer.maxMB=16", "-s3", f"-s3.config={config}", "-s3.iam.readOnly=false"),
        # Two interfaces that are not needed here, and reports to the makers, which would leave the machine.
        *("-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"),
    ]
