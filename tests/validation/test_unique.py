"""Uniqueness holds over the whole delivery, exactly, in memory and spilled to disk."""

from __future__ import annotations

import math
import resource
import sys
from typing import Any

import pandera.polars as pa
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandera.errors import SchemaErrors

from mc_sink import validation
from mc_sink.exceptions import ValidationError
from mc_sink.validation import unique
from mc_sink.validation.unique import ROW, Uniqueness

UNIQUE = pa.DataFrameSchema({"k": pa.Column(unique=True, nullable=True)}, name="unique")
TOGETHER = pa.DataFrameSchema(unique=["k", "m"], name="together")
KEYS = {
    pl.Int64: st.sampled_from([None, -1, 0, 1, 2, 2**62]),
    pl.Float64: st.sampled_from([None, math.nan, -math.nan, 0.0, -0.0, 1.5, math.inf]),
    pl.String: st.sampled_from([None, "", "a", "b", "ä"]),
    pl.Categorical: st.sampled_from([None, "a", "b", "c"]),
    pl.Boolean: st.sampled_from([None, True, False]),
    pl.List(pl.Int64): st.sampled_from([None, [], [1], [1, 2]]),
}


def duplicated(frame: pl.DataFrame, columns: tuple[str, ...], size: int, memory: int) -> list[int]:
    """Return the rows that `Uniqueness` names when the frame comes in batches of `size`."""
    unique = Uniqueness(columns, "unique", memory)
    for start in range(0, frame.height, size):
        batch = frame[start : start + size]
        unique.add(batch, pl.int_range(start, start + batch.height, dtype=pl.UInt64, eager=True))
    rows = [row for keys in unique.duplicates() for row in keys[ROW].to_list()]
    unique.close()
    return sorted(rows)


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    """Make a frame with one or two key columns of any type."""
    height = draw(st.integers(0, 12))
    dtypes: dict[str, Any] = {name: draw(st.sampled_from([*KEYS])) for name in draw(st.sampled_from(["k", "km"]))}
    values = {name: draw(st.lists(KEYS[dtype], min_size=height, max_size=height)) for name, dtype in dtypes.items()}
    return pl.DataFrame(values, schema=dtypes)


@settings(max_examples=150, deadline=None)
@given(frames(), st.integers(1, 5), st.sampled_from([0, 40, 10**6]))
def test_duplicates_are_those_that_the_engine_counts(frame: pl.DataFrame, size: int, memory: int) -> None:
    """In memory or spilled, in any batches, the rows are those of `is_duplicated` over the whole frame."""
    expected = frame.is_duplicated() if frame.width > 1 else frame["k"].is_duplicated()
    assert duplicated(frame, tuple(frame.columns), size, memory) == expected.arg_true().to_list()


@pytest.mark.parametrize("memory", [0, 10**9])
def test_a_collision_of_hashes_is_no_duplicate(monkeypatch: pytest.MonkeyPatch, memory: int) -> None:
    """Where every key has the same hash, only equal keys are duplicates."""
    monkeypatch.setattr(unique, "_hashed", lambda _columns: pl.lit(7, dtype=pl.UInt64))
    frame = pl.DataFrame({"k": [3, 1, 2, 3, 4]})
    assert duplicated(frame, ("k",), 2, memory) == [0, 3]


@pytest.mark.parametrize("on_invalid", ["fail", "reject"])
@pytest.mark.parametrize("schema", [UNIQUE, TOGETHER])
def test_a_duplicate_of_the_first_batch_in_the_last_fails_the_run(schema: Any, on_invalid: Any) -> None:
    """No batch contains a duplicate; the delivery does, and its rows are named, also where bad rows are rejected."""
    frame = pl.LazyFrame({"k": [1, 2, 3, 4, 5, 1], "m": ["x", "y", "x", "y", "x", "x"]})
    run = validation.compile(schema, frame, on_invalid=on_invalid)
    judged = run.judge(frame.collect().iter_slices(2))
    assert [next(iter(judged)).height for _ in range(3)] == [2, 2, 2]
    with pytest.raises(ValidationError) as caught:
        next(iter(judged))
    assert caught.value.failure_cases is not None
    assert caught.value.failure_cases["row"].to_list() == [0, 5]
    assert str(caught.value).startswith("2 rows failed 1 check")
    with pytest.raises(SchemaErrors):
        schema.validate(frame.collect(), lazy=True)


def test_a_rejected_row_is_no_duplicate_of_a_delivered_one() -> None:
    """What counts is what the receiver gets."""
    schema = pa.DataFrameSchema({"k": pa.Column(pl.Int64, unique=True), "n": pa.Column(pl.Int64, pa.Check.gt(0))})
    run = validation.compile(schema, pl.LazyFrame({"k": [1, 2, 1], "n": [1, 1, -1]}), on_invalid="reject")
    assert pl.concat(run.judge(run.frame.collect().iter_slices(2)))["k"].to_list() == [1, 2]
    assert run.num_rejected == 1
    run.close()


def test_values_that_could_not_be_converted_are_no_duplicates() -> None:
    """Two different values that both become null when coerced are two failures, not a pair."""
    schema = pa.DataFrameSchema({"k": pa.Column(pl.Int64, unique=True, coerce=True)}, name="coerced")
    run = validation.compile(schema, pl.LazyFrame({"k": ["1", "one", "two", "1"]}))
    with pytest.raises(ValidationError) as caught:
        list(run.judge(run.frame.collect().iter_slices(2)))
    assert caught.value.checks is not None
    assert caught.value.checks.select("check", "failures").rows() == [
        ("coerce_dtype('Int64')", 2),
        ("field_uniqueness", 2),
    ]


def test_a_row_that_is_bad_and_duplicated_is_counted_once() -> None:
    """The count is of rows, the lines are of checks."""
    schema = pa.DataFrameSchema({"k": pa.Column(pl.Int64, pa.Check.gt(0), unique=True)}, name="both")
    run = validation.compile(schema, pl.LazyFrame({"k": [-1, 2, -1]}))
    with pytest.raises(ValidationError, match="2 rows failed 2 checks"):
        list(run.judge(run.frame.collect().iter_slices(2)))


def peak() -> int:
    """Return the most memory this process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def test_memory_is_bounded_while_keys_spill() -> None:
    """Twelve million distinct keys, 200 MB with their row numbers, pass without being held."""
    size, count = 100_000, 120
    run = validation.compile(UNIQUE, pl.LazyFrame(schema={"k": pl.UInt64}))
    before = peak()
    for batch in run.judge(pl.select(k=pl.int_range(i * size, (i + 1) * size).hash(3)) for i in range(count)):
        assert batch.height == size
    assert run.num_rows == size * count
    assert peak() - before < 500 * 2**20
    run.close()
