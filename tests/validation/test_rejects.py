"""Rejects: bad rows leave the delivery, each with its number and its reasons, up to a limit."""

from __future__ import annotations

import pandera.polars as pa
import polars as pl
import pytest

from mc_sink import validation
from tests.support.validation_runs import POSITIVE, cases, delivered, failing, frame


def test_bad_rows_are_rejected_with_their_number_and_every_reason() -> None:
    """Rows in are rows delivered and rows rejected, and a reject comes as it came."""
    data = frame(1, -2, 3, None, 5, s=pl.Series(["a", "B", "c", "d", "E"]))
    run = validation.compile(POSITIVE, data.lazy(), on_invalid="reject")
    assert delivered(run)["n"].to_list() == [1, 3]
    assert (run.num_rows, run.num_rejected) == (5, 3)
    rejects = run.rejects()
    assert rejects is not None
    assert rejects.collect().rows() == [
        (
            1,
            '[{"column": "n", "check": "greater_than(0)"}, {"column": "s", "check": "str_matches(\'[a-z]\')"}]',
            -2,
            "B",
        ),
        (3, '[{"column": "n", "check": "not_nullable"}]', None, "d"),
        (4, '[{"column": "s", "check": "str_matches(\'[a-z]\')"}]', 5, "E"),
    ]
    assert rejects.select("row").filter(pl.col("row") > 1).head(1).collect().rows() == [(3,)]
    run.close()


def test_a_reject_keeps_the_values_that_came() -> None:
    """Neither coercion nor defaults change a reject, and both change what is delivered."""
    schema = pa.DataFrameSchema(
        {"n": pa.Column(pl.Int64, pa.Check.gt(0), coerce=True), "s": pa.Column(pl.String, default="none")},
        strict="filter",
    )
    came = pl.LazyFrame({"x": [0, 0, 0], "s": [None, None, "c"], "n": ["1", "one", "-3"]})
    run = validation.compile(schema, came, on_invalid="reject")
    assert delivered(run).rows() == [("none", 1)]
    rejects = run.rejects()
    assert rejects is not None
    assert rejects.drop("reasons").collect().rows() == [(1, None, "one"), (2, "c", "-3")]
    assert rejects.collect()["reasons"][0] == '[{"column": "n", "check": "coerce_dtype(\'Int64\')"}]'


def test_our_names_give_way_to_the_input_s() -> None:
    """A frame may have columns of its own called `row` and `reasons`."""
    came = frame(-1).with_columns(row=pl.lit("mine"), reasons=pl.lit(7))
    run = validation.compile(POSITIVE, came.lazy(), on_invalid="reject")
    delivered(run)
    rejects = run.rejects()
    assert rejects is not None
    assert rejects.collect_schema().names() == ["_row", "_reasons", "n", "s", "row", "reasons"]
    assert rejects.collect()["_row"].to_list() == [0]


@pytest.mark.parametrize(
    ("allowed", "passes"), [(None, True), (2, True), (1, False), (0, False), (0.4, True), (0.39, False)]
)
def test_too_many_rejects_fail_the_run(allowed: float | None, passes: bool) -> None:  # noqa: FBT001  a table of cases
    """A count or a fraction of the rows is the most that may be rejected."""
    run = validation.compile(POSITIVE, frame(1, -2, -3, 4, 5).lazy(), on_invalid="reject", max_rejects=allowed)
    if passes:
        assert delivered(run).height == 3
    else:
        error = failing(run)
        assert f"2 of 5 rows were rejected, more than max_rejects={allowed} allows" in str(error)
        assert [row for row, *_ in cases(error)] == [1, 2]


def test_python_checks_run_on_every_batch_and_reject_rows_too() -> None:
    """A function of one value is asked about each, and its reasons stand beside those of the others."""
    even = pa.Check(lambda value: value % 2 == 0, element_wise=True, name="even", ignore_na=False)
    schema = pa.DataFrameSchema({"n": pa.Column(pl.Int64, [pa.Check.gt(0), even])})
    run = validation.compile(schema, frame(2, -3, 5, 8).select("n").lazy(), on_invalid="reject")
    assert delivered(run)["n"].to_list() == [2, 8]
    rejects = run.rejects()
    assert rejects is not None
    reasons = dict(rejects.select("row", "reasons").collect().rows())
    assert reasons[1].count("check") == 2
    assert reasons[2] == '[{"column": "n", "check": "even"}]'
    assert "n: even: by Pandera on every batch, because it is a Python function" in run.explain()
