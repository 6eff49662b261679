"""Formats: every option does what it says, as another library reads it, and what can't be carried is refused."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from dataclasses import FrozenInstanceError, fields
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_sink import ConfigurationError, Csv, Parquet
from mc_sink.formats import BY_NAME, choose_format

if TYPE_CHECKING:
    from pathlib import Path

    from mc_sink.formats import Format

ALL_FORMATS = [Csv(), Csv(compression="gzip"), Parquet()]
NAMES = ["csv", "csv.gz", "parquet"]
BERLIN = "Europe/Berlin"
FRAME = pl.DataFrame(
    {
        "number": [1, -2, 3],
        "float": [1.5, 1e300, -2.5e-9],
        "text": ["plain", 'a "quoted", cell', ""],
        "nothing": [None, "x", None],
        "day": [date(2026, 11, 22)] * 3,
        "at": [time(10, 15, 30)] * 3,
        "when": [datetime(2026, 11, 22, 10, 15, 30, tzinfo=UTC)] * 3,
    }
)


class Tape:
    """A file that can do no more than a `BinaryFile` promises."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def write(self, data: bytes) -> int:
        """Take bytes."""
        self._bytes += data
        return len(data)

    def flush(self) -> None:
        """Have nothing to do."""

    def tell(self) -> int:
        """Count the bytes."""
        return len(self._bytes)

    def getvalue(self) -> bytes:
        """Give all bytes."""
        return bytes(self._bytes)


def encoded(format: Format, frame: pl.DataFrame = FRAME, row_group_size: int = 100_000) -> bytes:
    """Give the bytes of a frame in a format."""
    tape = Tape()
    format.write(frame.lazy(), tape, row_group_size)
    return tape.getvalue()


def text_of(format: Csv, frame: pl.DataFrame = FRAME) -> str:
    """Give the text of a frame in a CSV dialect, decompressed where it has to be."""
    body = encoded(format, frame)
    return (gzip.decompress(body) if format.compression == "gzip" else body).decode()


def cells(format: Csv, frame: pl.DataFrame = FRAME) -> list[list[str]]:
    """Read a frame back with Python's csv module, told the same dialect and nothing more."""
    text = io.StringIO(text_of(format, frame), newline="")
    return list(csv.reader(text, delimiter=format.separator, quotechar=format.quote_char))


def parquet(format: Parquet, frame: pl.DataFrame = FRAME, row_group_size: int = 100_000) -> pq.ParquetFile:
    """Open a frame's Parquet with pyarrow."""
    return pq.ParquetFile(pa.BufferReader(encoded(format, frame, row_group_size)))


@pytest.mark.parametrize("format", ALL_FORMATS, ids=NAMES)
def test_a_file_that_only_writes_gets_what_a_local_file_gets(format: Format, tmp_path: Path) -> None:
    """Encoders ask for `write`, `flush` and `tell` alone, and write the same bytes to memory and to the disk."""
    path = tmp_path / "file"
    with path.open("wb") as file:
        format.write(FRAME.lazy(), file, 100_000)
    assert path.read_bytes() == encoded(format)


@pytest.mark.parametrize("format", ALL_FORMATS, ids=NAMES)
def test_duckdb_reads_what_was_written(format: Format, tmp_path: Path) -> None:
    """A reader that shares no code with the encoder finds every row and value."""
    path = tmp_path / f"file{format.extension}"
    path.write_bytes(encoded(format))
    reader = "read_parquet" if format.extension == ".parquet" else "read_csv"
    relation = duckdb.sql(f"SELECT number, float, text, nothing, day FROM {reader}('{path}')")  # noqa: S608  our own path
    found = relation.fetchall() if relation else []
    expected = FRAME.select("number", "float", "text", "nothing", "day").rows()
    assert [[value or None for value in row] for row in found] == [[value or None for value in row] for row in expected]


