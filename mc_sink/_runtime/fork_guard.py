"""Whether Polars can still work here: its threads don't survive a fork, and a query would wait for them for ever.

Every fork is noted as it happens, with what runs just before it. Where Polars' threads are seen then, by their names
(Linux), or a delivery has run, a child of that fork is without them. Where that can't be told, because a thread has
no name yet or one that other libraries give too, or the fork came before this module, a small query is tried once.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Literal

import polars as pl

from mc_sink.exceptions import ConfigurationError

Standing = Literal["sound", "unsure", "lost"]
# Names are cut at 15 bytes. Measured: `collect_schema` starts tokio alone, which other libraries have, too.
_ENGINE, _PERHAPS = re.compile(r"polars-\d|async-executor"), re.compile(r"tokio-r")
_SINCE_IMPORT = "polars-ooc-clea"
_TASKS = Path("/proc/self/task")
# Measured: a sound engine answers in 5 ms.
PATIENCE_SECONDS = 5.0


class _Lineage:
    """What is known of this interpreter, and what a child of the fork that is under way will have to know."""

    def __init__(self) -> None:
        names = _thread_names().values()
        self.standing: Standing = "sound" if not names or _SINCE_IMPORT in names else "unsure"
        self.next: Standing = "sound"
        self.delivered = False

    def before_fork(self) -> None:
        """Note what the child will have lost."""
        self.next = "lost" if self.delivered or self.standing == "lost" else self._look()

    def in_child(self) -> None:
        """Be the child."""
        self.standing, self.delivered = self.next, False

    def _look(self) -> Standing:
        names = _thread_names()
        if any(_ENGINE.match(name) for name in names.values()):
            return "lost"
        return "sound" if names and self.standing == "sound" and not _has_doubtful(names) else "unsure"


def check_fork() -> None:
    """Raise `ConfigurationError` where a query would never end; measured, below a microsecond but after a fork."""
    if _here.standing == "unsure":
        _here.standing = "sound" if _engine_answers() else "lost"
    if _here.standing == "lost":
        raise ConfigurationError(
            f"This interpreter (pid {os.getpid()}) was forked from one in which Polars had run, and Polars' threads "
            "don't survive a fork: no query would end here. Start it by spawn "
            '(multiprocessing.get_context("spawn")), or fork before the first query.'
        )
    _here.delivered = True


def _thread_names() -> dict[int, str]:
    """Give the system's names of this interpreter's threads; none where it doesn't tell."""
    names = {}
    with suppress(OSError):
        for task in _TASKS.iterdir():
            with suppress(OSError):  # it has just ended
                names[int(task.name)] = (task / "comm").read_text(errors="replace").rstrip("\n")
    return names


def _has_doubtful(names: dict[int, str]) -> bool:
    """Whether any thread may be Polars'; one that has just begun bears the name of the thread that began it."""
    ours = {thread.native_id for thread in threading.enumerate()}
    inherited = {name for thread, name in names.items() if thread in ours}
    return any(_PERHAPS.match(name) or (name in inherited and thread not in ours) for thread, name in names.items())


def _engine_answers() -> bool:
    """Try a query that needs all of Polars' threads, on a thread that is left behind if there is no answer."""
    answered = threading.Event()

    def ask() -> None:
        with suppress(BaseException):  # an error is an answer too, and so is a panic
            pl.DataFrame({"n": [2, 1]}).sort("n").write_csv()
        answered.set()

    threading.Thread(target=ask, name="mc_sink probe", daemon=True).start()
    return answered.wait(PATIENCE_SECONDS)


_here = _Lineage()
if sys.platform != "win32":
    os.register_at_fork(before=_here.before_fork, after_in_child=_here.in_child)
