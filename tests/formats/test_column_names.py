"""Names of columns in the files: as they are, in snake case, repeated, or by a mapping; and escapes beside them."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mc_sink
from mc_sink import ConfigurationError, Csv, LimitError, Parquet
from mc_sink.presets import PRESETS
from tests.support.format_readers import encoded, parquet, text_of

if TYPE_CHECKING:
    from pathlib import Path

FRAME = pl.DataFrame({"Seen At": [1], "userID": ["a"], "Größe": [2.5], "HTTPCode2": ["x,y"]})


@pytest.mark.parametrize(
    ("naming", "names"),
    [
        ("as_is", ["Seen At", "userID", "Größe", "HTTPCode2"]),
        ("snake", ["seen_at", "user_id", "grosse", "http_code_2"]),
        ({"userID": "user"}, ["Seen At", "user", "Größe", "HTTPCode2"]),
    ],
)
def test_columns_have_these_names_in_the_files(naming: Any, names: list[str], tmp_path: Path) -> None:
    """In CSV and Parquet alike, with the manifest's columns and the load statement; cells stay as they are."""
    assert text_of(Csv(column_names=naming), FRAME).splitlines() == [",".join(names), '1,a,2.5,"x,y"']
    file = parquet(Parquet(column_names=naming), FRAME)
    assert file.schema_arrow.names == names
    assert pl.DataFrame(file.read()).rows() == FRAME.rows()
    receipt = mc_sink.sink_madconnect(FRAME, f"{tmp_path}/", format=Csv(column_names=naming))
    assert receipt.content
    assert list(receipt.content.columns) == names
    with duckdb.connect() as database:
        database.execute(receipt.load_statement("t", "duckdb"))
        assert database.sql("FROM t").columns == names


@pytest.mark.parametrize("format", [Csv, Parquet])
@pytest.mark.parametrize(
    ("naming", "frame", "reason"),
    [
        ("snake", pl.DataFrame({"a b": [1], "A_B": [2]}), "'a b', 'A_B' as 'a_b'"),
        ({"a": "b"}, pl.DataFrame({"a": [1], "b": [2]}), "'a', 'b' as 'b'"),
        ({"c": "b"}, pl.DataFrame({"a": [1]}), r"renames \['c'\]"),
        ("snake", pl.DataFrame({"名": [1]}), "has '名', which has no ASCII letter"),
        ("snake", pl.DataFrame({"--": [1]}), "has no letter or digit"),
    ],
)
def test_names_that_collide_or_are_lost_are_refused(format: Any, naming: Any, frame: pl.DataFrame, reason: str) -> None:
    """Before the first byte, with the columns."""
    with pytest.raises(ConfigurationError, match=reason):
        format(column_names=naming).check(frame.schema)


@pytest.mark.parametrize("value", ["Snake", 1, None, {"a": 1}, True])
def test_other_values_are_refused(value: Any) -> None:
    """The message lists the possible ones."""
    for format in (Csv, Parquet):
        with pytest.raises(ConfigurationError, match="Use 'as_is', 'snake'"):
            format(column_names=value)
    with pytest.raises(ConfigurationError, match="column_names='repeated'"):
        Parquet(column_names="repeated")


def test_several_columns_have_one_name_where_a_receiver_asks_for_it() -> None:
    """`Email`, `Email.1` and `Email.2` become three columns `Email`; a number without a first column stays."""
    frame = pl.DataFrame(
        {"Email": ["a"], "Email.1": ["b"], "Email.2": [None], "v.2": ["c"]}, schema_overrides={"Email.2": pl.String}
    )
    assert text_of(Csv(column_names="repeated"), frame) == "Email,Email,Email,v.2\na,b,,c\n"


def test_a_preset_checks_the_headers_that_are_written(tmp_path: Path) -> None:
    """A name that the receiver refuses is one that a naming can correct."""
    preset = PRESETS["bigquery"]
    with pytest.raises(LimitError, match="header characters"):
        mc_sink.sink_madconnect(FRAME, f"{tmp_path}/", preset=preset)
    done = mc_sink.sink_madconnect(FRAME, f"{tmp_path}/", preset=preset, format=Parquet(column_names="snake"))
    assert pq.read_schema(done.files[0].path).names == ["seen_at", "user_id", "grosse", "http_code_2"]
    with pytest.raises(LimitError, match="duplicate headers"):
        PRESETS["redshift"].check(pl.Schema({"a": pl.Int8, "a.1": pl.Int8}), Csv(column_names="repeated"))


