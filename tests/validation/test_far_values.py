"""Values that Python can't hold: a report names their rows, they can be rejected, and nothing breaks down over them."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pandera.polars as pa
import polars as pl
import pyarrow as arrow  # noqa: ICN001  pa is Pandera
import pytest

import mc_sink
from mc_sink import ValidationError
from mc_sink.validation.python_values import fits_python, shown_values

if TYPE_CHECKING:
    from pathlib import Path

FAR = 1_795_000_000_000_000_000


def of(dtype: pl.DataType, far: int) -> pl.Series:
    """Return three values, the second far away."""
    stored = pl.Int32 if dtype == pl.Date else pl.Int64
    return pl.Series("seen", [0, far, 5], dtype=stored).cast(dtype)


VALUES: dict[str, tuple[pl.Series, str]] = {
    "year 12,000": (of(pl.Datetime("ms"), 316_516_204_800_000), "316516204800000 ms since 1970-01-01"),
    "microseconds as milliseconds": (
        of(pl.Datetime("ms"), 1_795_000_000_000_000),
        "1795000000000000 ms since 1970-01-01",
    ),
    "nanoseconds as milliseconds": (of(pl.Datetime("ms"), FAR), f"{FAR} ms since 1970-01-01"),
    "nanoseconds as microseconds": (of(pl.Datetime("us"), FAR), f"{FAR} us since 1970-01-01"),
    "long ago": (of(pl.Datetime("us"), -FAR), f"{-FAR} us since 1970-01-01"),
    "in a zone": (of(pl.Datetime("ms", "Europe/Berlin"), FAR), f"{FAR} ms since 1970-01-01"),
    "last moment of a year in a zone": (
        of(pl.Datetime("ms", "Asia/Tokyo"), 253_402_300_799_999),
        "253402300799999 ms since",
    ),
    "date": (of(pl.Date(), 2**31 - 1), "2147483647 days since 1970-01-01"),
    "date of year 0": (of(pl.Date(), -719_163), "-719163 days since 1970-01-01"),
    "duration": (of(pl.Duration("ms"), 2**62), f"{2**62} ms"),
}
ALL_VALUES = pytest.mark.parametrize(("seen", "message"), VALUES.values(), ids=VALUES)
NEAR = pl.col("seen").to_physical().is_between(0, 1_000)


def column(check: pa.Check, dtype: pl.DataType, **options: Any) -> pa.DataFrameSchema:
    """Return a schema with one check of the column `seen`."""
    return pa.DataFrameSchema({"id": pa.Column(int), "seen": pa.Column(dtype, check, **options)}, name="visits")


SCHEMAS: dict[str, Any] = {
    "expression": lambda dtype: column(pa.Check(lambda data: data.lazyframe.select(NEAR)), dtype),
    "Python function": lambda dtype: column(pa.Check(lambda value: value is not None, element_wise=True), dtype),
    "whole rows": lambda dtype: pa.DataFrameSchema(
        {"id": pa.Column(int), "seen": pa.Column(dtype)},
        [pa.Check(lambda data: data.lazyframe.select(NEAR & (pl.col("id") > 0)))],
        name="visits",
    ),
}


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
@ALL_VALUES
def test_a_report_names_the_row(seen: pl.Series, message: str, schema: Any, tmp_path: Path) -> None:
    """With the number that is stored in place of a value, and no other row."""
    frame = pl.DataFrame({"id": [1, 2, 3], "seen": seen})
    with pytest.raises(ValidationError, match=r"^1 row failed 1 check") as raised:
        mc_sink.sink_madconnect(frame, tmp_path / "x.parquet", schema=schema(seen.dtype), progress=False)
    cases = raised.value.failure_cases
    assert cases is not None
    assert cases["row"].to_list() == [1]
    if schema is not SCHEMAS["whole rows"]:
        assert cases["failure_case"].to_list()[0].startswith(message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", ["parquet", "csv"])
@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
@ALL_VALUES
def test_the_row_can_be_rejected(seen: pl.Series, message: str, schema: Any, format: str, tmp_path: Path) -> None:
    """The other two are delivered, and the rejects have the value as it came."""
    if format == "csv" and seen.dtype == pl.Duration:
        pytest.skip("no CSV has durations")
    frame, rejects = pl.DataFrame({"id": [1, 2, 3], "seen": seen}), tmp_path / "rejects.parquet"
    options: Any = {"schema": schema(seen.dtype), "on_invalid": "reject", "rejects": rejects, "progress": False}
    receipt = mc_sink.sink_madconnect(frame, tmp_path / f"x.{format}", **options)
    assert receipt.num_rows == 2
    assert pl.read_parquet(rejects)["seen"].to_physical().to_list() == [seen.to_physical()[1]]
    assert message


@pytest.mark.parametrize("mode", ["fail", "reject"])
def test_bounds_of_a_moment_find_one_that_is_far(mode: Any, tmp_path: Path) -> None:
    """Pandera's own check of an upper bound, which makes examples of what it found."""
    frame = pl.DataFrame({"id": [1, 2, 3], "seen": of(pl.Datetime("ms"), FAR)})
    options: Any = {"rejects": tmp_path / "rejects.parquet"} if mode == "reject" else {}
    options |= {"schema": column(pa.Check.le(datetime(2030, 1, 1)), pl.Datetime("ms")), "on_invalid": mode}  # noqa: DTZ001
    if mode == "fail":
        with pytest.raises(ValidationError, match=f"row 1: {FAR} ms since 1970"):
            mc_sink.sink_madconnect(frame, tmp_path / "x.parquet", progress=False, **options)
    else:
        assert mc_sink.sink_madconnect(frame, tmp_path / "x.parquet", progress=False, **options).num_rows == 2


