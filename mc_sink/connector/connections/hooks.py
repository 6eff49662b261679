"""Hooks: what is called with the record of a run when it has ended.

They are those of the connection, and the entry points of the groups `mc_sink.on_success` and `mc_sink.on_failure`. A
command gets the record as JSON on its standard input and its main facts in the environment. Of this program's
environment it gets only `PASSED_ON` and the variables that the connection names. A failing hook never changes how a run
ended.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from importlib.metadata import entry_points
from queue import Empty, SimpleQueue
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from mc_sink._display import lines, logger
from mc_sink._runtime import state_dir
from mc_sink.connector.connections.settings import Webhook
from mc_sink.connector.connections.sources import find_named
from mc_sink.connector.connections.webhook import WebhookError, post
from mc_sink.connector.history import TimedOut

if TYPE_CHECKING:
    from collections.abc import Callable

    from mc_sink.connector.connections.connection_file import Connection
    from mc_sink.connector.connections.settings import Hook
    from mc_sink.connector.history import Run

_log = logger(__name__)
# Seconds that a hook may take; an interrupted run has little time left.
PATIENCE_SECONDS, LEAVING_SECONDS = 60, 3
# Variables that a command may need to run, and that are not secret; docs/cli.md lists them.
PASSED_ON = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TERM", "MC_SINK_STATE_DIR"}
)
MAX_PRINTED = 2**20


def call_hooks(run: Run, connection: Connection) -> None:
    """Run every hook of this end. A failure is logged with the hook's name and the type of the error."""
    group = "on_success" if run.status in {"delivered", "skipped"} else "on_failure"
    hook: Hook | None = getattr(connection.settings.hooks, group)
    calls: list[tuple[str, Callable[[], object]]] = []
    seconds = _patience(run)
    if isinstance(hook, str):
        calls.append((hook, lambda: _within(seconds, lambda: find_named(hook, connection.folder)(run))))
    elif isinstance(hook, Webhook):
        calls.append((f"the webhook of {hook.url_env}", partial(_within, seconds, partial(post, hook, run))))
    elif hook:
        calls.append((hook[0], partial(_command, hook, connection, run)))
    points = entry_points(group=f"mc_sink.{group}")
    calls.extend(
        (point.name, partial(_within, seconds, lambda point=point: point.load()(run)))  # type: ignore[misc]
        for point in points
    )
    for name, call in calls:
        try:
            call()
        except (Exception, SystemExit) as error:  # a hook may raise anything, and exit
            if isinstance(error, SystemExit) and type(error) is not SystemExit:
                raise  # `Terminated`: this program received SIGTERM
            reason = error if isinstance(error, WebhookError) else type(error).__name__  # other texts may hold a secret
            _log.warning("The hook %s (%s) failed: %s.", group, name, reason)


def _within(seconds: float, call: Callable[[], object]) -> None:
    """Run a function in a thread, and raise what it raises, or `TimeoutError` after so many seconds.

    Python can't stop a function: its thread goes on, and ends with this program at the latest.
    """
    ended: SimpleQueue[BaseException | None] = SimpleQueue()

    def run() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001  raised again below
            ended.put(error)
        else:
            ended.put(None)

    threading.Thread(target=copy_context().run, args=(run,), name="mc_sink hook", daemon=True).start()
    try:
        error = ended.get(timeout=seconds)
    except Empty:
        raise TimeoutError from None
    if error is not None:
        raise error


def _patience(run: Run) -> float:
    """Return the seconds that a hook may take: few where the program or the run's child is leaving."""
    is_leaving = run.status == "interrupted" or bool(run.error and run.error.kind == TimedOut.__name__)
    return LEAVING_SECONDS if is_leaving else PATIENCE_SECONDS


def _command(words: list[str], connection: Connection, run: Run) -> None:
    """Run a command, and print its output to standard error when it has ended."""
    names = {*PASSED_ON, *connection.settings.hooks.environment}
    environment = {name: value for name, value in os.environ.items() if name in names or name.startswith("LC_")}
    environment[state_dir.STATE_DIR] = str(state_dir.state_folder())  # a relative one begins where this program did
    environment |= {"MC_SINK_RUN_ID": run.run_id, "MC_SINK_CONNECTION": run.connection, "MC_SINK_STATUS": run.status}
    with TemporaryFile() as printed:  # a pipe would stay open as long as any child of the command lives
        try:
            subprocess.run(  # noqa: S603  the connection's owner chose it
                words,
                input=json.dumps(run.as_json()).encode(),
                cwd=connection.folder,
                env=environment,
                stdout=printed,
                stderr=subprocess.STDOUT,
                check=True,
                timeout=_patience(run),
            )
        finally:
            printed.seek(0)
            text = printed.read(MAX_PRINTED).decode(errors="replace").rstrip("\n")
            if text and sys.stderr is not None:
                with suppress(OSError, ValueError):
                    print(lines(*text.split("\n")), file=sys.stderr, flush=True)  # noqa: T201  the hook's output
