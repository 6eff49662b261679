"""Who is told when a run has ended: the connection's own hooks, and what is installed as an entry point.

Entry points of the groups `mc_sink.on_success` and `mc_sink.on_failure` are called with the record. A command gets it
as JSON on its standard input, and its main facts in the environment. A hook that fails never changes how a run ended.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from mc_sink._printable import logger
from mc_sink.connections._named import find_named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mc_sink.connections._load import Connection
    from mc_sink.connections._settings import Hook
    from mc_sink.history import Run

_log = logger(__name__)
# A run that was told to end has little time left.
PATIENCE_SECONDS, LEAVING_SECONDS = 60, 3


def tell(run: Run, connection: Connection) -> None:
    """Call every hook of this end; what fails is logged by its name and type."""
    group = "on_success" if run.status == "delivered" else "on_failure"
    for name, call in _hooks(group, connection, run):
        try:
            call()
        except (Exception, SystemExit) as error:  # a hook is somebody else's code, and may exit, too
            if isinstance(error, SystemExit) and type(error) is not SystemExit:
                raise  # a signal's own kind: somebody else told this program to end
            _log.warning("The hook %s (%s) failed: %s.", group, name, type(error).__name__)


def _hooks(group: str, connection: Connection, run: Run) -> Iterator[tuple[str, Callable[[], object]]]:
    hook: Hook | None = getattr(connection.settings.hooks, group)
    if isinstance(hook, str):
        yield hook, lambda: find_named(hook, connection.folder)(run)
    elif hook:
        yield hook[0], lambda: _command(hook, connection, run)
    for point in entry_points(group=f"mc_sink.{group}"):
        yield point.name, lambda point=point: point.load()(run)  # type: ignore[misc]


def _command(words: list[str], connection: Connection, run: Run) -> None:
    """Run a command; what it prints goes to standard error, which no program reads."""
    facts = {"MC_SINK_RUN_ID": run.run_id, "MC_SINK_CONNECTION": run.connection, "MC_SINK_STATUS": run.status}
    subprocess.run(  # noqa: S603  the connection's owner chose it
        words,
        input=json.dumps(run.as_json()).encode(),
        cwd=connection.folder,
        env=os.environ | facts,
        stdout=sys.stderr.fileno() if _has_descriptor() else subprocess.DEVNULL,
        check=True,
        timeout=LEAVING_SECONDS if run.status == "interrupted" else PATIENCE_SECONDS,
    )


def _has_descriptor() -> bool:
    try:
        return sys.stderr.fileno() >= 0
    except (AttributeError, OSError, ValueError):
        return False
