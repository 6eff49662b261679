"""How values are written in keys, and how rows are separated by them."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pyarrow.dataset
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mc_sink
from mc_sink import ConfigurationError
from mc_sink.keys import Partition, Partitioning, column_names
from mc_sink.keys.partitions import HIVE_DEFAULT_PARTITION, encode

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.fault import FaultServer

# What Hive encodes, character by character, and what S3 advises against besides; see the module.
HIVE = [*map(chr, range(1, 32)), *"\"#%'*/:=?\\\x7f{[]^"]
BESIDES = [*"}`<>~|"]
PLAIN = [*"azAZ09", *" !$&()+,-.;@_", "é", "日", "😀"]


def hive_decoded(name: str) -> str:
    """Decode as Hive's `FileUtils.unescapePathName` does: each % and two hex digits is one character."""
    return re.sub("%([0-9A-Fa-f]{2})", lambda found: chr(int(found[1], 16)), name)


@pytest.mark.parametrize("character", ["\x00", *HIVE, *BESIDES])
def test_what_cannot_stand_in_a_key_is_encoded(character: str) -> None:
    """It becomes "%" and two capital hex digits, and Hive's reader gives it back."""
    assert encode(f"a{character}b") == f"a%{ord(character):02X}b"
    assert hive_decoded(encode(f"a{character}b")) == f"a{character}b"


@pytest.mark.parametrize("character", PLAIN)
def test_what_can_stand_in_a_key_stays(character: str) -> None:
    """Letters of any script, spaces and the other signs are left as they are."""
    assert encode(f"a{character}b") == f"a{character}b"


@given(st.text(st.characters(exclude_categories=["Cs"], max_codepoint=0x3FF), max_size=20))
def test_no_two_values_share_a_key(text: str) -> None:
    """Whatever the value, its key gives it back, so that no other can have it; null and nothing are one."""
    key = encode(text)
    assert (key == HIVE_DEFAULT_PARTITION) == (text in {"", HIVE_DEFAULT_PARTITION})
    assert hive_decoded(key) == (text or HIVE_DEFAULT_PARTITION)
    assert not set(key) & set("/{}^%`[]\"<>~#|\\?*:='\x00\n").difference("%")


def test_readers_give_the_values_back(tmp_path: Path) -> None:
    """DuckDB, Arrow and Polars read every value from its key as it was, null too."""
    values = [*(f"a{character}b" for character in [*HIVE, *BESIDES, *PLAIN]), None]
    for number, value in enumerate(values):
        folder = tmp_path / Partition(("k",), (value,)).folder
        folder.mkdir()
        pl.DataFrame({"n": [number]}).write_parquet(folder / "x.parquet")
    everything = f"{tmp_path}/*/*.parquet"
    by_duckdb = duckdb.read_parquet(everything, hive_partitioning=True).pl().sort("n")
    by_arrow = pyarrow.dataset.dataset(tmp_path, partitioning="hive").to_table().sort_by("n")
    by_polars = pl.scan_parquet(everything, hive_partitioning=True).sort("n").collect()
    assert by_duckdb["k"].to_list() == values
    assert by_arrow["k"].to_pylist() == values
    assert by_polars["k"].to_list() == values


