"""Parquet: every option does what it says, as pyarrow reads it; what others can't read is refused or made readable."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import polars.selectors as cs
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mc_sink
from mc_sink import ConfigurationError, Parquet
from mc_sink.formats import OneRun
from tests.support.dtypes import Map, needs_map
from tests.support.format_readers import FRAME, Tape, encoded, parquet
from tests.support.versions import PYARROW_READS_NULL_ARRAYS, pyarrow_finds

if TYPE_CHECKING:
    from pathlib import Path

BERLIN = "Europe/Berlin"


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
            "array": pl.Series([[1, 2], None if PYARROW_READS_NULL_ARRAYS else [3, 4]], dtype=pl.Array(pl.Int64, 2)),
            "struct": [{"a": 1, "b": "x"}, None],
            "category": pl.Series(["x", None], dtype=pl.Categorical),
            "enum": pl.Series(["x", None], dtype=pl.Enum(["x", "y"])),
        }
    )
    Parquet().check(frame.schema)
    assert parquet(Parquet(), frame).read().to_pylist() == frame.to_arrow().to_pylist()


@pytest.mark.parametrize(
    "dtype",
    [
        pl.Int128(),
        pl.UInt128(),
        pl.Object(),
        pl.List(pl.Int128),
        pl.Array(pl.UInt128, 2),
        Map(pl.String, pl.Int128),
        pl.Struct({"deep": pl.List(pl.Struct({"deeper": pl.Int128}))}),
    ],
)
def test_parquet_names_the_columns_that_others_cannot_read(dtype: pl.DataType) -> None:
    """Wide integers and Python objects are refused at any depth."""
    with pytest.raises(ConfigurationError, match=r"^1 column.*'wide' \("):
        Parquet().check(pl.Schema({"fine": pl.Int64(), "wide": dtype}))


@pytest.mark.parametrize(
    ("options", "message"),
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
def test_bad_parquet_options_are_refused_when_written_down(options: dict[str, Any], message: str) -> None:
    """A codec, level, statistic or page size that doesn't exist never becomes a value."""
    with pytest.raises(ConfigurationError, match=message):
        Parquet(**options)


def test_facts_about_the_run_are_in_the_footer() -> None:
    """Readers find the metadata under its keys, beside Arrow's schema; without metadata they find only that."""
    facts = {"mc_sink.run_id": "20261122T101530Z-4f2a9c", "mc_sink.schema": "aud\u00efence"}
    tape = Tape()
    Parquet().write(OneRun(iter([FRAME]), FRAME.schema), tape, 100_000, metadata=facts)
    found = pq.ParquetFile(pa.BufferReader(tape.getvalue())).metadata.metadata
    assert {key.decode(): value.decode() for key, value in found.items() if key != b"ARROW:schema"} == facts
    assert set(parquet(Parquet()).metadata.metadata) == {b"ARROW:schema"}


LARGEST = 10**38 - 1
NULL_ARRAYS = [None, {"a": None}] if PYARROW_READS_NULL_ARRAYS else [{"a": [2]}, {"a": [3]}]


@pytest.mark.parametrize("dtype", [pl.Int128, pl.UInt128])
def test_wide_integers_can_be_decimals(dtype: Any) -> None:
    """Asked to, Parquet writes them as decimals of 38 digits, at any depth and under any name."""
    wide = Parquet(int128="decimal")
    frame = pl.DataFrame(
        {
            "*": pl.Series([LARGEST, None, 0], dtype=dtype),
            "list": pl.Series([[LARGEST, None], None, []], dtype=pl.List(dtype)),
            "struct": pl.Series([{"a": [1]}, *NULL_ARRAYS], dtype=pl.Struct({"a": pl.Array(dtype, 1)})),
            "other": [1, 2, 3],
        }
    )
    wide.check(frame.schema)
    table = parquet(wide, frame).read()
    assert [str(column.type) for column in table.columns] == [
        "decimal128(38, 0)",
        "large_list<element: decimal128(38, 0)>",
        "struct<a: fixed_size_list<element: decimal128(38, 0)>[1]>",
        "int64",
    ]
    assert table.column(0).to_pylist() == [LARGEST, None, 0]
    assert table.column(1).to_pylist() == [[LARGEST, None], None, []]


