"""The `mc-sink` command. Its libraries come with the extra `mc-sink[cli]`; without them it says what to install."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

from mc_sink._runtime.streams import open_closed_streams

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

# What `mc-sink[cli]` installs; the modules of this folder import typer, and the others when a command needs them.
EXTRA = frozenset({"apscheduler", "keyring", "rich", "typer"})


def _refuse(arguments: Sequence[str] | None = None) -> NoReturn:  # noqa: ARG001  it stands in for `main`
    """Exit with code 2 and a line that names the extra to install."""
    print("mc-sink needs more than the library: pip install 'mc-sink[cli]'", file=sys.stderr)  # noqa: T201
    raise SystemExit(2)


# Before anything else is imported: a library may open a file.
open_closed_streams()
try:
    from mc_sink.connector.cli.app import main
except ModuleNotFoundError as error:
    if error.name not in EXTRA:
        raise
    main = _refuse
