"""Nested columns in CSV: refused, or JSON that any JSON reader reads, value for value."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import mc_sink
from mc_sink import ConfigurationError, Csv
from mc_sink.receipt import CountedWarning
from tests.support.dtypes import Map
from tests.support.format_readers import cells, written

if TYPE_CHECKING:
    from pathlib import Path

JSON = Csv(nested="json")
FAR = pl.Series([[2_932_897]], dtype=pl.List(pl.Int32)).cast(pl.List(pl.Date))
WHEN = datetime(2026, 7, 22, 1, 2, 3, 4000, tzinfo=UTC)


def column(values: list[Any], dtype: Any = None) -> pl.DataFrame:
    """Make a column of values beside one that is never empty."""
    return pl.DataFrame({"x": pl.Series(values, dtype=dtype), "y": [1] * len(values)})


def texts(dialect: Csv, frame: pl.DataFrame) -> list[str]:
    """Give the cells of the first column."""
    return [row[0] for row in cells(dialect, frame)[1:]]


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([[1, None], [], None], pl.List(pl.Int8), [[1, None], [], None]),
        ([[[1], None], []], pl.List(pl.List(pl.Int8)), [[[1], None], []]),
        ([[1, 2], None], pl.Array(pl.Int8, 2), [[1, 2], None]),
        ([[], None], pl.Array(pl.Int8, 0), [[], None]),
        ([{"a": 1, 'b"\n': None}, None], pl.Struct({"a": pl.Int8, 'b"\n': pl.Int8}), [{"a": 1, 'b"\n': None}, None]),
        ([{}, None], pl.Struct({}), [{}, None]),
        ([{"*": [1]}], pl.Struct({"*": pl.List(pl.Int8)}), [{"*": [1]}]),
        ([[{"key": "a", "value": 1}], None], Map(pl.String, pl.Int8), [{"a": 1}, None]),
        ([['"\\\x00\u2028🎈</script>\t', ""]], None, [['"\\\x00\u2028🎈</script>\t', ""]]),
        ([[2**64 - 1]], pl.List(pl.UInt64), [[2**64 - 1]]),
        ([[-(2**127)]], pl.List(pl.Int128), [[-(2**127)]]),
        ([[0.1, 1e300, 5e-324, -0.0]], None, [[0.1, 1e300, 5e-324, -0.0]]),
        ([[0.1]], pl.List(pl.Float32), [[0.1]]),
        ([[Decimal("1.50"), Decimal("9" * 36 + ".99")]], pl.List(pl.Decimal(38, 2)), [["1.50", "9" * 36 + ".99"]]),
        ([[date(2026, 11, 22)]], None, [["2026-11-22"]]),
        ([[time(1, 2, 3, 4)]], None, [["01:02:03.000004"]]),
        ([[WHEN]], pl.List(pl.Datetime("us", "Europe/Berlin")), [["2026-07-22T03:02:03.004+02:00"]]),
        ([["x"]], pl.List(pl.Categorical), [["x"]]),
        ([[True, None]], None, [[True, None]]),
        ([[None]], pl.List(pl.Null), [[None]]),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_any_json_reader_reads_it(values: list[Any], dtype: Any, expected: list[Any]) -> None:
    """Python's JSON reader finds the values: numbers in full, and the rest as text. A null has no text."""
    found = texts(JSON, column(values, dtype))
    assert [json.loads(cell, parse_int=int) if cell else None for cell in found] == expected


def test_nested_columns_are_refused_unless_asked_for() -> None:
    """The message says how to ask."""
    schema = pl.Schema({"x": pl.List(pl.Int8), "y": pl.Struct({"a": pl.Int8}), "z": pl.Int8()})
    with pytest.raises(ConfigurationError, match=r"^2 columns.*'x' \(List.*'y' \(Struct.*nested='json'"):
        Csv().check(schema)
    JSON.check(schema)