@needs_map
@pytest.mark.parametrize("dtype", [pl.Int128, pl.UInt128])
def test_wide_integers_in_maps_can_be_decimals(dtype: Any) -> None:
    """The values of a map are written as decimals too."""
    values = pl.Series([[{"key": "k", "value": 1}], None, []], dtype=Map(pl.String, dtype))
    table = parquet(Parquet(int128="decimal"), pl.DataFrame({"map": values})).read()
    assert str(table.column(0).type) == pyarrow_finds("map<large_string, decimal128(38, 0) ('map')>")
    assert table.column(0).to_pylist() == [[("k", 1)], None, []]


@pytest.mark.parametrize(("value", "dtype"), [(10**38, pl.Int128), (-(10**38), pl.Int128), (2**128 - 1, pl.UInt128)])
def test_an_integer_that_fits_no_decimal_ends_the_run(value: int, dtype: Any) -> None:
    """39 digits are refused, deep inside a column too; nothing is rounded and nothing becomes null."""
    for values in (pl.Series([1, value], dtype=dtype), pl.Series([[1], [value]], dtype=pl.List(dtype))):
        with pytest.raises(ConfigurationError, match=r"integers in 'x' have more than 38 digits.*visible"):
            encoded(Parquet(int128="decimal"), pl.DataFrame({"x": values}))


def test_the_refusal_of_wide_integers_says_how_to_write_them() -> None:
    """The option is named where it would help, and not where it wouldn't."""
    with pytest.raises(ConfigurationError, match="int128='decimal'"):
        Parquet().check(pl.Schema({"x": pl.List(pl.Int128)}))
    with pytest.raises(ConfigurationError, match="Cast or drop") as raised:
        Parquet(int128="decimal").check(pl.Schema({"x": pl.Object, "y": pl.Int128}))
    assert "'y'" not in str(raised.value)
    with pytest.raises(ConfigurationError, match="'raise' or 'decimal'"):
        Parquet(int128="float")  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [pl.Struct({}), pl.List(pl.Struct({})), pl.Struct({"a": pl.Struct({})})], ids=str)
def test_a_struct_without_fields_is_refused_before_the_first_byte(dtype: pl.DataType) -> None:
    """Parquet has no such thing, and Polars would find out only when it writes."""
    with pytest.raises(ConfigurationError, match=r"1 column can't be written as Parquet: 'x'"):
        Parquet().check(pl.Schema({"x": dtype, "y": pl.Int8()}))


@needs_map
def test_lists_of_maps_are_written_whatever_hides_under_their_nulls() -> None:
    """A list that was masked out, at which Polars' writer would fail, is a null like any other."""
    dtype = pl.List(Map(pl.String, pl.Int8))
    frame = pl.DataFrame({"x": pl.Series([[[{"key": "a", "value": 1}]], [None], []], dtype=dtype)})
    masked = frame.select(pl.when(pl.Series([False, True, True])).then("x").alias("*"))
    assert parquet(Parquet(), masked).read().column(0).to_pylist() == [None, [None], []]


def test_an_extension_is_written_as_what_it_is_made_of() -> None:
    """Others read its storage, and what it is made of decides whether it is taken."""
    uuid, wide = pl.Extension("uuid", pl.Binary()), pl.Extension("wide", pl.Int128())
    frame = pl.DataFrame({"x": pl.Series([b"\x00", None], dtype=pl.Binary).ext.to(uuid)})
    Parquet().check(frame.schema)
    assert parquet(Parquet(), frame).read().column(0).to_pylist() == [b"\x00", None]
    for format in (Parquet(), Parquet(int128="decimal")):
        with pytest.raises(ConfigurationError, match="'x'"):
            format.check(pl.Schema({"x": wide}))


NAN = pl.DataFrame(
    {
        "id": [1, 2, 3],
        "v": [1.0, float("nan"), -5.0],
        "w": [1.0, 2.0, None],
        "s": pl.Series([{"x": float("nan"), "n": 1}, {"x": 1.0, "n": 2}, None]),
        "l": [[1.0], [float("nan")], []],
        "f": pl.Series([1.0, 2.0, float("nan")], dtype=pl.Float32),
    }
)