@pytest.mark.parametrize("format", ALL_FORMATS, ids=NAMES)
def test_equal_data_gives_equal_bytes(format: Format) -> None:
    """The same frame is the same file, run after run."""
    frame = pl.DataFrame({"n": range(400_000)}).with_columns(text=pl.col("n").hash().cast(pl.String))
    assert encoded(format, frame) == encoded(format, frame)


# --- CSV


def test_csv_by_default() -> None:
    """Commas, a header, quotes where they are needed, nothing for null, quotes for the empty string."""
    assert text_of(Csv()).splitlines() == [
        "number,float,text,nothing,day,at,when",
        "1,1.5,plain,,2026-11-22,10:15:30.000000000,2026-11-22T10:15:30.000000+0000",
        '-2,1e+300,"a ""quoted"", cell",x,2026-11-22,10:15:30.000000000,2026-11-22T10:15:30.000000+0000',
        '3,-2.5e-9,"",,2026-11-22,10:15:30.000000000,2026-11-22T10:15:30.000000+0000',
    ]


CSV_EFFECTS: list[tuple[dict[str, Any], str]] = [
    ({"separator": ";"}, "\n1;1.5;plain;;2026-11-22;"),
    ({"quote_style": "always"}, '\n"1","1.5","plain","","2026-11-22",'),
    ({"quote_style": "non_numeric"}, '\n1,1.5,"plain",'),
    ({"quote_char": "'"}, "\n-2,1e+300,'a \"quoted\", cell',x,"),
    ({"null_value": "NULL"}, "\n1,1.5,plain,NULL,"),
    ({"line_terminator": "\r\n"}, ",when\r\n1,"),
    ({"include_bom": True}, "\ufeffnumber,"),
    ({"date_format": "%d.%m.%Y"}, ",22.11.2026,"),
    ({"time_format": "%H:%M"}, ",10:15,"),
    ({"datetime_format": "%Y%m%d %H%M%z"}, ",20261122 1015+0000\n"),
    ({"float_scientific": True}, "\n1,1.5e0,plain,"),
    ({"float_scientific": False}, f"\n-2,1{'0' * 300},"),
    ({"decimal_comma": True, "separator": ";"}, "\n1;1,5;plain;"),
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
    tested = {name for options, _ in CSV_EFFECTS for name in options} | {"include_header"}
    assert tested == {field.name for field in fields(Csv)}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"separator": "\t"},
        {"separator": "|", "quote_char": "'"},
        {"quote_style": "always", "line_terminator": "\r\n"},
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


def test_a_column_of_nulls_alone_keeps_its_rows() -> None:
    """A null in a frame of one column isn't a blank line, which readers skip: as many records as rows come back."""
    frame = pl.DataFrame({"email": ["a@example.com", None, "b@example.com", None]})
    with pytest.raises(ConfigurationError, match=r"null\(s\) in a batch of 'email'"):
        text_of(Csv(), frame)
    for dialect in (Csv(quote_style="always"), Csv(null_value="NULL")):
        assert sum(1 for row in csv.reader(io.StringIO(text_of(dialect, frame))) if row) == 1 + frame.height
    assert text_of(Csv(), frame.drop_nulls()) == "email\na@example.com\nb@example.com\n"


def test_a_float_is_written_in_full() -> None:
    """The shortest text that reads back as the same number is written, and NaN and infinity by name."""
    frame = pl.DataFrame({"x": [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, float("inf")], "y": [1] * 5})
    assert [float(row[0]) for row in cells(Csv(), frame)[1:]] == frame["x"].to_list()


def test_a_time_zone_is_written() -> None:
    """Both hours named half past two, when clocks go back, can be told apart."""
    frame = pl.DataFrame(
        {"when": [datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)]}
    )
    local = frame.with_columns(pl.col("when").dt.convert_time_zone(BERLIN), other=1)
    assert [row[0] for row in cells(Csv(), local)[1:]] == [
        "2026-10-25T02:30:00.000000+0200",
        "2026-10-25T02:30:00.000000+0100",
    ]


