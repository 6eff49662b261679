"""Who is told when a run has ended: the connection's own hooks, and what is installed as an entry point.

Entry points of the groups `mc_sink.on_success` and `mc_sink.on_failure` are called with the record. A command gets it
as JSON on its standard input, and its main facts in the environment, which has nothing else of this program's than
`PASSED_ON` and what the connection names. A hook that fails never changes how a run ended.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import entry_points
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING

from mc_sink._printable import lines, logger
from mc_sink.connections._named import find_named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mc_sink.connections._load import Connection
    from mc_sink.connections._settings import Hook
    from mc_sink.history import Run

_log = logger(__name__)
# A run that was told to end has little time left.
PATIENCE_SECONDS, LEAVING_SECONDS = 60, 3
# What a command may need to run at all, and that is no secret; docs/cli.md has the list.
PASSED_ON = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TERM", "MC_SINK_STATE_DIR"}
)
MAX_PRINTED = 2**20


def tell(run: Run, connection: Connection) -> None:
    """Call every hook of this end; what fails is logged by its name and type."""
    group = "on_success" if run.status in {"delivered", "skipped"} else "on_failure"
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
    """Run a command; what it prints goes to standard error, which no program reads, when it has ended."""
    with TemporaryFile() as printed:  # a pipe would have to be read for as long as any child of the command lives
        try:
            subprocess.run(  # noqa: S603  the connection's owner chose it
                words,
                input=json.dumps(run.as_json()).encode(),
                cwd=connection.folder,
                env=_environment(connection, run),
                stdout=printed,
                stderr=subprocess.STDOUT,
                check=True,
                timeout=LEAVING_SECONDS if run.status == "interrupted" else PATIENCE_SECONDS,
            )
        finally:
            _repeat(printed)


def _environment(connection: Connection, run: Run) -> dict[str, str]:
    names = {*PASSED_ON, *connection.settings.hooks.environment}
    given = {name: value for name, value in os.environ.items() if name in names or name.startswith("LC_")}
    facts = {"MC_SINK_RUN_ID": run.run_id, "MC_SINK_CONNECTION": run.connection, "MC_SINK_STATUS": run.status}
    return given | facts


def _repeat(printed: IO[bytes]) -> None:
    """Write what a command has printed to standard error, with control characters escaped."""
    printed.seek(0)
    text = printed.read(MAX_PRINTED).decode(errors="replace").rstrip("\n")
    if text and sys.stderr is not None:
        with suppress(OSError, ValueError):
            print(lines(*text.split("\n")), file=sys.stderr, flush=True)  # noqa: T201  the command's words, not ours
