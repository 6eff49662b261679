"""What is compiled says of every row what Pandera says of it, for schemas and frames that Hypothesis makes up."""

from __future__ import annotations

import copy
import math
import warnings
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Any

import pandera.polars as pa
import polars as pl
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from mc_sink import validation
from mc_sink.exceptions import ConfigurationError, ValidationError

INTEGERS = st.sampled_from([None, -(2**40), -1, 0, 1, 2, 7, 300])
FLOATS = st.sampled_from([None, math.nan, math.inf, -math.inf, -1.5, -0.0, 0.0, 1.0, 2.5, 1e300])
TEXTS = st.sampled_from([None, "", "a", "ab", "seg_1", "7", "-3", "2.5", "2026-01-31", "ä b", "x\ny", "true"])
BOOLEANS = st.sampled_from([None, True, False])
DATES = st.sampled_from([None, date(1969, 12, 31), date(2026, 1, 31)])
VALUES: dict[Any, st.SearchStrategy[Any]] = {
    pl.Int64: INTEGERS,
    pl.Float64: FLOATS,
    pl.String: TEXTS,
    pl.Boolean: BOOLEANS,
    pl.Date: DATES,
}
TYPES = [*VALUES, pl.Int8, pl.Float32, pl.Categorical, pl.Datetime("us")]
NAMES = ["a", "b", "c", "var_1", "var_2"]


def _documented(column: str) -> Any:
    return lambda data: data.lazyframe.select(pl.col(data.key).is_null() | pl.col(column).is_not_null())


def _short(value: Any) -> bool:
    return len(str(value)) < 4


def _two_outputs(data: Any) -> Any:
    return data.lazyframe.select(
        pl.col(data.key).is_not_null(), other=pl.col(data.key).is_null() | (pl.col(data.key) == pl.col(data.key))
    )


@st.composite
def checks(draw: st.DrawFn, dtype: Any, names: list[str]) -> pa.Check:
    """Make a check of values of `dtype`, with its options."""
    options: dict[str, Any] = {
        "ignore_na": draw(st.booleans()),
        "raise_warning": draw(st.sampled_from([False, False, False, True])),
    }
    numbers = [
        lambda: pa.Check.gt(0, **options),
        lambda: pa.Check.ge(1, **options),
        lambda: pa.Check.lt(7, **options),
        lambda: pa.Check.le(2, **options),
        lambda: pa.Check.in_range(-1, 7, include_min=False, **options),
        lambda: pa.Check.in_range(0, 2, include_max=False, **options),
        lambda: pa.Check.eq(1, **options),
        lambda: pa.Check.ne(1, **options),
        lambda: pa.Check.isin([0, 1, 2], **options),
        lambda: pa.Check.notin([7, 300], **options),
    ]
    texts = [
        lambda: pa.Check.str_matches("[a-z]", **options),
        lambda: pa.Check.str_matches("^[a-z0-9_]*$", **options),
        lambda: pa.Check.str_contains("[0-9]", **options),
        lambda: pa.Check.str_startswith("seg_", **options),
        lambda: pa.Check.str_endswith("1", **options),
        lambda: pa.Check.str_length(min_value=1, **options),
        lambda: pa.Check.str_length(max_value=2, **options),
        lambda: pa.Check.str_length(1, 3, **options),
        lambda: pa.Check.str_length(exact_value=2, **options),
        lambda: pa.Check.isin(["a", "ab", "7"], **options),
        lambda: pa.Check.notin(["", "a"], **options),
        lambda: pa.Check.eq("a", **options),
    ]
    anything: list[Any] = [
        lambda: pa.Check(_two_outputs, **options),
        lambda: pa.Check(_short, element_wise=True, **options),
        *([lambda: pa.Check(_documented(draw(st.sampled_from(names))), **options)] if names else []),
    ]
    fitting: dict[Any, list[Any]] = {
        pl.String: texts,
        pl.Int64: numbers,
        pl.Float64: numbers,
        pl.Float32: numbers,
        pl.Int8: numbers,
    }
    made: pa.Check = draw(st.sampled_from([*fitting.get(dtype, []), *anything]))()
    return made


