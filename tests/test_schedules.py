"""Schedules that Hypothesis makes up, and every one that found something, by name."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, core, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.schedules import Schedule


def _run(examples: int, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = core.global_force_seed
    chosen = random.randrange(2**32) if chosen is None else int(chosen)
    with capsys.disabled():
        print(f"\n{examples} schedules of seed {chosen}: --hypothesis-seed={chosen} makes the same ones again")  # noqa: T201
    limits = settings(
        max_examples=examples,
        stateful_step_count=10,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(seed(chosen)(Schedule), settings=limits)


def test_schedules(capsys: pytest.CaptureFixture[str]) -> None:
    """x."""
    _run(50, capsys)
