"""The fork guard: a small query shows whether Polars works here, and is run once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest

import mc_sink
from mc_sink import ConfigurationError
from mc_sink._runtime import fork_guard

if TYPE_CHECKING:
    from pathlib import Path


def test_the_engine_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first delivery of a process, and not before the next ones."""
    asked: list[bool] = []
    answers = fork_guard._answers  # noqa: SLF001  what is counted
    monkeypatch.setattr(fork_guard, "_engine", fork_guard._Engine())  # noqa: SLF001  of a fresh process

    def ask() -> bool:
        asked.append(answers())
        return asked[-1]

    monkeypatch.setattr(fork_guard, "_answers", ask)
    for number in range(3):
        mc_sink.sink_madconnect(pl.DataFrame({"n": [number]}), f"{tmp_path}/{number}.csv")
    assert asked == [True]


@pytest.mark.parametrize(("delivered", "state"), [(False, "unknown"), (True, "lost")])
def test_a_child_adopts_what_its_parent_knows(*, delivered: bool, state: str) -> None:
    """A fork after a delivery lost the engine; after any other one it has to be asked again."""
    engine = fork_guard._Engine()  # noqa: SLF001  of a fresh process
    engine.state, engine.is_used = "sound", delivered
    engine.after_fork()
    assert (engine.state, engine.is_used) == (state, False)
    engine.after_fork()
    assert engine.state == state


def test_an_engine_that_does_not_answer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do about it, and again at the next call without waiting."""
    monkeypatch.setattr(fork_guard, "_engine", fork_guard._Engine())  # noqa: SLF001  of a fresh process
    answers = iter([False])
    monkeypatch.setattr(fork_guard, "_answers", lambda: next(answers))
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="Start it by spawn"):
            fork_guard.check_fork()