def test_duplicates_are_named_too(tmp_path: Path) -> None:
    """Uniqueness over values that Python can't hold."""
    frame = pl.DataFrame({"id": [1, 2, 3], "seen": pl.Series([FAR, 0, FAR]).cast(pl.Datetime("ms"))})
    schema = column(
        pa.Check(lambda data: data.lazyframe.select(pl.col("seen").is_not_null())), pl.Datetime("ms"), unique=True
    )
    with pytest.raises(ValidationError, match=f"row 0: {FAR} ms since 1970-01-01, row 2: {FAR} ms"):
        mc_sink.sink_madconnect(frame, tmp_path / "x.parquet", schema=schema, progress=False)


def test_personal_data_stays_masked(tmp_path: Path) -> None:
    """Also where the value is one that Python can't hold."""
    frame = pl.DataFrame({"id": [1, 2, 3], "seen": of(pl.Datetime("ms"), FAR)})
    check = pa.Check(lambda data: data.lazyframe.select(NEAR))
    schema = column(check, pl.Datetime("ms"), metadata={"personal_data": True})
    with pytest.raises(ValidationError, match=r"row 1: \(personal data\)") as raised:
        mc_sink.sink_madconnect(frame, tmp_path / "x.parquet", schema=schema, progress=False)
    assert str(FAR) not in str(raised.value)


def test_a_check_in_python_is_asked_about_the_other_rows(tmp_path: Path) -> None:
    """It fails the row whose value it can't be given, and those that it refuses itself."""
    frame = pl.DataFrame({"id": [1, 2, 3], "seen": of(pl.Datetime("ms"), FAR)})
    asked: list[datetime] = []

    def refuses(value: datetime) -> bool:
        asked.append(value)
        return value.microsecond == 0

    with pytest.raises(ValidationError, match=r"^2 rows failed 1 check") as raised:
        mc_sink.sink_madconnect(
            frame,
            tmp_path / "x.parquet",
            schema=column(pa.Check(refuses, element_wise=True), pl.Datetime("ms")),
            progress=False,
        )
    assert raised.value.failure_cases is not None
    assert raised.value.failure_cases["row"].unique().sort().to_list() == [1, 2]
    assert {value.year for value in asked} == {1970}


NESTED: dict[str, tuple[pl.Series, list[Any]]] = {
    "list": (
        pl.Series([[0], [FAR], None, []], dtype=pl.List(pl.Int64)).cast(pl.List(pl.Datetime("ms"))),
        [[datetime(1970, 1, 1)], f"[{FAR}]", None, []],  # noqa: DTZ001
    ),
    "struct": (
        pl.DataFrame({"at": of(pl.Datetime("us"), FAR)}).select(pl.struct("at")).to_series(),
        [{"at": datetime(1970, 1, 1)}, f"{{'at': {FAR}}}", {"at": datetime(1970, 1, 1, microsecond=5)}],  # noqa: DTZ001
    ),
    "array": (
        pl.Series([[0], [2**30]], dtype=pl.Array(pl.Int32, 1)).cast(pl.Array(pl.Date, 1)),
        [[date(1970, 1, 1)], f"[{2**30}]"],
    ),
    "time": (
        pl.DataFrame(arrow.table({"t": arrow.array([5_000, None], arrow.time64("ns"))}))["t"],
        [(datetime(1970, 1, 1) + timedelta(microseconds=5)).time(), None],  # noqa: DTZ001
    ),
    "duration": (
        of(pl.Duration("us"), 2**62),
        [timedelta(0), timedelta(microseconds=2**62), timedelta(microseconds=5)],
    ),
    "number": (pl.Series([2**100, None], dtype=pl.Int128), [2**100, None]),
}