# --- gzip


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
    assert encoded(Csv(compression="gzip"), frame) == bodies[2]


@pytest.mark.parametrize("format", ALL_FORMATS, ids=NAMES)
def test_a_failing_query_raises_its_own_exception(format: Format) -> None:
    """What the query raises arrives with its own type, whichever encoder ran."""
    rows = pl.LazyFrame({"n": range(300_000)}).with_columns(
        late=pl.when(pl.col("n") == 299_999).then(pl.lit("x")).otherwise(pl.lit("1")).cast(pl.Int8)
    )
    with pytest.raises(pl.exceptions.InvalidOperationError, match="conversion"):
        format.write(rows, Tape(), 100_000)


# --- Parquet


def test_parquet_by_default() -> None:
    """zstd, statistics on every column, and the dtypes as they were."""
    file = parquet(Parquet())
    group = file.metadata.row_group(0)
    columns = [group.column(i) for i in range(file.metadata.num_columns)]
    assert {column.compression for column in columns} == {"ZSTD"}
    assert all(column.is_stats_set for column in columns)
    assert pl.DataFrame(file.read()).equals(FRAME)


@pytest.mark.parametrize("compression", ["zstd", "snappy", "gzip", "brotli", "lz4", "uncompressed"])
def test_each_compression_is_what_readers_find(compression: Any) -> None:
    """The codec in the file's metadata is the one asked for, and the data reads back."""
    file = parquet(Parquet(compression=compression))
    assert file.metadata.row_group(0).column(0).compression == compression.upper()
    assert pl.DataFrame(file.read()).equals(FRAME)


@pytest.mark.parametrize(("compression", "low", "high"), [("zstd", 1, 22), ("gzip", 1, 9), ("brotli", 0, 11)])
def test_compression_levels_trade_bytes_for_time(compression: Any, low: int, high: int) -> None:
    """The highest level takes fewer bytes than the lowest, and reads back the same."""
    frame = pl.DataFrame({"text": [f"audience {n * 7919 % 10_007} of {n % 97}" for n in range(20_000)]})
    files = [encoded(Parquet(compression=compression, compression_level=level), frame) for level in (low, high)]
    assert len(files[1]) < len(files[0])
    assert pq.read_table(pa.BufferReader(files[0])).equals(pq.read_table(pa.BufferReader(files[1])))


def test_zstd_is_at_level_one_by_default() -> None:
    """No level means level 1 for zstd."""
    assert encoded(Parquet()) == encoded(Parquet(compression_level=1))
    frame = pl.DataFrame({"text": [f"audience {n * 7919 % 10_007}" for n in range(20_000)]})
    assert encoded(Parquet(), frame) != encoded(Parquet(compression_level=19), frame)


def test_statistics_can_be_left_out_or_picked() -> None:
    """False writes none, and a mapping switches each kind by its Polars name."""
    without = parquet(Parquet(statistics=False)).metadata.row_group(0).column(0)
    assert not without.is_stats_set
    picked = parquet(Parquet(statistics={"min": False, "max": False, "null_count": True}))
    found = picked.metadata.row_group(0).column(0).statistics
    assert not found.has_min_max
    assert found.null_count == 0


def test_smaller_pages_are_more_pages() -> None:
    """A small `data_page_size` takes more bytes for the same data, for the headers of its pages."""
    frame = pl.DataFrame({"n": range(100_000)})
    small, large = (encoded(Parquet(data_page_size=size), frame) for size in (2_000, 10_000_000))
    assert len(small) > len(large) + 1_000
    assert pq.read_table(pa.BufferReader(small)).equals(pq.read_table(pa.BufferReader(large)))


@pytest.mark.parametrize("row_group_size", [1, 3, 10, 11])
def test_row_groups_have_the_size_asked_for(row_group_size: int) -> None:
    """Every row group but the last has `row_group_size` rows."""
    file = parquet(Parquet(), pl.DataFrame({"n": range(10)}), row_group_size)
    sizes = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
    full, rest = divmod(10, row_group_size)
    assert sizes == [row_group_size] * full + [rest] * (rest > 0)


