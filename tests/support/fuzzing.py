"""Generated input, tried for a number of examples or for a time; `target()` steers Hypothesis to what gets further."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings, target
from hypothesis.control import currently_in_test_context

from mc_sink import SinkError
from mc_sink._display import printable
from mc_sink.scrub import looks_secret

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import SearchStrategy

SECONDS = 600


def outcome(call: Callable[[], object]) -> int:
    """Return 0 for an error of this library, whose text must be safe to show, and 1 for success."""
    try:
        call()
    except SinkError as error:
        text = str(error)
        assert text == "\n".join(map(str, map(printable, text.split("\n"))))
        assert not looks_secret(text)
        return 0
    return 1


def steer(got: float) -> None:
    """Report to Hypothesis how far an input got, so that it looks for others that get further."""
    if currently_in_test_context():
        target(float(got))


def examine(strategy: SearchStrategy[Any], call: Callable[[Any], None], number: int) -> None:
    """Pass that many examples to a function."""

    @settings(max_examples=number, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def trial(drawn: Any) -> None:
        call(drawn)

    trial()


def examine_for_minutes(strategy: SearchStrategy[Any], call: Callable[[Any], None], each: int) -> None:
    """Pass rounds of examples to a function for 10 minutes; `FUZZ_SECONDS` sets another time."""
    end = time.monotonic() + float(os.environ.get("FUZZ_SECONDS", SECONDS))
    while time.monotonic() < end:
        examine(strategy, call, each)