@pytest.mark.parametrize("group", [1, 3])
def test_rows_are_found_by_readers_that_skip_row_groups(tmp_path: Path, group: int) -> None:
    """A column with NaN has no least and greatest value, and readers that go by them find its rows."""
    path = tmp_path / "x.parquet"
    path.write_bytes(encoded(Parquet(), NAN, group))
    for where, rows in {
        "isnan(v)": 1,
        "v = 'nan'::double": 1,
        "v > 1": 1,
        "v > 4": 1,
        "w > 1": 1,
        "isnan(s.x)": 1,
    }.items():
        assert duckdb.read_parquet(str(path)).filter(where).count("*").fetchall() == [(rows,)]
    assert pl.scan_parquet(path).filter(pl.col("v").is_nan()).collect().height == 1
    assert pl.read_parquet(path).equals(NAN)
    assert pq.read_table(path).num_rows == 3
    file = pq.ParquetFile(path)
    for number in range(file.num_row_groups):
        columns = [file.metadata.row_group(number).column(place) for place in range(file.metadata.num_columns)]
        with_bounds = {column.path_in_schema for column in columns if column.statistics.has_min_max}
        assert with_bounds - {"w"} == {"id", "s.n"} - ({"s.n"} if group == 1 and number == 2 else set())
        assert all(column.statistics.has_null_count for column in columns)


def test_a_file_without_nan_has_all_its_statistics() -> None:
    """Infinities are in order with all other numbers."""
    frame = pl.DataFrame({"v": [1.0, float("inf"), None]})
    statistics = parquet(Parquet(), frame).metadata.row_group(0).column(0).statistics
    assert (statistics.min, statistics.max) == (1.0, float("inf"))


def test_what_is_not_finite_can_be_null_or_refused(tmp_path: Path) -> None:
    """Nulls are counted; a refusal has the column and the row; floats inside nested values can't be replaced."""
    flat = NAN.select("id", "v", "f")
    receipt = mc_sink.sink_madconnect(flat, tmp_path / "x.parquet", format=Parquet(non_finite="null"), progress=False)
    assert {(one.kind, one.column, one.num_cells) for one in receipt.warnings} == {
        ("nulled", "v", 1),
        ("nulled", "f", 1),
    }
    assert pl.read_parquet(tmp_path / "x.parquet").equals(flat.with_columns(cs.float().fill_nan(None)))
    for frame, options, message in [
        (flat, {"non_finite": "raise"}, r"written as Parquet: 2 cells are NaN.*'v' \(row 1\), 'f' \(row 2\)"),
        (NAN, {"non_finite": "raise"}, "4 cells are NaN"),
        (NAN, {"non_finite": "null"}, "floats inside 's', 'l'"),
    ]:
        with pytest.raises(ConfigurationError, match=message):
            mc_sink.sink_madconnect(frame, tmp_path / "y.parquet", format=Parquet(**options), progress=False)  # type: ignore[arg-type]
    assert not (tmp_path / "y.parquet").exists()


@pytest.mark.parametrize("dtype", [pl.Null, pl.List(pl.Null), pl.Struct({"a": pl.Null, "b": pl.Int64})], ids=str)
def test_a_column_without_a_type_is_refused(tmp_path: Path, dtype: Any) -> None:
    """Files of other days couldn't be read together with it; one that is wanted is written."""
    frame = pl.DataFrame({"a": pl.Series([None], dtype=dtype), "b": [1]})
    with pytest.raises(ConfigurationError, match=r"1 column can't be written as Parquet: 'a' \(.*Null.* Cast it"):
        mc_sink.sink_madconnect(frame, tmp_path / "x.parquet", progress=False)
    assert not list(tmp_path.iterdir())
    assert encoded(Parquet(null_dtype="write"), frame)
    other = pl.DataFrame({"a": pl.Series([None], dtype=pl.String), "b": [1]})
    mc_sink.sink_madconnect(other, tmp_path / "1.parquet", progress=False)
    mc_sink.sink_madconnect(pl.DataFrame({"a": ["x"], "b": [1]}), tmp_path / "2.parquet", progress=False)
    assert pl.read_parquet(tmp_path / "*.parquet").height == pq.read_table(tmp_path).num_rows == 2


