"""The best server with users and policies that this machine can run."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from mc_sink.exceptions import ConfigurationError
from mc_sink.sandbox.moto_server import MotoServer
from mc_sink.sandbox.seaweed import SeaweedServer, weed_binary

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from mc_sink.sandbox.admin import Admin


def embedded_server() -> AbstractContextManager[Admin]:
    """Return SeaweedFS where its wheel exists and moto elsewhere; `about` of what the `with` yields says which.

    Raises `ConfigurationError` where neither is installed.
    """
    if weed_binary():
        return SeaweedServer()
    if find_spec("moto") is None or find_spec("flask") is None:
        raise ConfigurationError(
            'The sandbox needs an S3 server, and none is installed. Install one: pip install "mc-sink[demo]".'
        )
    return MotoServer()
