"""What is refused, before a row is read and by name, and what is switched off and says so."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pandera.pandas
import pandera.polars as pa
import polars as pl
import pytest
from pandera.config import config_context
from pandera.engines.polars_engine import PanderaSchema, PydanticModel
from pydantic import BaseModel

from mc_sink import validation
from mc_sink.exceptions import ConfigurationError, ValidationError
from tests.support.validation_runs import POSITIVE, delivered, frame
from tests.support.versions import PANDERA_ADDS_AFTER_PATTERNS

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("options", [{"max_rejects": 1}, {"on_invalid": "drop"}])
@pytest.mark.parametrize("schema", [None, POSITIVE])
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], schema: Any) -> None:
    """`max_rejects` needs rejects, and bad rows are treated in one of two ways."""
    with pytest.raises(ConfigurationError):
        validation.compile(schema, frame(1).lazy(), **options)


@pytest.mark.parametrize("limit", [-1, 1.5, True])
def test_a_limit_that_is_no_limit_is_refused(limit: float) -> None:
    """A count isn't negative and a fraction isn't above one."""
    with pytest.raises(ConfigurationError, match="a count of rows, or a fraction"):
        validation.compile(POSITIVE, frame(1).lazy(), on_invalid="reject", max_rejects=limit)


STRUCT: Any = PanderaSchema  # a type that `Column` takes and doesn't declare
NESTED_UNIQUE = pa.DataFrameSchema({"x": pa.Column(pl.Int64, unique=True)})
NESTED_MEAN = pa.DataFrameSchema(
    {"x": pa.Column(pl.Int64, pa.Check(lambda data: data.lazyframe.select(pl.col("x") > pl.col("x").mean())))}
)


class Record(BaseModel):
    """A row, as pydantic sees it."""

    n: int


def _check(function: Callable[..., Any], **options: Any) -> pa.DataFrameSchema:
    return pa.DataFrameSchema({"n": pa.Column(pl.Int64, pa.Check(function, name="mine", **options))}, name="odd")


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (_check(lambda data: data.lazyframe.collect().height > 1), "does more than"),
        (_check(lambda _: True), "returns one bool for all rows"),
        (_check(lambda data: data.lazyframe.select(pl.col("n") > pl.col("n").mean())), "compares rows with each other"),
        (_check(lambda data: data.lazyframe.select(pl.col("n").is_first_distinct())), "compares rows with each other"),
        (
            _check(lambda data: data.lazyframe.select(pl.col("n").shift() < pl.col("n"))),
            "compares rows with each other",
        ),
        (_check(lambda data: data.lazyframe.select(pl.col("n").sum() > 0)), "one boolean for each row"),
        (_check(lambda data: data.lazyframe.select(pl.lit(1) < 2)), "one boolean for each row"),
        (_check(lambda data: data.lazyframe.select(pl.col("m") > 0)), "can't be applied to these columns"),
        (_check(lambda data: data.lazyframe.select(pl.col("n") > 0), groupby="n"), "groups rows"),
        (pa.DataFrameSchema({"n": pa.Column(pl.Int64, pa.Check.unique_values_eq([1]))}), "unique_values_eq"),
        (pa.DataFrameSchema({"n": pa.Column(pl.Int64)}, drop_invalid_rows=True), "drops invalid rows"),
        (pa.DataFrameSchema({"n": pa.Column(pl.Int64, drop_invalid_rows=True)}), "drops invalid rows"),
        (pa.DataFrameSchema({"n": pa.Column(STRUCT(NESTED_UNIQUE))}), "unique values are not supported within structs"),
        (pa.DataFrameSchema({"n": pa.Column(STRUCT(NESTED_MEAN))}), "compares rows with each other"),
        (pa.DataFrameSchema(dtype=PydanticModel(Record)), "pydantic"),
        (pandera.pandas.DataFrameSchema({"n": pandera.pandas.Column(int)}), "for another dataframe library"),
        (pandera.pandas.DataFrameModel, "for another dataframe library"),
        (dict, "dict is not a schema"),
        (7, "int is not a schema"),
    ],
)
def test_what_cannot_be_judged_in_a_stream_is_refused_by_name(schema: Any, words: str) -> None:
    """Nothing is quietly weaker than its author believes: it is refused before the first row."""
    plain = frame(1).lazy().select("n")
    structs = plain.select(n=pl.struct(x="n"))
    nested = getattr(schema, "columns", {}).get("n") is not None and "x" in str(schema.columns["n"].dtype)
    with pytest.raises(ConfigurationError, match=words):
        validation.compile(schema, structs if nested else plain)


def test_reserved_names_are_refused() -> None:
    """A column of the input can't be mistaken for a reserved one."""
    with pytest.raises(ConfigurationError, match="reserved"):
        validation.compile(POSITIVE, frame(1).lazy().with_columns(__mc_sink_clean__=pl.lit(value=True)))


def test_a_column_of_two_types_is_refused() -> None:
    """Under a schema with a dtype of its own, Pandera would judge a default by that, and deliver the column as is."""
    schema = pa.DataFrameSchema({"a": pa.Column(pl.Int64, default=1)}, dtype=pl.Float64, name="one type")
    with pytest.raises(ConfigurationError, match="delivered in another dtype: a"):
        validation.compile(schema, pl.LazyFrame({"a": [None, 2]}))


def test_pandera_switched_off_is_said_and_not_believed() -> None:
    """The receipt can't claim what did not happen."""
    with config_context(validation_enabled=False), pytest.warns(UserWarning, match="switched off"):
        run = validation.compile(POSITIVE, frame(-1).lazy())
    assert (run.validated, run.name, delivered(run).height) == (False, "positive", 1)


def test_the_environment_s_switch_is_seen() -> None:
    """The variable that silences Pandera for a whole program doesn't silence our warnings."""
    program = (
        "import warnings, polars as pl; from mc_sink import validation\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    run = validation.compile('report', pl.LazyFrame({'a': [1]}))\n"
        "print(run.validated, [str(each.message) for each in caught if 'switched off' in str(each.message)])"
    )
    environment = {**os.environ, "PANDERA_VALIDATION_ENABLED": "False"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.startswith("False ['Nothing is validated by schema 'report'".replace("['", '["'))


def test_half_a_validation_is_said() -> None:
    """Where Pandera is configured to check columns only, it does, and the run is not reported as validated."""
    with config_context(validation_depth="SCHEMA_ONLY"), pytest.warns(UserWarning, match="SCHEMA_ONLY"):
        run = validation.compile(POSITIVE, frame(-1).lazy())
    assert (run.validated, delivered(run).height) == (False, 1)


def test_a_pattern_for_a_column_that_the_schema_adds_is_refused() -> None:
    """Pandera asks the pattern before that column is there, and a batch has it: both can't be right."""
    columns = {
        "a": pa.Column(int),
        "v_2": pa.Column(int, default=1),
        "^v_.+$": pa.Column(float, regex=True, required=False),
    }
    schema = pa.DataFrameSchema(columns, add_missing_columns=True, name="torn")
    torn = (ConfigurationError, r"adds 1 column that its own patterns also match, .*: v_2 by")
    kind, message = torn if PANDERA_ADDS_AFTER_PATTERNS else (ValidationError, "v_2: dtype")
    with pytest.raises(kind, match=message):
        validation.compile(schema, pl.LazyFrame({"a": [1]}))