def test_required_columns_have_no_nulls_in_the_file() -> None:
    """They are REQUIRED there, all others stay OPTIONAL; a null is refused with its row."""
    frame = pl.DataFrame({"id": [1, 2], "s": ["a", None], "e": pl.Series(["x", None], dtype=pl.Enum(["x"]))})
    for names in ("id", ["id"]):
        file = parquet(Parquet(required=names), frame)
        assert [file.schema.column(place).max_definition_level for place in range(3)] == [0, 1, 1]
        assert pl.DataFrame(file.read()).equals(frame.cast({"e": pl.String}))
    for required, message in [
        ("s", r"1 null in 's' \(first in row 1,"),
        ("S", "names 'S', which is not a column.*'s'"),
    ]:
        with pytest.raises(ConfigurationError, match=message):
            mc_sink.sink_madconnect(frame, "never.parquet", format=Parquet(required=required), progress=False)


def test_sorted_rows_say_so_in_each_row_group() -> None:
    """By the columns in their order; rows in another order, across batches too, and nulls are refused."""
    frame = pl.DataFrame({"n": [{"x": 1, "y": 1}] * 4, "a": ["a", "a", "b", "b"], "b": [1, 2, 1, 1]})
    file = parquet(Parquet(sorted_by=["a", "b"]), frame, 2)
    for number in range(2):
        columns = file.metadata.row_group(number).sorting_columns
        assert [(one.column_index, one.descending, one.nulls_first) for one in columns] == [
            (2, False, False),
            (3, False, False),
        ]
    assert pl.DataFrame(file.read()).equals(frame)
    wrong: list[tuple[Any, pl.DataFrame, str]] = [
        ("b", frame, "not sorted by 'b'.*row 2, counted from 0"),
        (["a", "b"], frame[[0, 1, 3, 0]], "row 3, counted from 0"),
        ("a", frame.with_columns(a=pl.Series([None, "a", "b", "c"])), r"1 null in 'a' \(first in row 0"),
        ("n", frame, "don't agree on an order"),
        ("c", frame, "'c', which is not a column"),
    ]
    for columns_, rows, message in wrong:
        format = Parquet(sorted_by=columns_)
        with pytest.raises(ConfigurationError, match=message):
            mc_sink.sink_madconnect(iter(rows.iter_slices(1)), "never.parquet", format=format, progress=False)
    with pytest.raises(ConfigurationError, match="Give a text or a list of texts"):
        Parquet(sorted_by=[1])  # type: ignore[list-item]


@pytest.mark.parametrize("option", ["required", "sorted_by", "without_statistics"])
def test_a_column_that_an_option_names_twice_is_refused(option: str) -> None:
    """Before any row, as one that isn't there."""
    given: dict[str, Any] = {option: ["a", "b", "a"]}
    with pytest.raises(ConfigurationError, match=rf"Parquet\({option}=\) names 'a' twice"):
        Parquet(**given)


def test_no_message_shows_the_categories_of_an_enum(tmp_path: Path) -> None:
    """They are values of cells."""
    labels = pl.Enum(["canary", "b"])
    frame = pl.DataFrame({"a": pl.Series(["b"], dtype=labels), "l": pl.Series([["b"]], dtype=pl.List(labels))})
    wrong: list[tuple[Any, dict[str, Any]]] = [
        (frame, {"format": Parquet(sorted_by="a")}),
        (frame, {"format": "csv"}),
        (frame, {"partition_by": "l"}),
        (frame, {"previous": frame, "keys": "l"}),
        (iter([frame, frame.with_columns(l=pl.lit(1))]), {"format": "parquet"}),
        (iter([frame, frame.cast({"a": pl.Enum(["b", "other"])})]), {"format": "parquet"}),
    ]
    for rows, options in wrong:
        with pytest.raises(ConfigurationError) as raised:
            mc_sink.sink_madconnect(rows, f"{tmp_path}/", progress=False, **options)
        assert "canary" not in str(raised.value)
