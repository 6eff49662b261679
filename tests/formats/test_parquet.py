"""Parquet: every option does what it says, as pyarrow reads it; what others can't read is refused or made readable."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mc_sink import ConfigurationError, Parquet
from mc_sink.formats import OneRun
from tests.support.dtypes import Map, needs_map
from tests.support.format_readers import FRAME, Tape, encoded, parquet
from tests.support.versions import PYARROW_READS_NULL_ARRAYS, pyarrow_finds

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
            "null": [None, None],
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
