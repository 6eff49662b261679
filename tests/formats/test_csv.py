"""CSV: every option does what it says, as another library reads it, and a dialect that loses something is refused."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import fields
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_sink import ConfigurationError, Csv
from tests.support.dtypes import Map
from tests.support.format_readers import ALL_FORMATS, FRAME, NAMES, cells, encoded, text_of


def test_csv_by_default() -> None:
    """Commas, a header, quotes where they are needed, nothing for null, quotes for the empty string."""
    assert text_of(Csv()).splitlines() == [
        "number,float,text,nothing,day,at,when",
        "1,1.5,plain,,2026-11-22,10:15:30.000000000,2026-11-22T10:15:30.000000+00:00",
        '-2,1e+300,"a ""quoted"", cell",x,2026-11-22,10:15:30.000000000,2026-11-22T10:15:30.000000+00:00',
        '3,-2.5e-9,"",,2026-11-22,10:15:30.000000000,2026-11-22T10:15:30.000000+00:00',
    ]


CSV_EFFECTS: list[tuple[dict[str, Any], str]] = [
    ({"separator": ";"}, "\n1;1.5;plain;;2026-11-22;"),
    ({"quote_style": "always", "null_value": "NULL"}, '\n"1","1.5","plain","NULL","2026-11-22",'),
    ({"quote_style": "always", "null_value": ""}, '\n"1","1.5","plain","","2026-11-22",'),
    ({"quote_style": "non_numeric"}, '\n1,1.5,"plain",'),
    ({"quote_char": "'"}, "\n-2,1e+300,'a \"quoted\", cell',x,"),
    ({"null_value": "NULL"}, "\n1,1.5,plain,NULL,"),
    ({"line_terminator": "\r\n"}, ",when\r\n1,"),
    ({"include_bom": True}, "\ufeffnumber,"),
    ({"date_format": "%d.%m.%Y"}, ",22.11.2026,"),
    ({"date_format": "iso", "separator": ";"}, ";2026-11-22;"),
    ({"time_format": "%H.%M.%S"}, ",10.15.30,"),
    ({"time_format": "iso"}, ",10:15:30,"),
    ({"datetime_format": "%Y%m%d %H%M%S%z"}, ",20261122 101530+0000\n"),
    ({"datetime_format": "iso"}, ",2026-11-22 10:15:30.000000+00:00\n"),
    ({"float_scientific": True}, "\n1,1.5e0,plain,"),
    ({"float_scientific": False}, f"\n-2,1{'0' * 300},"),
    ({"decimal_comma": True, "separator": ";"}, "\n1;1,5;plain;"),
    ({"escape_char": "\\"}, '\n-2,1e+300,"a \\"quoted\\", cell",x,'),
    ({"column_names": {"text": "Text"}}, "number,float,Text,nothing"),
    ({"compression": "gzip"}, "\n1,1.5,plain,"),
    ({"compression": "gzip", "compression_level": 0}, "\n1,1.5,plain,"),
]


@pytest.mark.parametrize(("options", "found"), CSV_EFFECTS, ids=lambda value: "+".join(value) if value else "")
def test_every_csv_option_has_its_effect(options: dict[str, Any], found: str) -> None:
    """What an option changes stands in the text, which differs from the default's."""
    assert found in text_of(Csv(**options))
    assert encoded(Csv(**options)) != encoded(Csv())


def test_the_header_can_be_left_out() -> None:
    """Without a header the first line is the first row."""
    assert cells(Csv(include_header=False)) == cells(Csv())[1:]


def test_no_csv_option_is_untested() -> None:
    """Every field of Csv stands in the table of effects, or in a test of its own."""
    elsewhere = {"encoding", "include_header", "boolean_format", "non_finite", "formulas", "nested"}
    tested = {name for options, _ in CSV_EFFECTS for name in options} | elsewhere
    assert tested == {field.name for field in fields(Csv)}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"separator": "\t"},
        {"separator": "|", "quote_char": "'"},
        {"quote_style": "always", "null_value": "NULL", "line_terminator": "\r\n"},
        {"quote_style": "non_numeric", "separator": ";", "decimal_comma": True},
        {"compression": "gzip"},
    ],
)
@given(text=st.text(alphabet=st.sampled_from([*"ab \"'|;,\t\n\r\\é🎈"]), max_size=8))
def test_any_text_survives_any_dialect(options: dict[str, Any], text: str) -> None:
    """Separators, quotes and line ends inside a cell come back as they were."""
    frame = pl.DataFrame({"first": ["x", "y"], 'the "text", last': [text, "z"]})
    assert cells(Csv(**options), frame) == [frame.columns, ["x", text], ["y", "z"]]


@pytest.mark.parametrize(
    "options",
    [
        *({"separator": separator} for separator in ".-:0T "),
        *({"quote_char": quote} for quote in ".-:0"),
        {"null_value": "a,b"},
        {"null_value": 'a"b'},
        {"null_value": "a\nb"},
        {"date_format": "%d,%m,%Y"},
        {"time_format": "%H,%M"},
        {"datetime_format": "%Y,%m%z"},
        {"separator": ";", "datetime_format": "%Y;%m%z"},
        {"separator": "/", "date_format": "%d/%m/%Y"},
    ],
    ids=str,
)
def test_a_dialect_either_is_refused_or_keeps_its_cells_apart(options: dict[str, Any]) -> None:
    """No dialect that is taken writes a number, a date or a null that reads back as two cells."""
    frame = FRAME.with_columns(float=pl.col("float") * -1.25, flag=pl.lit(value=True), odd=pl.lit(float("nan")))
    try:
        dialect = Csv(**options)
        dialect.check(frame.schema)
    except ConfigurationError:
        return
    assert {len(row) for row in cells(dialect, frame)} == {frame.width}