@pytest.mark.parametrize(
    "inner", [pl.Binary(), pl.Duration(), pl.Object(), Map(pl.Int8, pl.Int8), pl.Struct({"a": pl.Binary})], ids=str
)
@pytest.mark.parametrize("outer", [pl.List, lambda inner: pl.Struct({"deep": inner}), lambda inner: pl.Array(inner, 2)])
def test_what_json_has_no_word_for_is_refused(inner: pl.DataType, outer: Any) -> None:
    """Binary, durations, objects and maps whose keys aren't text are refused at any depth."""
    with pytest.raises(ConfigurationError, match=r"1 column can't be written as CSV: 'x'"):
        JSON.check(pl.Schema({"x": outer(inner), "y": pl.Int8}))


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([[1.5, math.nan], None, [math.inf]], pl.List(pl.Float64)),
        ([{"a": [math.nan]}, None, {"a": [-math.inf]}], pl.Struct({"a": pl.Array(pl.Float32, 1)})),
        ([[{"key": "k", "value": math.nan}], None, [{"key": "*", "value": math.inf}]], Map(pl.String, pl.Float64)),
    ],
    ids=["list", "struct", "map"],
)
def test_nan_is_never_made_null_in_silence(values: list[Any], dtype: Any) -> None:
    """JSON has no NaN: a cell that holds one is refused, or nulled and counted."""
    frame = column(values, dtype)
    for dialect, where in ((JSON, "in 'x'"), (Csv(nested="json", non_finite="raise"), r"in 'x' \(row [0-9, ]+\)")):
        with pytest.raises(ConfigurationError, match=rf"^A batch can't be written as CSV: 2 cells [^:]*, {where}\. "):
            written(dialect, frame)
    nulled = Csv(nested="json", non_finite="null")
    assert written(nulled, frame)[1] == [CountedWarning("nulled", "x", 2)]
    assert "null" in texts(nulled, frame)[0]


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([[math.nan], [1.5]], pl.List(pl.Float64), "[1.5]"),
        ([[math.nan], [1.5]], pl.Array(pl.Float64, 1), "[1.5]"),
        ([{"a": math.nan}, {"a": 1.5}], pl.Struct({"a": pl.Float64}), '{"a":1.5}'),
        ([[{"key": "k", "value": math.nan}], []], Map(pl.String, pl.Float64), "{}"),
    ],
    ids=["list", "array", "struct", "map"],
)
def test_what_hides_under_a_null_is_not_judged(values: list[Any], dtype: Any, expected: str) -> None:
    """Values that were masked out are not written, and not refused either."""
    masked = column(values, dtype).with_columns(x=pl.when(pl.int_range(pl.len()) == 1).then("x"))
    assert texts(JSON, masked) == ["", expected]


def test_years_and_offsets_are_judged_at_any_depth() -> None:
    """Dates inside lists are held to the same rules."""
    with pytest.raises(ConfigurationError, match="0 to 9999"):
        texts(JSON, pl.DataFrame({"x": FAR, "y": [1]}))
    old = pl.Series([[datetime(1890, 1, 1, tzinfo=UTC)]], dtype=pl.List(pl.Datetime("us", "Europe/Berlin")))
    with pytest.raises(ConfigurationError, match="isn't whole minutes"):
        texts(JSON, pl.DataFrame({"x": old, "y": [1]}))


def test_json_is_no_formula_and_no_null() -> None:
    """JSON starts with a bracket, and no text of a null may."""
    frame = column([["=1"], None])
    assert written(Csv(nested="json", formulas="raise"), frame)[1] == []
    assert texts(Csv(nested="json", null_value="NULL"), frame) == ['["=1"]', "NULL"]


@pytest.mark.parametrize("depth", [1, 2])
def test_an_array_after_a_null_one_is_written_with_its_own_values(tmp_path: Path, depth: int) -> None:
    """Also inside a struct."""
    dtype: pl.DataType = pl.Array(pl.String, 1) if depth == 1 else pl.Array(pl.Array(pl.String, 1), 1)
    values = [None, ["x"], None, ["y"]] if depth == 1 else [None, [["x"]], None, [["y"]]]
    frame = pl.DataFrame({"a": pl.Series(values, dtype=dtype)}).with_columns(s=pl.struct("a"))
    mc_sink.sink_madconnect(frame, tmp_path / "x.csv", format=Csv(nested="json"), progress=False)
    found = pl.read_csv(tmp_path / "x.csv")
    assert [json.loads(cell) if cell else None for cell in found["a"]] == values
    assert [json.loads(cell)["a"] for cell in found["s"]] == values
