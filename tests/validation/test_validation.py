"""Judging a stream: what passes, what fails, and how it is reported."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import pandera.polars as pa
import polars as pl
import pytest
from pandera.errors import SchemaWarning
from polars.io.plugins import register_io_source
from polars.testing import assert_frame_equal

from mc_sink import validation
from mc_sink._display import escape, lines
from mc_sink.exceptions import ConfigurationError, ValidationError
from mc_sink.validation.failure_report import CAP
from tests.support.validation_runs import POSITIVE, batches, cases, delivered, failing, frame
from tests.support.versions import PANDERA_REPORTS_DECIMALS

if TYPE_CHECKING:
    from collections.abc import Iterator


ADVICE = (
    'Correct these rows in the query, or deliver the others with on_invalid="reject". '
    "`.failure_cases` has all failures."
)


def test_without_a_schema_every_row_passes_and_is_counted() -> None:
    """Nothing is asked, so nothing changes."""
    run = validation.compile(None, frame(1, -2, 3).lazy())
    assert_frame_equal(delivered(run), frame(1, -2, 3))
    assert (run.name, run.validated, run.num_rows, run.num_rejected, run.rejects()) == (None, False, 3, 0, None)
    run.close()


def test_clean_batches_pass_in_order_without_our_columns() -> None:
    """What is delivered is the input, batch by batch."""
    run = validation.compile(POSITIVE, frame(1, 2, 3, 4, 5).lazy())
    assert [batch["n"].to_list() for batch in run.judge(batches(run))] == [[1, 2], [3, 4], [5]]
    assert (run.name, run.validated, run.num_rows, run.num_rejected) == ("positive", True, 5, 0)
    assert run.delivered == frame().schema


def test_an_empty_frame_passes() -> None:
    """A frame without rows passes."""
    assert delivered(validation.compile(POSITIVE, frame().lazy())).is_empty()


def test_the_plan_streams_into_a_file() -> None:
    """Judging works where the engine pulls: on its own threads, into Polars' own writer."""
    run = validation.compile(POSITIVE, pl.LazyFrame({"n": range(1, 300_001), "s": ["a"] * 300_000}))

    def pull(*_: object) -> Iterator[pl.DataFrame]:
        yield from run.judge(run.frame.collect_batches(maintain_order=True))

    written = io.BytesIO()
    register_io_source(pull, schema=run.delivered).sink_parquet(written)
    written.seek(0)
    assert pl.read_parquet(written)["n"].to_list() == list(range(1, 300_001))


def test_failures_carry_the_row_s_number_in_the_whole_run() -> None:
    """Rows are counted from 0 over all batches."""
    error = failing(validation.compile(POSITIVE, frame(1, 2, 3, -4, 5, None, 7).lazy()))
    assert cases(error) == [(3, "n", "greater_than(0)", "-4"), (5, "n", "not_nullable", None)]


def test_nothing_is_yielded_after_the_first_failure_and_the_rest_is_still_judged() -> None:
    """The delivery has failed; the report is whole."""
    run = validation.compile(POSITIVE, frame(1, 2, -3, 4, 5, 6, -7, 8).lazy())
    yielded: list[pl.DataFrame] = []
    with pytest.raises(ValidationError) as caught:
        yielded.extend(run.judge(batches(run)))
    assert [batch["n"].to_list() for batch in yielded] == [[1, 2]]
    assert [row for row, *_ in cases(caught.value)] == [2, 6]
    assert run.num_rows == 8


def test_the_message_says_how_many_what_where_and_what_to_do() -> None:
    """The count comes first, then a line for each check, then the advice, and that nothing is visible."""
    numbers = [1, -2, None, -3, -4, -5]
    error = failing(validation.compile(POSITIVE, frame(*numbers, s=pl.lit("a")).lazy()))
    assert str(error).splitlines() == [
        "5 rows failed 2 checks of schema 'positive'.",
        "  n: not_nullable: 1 (row 2: null)",
        "  n: greater_than(0): 4 (row 1: -2, row 3: -3, row 4: -4, …)",
        ADVICE,
        "Nothing became visible.",
    ]
    assert error.schema_name == "positive"
    assert error.checks is not None
    assert error.checks.rows()[1] == ("n", "greater_than(0)", 4, "row 1: -2, row 3: -3, row 4: -4, …")


def test_a_row_that_fails_twice_is_counted_once() -> None:
    """Rows and failures are different numbers."""
    error = failing(validation.compile(POSITIVE, frame(-1, s=pl.lit("B")).lazy()))
    assert str(error).startswith("1 row failed 2 checks")


def test_counts_are_exact_beyond_the_cases_that_are_kept() -> None:
    """The kept cases have a bound, the counts have none."""
    numbers = pl.LazyFrame({"n": pl.repeat(-1, 2 * CAP + 5, eager=True), "s": pl.repeat("a", 2 * CAP + 5, eager=True)})
    error = failing(validation.compile(POSITIVE, numbers.cast({"n": pl.Int64})), size=4096)
    assert error.failure_cases is not None
    assert error.failure_cases.height == CAP
    assert str(error).startswith("20,005 rows failed 1 check")
    assert "the first 10,000 of 20,005 failures" in str(error)