def test_every_dtype_that_is_taken_is_read_back() -> None:
    """Another library reads every dtype that Parquet takes here, nested ones included, with its values."""
    frame = pl.DataFrame(
        {
            "u8": pl.Series([1, None], dtype=pl.UInt8),
            "i64": pl.Series([-1, None], dtype=pl.Int64),
            "u64": pl.Series([2**64 - 1, None], dtype=pl.UInt64),
            "f32": pl.Series([0.5, None], dtype=pl.Float32),
            "decimal": pl.Series([Decimal("1.25"), None], dtype=pl.Decimal(20, 2)),
            "bool": [True, None],
            "binary": [b"\x00\xff", None],
            "duration": [timedelta(seconds=1), None],
            "local": pl.Series([datetime(2026, 11, 22), None]).dt.replace_time_zone(BERLIN),  # noqa: DTZ001  zoned next
            "list": [[1, 2], None],
            "array": pl.Series([[1, 2], None], dtype=pl.Array(pl.Int64, 2)),
            "struct": [{"a": 1, "b": "x"}, None],
            "category": pl.Series(["x", None], dtype=pl.Categorical),
            "enum": pl.Series(["x", None], dtype=pl.Enum(["x", "y"])),
            "null": [None, None],
        }
    )
    Parquet().check(frame.schema)
    assert parquet(Parquet(), frame).read().to_pylist() == frame.to_arrow().to_pylist()


# --- Zero rows


@pytest.mark.parametrize("format", ALL_FORMATS, ids=NAMES)
def test_zero_rows_are_a_valid_file(format: Format) -> None:
    """A frame without rows gives the header, or the schema."""
    empty = FRAME.clear()
    if isinstance(format, Csv):
        assert cells(format, empty) == [FRAME.columns]
        assert text_of(format, empty).endswith("\n")
    else:
        found = pq.read_table(pa.BufferReader(encoded(format, empty)))
        assert found.num_rows == 0
        assert pl.DataFrame(found).schema == FRAME.schema


def test_zero_rows_without_a_header_are_no_bytes() -> None:
    """Nothing at all is what such a CSV holds; gzip still has its member."""
    assert encoded(Csv(include_header=False), FRAME.clear()) == b""
    assert gzip.decompress(encoded(Csv(include_header=False, compression="gzip"), FRAME.clear())) == b""


# --- Refusals


@pytest.mark.parametrize(
    ("dtype", "told"),
    [
        (pl.Duration("us"), "Duration"),
        (pl.Binary(), "Binary"),
        (pl.List(pl.Int8), r"List\(Int8\)"),
        (pl.Array(pl.Int8, 2), "Array"),
        (pl.Struct({"a": pl.Int8}), "Struct"),
        (pl.Object(), "Object"),
        (pl.Map(pl.String, pl.Int8), "Map"),
    ],
)
@pytest.mark.parametrize("format", ALL_FORMATS[:2], ids=NAMES[:2])
def test_csv_names_the_columns_it_cannot_carry(format: Csv, dtype: pl.DataType, told: str) -> None:
    """The message counts the columns and names each with its dtype."""
    schema = pl.Schema({"fine": pl.String(), "first": dtype, "second": dtype})
    with pytest.raises(ConfigurationError, match=rf"^2 column.*'first' \({told}.*'second' \({told}") as raised:
        format.check(schema)
    assert "fine" not in str(raised.value)


