"""What the notebooks bring with them, so that they run anywhere and leave nothing behind.

An S3 server on this machine, a temporary folder that is the current one meanwhile, and the `mc-sink` of this very
Python on the PATH of shell cells. `close()` takes all of it back.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tests.servers.embedded import embedded_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.s3_admin import Admin

ROOT = Path(__file__).parents[1]
COMMAND = '#!/bin/sh\nPYTHONPATH="{root}" exec "{python}" -m mc_sink.connector.cli "$@"\n'
# The user's own profiles have no say; neither has a key in the environment.
NO_PROFILES = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
# Tables of the command are drawn as wide as a notebook is.
COLUMNS = "110"


class Surroundings:
    """A server (`server`), an empty folder (`folder`) and the command, until `close()`."""

    def __init__(self) -> None:
        self._all = ExitStack()
        self.folder = Path(self._all.enter_context(TemporaryDirectory(prefix="mc-sink-notebook-")))
        self.server: Admin = self._all.enter_context(embedded_server())
        self._all.enter_context(_environment(self.folder))

    def close(self) -> None:
        """Stop the server, remove the folder and give the environment back."""
        self._all.close()


@contextmanager
def _environment(folder: Path) -> Iterator[None]:
    """Be in the folder, with the command on the PATH, and without credentials of the user's own."""
    before, place = dict(os.environ), Path.cwd()
    sys.path.insert(0, str(ROOT))  # what is imported later is found as it was before the folder changed
    command = folder / ".bin" / "mc-sink"
    command.parent.mkdir()
    command.write_text(COMMAND.format(root=ROOT, python=sys.executable), encoding="utf-8")
    command.chmod(0o755)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= {"PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}", "COLUMNS": COLUMNS}
    os.environ |= NO_PROFILES
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(place)
        sys.path.remove(str(ROOT))
        os.environ.clear()
        os.environ |= before
