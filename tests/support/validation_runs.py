"""Runs to judge, and the short words by which the tests of validation judge them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandera.polars as pa
import polars as pl
import pytest

from mc_sink.exceptions import ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mc_sink import validation

POSITIVE = pa.DataFrameSchema(
    {"n": pa.Column(pl.Int64, pa.Check.gt(0)), "s": pa.Column(pl.String, pa.Check.str_matches("[a-z]"), nullable=True)},
    name="positive",
)


def frame(*numbers: int | None, **others: Any) -> pl.DataFrame:
    """Make a frame that fits `POSITIVE`, with some columns replaced."""
    return pl.DataFrame({"n": numbers, "s": ["a"] * len(numbers)}, schema={"n": pl.Int64, "s": pl.String}).with_columns(
        **others
    )


def batches(run: validation.Compiled, size: int = 2) -> Iterator[pl.DataFrame]:
    """Cut the run's plan into small batches."""
    return run.frame.collect().iter_slices(size)


def delivered(run: validation.Compiled, size: int = 2) -> pl.DataFrame:
    """Judge the run in small batches and return what may be delivered."""
    return pl.concat([run.delivered.to_frame(), *run.judge(batches(run, size))])


def failing(run: validation.Compiled, size: int = 2) -> ValidationError:
    """Judge a run that must fail and return its error."""
    with pytest.raises(ValidationError) as caught:
        delivered(run, size)
    return caught.value


def cases(error: ValidationError) -> list[tuple[Any, ...]]:
    """Return the lines of the error's `failure_cases`."""
    assert error.failure_cases is not None
    return error.failure_cases.rows()