def keys(values: pl.Series) -> list[str]:
    """Give the folder of each value, each a run of its own."""
    frame = pl.DataFrame([values.alias("k")]).with_row_index("n")
    partitioning = Partitioning(("k",), frame.schema)
    return [partition.folder for n in range(frame.height) for partition, _ in partitioning.runs(frame[n : n + 1]) or []]


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (pl.Series([1, -2], dtype=pl.Int8), ["1", "-2"]),
        (pl.Series([2**64 - 1], dtype=pl.UInt64), ["18446744073709551615"]),
        (pl.Series([True, False]), ["true", "false"]),
        (pl.Series([date(2026, 11, 22), date(987, 1, 2)]), ["2026-11-22", "0987-01-02"]),
        (pl.Series([Decimal("1.50")], dtype=pl.Decimal(10, 2)), ["1.50"]),
        (pl.Series(["x"], dtype=pl.Categorical), ["x"]),
        (pl.Series(["x"], dtype=pl.Enum(["x", "y"])), ["x"]),
        (pl.Series([time(9, 5), time(9, 5, 1, 250_000)]), ["09%3A05%3A00", "09%3A05%3A01.25"]),
        (pl.Series([datetime(2026, 11, 22, 9, 5)]), ["2026-11-22 09%3A05%3A00"]),  # noqa: DTZ001  a clock's reading
        (pl.Series([10], dtype=pl.Datetime("ns")), ["1970-01-01 00%3A00%3A00.00000001"]),
        (pl.Series([0], dtype=pl.Datetime("ms", "Europe/Berlin")), ["1970-01-01 01%3A00%3A00+01%3A00"]),
    ],
    ids=lambda value: str(value.dtype) if isinstance(value, pl.Series) else "",
)
def test_values_have_a_text_form(values: pl.Series, names: list[str]) -> None:
    """Numbers, booleans, dates and times stand in keys as Spark writes them, and null under Hive's name for it."""
    assert keys(values) == [f"k={name}/" for name in names]
    assert keys(pl.Series([None], dtype=values.dtype)) == ["k=__HIVE_DEFAULT_PARTITION__/"]


def test_null_and_the_empty_text_are_one_partition() -> None:
    """Hive doesn't tell them apart, so they share a folder, and the rows keep what they have."""
    frame = pl.DataFrame({"k": ["", None, "", "x"], "n": range(4)})
    kept = Partitioning(("k",), frame.schema, include_key=True)
    for found in (kept.runs(frame), kept.groups(frame)):
        assert found is not None
        (first, rows), (second, _) = found
        assert (first.values, second.values) == ({"k": None}, {"k": "x"})
        assert rows["k"].to_list() == ["", None, ""]


@pytest.mark.parametrize("text", [HIVE_DEFAULT_PARTITION, "a\x85b", "\x9f", "a\ufffe"])
def test_values_that_would_be_misread_are_refused(text: str) -> None:
    """The text that means null, and characters that readers decode differently, can't be in a key."""
    with pytest.raises(ConfigurationError, match=r"A value of 'k' is .* Nothing became visible"):
        keys(pl.Series([text]))


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (("a", "x", "y"), r"The frame lacks 2 columns of partition_by: \['x', 'y'\]. It has \['a', 'b'"),
        (("a", "b", "a"), r"partition_by has \['a'\] twice"),
        (("f", "a", "l"), r"2 columns of partition_by can't be part of a key: 'f' \(Float64\), 'l' \(List"),
        (("bin",), "Binary"),
        (("s",), "Struct"),
        (("d",), "Duration"),
        (("",), r"\[''\] of partition_by can't be part of a key"),
    ],
)
def test_columns_that_make_no_partitions_are_refused(columns: tuple[str, ...], expected: str) -> None:
    """Unknown ones, those given twice, and those whose values have no text form, by name and type."""
    schema = pl.Schema(
        {"a": pl.Int64(), "b": pl.String(), "f": pl.Float64(), "l": pl.List(pl.Int8()), "bin": pl.Binary()}
        | {"s": pl.Struct({"x": pl.Int8()}), "d": pl.Duration("us"), "": pl.String()}
    )
    with pytest.raises(ConfigurationError, match=f"{expected}.*Nothing became visible"):
        Partitioning(columns, schema)


def test_a_column_must_be_left() -> None:
    """Files without columns are refused, unless they keep those of the key."""
    schema = pl.Schema({"a": pl.Int64(), "b": pl.String()})
    with pytest.raises(ConfigurationError, match=r"Every column is in partition_by.*include_key=True"):
        Partitioning(("a", "b"), schema)
    assert Partitioning(("a", "b"), schema, include_key=True).file_schema == schema
    assert Partitioning(("a",), schema).file_schema.names() == ["b"]


def test_names_of_columns_are_encoded_too() -> None:
    """A column's name stands in a key as its values do, and keeps its case."""
    partition = Partition(("Day/Night", "b"), ("x=1", None))
    assert partition.folder == "Day%2FNight=x%3D1/b=__HIVE_DEFAULT_PARTITION__/"
    assert partition.values == {"Day/Night": "x=1", "b": None}
    assert partition.names == {"Day/Night": "x%3D1", "b": HIVE_DEFAULT_PARTITION}