@pytest.mark.parametrize(("values", "expected"), NESTED.values(), ids=NESTED)
def test_values_are_shown_as_python_has_them_or_as_stored(values: pl.Series, expected: list[Any]) -> None:
    """Row by row, at any depth."""
    assert shown_values(values) == expected
    assert fits_python(values).to_list() == [not isinstance(value, str) for value in expected]


COERCED = {
    "not coerced": pa.DataFrameSchema({"id": pa.Column(int), "amount": pa.Column(float)}),
    "column": pa.DataFrameSchema({"id": pa.Column(int), "amount": pa.Column(float, coerce=True)}),
    "frame": pa.DataFrameSchema({"id": pa.Column(int), "amount": pa.Column(float)}, coerce=True),
    "decimal": pa.DataFrameSchema({"id": pa.Column(int), "amount": pa.Column(pl.Decimal(10, 2), coerce=True)}),
    "strict": pa.DataFrameSchema({"id": pa.Column(int), "amount": pa.Column(float)}, coerce=True, strict=True),
    "ordered": pa.DataFrameSchema({"amount": pa.Column(float), "id": pa.Column(int)}, coerce=True, ordered=True),
    "added": pa.DataFrameSchema(
        {"id": pa.Column(int), "amount": pa.Column(float)}, coerce=True, add_missing_columns=True
    ),
    "of the frame's dtype": pa.DataFrameSchema({"id": pa.Column(), "amount": pa.Column()}, dtype=float, coerce=True),
    "checked": pa.DataFrameSchema({"id": pa.Column(int), "amount": pa.Column(float, pa.Check.gt(0))}, coerce=True),
}


@pytest.mark.parametrize("schema", COERCED.values(), ids=COERCED)
@pytest.mark.parametrize("on_invalid", ["fail", "reject"])
def test_a_missing_column_is_said_in_words(schema: pa.DataFrameSchema, on_invalid: Any, tmp_path: Path) -> None:
    """With its name and the type that was expected, also where the schema would coerce it."""
    expected = "Decimal" if "Decimal" in str(schema.columns["amount"].dtype) else "Float64"
    options: Any = {"on_invalid": on_invalid, "progress": False, "schema": schema}
    options |= {"rejects": tmp_path / "rejects.csv"} if on_invalid == "reject" else {}
    with pytest.raises(ValidationError, match=rf"\n  amount: missing, expected {expected}[^:]*\n") as raised:
        mc_sink.sink_madconnect(pl.DataFrame({"id": [1]}), tmp_path / "x.csv", **options)
    assert "column_in_dataframe" not in str(raised.value)
    assert raised.value.failure_cases is not None
    assert raised.value.failure_cases["column"].to_list() == ["amount"]


def test_all_missing_columns_are_said_with_other_faults(tmp_path: Path) -> None:
    """One error tells everything about the columns."""
    schema = pa.DataFrameSchema({"id": pa.Column(int), "a": pa.Column(float), "b": pa.Column()})
    with pytest.raises(
        ValidationError, match=r"(?s)3 checks.*a: missing, expected Float64.*b: missing, expected any type"
    ):
        mc_sink.sink_madconnect(pl.DataFrame({"id": ["x"]}), tmp_path / "x.csv", schema=schema, progress=False)


def test_a_pattern_without_a_column_is_said_in_words(tmp_path: Path) -> None:
    """With the type that its columns were to have."""
    for coerce in (False, True):
        schema = pa.DataFrameSchema({"id": pa.Column(int), "^a.*$": pa.Column(float, regex=True)}, coerce=coerce)
        with pytest.raises(ValidationError, match=r"\^a\.\*\$: missing, expected Float64 of a column that matches"):
            mc_sink.sink_madconnect(pl.DataFrame({"id": [1]}), tmp_path / "x.csv", schema=schema, progress=False)


def test_a_column_that_the_schema_adds_is_not_missing(tmp_path: Path) -> None:
    """It has a default, or may be null."""
    columns = {"id": pa.Column(int), "a": pa.Column(float, default=0.5), "b": pa.Column(float, nullable=True)}
    schema = pa.DataFrameSchema(columns, coerce=True, add_missing_columns=True)
    mc_sink.sink_madconnect(pl.DataFrame({"id": ["1"]}), tmp_path / "x.csv", schema=schema, progress=False)
    assert (tmp_path / "x.csv").read_text() == "id,a,b\n1,0.5,\n"


def test_an_optional_column_may_be_missing_where_the_schema_coerces(tmp_path: Path) -> None:
    """What isn't required is neither missed nor coerced."""
    schema = pa.DataFrameSchema({"id": pa.Column(int), "a": pa.Column(float, required=False)}, coerce=True)
    mc_sink.sink_madconnect(pl.DataFrame({"id": ["1"]}), tmp_path / "x.csv", schema=schema, progress=False)
    assert (tmp_path / "x.csv").read_text() == "id\n1\n"