@st.composite
def columns(draw: st.DrawFn, names: list[str], *, regex: bool = False) -> pa.Column:
    """Make a column schema of any kind."""
    dtype = draw(st.sampled_from(TYPES))
    coerce = dtype is not None and draw(st.booleans())
    plain = {pl.Int64: 1, pl.Float64: 2.0, pl.String: "a"}
    return pa.Column(
        dtype,
        draw(st.lists(checks(dtype, names), max_size=3)),
        nullable=draw(st.booleans()),
        coerce=coerce,
        required=draw(st.sampled_from([True, True, False])),
        regex=regex,
        default=draw(st.sampled_from([None, None, plain.get(dtype)])),
    )


@dataclass(frozen=True)
class Case:
    """A schema, a frame, and where the frame is cut into batches."""

    schema: pa.DataFrameSchema
    frame: pl.DataFrame
    cuts: list[int]

    def batches(self, frame: pl.DataFrame) -> list[pl.DataFrame]:
        """Cut a frame of these rows."""
        bounds = [0, *sorted(self.cuts), frame.height]
        return [frame[start:end] for start, end in pairwise(bounds)]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Make a frame, and a schema that has something to do with it."""
    names = draw(st.permutations(NAMES))[: draw(st.integers(2, 5))]
    dtypes = {name: draw(st.sampled_from([*VALUES])) for name in names}
    height = draw(st.integers(0, 5))
    data = {n: draw(st.lists(VALUES[t], min_size=height, max_size=height)) for n, t in dtypes.items()}
    frame = pl.DataFrame(data, schema=dtypes)
    governed = {}
    for name in NAMES:
        if draw(st.sampled_from([True, False]) if name in names else st.sampled_from([True, *[False] * 7])):
            governed[name] = draw(columns(names))
            if name in names and not governed[name].coerce and draw(st.sampled_from([True] * 7 + [False])):
                governed[name] = _fitted(governed[name], draw, dtypes[name], names)
    if draw(st.sampled_from([True, *[False] * 5])):
        governed["^var_.+$"] = draw(columns([], regex=True))
    return Case(_schema(draw, governed, names), frame, draw(st.lists(st.integers(0, height), max_size=3)))


def _fitted(column: pa.Column, draw: st.DrawFn, dtype: Any, names: list[str]) -> pa.Column:
    """Most frames have the types that their schemas ask for."""
    plain = {pl.Int64: 1, pl.Float64: 2.0, pl.String: "a"}
    default = plain.get(dtype) if column.default is not None else None
    listed = draw(st.lists(checks(dtype, names), max_size=3))
    return pa.Column(dtype, listed, nullable=column.nullable, required=column.required, default=default)


def _schema(draw: st.DrawFn, governed: dict[str, pa.Column], names: list[str]) -> pa.DataFrameSchema:
    whole: list[Any] = [
        lambda: pa.Check(lambda data: data.lazyframe.select(pl.col("a").is_null() | pl.col("b").is_null())),
        lambda: pa.Check(
            lambda data: data.lazyframe.select(pl.col("*").is_not_null()), raise_warning=draw(st.booleans())
        ),
        lambda: pa.Check(lambda data: data.lazyframe.select(pl.col("a") <= pl.col("b")), ignore_na=draw(st.booleans())),
    ]
    return pa.DataFrameSchema(
        governed,
        checks=[made() for made in draw(st.lists(st.sampled_from(whole), max_size=2))]
        if {"a", "b"} <= {*names}
        else [],
        coerce=draw(st.sampled_from([False, False, False, True])),
        dtype=draw(st.sampled_from([None] * 12 + [pl.Float64, pl.String])),
        strict=draw(st.sampled_from([*[False] * 6, True, "filter", "filter"])),
        ordered=draw(st.sampled_from([*[False] * 7, True])),
        add_missing_columns=draw(st.booleans()),
        drop_invalid_rows=draw(st.sampled_from([False, False, True])),
        name="made up",
    )


def _passes(schema: pa.DataFrameSchema, frame: pl.DataFrame, **part: Any) -> bool:
    """Ask Pandera; where it breaks down, as it does over some schemas, nothing has passed."""
    try:
        _strict(schema).validate(frame, lazy=True, **part)
    except Exception:  # noqa: BLE001  some of its failures to report are polars errors
        return False
    return True


def _strict(schema: pa.DataFrameSchema) -> pa.DataFrameSchema:
    """Take the same schema without dropping rows: where Pandera drops, it passes frames with the wrong columns."""
    strict = copy.deepcopy(schema)
    strict.drop_invalid_rows = False
    return strict


def _delivered(case: Case, run: validation.Compiled) -> pl.DataFrame:
    batches = run.judge(case.batches(run.frame.collect()))
    return pl.concat([run.delivered.to_frame(), *batches])


def agrees(case: Case) -> None:
    """Compare what is compiled with Pandera, row for row: which rows are bad, and what is delivered of the others."""
    rows = [case.frame[row : row + 1] for row in range(case.frame.height)]
    good = [_passes(case.schema, row) for row in rows]
    run = _compiled(case, "reject")
    if isinstance(run, Exception):
        event(f"{type(run).__name__}: {str(run)[:60]}")
        _is_refused_rightly(case, run, good)
        return
    event(f"judged: {'clean' if all(good) else 'some bad'}")
    delivered = _delivered(case, run)
    rejected = run.rejects()
    bad = [row for row, passes in enumerate(good) if not passes]
    assert (sorted(rejected.collect()["row"]) if rejected is not None else []) == bad
    assert (run.num_rows, run.num_rejected) == (len(good), len(bad))
    kept = case.frame.filter(pl.Series(good, dtype=pl.Boolean))
    assert_frame_equal(delivered, _strict(case.schema).validate(kept, lazy=True))
    run.close()
    _samples_agree(case, good)
    _fails_as_a_whole(case, bad)


def _samples_agree(case: Case, good: list[bool]) -> None:
    """Find that a part of the frame is judged by Pandera as its rows are: what batches and samples show is the same."""
    governed = [case.schema, *case.schema.columns.values()]
    if any(each.coerce for each in governed) or not case.cuts:
        return  # coercion looks at all rows, also where a part is sampled
    count = case.cuts[0]
    numbered = pl.DataFrame({"row": range(len(good)), "good": good}, schema={"row": pl.Int64, "good": pl.Boolean})
    assert _passes(case.schema, case.frame, head=count) == all(good[:count])
    sampled = numbered.sample(count, seed=5)["good"]
    assert _passes(case.schema, case.frame, sample=count, random_state=5) == all(sampled)


def _compiled(case: Case, on_invalid: validation.OnInvalid) -> validation.Compiled | Exception:
    try:
        return validation.compile(case.schema, case.frame.lazy(), on_invalid=on_invalid)
    except (ValidationError, ConfigurationError) as refusal:
        return refusal


def _is_refused_rightly(case: Case, refusal: Exception, good: list[bool]) -> None:
    """Find that Pandera passes no row of it, or can judge it only as a whole."""
    if "only Pandera can" in str(refusal):
        _fails_as_a_whole(case)
    elif not any(
        words in str(refusal) for words in ("no column", "delivered in another dtype", "its own patterns also match")
    ):
        assert not any(good)


def _fails_as_a_whole(case: Case, bad: list[int] | None = None) -> None:
    """Compare whether the run fails; also which rows are named, where each row can be asked about for itself."""
    passes = _passes(case.schema, case.frame)
    if case.schema.drop_invalid_rows:
        return
    assert bad is None or passes == (not bad)
    run = _compiled(case, "fail")
    if isinstance(run, Exception):
        assert not passes
        return
    if passes:
        assert_frame_equal(_delivered(case, run), case.schema.validate(case.frame, lazy=True))
        return
    with pytest.raises(ValidationError) as caught:
        _delivered(case, run)
    assert caught.value.failure_cases is not None
    assert bad is None or sorted(set(caught.value.failure_cases["row"])) == bad


_HEALTH = [HealthCheck.too_slow, HealthCheck.data_too_large]


def _quietly(case: Case) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pandera warns for checks that only warn, and polars for Python functions
        agrees(case)


@settings(max_examples=250, deadline=None, suppress_health_check=_HEALTH, derandomize=True)
@given(cases())
def test_every_row_is_judged_as_pandera_judges_it(case: Case) -> None:
    """Compiled checks and Pandera agree, row for row."""
    _quietly(case)


@pytest.mark.long
@pytest.mark.timeout(3600)
@settings(max_examples=6_000, deadline=None, suppress_health_check=_HEALTH)
@given(cases())
def test_every_row_is_judged_as_pandera_judges_it_at_length(case: Case) -> None:
    """Compiled checks and Pandera agree, row for row, in thousands of schemas."""
    _quietly(case)
