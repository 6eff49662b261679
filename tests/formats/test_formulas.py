"""Cells that a spreadsheet would execute are counted, escaped or refused; all others are left alone."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from mc_sink import ConfigurationError, Csv, Parquet
from mc_sink.receipt import CountedWarning
from tests.support.format_readers import cells, written

STARTS = ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"]
HARMLESS = ["", " =1", "'=1", "a=1", "ｱ", "\uffff", "🎈", "\x00=", "1", "~", "A", "\u2212"]
ROWS = 250_000


def counted(frame: pl.DataFrame, **options: Any) -> dict[tuple[str, str], int]:
    """Give what was counted, by kind and column."""
    return {(found.kind, found.column): found.num_cells for found in written(Csv(**options), frame)[1]}


@pytest.mark.parametrize("rest", ["", "1+1", "x" * 40], ids=["alone", "short", "long"])
@pytest.mark.parametrize("start", STARTS, ids=ascii)
@pytest.mark.parametrize("repeated", [1, 2_000], ids=["few rows", "many rows"])
def test_every_start_is_seen(start: str, rest: str, repeated: int) -> None:
    """OWASP's characters and their full-width twins are counted, however long the text and however many the rows."""
    frame = pl.DataFrame({"x": ["plain", start + rest, None, "ä"] * repeated})
    assert counted(frame.with_columns(y=1)) == {("formula", "x"): repeated}


@pytest.mark.parametrize("repeated", [1, 2_000], ids=["few rows", "many rows"])
def test_nothing_else_is_seen(repeated: int) -> None:
    """A text with another start isn't a formula, even if it shares its first byte with one."""
    frame = pl.DataFrame({"x": HARMLESS * repeated})
    assert counted(frame, formulas="allow") == counted(frame, formulas="escape") == {}
    assert cells(Csv(formulas="escape"), frame)[1:] == [[text] for text in frame["x"]]
    assert counted(frame, formulas="raise") == {}


def test_nulls_are_no_formulas_whatever_hides_under_them() -> None:
    """A cell that was masked out still has its text in memory, and isn't counted."""
    frame = pl.DataFrame({"x": ["=1"] * 6_000}).with_columns(
        x=pl.when(pl.int_range(pl.len()) % 3 == 0).then(pl.col("x")), y=1
    )
    assert counted(frame) == {("formula", "x"): 2_000}
    assert counted(frame[1_500:3_500]) == {("formula", "x"): 667}


def test_full_width_formulas_are_seen_where_no_cell_starts_in_ascii() -> None:
    """Nothing in the column but such a cell and letters hints at it."""
    assert counted(pl.DataFrame({"x": ["＝1", "plain"] * 2_000})) == {("formula", "x"): 2_000}


def test_columns_are_counted_by_name_and_numbers_not_at_all() -> None:
    """Texts, categories, enums and headers count; a negative number isn't a formula."""
    labels = pl.Enum(["=1", "x"])
    frame = pl.DataFrame(
        {
            "text": ["=1", "+1", "x"],
            "category": pl.Series(["=1", "x", None], dtype=pl.Categorical),
            "enum": pl.Series(["x", "=1", "=1"], dtype=labels),
            "number": [-1, -2, -3],
            "float": [-1.5, -2.5, float("-inf")],
            "=header": [1, 2, 3],
        }
    )
    expected = {"text": 2, "category": 1, "enum": 2, "=header": 1}
    assert counted(frame) == {("formula", name): number for name, number in expected.items()}
    assert counted(frame, formulas="escape") == {("escaped", name): number for name, number in expected.items()}
    assert ("formula", "=header") not in counted(frame, include_header=False)


def test_counts_add_up_over_many_batches() -> None:
    """Every row of every batch is counted once, and the file is what it is without counting."""
    frame = pl.DataFrame({"n": range(ROWS)}).with_columns(
        phone=pl.when(pl.col("n") % 7 == 0).then(pl.lit("+49")).otherwise(pl.lit("0049"))
    )
    assert counted(frame) == {("formula", "phone"): len(range(0, ROWS, 7))}


def test_escaping_puts_an_apostrophe_and_changes_nothing_else() -> None:
    """Formulas in cells and headers get an apostrophe; other cells, and other columns, are as they were."""
    frame = pl.DataFrame({"=x": ["=1", "a", None, ""], "*": ["-1", "+", "b", "@"], "n": [-1, 2, 3, 4]})
    assert cells(Csv(formulas="escape"), frame) == [
        ["'=x", "*", "n"],
        ["'=1", "'-1", "-1"],
        ["a", "'+", "2"],
        ["", "b", "3"],
        ["", "'@", "4"],
    ]
    assert cells(Csv(), frame)[1] == ["=1", "-1", "-1"]


def test_escaped_headers_may_not_stand_twice() -> None:
    """Where the escaped name is taken, the frame is refused before the first byte."""
    schema = pl.Schema({"=x": pl.Int8, "'=x": pl.Int8})
    with pytest.raises(ConfigurationError, match=r"1 header would occur twice once escaped: \['=x'\]"):
        Csv(formulas="escape").check(schema)
    Csv(formulas="escape", include_header=False).check(schema)


def test_raising_names_columns_and_rows_wherever_they_are() -> None:
    """The message counts the cells of a batch and tells the first rows of each column, counted over the whole run."""
    number = pl.int_range(ROWS)
    frame = pl.select(
        name=pl.when(number == ROWS - 3).then(pl.lit("=1")).otherwise(pl.lit("x")),
        other=pl.when(number >= ROWS - 6).then(pl.lit("@")).otherwise(None),
    )
    with pytest.raises(ConfigurationError) as raised:
        written(Csv(formulas="raise"), frame)
    message = str(raised.value)
    assert message.startswith("A batch can't be written as CSV: 7 cells start like a formula")
    assert "'name' (row 249,997)" in message
    assert "'other' (row 249,994, 249,995, 249,996, 249,997, 249,998, …)" in message
    assert "Csv(formulas='escape')" in message
    assert message.endswith("Nothing became visible.")


def test_raising_refuses_headers_before_the_first_byte() -> None:
    """A header that would be executed is refused with the schema."""
    schema = pl.Schema({"=x": pl.Int8, "y": pl.Int8})
    with pytest.raises(ConfigurationError, match=r"1 header starts like a formula.*'=x'"):
        Csv(formulas="raise").check(schema)
    Csv(formulas="raise", include_header=False).check(schema)


def test_a_warning_says_what_it_counts() -> None:
    """For a person it is a sentence; for a receipt it is plain data."""
    warning = CountedWarning("formula", "phone", 1_204)
    assert str(warning) == "1,204 cells of 'phone' start like a formula, which a spreadsheet would execute"
    assert {str(CountedWarning(kind, "x", 1)).split("'x' ")[1] for kind in ("formula", "escaped", "nulled")} == {
        "start like a formula, which a spreadsheet would execute",
        "started like a formula and were given an apostrophe",
        "held NaN or an infinity and were written as null",
    }


def test_parquet_has_no_formulas() -> None:
    """Spreadsheets don't execute cells of a typed format: nothing is counted, and nothing is changed."""
    assert written(Parquet(), pl.DataFrame({"=x": ["=1"]}))[1] == []
