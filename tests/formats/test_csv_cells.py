"""Cells that a dialect can't hold end the run, with counts and columns; what changes cells is counted."""

from __future__ import annotations

import csv
import io
import math
from typing import Any

import polars as pl
import pytest

import mc_sink
from mc_sink import ConfigurationError, Csv
from mc_sink.receipt import CountedWarning
from tests.support.format_readers import cells, text_of, written

NON_FINITE = [1.5, math.nan, math.inf, -math.inf, None]


def test_null_and_the_empty_string_are_two_things() -> None:
    """Nothing is a null and a pair of quotes is an empty string, for texts, categories and enums."""
    labels = pl.Enum(["", "x"])
    frame = pl.DataFrame({"text": ["", None], "category": ["", None], "enum": ["", None], "last": [1, 2]})
    frame = frame.with_columns(pl.col("category").cast(pl.Categorical), pl.col("enum").cast(labels))
    assert text_of(Csv(), frame).splitlines()[1:] == ['"","","",1', ",,,2"]
    assert text_of(Csv(null_value=""), frame) == text_of(Csv(), frame)
    assert text_of(Csv(null_value="NULL"), frame).splitlines()[1:] == ['"","","",1', "NULL,NULL,NULL,2"]
    merged = text_of(Csv(quote_style="always", null_value=""), frame).splitlines()
    assert merged[1:] == ['"","","","1"', '"","","","2"']


@pytest.mark.parametrize("dtype", [pl.String(), pl.Categorical(), pl.Enum(["NULL", "x"])], ids=str)
def test_a_cell_that_reads_like_a_null_is_refused(dtype: pl.DataType) -> None:
    """The text that stands for nulls may stand for nothing else, quoted or not."""
    frame = pl.DataFrame({"x": pl.Series(["NULL", "x", None, "NULL"], dtype=dtype), "y": [1] * 4})
    for style in ("necessary", "always", "non_numeric"):
        with pytest.raises(
            ConfigurationError,
            match=r"^A batch can't be written as CSV: 2 cells are 'NULL', as nulls are written, in 'x'",
        ):
            text_of(Csv(null_value="NULL", quote_style=style), frame)
    assert text_of(Csv(), frame).count("NULL") == 2


def test_a_column_of_nulls_alone_keeps_its_rows() -> None:
    """A null in a frame of one column isn't a blank line, which readers skip: as many records as rows come back."""
    frame = pl.DataFrame({"email": ["a@example.com", None, "b@example.com", None]})
    with pytest.raises(ConfigurationError, match=r"2 nulls in 'email'.*Nothing became visible"):
        text_of(Csv(), frame)
    for dialect in (Csv(quote_style="always", null_value=""), Csv(null_value="NULL")):
        assert sum(1 for row in csv.reader(io.StringIO(text_of(dialect, frame))) if row) == 1 + frame.height
    assert text_of(Csv(), frame.drop_nulls()) == "email\na@example.com\nb@example.com\n"
    assert text_of(Csv(), pl.DataFrame({"email": [""]})) == 'email\n""\n'


def test_a_nested_null_in_the_only_column_is_a_blank_line_too() -> None:
    """A null list is one; a list that holds a null is text."""
    assert text_of(Csv(nested="json"), pl.DataFrame({"x": [[None, 1]]})) == 'x\n"[null,1]"\n'
    with pytest.raises(ConfigurationError, match=r"1 null in 'x'"):
        text_of(Csv(nested="json"), pl.DataFrame({"x": [[1], None]}))


@pytest.mark.parametrize("dtype", [pl.Float16, pl.Float32, pl.Float64])
def test_non_finite_numbers_are_written_nulled_or_refused(dtype: Any) -> None:
    """By default they are written by name; "null" counts what it takes away, "raise" tells where they are."""
    frame = pl.DataFrame({"x": pl.Series(NON_FINITE, dtype=dtype), "*": [1.5] * 5})
    assert [row[0] for row in cells(Csv(), frame)[1:]] == ["1.5", "NaN", "inf", "-inf", ""]
    assert [row[0] for row in cells(Csv(non_finite="null", null_value="NULL"), frame)[1:]] == ["1.5", *["NULL"] * 4]
    assert written(Csv(non_finite="null"), frame)[1] == [CountedWarning("nulled", "x", 3)]
    assert written(Csv(), frame)[1] == []
    with pytest.raises(
        ConfigurationError,
        match=r"^A batch can't be written as CSV: 3 cells are NaN or infinite, in 'x' \(row 1, 2, 3\)",
    ):
        text_of(Csv(non_finite="raise"), frame)
    assert text_of(Csv(non_finite="raise"), frame.drop_nulls().filter(pl.col("x").is_finite()))


