"""moto, an imitation of S3 and IAM in a thread: quick to start, and enough where no real server can run."""

from __future__ import annotations

import json
import logging
import urllib.request
from typing import Any, Self

from mc_sink.sandbox.admin import Admin, Credentials

_EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
_ABOUT = "moto, an imitation of S3: users' policies and signatures are checked; part sizes and checksums are not."


class MotoServer(Admin):
    """moto on loopback for the length of a `with`; one at a time, because moto keeps its state in the interpreter."""

    def __init__(self) -> None:
        super().__init__("", Credentials("unused", "unused"), _ABOUT)
        self._server: Any = None

    def start(self) -> None:
        """Start empty, with an admin, and from then on check every request's signature and policy."""
        # Only here, because it is heavy and seldom needed.
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.WARNING)
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.url = f"http://{host}:{port}"
        self._post("reset", b"")
        self._post("reset-auth", b"inf")
        self.credentials = self.create_user("admin", _EVERYTHING)
        self._post("reset-auth", b"0")

    def stop(self) -> None:
        """Stop, and leave moto as it was found, for its next user in this interpreter."""
        if self._server is not None:
            self._post("reset-auth", b"inf")
            self._post("reset", b"")
            self._server.stop()
            self._server = None

    def _post(self, what: str, body: bytes) -> None:
        headers = {"Content-Type": "application/octet-stream"}
        request = urllib.request.Request(f"{self.url}/moto-api/{what}", body, headers)  # noqa: S310  our own address
        with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310  our own address
            json.load(reply)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
