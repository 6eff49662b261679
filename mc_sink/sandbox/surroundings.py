"""A sandbox: what a notebook or a demonstration needs, so that it runs anywhere and leaves nothing behind."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Self

from mc_sink._runtime.state_dir import STATE_DIR
from mc_sink.sandbox.embedded import embedded_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mc_sink.sandbox.admin import Admin

_COMMAND = '#!/bin/sh\nexec {python} -m mc_sink.connector.cli "$@"\n'
# The user's own profiles have no say; neither has a key in the environment.
_NO_PROFILES = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
# Tables of the command are drawn as wide as a notebook is.
_COLUMNS = "110"


class Sandbox:
    """An S3 server on this machine and an empty folder, until `close()` or the end of a `with`.

    `server` makes buckets and users: `server.new_writer()` returns a bucket and a write-only key for it. `folder` is
    the current folder meanwhile. State (history, journals, platforms) is kept in it, the user's own AWS settings are
    not read, and shell commands find the `mc-sink` of this Python. `close()` removes the folder, stops the server, and
    restores the environment. Raises `ConfigurationError` where no server is installed (`mc-sink[demo]`).

        >>> from mc_sink.sandbox import Sandbox
        >>> with Sandbox() as sandbox:
        ...     sandbox.server.listing(sandbox.server.new_writer().bucket)
        {}
    """

    server: Admin
    folder: Path

    def __init__(self) -> None:
        with ExitStack() as opened:
            self.server = opened.enter_context(embedded_server())
            self.folder = Path(opened.enter_context(TemporaryDirectory(prefix="mc-sink-sandbox-")))
            opened.enter_context(_environment(self.folder))
            self._all = opened.pop_all()

    def close(self) -> None:
        """Stop the server, remove the folder and restore the environment."""
        self._all.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def _environment(folder: Path) -> Iterator[None]:
    """Enter the folder, with the command on the PATH, and without credentials of the user's own."""
    before, place = dict(os.environ), Path.cwd()
    command = folder / ".bin" / "mc-sink"
    command.parent.mkdir()
    command.write_text(_COMMAND.format(python=shlex.quote(sys.executable)), encoding="utf-8")
    command.chmod(0o700)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= {"PATH": f"{command.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}", "COLUMNS": _COLUMNS}
    os.environ |= _NO_PROFILES | {STATE_DIR: str(folder / ".state")}
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(place)
        os.environ.clear()
        os.environ |= before