def test_a_float_is_written_in_full() -> None:
    """The shortest text that reads back as the same number is written, and NaN and infinity by name."""
    frame = pl.DataFrame({"x": [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, float("inf")], "y": [1] * 5})
    assert [float(row[0]) for row in cells(Csv(), frame)[1:]] == frame["x"].to_list()


def test_gzip_is_one_member_without_name_or_time() -> None:
    """The file is a single gzip member whose header holds no name, no time, and nothing follows its trailer."""
    frame = pl.DataFrame({"n": range(600_000)})
    body = encoded(Csv(compression="gzip"), frame)
    assert body[:4] == b"\x1f\x8b\x08\x00"
    assert body[4:8] == b"\x00" * 4
    member = zlib.decompressobj(wbits=31)
    text = member.decompress(body)
    assert member.eof
    assert member.unused_data == b""
    assert text == encoded(Csv(), frame)


def test_gzip_levels_trade_bytes_for_time() -> None:
    """Every level decompresses to the same text; level 3 takes fewer bytes than level 0."""
    frame = pl.DataFrame({"n": range(200_000)}).with_columns(text=pl.lit("audience ") + pl.col("n").cast(pl.String))
    bodies = {level: encoded(Csv(compression="gzip", compression_level=level), frame) for level in range(4)}
    assert {gzip.decompress(body) for body in bodies.values()} == {encoded(Csv(), frame)}
    assert len(bodies[3]) < len(bodies[0])
    assert encoded(Csv(compression="gzip"), frame) == bodies[1]


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        (pl.Duration("us"), "Duration"),
        (pl.Binary(), "Binary"),
        (pl.List(pl.Int8), r"List\(Int8\)"),
        (pl.Array(pl.Int8, 2), "Array"),
        (pl.Struct({"a": pl.Int8}), "Struct"),
        (pl.Object(), "Object"),
        (Map(pl.String, pl.Int8), "Map"),
    ],
)
@pytest.mark.parametrize("format", ALL_FORMATS[:2], ids=NAMES[:2])
def test_csv_names_the_columns_it_cannot_carry(format: Csv, dtype: pl.DataType, message: str) -> None:
    """The message counts the columns and names each with its dtype."""
    schema = pl.Schema({"fine": pl.String(), "first": dtype, "second": dtype})
    with pytest.raises(ConfigurationError, match=rf"^2 column.*'first' \({message}.*'second' \({message}") as raised:
        format.check(schema)
    assert "fine" not in str(raised.value)


@pytest.mark.parametrize(
    "dtype", [pl.Categorical(), pl.Enum(["x"]), pl.Decimal(10, 2), pl.Null(), pl.Int128(), pl.Boolean()]
)
def test_csv_takes_what_has_a_text(dtype: pl.DataType) -> None:
    """Dtypes with one text for each value pass, and are written."""
    frame = pl.DataFrame({"x": pl.Series([None], dtype=dtype), "y": [1]})
    Csv().check(frame.schema)
    assert cells(Csv(), frame) == [["x", "y"], ["", "1"]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compression": "zip"}, "'uncompressed' or 'gzip'"),
        ({"compression": "gzip", "compression_level": 4}, "0 to 3"),
        ({"compression": "gzip", "compression_level": -1}, "0 to 3"),
        ({"compression": "gzip", "compression_level": 1.0}, "0 to 3"),
        ({"compression_level": 1}, "plain CSV has none"),
        ({"quote_style": "never"}, "corrupts data"),
        ({"separator": ""}, "one ASCII character"),
        ({"separator": "||"}, "one ASCII character"),
        ({"separator": "é"}, "one ASCII character"),
        ({"separator": "\n"}, "one ASCII character"),
        ({"separator": 1}, "one ASCII character"),
        ({"quote_char": ""}, "one ASCII character"),
        ({"quote_char": "\r"}, "one ASCII character"),
        ({"separator": "'", "quote_char": "'"}, "both"),
        ({"decimal_comma": True}, "separator=';'"),
        ({"line_terminator": "\r"}, "line_terminator"),
        ({"separator": "\0"}, "not a line end or NUL"),
        ({"quote_style": "always"}, "null_value='NULL'"),
        ({"non_finite": "drop"}, "'write' or 'null' or 'raise'"),
        ({"formulas": "warn"}, "'allow' or 'escape' or 'raise'"),
        ({"nested": True}, "'raise' or 'json'"),
        ({"null_value": 0}, "is not a text"),
        ({"null_value": "-99"}, "a number, a date or JSON"),
        ({"null_value": "nan"}, "a number, a date or JSON"),
        ({"null_value": "+Inf"}, "a number, a date or JSON"),
        ({"null_value": "2026-11-22"}, "a number, a date or JSON"),
        ({"null_value": "[]"}, "a number, a date or JSON"),
        ({"null_value": "{}"}, "a number, a date or JSON"),
        ({"null_value": " NULL"}, "is trimmed"),
        ({"boolean_format": ["Y", "N"]}, "a pair of texts"),
        ({"boolean_format": ("Y", "N", "?")}, "a pair of texts"),
        ({"boolean_format": (1, 0)}, "a pair of texts"),
        ({"boolean_format": "YN"}, "a pair of texts"),
        ({"boolean_format": ("Y", "Y")}, "three different texts"),
        ({"boolean_format": ("Y", "")}, "three different texts"),
        ({"boolean_format": ("Y", "N"), "null_value": "N"}, "three different texts"),
        ({"boolean_format": ("Y ", "N")}, "three different texts"),
    ],
)
def test_bad_csv_options_are_refused_when_written_down(options: dict[str, Any], message: str) -> None:
    """A dialect that makes no sense never becomes a value."""
    with pytest.raises(ConfigurationError, match=message):
        Csv(**options)
