"""The best server with users and policies that this machine can run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.servers.moto_server import MotoServer
from tests.servers.seaweed import SeaweedServer, weed_binary

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from tests.servers.s3_admin import Admin


def embedded_server() -> AbstractContextManager[Admin]:
    """Return SeaweedFS where its wheel exists and moto elsewhere; `about` of what the `with` yields says which."""
    return SeaweedServer() if weed_binary() else MotoServer()