def test_the_error_survives_a_pickle_and_is_a_table_in_notebooks() -> None:
    """What a worker raises, a driver reads."""
    error = failing(validation.compile(POSITIVE, frame(-1, s=pl.lit("<b>")).lazy()))
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  our own bytes
    assert (str(again), again.schema_name, cases(again)) == (str(error), "positive", cases(error))
    html = again._repr_html_()
    assert ">greater_than(0)</td>" in html
    assert "Nothing became visible." in html
    assert "<b>'" not in html
    assert again.advice.endswith("`.failure_cases` has all failures.")
    assert f"<p>{escape(again.advice)}</p>" in html


def test_a_notebook_shows_all_of_the_advice_and_no_line_of_the_report_twice() -> None:
    """The table stands for the report's lines, whatever they begin with."""
    checks = pl.DataFrame({"column": ["n"], "check": ["positive"], "failures": [1], "examples": ["row 0: -1"]})
    message = lines("1 row failed 1 check.", "n: positive: 1 (row 0: -1)", "  Correct it.")
    html = ValidationError(message, checks=checks, advice="  Correct it.")._repr_html_()
    assert "<p>  Correct it.</p>" in html
    assert html.count("row 0: -1") == 1


SECRET = pa.DataFrameSchema(
    {
        "s": pa.Column(pl.String, pa.Check.str_startswith("ok"), metadata={"personal_data": True}, unique=True),
        "n": pa.Column(pl.String, pa.Check.str_startswith("ok"), coerce=True),
    },
    checks=pa.Check(lambda data: data.lazyframe.select(pl.col("s") == pl.col("n")), name="same"),
    name="secret",
)


def test_personal_data_is_masked_wherever_an_error_shows_it() -> None:
    """Message, cases, table, notebook and traceback name rows, not people."""
    people = pl.LazyFrame({"s": ["ok", "ada@example.com", "ada@example.com", None], "n": [1, 2, 3, 4]})
    run = validation.compile(SECRET, people)
    try:
        delivered(run)
        shown = ""
    except ValidationError as error:
        shown = "".join(traceback.format_exception(error)) + error._repr_html_() + str(error.failure_cases.rows())  # type: ignore[union-attr]
    assert "(personal data)" in shown
    assert "ada@" not in shown
    assert "{&quot;s&quot;: &quot;(personal data)&quot;, &quot;n&quot;" in shown


def test_what_a_broken_check_says_is_withheld_where_it_could_name_a_person() -> None:
    """An exception's words may carry the value."""

    def broken(value: str) -> bool:
        raise ValueError(value)

    column = pa.Column(pl.String, pa.Check(broken, element_wise=True), metadata={"personal_data": True})
    error = failing(validation.compile(pa.DataFrameSchema({"s": column}), pl.LazyFrame({"s": ["ada@example.com"]})))
    assert cases(error) == [(None, "s", "broken", None)]
    assert "ada@" not in str(error)


def test_a_check_that_warns_warns_once_and_delivers() -> None:
    """However many batches and rows it speaks about, one warning counts them, and masks what is personal."""
    column = pa.Column(pl.Int64, [pa.Check.gt(0), pa.Check.lt(5, raise_warning=True)], metadata={"personal_data": True})
    run = validation.compile(pa.DataFrameSchema({"n": column}, name="w"), frame(1, 6, 7, 8, 9).select("n").lazy())
    with pytest.warns(SchemaWarning, match=r"n: less_than\(5\): 4 \(row 1: \(personal data\)") as warned:
        assert delivered(run).height == 5
    assert len(warned) == 1


def test_batches_that_fail_and_batches_that_warn_are_judged_together() -> None:
    """Rows of one batch only fail, of the next only warn, and of the last do both. A rejected row warns of nothing."""
    column = pa.Column(pl.Int64, [pa.Check.gt(0), pa.Check.ne(5, raise_warning=True)])
    other = pa.Column(pl.String, pa.Check.ne("b", raise_warning=True), nullable=True)
    numbers = frame(-1, 2, 5, 3, -4, 5, s=pl.Series(["a", "a", "a", "b", "b", "b"]))
    run = validation.compile(pa.DataFrameSchema({"n": column, "s": other}), numbers.lazy(), on_invalid="reject")
    with pytest.warns(
        SchemaWarning, match=r"(?s)n: not_equal_to\(5\): 2 .*s: not_equal_to\(b\): 2 \(row 3: b, row 5: b\)"
    ):
        assert_frame_equal(delivered(run), numbers.filter(pl.col("n") > 0))
    rejects = run.rejects()
    assert rejects is not None
    assert rejects.collect()["n"].to_list() == [-1, -4]