def test_lists_of_columns_have_the_names_of_the_frame() -> None:
    """Options of Parquet that list columns are those of the frame, whatever the files call them."""
    frame = pl.DataFrame({"A b": [1, 2], "C": ["x", "y"], "F": [1.0, float("nan")]})
    format = Parquet(column_names="snake", required="A b", sorted_by="A b", without_statistics="C")
    file = parquet(format, frame)
    assert not file.schema_arrow.field("a_b").nullable
    group = file.metadata.row_group(0)
    assert [column.column_index for column in group.sorting_columns] == [0]
    assert [group.column(number).is_stats_set for number in range(2)] == [True, False]
    with pytest.raises(ConfigurationError, match=r"Parquet\(without_statistics=\) names 'c'"):
        Parquet(without_statistics="c").check(frame.schema)


def test_statistics_are_left_out_of_some_columns_only() -> None:
    """The least and greatest text of such a column is nowhere in the file's footer."""
    frame = pl.DataFrame({"id": [1, 2], "note": ["canary-" + "a" * 50, "canary-" + "b" * 50]})
    format = Parquet(without_statistics=["note"], compression="zstd")
    footer = encoded(format, frame)[-int.from_bytes(encoded(format, frame)[-8:-4], "little") - 8 :]
    assert b"canary" not in footer
    assert b"canary" in encoded(Parquet(), frame)[-1000:]
    assert pl.DataFrame(parquet(format, frame).read()).equals(frame)


TEXTS = st.lists(st.text(st.sampled_from("a\"\\,;\n\r'é "), max_size=6) | st.none(), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.sampled_from("\\'^"), st.sampled_from(",;"))
def test_an_escaped_text_is_read_back(texts: list[str | None], escape: str, separator: str) -> None:
    """Python's reader, without doubled quotes, finds every text and header."""
    frame = pl.DataFrame({'h"ead\\er': texts, "n": range(len(texts))}, schema_overrides={'h"ead\\er': pl.String})
    dialect = Csv(escape_char=escape, separator=separator, null_value="NULL")
    text = io.StringIO(text_of(dialect, frame), newline="")
    found = list(csv.reader(text, delimiter=separator, escapechar=escape, doublequote=False))
    assert found[0] == ['h"ead\\er', "n"]
    assert found[1:] == [["NULL" if text is None else text, str(number)] for number, text in enumerate(texts)]


@pytest.mark.parametrize("read", ["duckdb", "pandas"])
def test_load_statements_read_escapes(read: str, tmp_path: Path) -> None:
    """DuckDB and pandas read quotes that are escaped by a backslash."""
    frame = pl.DataFrame({"t": ['a "b", c', "d\\", "\\N", "e\nf"], "n": range(4)})
    receipt = mc_sink.sink_madconnect(frame, f"{tmp_path}/", format=Csv(escape_char="\\", null_value="NULL"))
    statement = receipt.load_statement("sales", read)
    if read == "duckdb":
        with duckdb.connect() as database:
            database.execute(statement)
            assert database.sql("SELECT t FROM sales ORDER BY n").fetchall() == [(text,) for text in frame["t"]]
    else:
        names: dict[str, Any] = {}
        exec(statement, names)  # noqa: S102  our own code, as a receiver would run it
        assert names["sales"]["t"].to_list() == frame["t"].to_list()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"escape_char": '"'}, "are both"),
        ({"escape_char": ","}, "are both"),
        ({"escape_char": "a"}, "numbers and dates contain it"),
        ({"escape_char": "\\\\"}, "one ASCII character"),
        ({"escape_char": "\\", "quote_style": "non_numeric"}, "needs quote_style='necessary'"),
        ({"escape_char": "\\", "null_value": "\\N"}, "nulls are written without quotes"),
        ({"escape_char": "/", "date_format": "%d/%m/%Y"}, "dates are written without quotes"),
    ],
)
def test_an_escape_that_would_be_misread_is_refused(options: dict[str, Any], reason: str) -> None:
    """Nulls, dates and the separator keep apart from it."""
    with pytest.raises(ConfigurationError, match=reason):
        Csv(**options)