@pytest.mark.parametrize(
    "dtype",
    [
        pl.Int128(),
        pl.UInt128(),
        pl.Object(),
        pl.List(pl.Int128),
        pl.Array(pl.UInt128, 2),
        pl.Map(pl.String, pl.Int128),
        pl.Struct({"deep": pl.List(pl.Struct({"deeper": pl.Int128}))}),
    ],
)
def test_parquet_names_the_columns_that_others_cannot_read(dtype: pl.DataType) -> None:
    """Wide integers and Python objects are refused at any depth."""
    with pytest.raises(ConfigurationError, match=r"^1 column.*'wide' \("):
        Parquet().check(pl.Schema({"fine": pl.Int64(), "wide": dtype}))


@pytest.mark.parametrize(
    "dtype", [pl.Categorical(), pl.Enum(["x"]), pl.Decimal(10, 2), pl.Null(), pl.Int128(), pl.Boolean()]
)
def test_csv_takes_what_has_a_text(dtype: pl.DataType) -> None:
    """Dtypes with one text for each value pass, and are written."""
    frame = pl.DataFrame({"x": pl.Series([None], dtype=dtype), "y": [1]})
    Csv().check(frame.schema)
    assert cells(Csv(), frame) == [["x", "y"], ["", "1"]]


@pytest.mark.parametrize("format", ALL_FORMATS, ids=NAMES)
def test_a_frame_without_columns_is_refused(format: Format) -> None:
    """No columns, no file."""
    with pytest.raises(ConfigurationError, match="no columns"):
        format.check(pl.Schema())


def test_a_datetime_format_that_drops_the_zone_is_refused_for_zoned_columns_alone() -> None:
    """Without %z an hour would be ambiguous when clocks go back; a column without a zone has no such hour."""
    dialect = Csv(datetime_format="%Y-%m-%d %H:%M")
    with pytest.raises(ConfigurationError, match=r"'when' \(Datetime"):
        dialect.check(pl.Schema({"when": pl.Datetime("us", BERLIN)}))
    dialect.check(pl.Schema({"when": pl.Datetime("us"), "n": pl.Int64()}))
    Csv(datetime_format="%F %T%:z").check(pl.Schema({"when": pl.Datetime("us", BERLIN), "n": pl.Int64()}))


def test_a_percent_sign_before_a_z_is_no_zone() -> None:
    """`%%z` writes "%z" as text, which drops the zone like any other format without one."""
    with pytest.raises(ConfigurationError, match=r"'when' \(Datetime"):
        Csv(datetime_format="%F %T%%z").check(pl.Schema({"when": pl.Datetime("us", BERLIN)}))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"compression": "zip"}, "'uncompressed' or 'gzip'"),
        ({"compression": "gzip", "compression_level": 4}, "0 to 3"),
        ({"compression": "gzip", "compression_level": -1}, "0 to 3"),
        ({"compression": "gzip", "compression_level": 1.0}, "0 to 3"),
        ({"compression_level": 1}, "plain CSV none"),
        ({"quote_style": "never"}, "can't be read back"),
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
    ],
)
def test_bad_csv_options_are_refused_when_written_down(options: dict[str, Any], told: str) -> None:
    """A dialect that makes no sense never becomes a value."""
    with pytest.raises(ConfigurationError, match=told):
        Csv(**options)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"compression": "lzo"}, "lzo"),
        ({"compression": "zstd", "compression_level": 0}, "1 to 22"),
        ({"compression": "zstd", "compression_level": 23}, "1 to 22"),
        ({"compression": "gzip", "compression_level": 10}, "0 to 9"),
        ({"compression": "brotli", "compression_level": 12}, "0 to 11"),
        ({"compression": "snappy", "compression_level": 1}, "no level"),
        ({"statistics": {"mim": True}}, "mim"),
        ({"data_page_size": -5}, "data_page_size"),
        ({"data_page_size": 0}, "data_page_size"),
    ],
)
def test_bad_parquet_options_are_refused_when_written_down(options: dict[str, Any], told: str) -> None:
    """A codec, level, statistic or page size that doesn't exist never becomes a value."""
    with pytest.raises(ConfigurationError, match=told):
        Parquet(**options)