rows = st.lists(st.tuples(st.sampled_from(["x", "y", "", None]), st.sampled_from([1, 2, None])), min_size=1)


@given(rows)
def test_groups_hold_every_row_in_order(pairs: list[tuple[Any, Any]]) -> None:
    """Each partition once, with the rows that have its values, in the order in which they came."""
    frame = pl.DataFrame(pairs, schema={"k": pl.String, "j": pl.Int64}, orient="row").with_row_index("n")
    found = Partitioning(("k", "j"), frame.schema).groups(frame)
    expected: dict[tuple[str | None, str | None], list[int]] = {}
    for n, (k, j) in enumerate(pairs):
        expected.setdefault((k or None, None if j is None else str(j)), []).append(n)
    assert {partition.texts: group["n"].to_list() for partition, group in found} == expected
    assert len(found) == len(expected)


@given(rows)
def test_runs_hold_every_row_in_order(pairs: list[tuple[Any, Any]]) -> None:
    """Runs together are the rows, each of other values than the one before; None where values come back."""
    frame = pl.DataFrame(pairs, schema={"k": pl.String, "j": pl.Int64}, orient="row").with_row_index("n")
    texts = [(k or None, None if j is None else str(j)) for k, j in pairs]
    begun = [text for n, text in enumerate(texts) if n == 0 or texts[n - 1] != text]
    found = Partitioning(("k", "j"), frame.schema).runs(frame)
    assert (found is None) == (len(set(begun)) < len(begun))
    if found is not None:
        assert [partition.texts for partition, _ in found] == begun
        assert pl.concat([run for _, run in found])["n"].to_list() == list(range(len(pairs)))


def test_instants_that_share_a_text_are_one_partition(tmp_path: Path) -> None:
    """Kolkata's clock went back by 8 seconds in 1854, from one offset with seconds to another."""
    start = datetime(1854, 6, 27, 18, 6, 28, tzinfo=UTC)
    instants = pl.Series("t", [start + timedelta(seconds=second) for second in range(20)])
    frame = pl.DataFrame([instants.dt.convert_time_zone("Asia/Kolkata"), pl.Series("x", range(20))])
    twice = pl.concat([frame, frame]).sample(fraction=1, shuffle=True, seed=1)
    for rows in (frame, twice):
        receipt = mc_sink.sink_madconnect(rows, f"{tmp_path}/{rows.height}/", partition_by="t", progress=False)
        assert receipt.num_rows == rows.height
        assert len(receipt.files) == frame["t"].dt.to_string("%F %T%:z").n_unique() < frame.height


def test_the_argument_takes_one_column_or_several() -> None:
    """A text is one column, and not its letters."""
    assert column_names(None) == ()
    assert column_names("day") == ("day",)
    assert column_names(["day", "country"]) == ("day", "country")


@pytest.mark.parametrize("name", ["*", "^x$", "a/b", "50%", "x y", "a:b", "=", "é"])
@pytest.mark.parametrize("rows", ["sorted", "unsorted"])
def test_columns_of_any_name_arrive(fault_s3: FaultServer, name: str, rows: str) -> None:
    """A name isn't a pattern, and what can't stand in a key is encoded; columns that a pattern would match are kept."""
    frame = pl.DataFrame({"x": range(4), name: ["b", "c"] * 2}).with_columns(pl.lit(1).alias("^.*$"))
    frame = frame.sort(pl.Series(frame[name]), maintain_order=True) if rows == "sorted" else frame
    how: dict[str, Any] = {"partition_by": name, "run_id": "a", "storage_options": fault_s3.storage_options}
    receipt = mc_sink.sink_madconnect(frame, fault_s3.writer.target("p/"), **how)
    assert [file.partition for file in receipt.files] == [{name: "b"}, {name: "c"}]
    key = f"p/{encode(name)}=c/a-00000.csv"
    assert fault_s3.read(fault_s3.bucket, key) == b"x,^.*$\n1,1\n3,1\n"
    assert mc_sink.sink_madconnect(frame, fault_s3.writer.target("p/"), **how).num_found == 2