def test_a_model_is_a_schema_too() -> None:
    """Pandera's classes are taken as its objects are."""

    class Numbers(pa.DataFrameModel):
        n: int = pa.Field(gt=0)

        class Config:
            name = "numbers"
            strict = True

    run = validation.compile(Numbers, frame(1).lazy().select("n"))
    assert (run.name, delivered(run).height) == ("numbers", 1)


def test_columns_are_judged_before_any_row_is_read() -> None:
    """A missing column and a wrong type are reported together, at once."""
    with pytest.raises(ValidationError, match="2 checks of schema 'positive'") as caught:
        validation.compile(POSITIVE, pl.LazyFrame({"n": ["1"]}))
    assert set(cases(caught.value)) == {
        (None, "s", "missing, expected String", None),
        (None, "n", "dtype('Int64')", "String"),
    }


def test_coercion_that_only_pandera_can_do_goes_through_it() -> None:
    """Decimals are coerced by Pandera, batch by batch, to one schema, and failures keep their rows."""
    schema = pa.DataFrameSchema({"d": pa.Column(pl.Decimal(10, 2), coerce=True, unique=True)}, name="money")
    run = validation.compile(schema, pl.LazyFrame({"d": ["1.50", "2.25", "3"]}))
    assert delivered(run).schema == run.delivered == {"d": pl.Decimal(10, 2)}
    assert "Pandera judges every batch, because only it can coerce d" in run.explain()
    wrong = validation.compile(schema, pl.LazyFrame({"d": ["1.50", "2.25", "3", "x"]}))
    if PANDERA_REPORTS_DECIMALS:
        assert (3, "x") in {(row, value) for row, _, _, value in cases(failing(wrong))}
    else:
        with pytest.raises(AssertionError, match="Decimal class"):
            delivered(wrong)
    with pytest.raises(ConfigurationError, match="only Pandera can"):
        validation.compile(schema, pl.LazyFrame({"d": ["1"]}), on_invalid="reject")


def test_explain_says_who_runs_which_check() -> None:
    """Every check has its line."""
    assert validation.compile(POSITIVE, frame().lazy()).explain().splitlines() == [
        "Schema 'positive':",
        "  n: not_nullable: by an expression on every batch",
        "  n: greater_than(0): by an expression on every batch",
        "  s: str_matches('[a-z]'): by an expression on every batch",
    ]


def test_a_run_dropped_in_mid_stream_leaves_nothing() -> None:
    """Closing is enough, before the end, after it, and twice; the spool never has a name on the disk."""
    run = validation.compile(POSITIVE, frame(*range(-5, 5)).lazy(), on_invalid="reject")
    judged = run.judge(batches(run))
    next(iter(judged))
    del judged
    for _ in range(2):
        run.close()
    assert list(Path(tempfile.gettempdir()).glob("mc_sink-*")) == []


def test_a_check_that_warns_does_not_keep_pandera_from_coercing() -> None:
    """Where only Pandera can coerce and a check only warns, what is delivered still has the run's schema."""
    warns = pa.Check(lambda data: data.lazyframe.select(pl.col("b") > 1), raise_warning=True)
    schema = pa.DataFrameSchema({"a": pa.Column(pl.Categorical, coerce=True, nullable=True)}, [warns], name="warns")
    run = validation.compile(schema, pl.LazyFrame({"a": [None], "b": [1]}, schema={"a": pl.Int64, "b": pl.Int64}))
    with pytest.warns(SchemaWarning, match="warn about"):
        (delivered,) = run.judge([run.frame.collect()])
    assert delivered.schema == run.delivered
    assert delivered["a"].dtype == pl.Categorical


def test_a_missing_column_comes_in_the_type_of_the_whole_schema() -> None:
    """A column that is added is coerced with the others, and delivered as Pandera would deliver it."""
    column = pa.Column(pl.Int64, nullable=True, coerce=True)
    schema = pa.DataFrameSchema({"c": column}, dtype=pl.Float64, add_missing_columns=True, strict="filter", name="adds")
    run = validation.compile(schema, pl.LazyFrame({"a": [1, 2]}))
    (delivered,) = run.judge([run.frame.collect()])
    assert delivered.schema == run.delivered == {"c": pl.Float64}


def test_an_error_of_the_source_arrives_as_itself() -> None:
    """An error of the caller's own query is not wrapped."""

    def source() -> Iterator[pl.DataFrame]:
        yield validation.compile(POSITIVE, frame(1).lazy()).frame.collect()
        raise RuntimeError("the database went away")

    run = validation.compile(POSITIVE, frame().lazy())
    with pytest.raises(RuntimeError, match="went away"):
        list(run.judge(source()))


def test_validation_is_light_until_a_schema_is_given() -> None:
    """Importing it, and running without a schema, loads neither Pandera nor pyarrow."""
    program = (
        "import sys, polars as pl; from mc_sink import validation\n"
        "list(validation.compile(None, pl.LazyFrame({'a': [1]})).judge([pl.DataFrame({'a': [1]})]))\n"
        "print({'pandera', 'pyarrow', 's3fs', 'pandas', 'yaml'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