@pytest.mark.parametrize("options", [{"seperator": ";"}, {"compresion": "gzip"}])
def test_a_misspelt_option_is_an_error(options: dict[str, Any]) -> None:
    """An unknown name is refused by Python itself."""
    with pytest.raises(TypeError, match=next(iter(options))):
        Csv(**options)
    with pytest.raises(TypeError, match=next(iter(options))):
        Parquet(**options)


# --- Choosing


@pytest.mark.parametrize(
    ("name", "asked", "expected"),
    [
        ("", None, Csv()),
        ("audience.csv", None, Csv()),
        ("audience.CSV", None, Csv()),
        ("audience.csv.gz", None, Csv(compression="gzip")),
        ("audience.parquet", None, Parquet()),
        ("audience", None, Csv()),
        ("audience.txt", None, Csv()),
        ("audience.tsv", Csv(separator="\t"), Csv(separator="\t")),
        ("audience", "parquet", Parquet()),
        ("", "csv.gz", Csv(compression="gzip")),
        ("audience.csv", Csv(separator=";"), Csv(separator=";")),
        ("audience.csv.gz", Csv(compression="gzip", separator=";"), Csv(compression="gzip", separator=";")),
    ],
)
def test_the_format_is_what_was_asked_for_else_the_suffix_else_csv(name: str, asked: Any, expected: Format) -> None:
    """An explicit format wins, then the name, then CSV."""
    assert choose_format(name, asked) == expected


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("audience.csv", "parquet"),
        ("audience.csv", "csv.gz"),
        ("audience.csv.gz", "csv"),
        ("audience.CSV.GZ", Csv()),
        ("audience.parquet", Csv()),
        ("audience.xlsx", None),
        ("audience.json", None),
        ("audience.csv.zst", None),
        ("audience.csv.zst", "csv"),
        ("audience.arrow", Parquet()),
        ("audience.gz", None),
    ],
)
def test_a_name_that_promises_something_else_is_refused(name: str, asked: Any) -> None:
    """A file is never named for what it isn't."""
    with pytest.raises(ConfigurationError, match="promises"):
        choose_format(name, asked)


@pytest.mark.parametrize("asked", ["CSV", "json", "csv.gzip", "", 7, Csv, pl.DataFrame])
def test_what_is_no_format_is_refused_with_the_formats_there_are(asked: Any) -> None:
    """An unknown name, a class in place of its value, or anything else gets the list of names."""
    with pytest.raises(ConfigurationError, match=r"'csv', 'csv\.gz', 'parquet'"):
        choose_format("", asked)


@pytest.mark.parametrize("format", [*ALL_FORMATS, Parquet(statistics={"min": True})], ids=[*NAMES, "picked"])
def test_a_format_is_a_value(format: Format) -> None:
    """Formats are equal by their options, can't be changed, and have no place for an attribute of another name."""
    name = fields(format)[0].name  # type: ignore[arg-type]
    with pytest.raises(FrozenInstanceError):
        setattr(format, name, "other")
    assert not hasattr(format, "__dict__")
    assert format == eval(repr(format), {"Csv": Csv, "Parquet": Parquet})  # noqa: S307  the repr of our own value


def test_formats_can_be_keys() -> None:
    """Values whose options are all hashable are hashable."""
    assert {Csv(): 1, Parquet(): 2, Csv(separator=";"): 3}[Csv()] == 1
    assert len({*BY_NAME.values(), *ALL_FORMATS}) == 3


@pytest.mark.parametrize(
    ("format", "extension", "media_type"),
    [
        (Csv(), ".csv", "text/csv"),
        (Csv(compression="gzip"), ".csv.gz", "application/gzip"),
        (Parquet(compression="snappy"), ".parquet", "application/vnd.apache.parquet"),
    ],
)
def test_each_format_knows_its_suffix_and_media_type(format: Format, extension: str, media_type: str) -> None:
    """The suffix and media type are those that are registered."""
    assert (format.extension, format.content_type) == (extension, media_type)
