"""Do several things at once, in threads, so that the wait for a distant store is shared."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import repeat
from typing import TYPE_CHECKING, TypeVar

from mc_sink._runtime.engine_thread import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")


def run_several(
    work: Sequence[Callable[[], T]], outcomes: list[T | BaseException | None], at_once: int, stop: Callable[[], object]
) -> None:
    """Run functions in their order, `at_once` at a time, and begin no other once one has failed.

    `outcomes` receives what each returned or raised; None stays where it was not begun, or has not ended. If the wait
    is interrupted, `stop` is called, which ends what is under way, and the interruption is raised with the notes of it.
    """
    failed = threading.Event()

    def run(number: int) -> None:
        if not failed.is_set() and outcomes[number] is None:
            try:
                outcomes[number] = work[number]()
            except BaseException as error:
                outcomes[number] = error
                failed.set()
                raise

    def run_all() -> None:
        with ThreadPoolExecutor(at_once) as pool:
            list(map(pool.submit, repeat(run), range(len(work))))

    def end(_cause: BaseException) -> None:
        failed.set()
        stop()

    if min(at_once, len(work)) < 2:  # noqa: PLR2004  nothing to be done at once
        with suppress(Exception):  # it is among the outcomes, but an interruption ends this thread's work
            list(map(run, range(len(work))))
        return
    with Worker(run_all, end) as worker:
        try:
            worker.result()
        except BaseException as interruption:
            for outcome in outcomes:
                for note in getattr(outcome, "__notes__", ()):
                    interruption.add_note(note)
            raise
