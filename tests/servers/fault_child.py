"""The test server in a process of its own, where it doesn't share the interpreter's lock with the client."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mc_sink.sandbox.admin import Admin, Writer
from mc_sink.sandbox.lifeline import ServerChild
from tests.servers.certificates import issue_certificate
from tests.servers.rules import MIB, WRITER, Rules

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).parents[2]


@contextmanager
def fault_child(
    *, latency: float = 0.0, bandwidth: float | None = None, tls: bool = False, discards: bool = True
) -> Iterator[Writer]:
    """Serve from another process for the length of a `with`, counting bodies and dropping them.

    Give the bucket and the key to write with; `owner_of(writer).listing` shows what arrived. It never fails on
    purpose. With `tls` it speaks https, under a certificate that `writer.authority` vouches for. With `discards=False`
    it checks and keeps bodies, and answers with their ETags as S3 does.
    """
    options = [*(["--discard"] if discards else []), f"--latency-ms={latency * 1000}"]
    if bandwidth is not None:
        options.append(f"--mib-per-second={bandwidth / MIB}")
    command = [sys.executable, "-m", "tests.servers.fault", *options]
    env = {**os.environ, "PYTHONPATH": str(_ROOT)}
    with TemporaryDirectory() as folder:
        certificate = issue_certificate(Path(folder)) if tls else None
        command += [f"--certificate={certificate.chain}"] if certificate else []
        with ServerChild(lambda _: command, env=env) as child:
            url = child.wait_for(lambda: child.output().strip(), seconds=30)
            yield Writer(url, Rules().buckets[0], WRITER, str(certificate.authority) if certificate else None)


def owner_of(writer: Writer) -> Admin:
    """Return the verbs for looking at what arrived."""
    about = "The test server, in another process; it knows no users."
    return Admin(writer.url, writer.credentials, about, writer.authority)