def test_a_number_that_becomes_null_in_the_only_column_is_refused() -> None:
    """What is changed is changed before it is judged."""
    with pytest.raises(ConfigurationError, match="the only column"):
        text_of(Csv(non_finite="null"), pl.DataFrame({"x": [math.nan]}))


def test_integers_and_decimals_are_written_in_full() -> None:
    """Every digit of 128 bits and of 38 decimal digits is in the file, and a scale keeps its zeros."""
    frame = pl.DataFrame(
        {
            "i128": pl.Series([2**127 - 1, -(2**127)], dtype=pl.Int128),
            "u128": pl.Series([2**128 - 1, 0], dtype=pl.UInt128),
            "decimal": pl.Series(["9" * 36 + ".99", "-0.10"]).cast(pl.Decimal(38, 2)),
        }
    )
    assert cells(Csv(), frame)[1:] == [
        [str(2**127 - 1), str(2**128 - 1), "9" * 36 + ".99"],
        [str(-(2**127)), "0", "-0.10"],
    ]
    comma = cells(Csv(separator=";", decimal_comma=True), frame)
    assert [row[2] for row in comma[1:]] == ["9" * 36 + ",99", "-0,10"]


@pytest.mark.parametrize("texts", [("true", "false"), ("Y", "N"), ("1", "0"), ("ja, gern", 'nein "danke"')], ids=str)
def test_booleans_have_the_texts_asked_for(texts: tuple[str, str]) -> None:
    """True, false and null are three texts, in columns of any name, also where they must be quoted."""
    frame = pl.DataFrame({"x": [True, False, None], "*": [False, True, None], "": [None, None, True], "y": [1, 2, 3]})
    true, false = texts
    expected = [[true, false, "", "1"], [false, true, "", "2"], ["", "", true, "3"]]
    assert cells(Csv(boolean_format=texts), frame) == [frame.columns, *expected]
    quoted = cells(Csv(boolean_format=texts, quote_style="always", null_value="?"), frame)
    assert quoted[1:] == [[cell or "?" for cell in row] for row in expected]


@pytest.mark.parametrize("name", ["*", "^.*$", "^a$", ""])
def test_no_name_is_a_pattern(name: str) -> None:
    """A column whose name Polars could take for a pattern is treated as the one column that it is."""
    frame = pl.DataFrame({name: ["=1", None], "a": [math.nan, 1.5], "b": [[1], None], "c": [True, False]})
    dialect = Csv(formulas="escape", non_finite="null", nested="json", boolean_format=("Y", "N"), null_value="NULL")
    assert cells(dialect, frame) == [[name, "a", "b", "c"], ["'=1", "NULL", "[1]", "Y"], ["NULL", "1.5", "NULL", "N"]]
    turned = frame.rename({name: "other", "a": name})
    assert cells(dialect, turned)[1:] == [["'=1", "NULL", "[1]", "Y"], ["NULL", "1.5", "NULL", "N"]]


def test_a_byte_order_mark_at_the_start_is_refused() -> None:
    """Readers drop it from the first header, and from the first cell of a file without one."""
    frame = pl.DataFrame({"\ufeffx": ["\ufeffa", None], "y": ["\ufeffb", "c"]})
    with pytest.raises(ConfigurationError, match=r"The header '\\ufeffx' starts with a byte order mark"):
        Csv().check(frame.schema)
    headless = Csv(include_header=False)
    headless.check(frame.schema)
    with pytest.raises(ConfigurationError, match=r"1 cell starts with a byte order mark"):
        text_of(headless, frame)
    assert text_of(headless, frame.select("y", "\ufeffx").tail(1)) == "c,\n"


@pytest.mark.parametrize("name", ["a,b", 'a"', "a\nb", "\r"])
def test_a_mark_before_a_quoted_header_is_refused(name: str) -> None:
    """DuckDB doesn't see quotes behind a byte order mark; other headers may have them."""
    with pytest.raises(ConfigurationError, match="needs quotes after"):
        Csv(include_bom=True).check(pl.Schema({name: pl.Int8, "y": pl.Int8}))
    Csv(include_bom=True).check(pl.Schema({"y": pl.Int8, name: pl.Int8}))
    Csv().check(pl.Schema({name: pl.Int8}))


def test_nothing_is_visible_after_a_refusal_in_the_stream(tmp_path: Any) -> None:
    """A cell in the last batch ends the run, and no file is left."""
    frame = pl.DataFrame({"x": [*["a"] * 250_000, "=1"]})
    with pytest.raises(ConfigurationError, match=r"'x' \(row 250,000\)"):
        mc_sink.sink_madconnect(frame, tmp_path / "x.csv", format=Csv(formulas="raise"), progress=False)
    assert list(tmp_path.iterdir()) == []
