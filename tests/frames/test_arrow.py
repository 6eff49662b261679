"""Arrow data at the door: every type is delivered as it was, or refused by its column's name before the first byte."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import mc_sink
from mc_sink import ConfigurationError
from mc_sink._arrow import arrow_import
from mc_sink._frames import as_lazyframe
from tests.support.arrow_arrays import LEAVES, REFUSED, in_utc, nested, plain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HELD = dict(nested(LEAVES))
UNHELD = {
    f"{name} {number}": (values, why)
    for name, (array, why) in REFUSED.items()
    for number, (_, values) in enumerate(nested({name: array}))
}
WAYS: dict[str, Callable[[pa.Table], Any]] = {
    "table": lambda table: table,
    "record batch": lambda table: table.to_batches()[0],
    "reader": lambda table: table.to_reader(),
    "list": lambda table: table.to_batches(),
    "generator": lambda table: iter(table.to_batches()),
    "generator of tables": lambda table: iter([table]),
    "capsule": lambda table: Capsule(table),  # noqa: PLW0108  the class is defined below
    "generator of capsules": lambda table: iter([Capsule(table)]),
    "dataset": ds.dataset,
    "scanner": lambda table: ds.dataset(table).scanner(),
}
# A stream that isn't pyarrow's has lost what stands behind a NUL before it comes here.
CUTS_NAMES = {WAYS["capsule"], WAYS["generator of capsules"]}
ALL_WAYS = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


class Capsule:
    """An object that exports an Arrow stream and is none of pyarrow's."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Export the stream."""
        return self._table.__arrow_c_stream__(requested_schema)


def slices(values: pa.Array) -> list[pa.Array]:
    """Return the whole and parts of it, without rows too."""
    return [values, values.slice(1), values.slice(1, 2), values.slice(3), values.slice(0, 0)]


@pytest.mark.parametrize("values", HELD.values(), ids=HELD)
def test_every_type_is_imported_as_it_is(values: pa.Array) -> None:
    """Whole or sliced, alone or nested: the values are those that pyarrow has, of a dtype that is known beforehand."""
    for part in slices(values):
        batch = pa.record_batch([part], names=["c"])
        arrival = arrow_import(batch.schema)
        found = arrival.frame(batch)
        assert found.schema == arrival.dtypes
        assert plain(found["c"].to_list()) == plain(in_utc(part).to_pylist())


@pytest.mark.parametrize(("values", "why"), UNHELD.values(), ids=UNHELD)
@ALL_WAYS
def test_what_polars_cannot_hold_is_refused_by_name(way: Any, values: pa.Array, why: str) -> None:
    """At any depth and from every kind of source, before a row is read, with the reason."""
    if way in CUTS_NAMES and "NUL" in why:
        return
    table = pa.table({"fine": [1, 2, 3, 4], "odd": values})
    with pytest.raises(ConfigurationError, match=rf"1 column: 'odd' \(.*{why}.*Nothing became visible"):
        as_lazyframe(way(table))


@ALL_WAYS
def test_several_columns_are_named_at_once(way: Any) -> None:
    """The error counts the columns and names each; a name with NUL is escaped in it."""
    named = "b" if way in CUTS_NAMES else "b\x00c"
    table = pa.table({"a": REFUSED["decimal256"][0], named: REFUSED["union"][0], "d": [1, 2, 3, 4]})
    with pytest.raises(ConfigurationError, match=r"2 columns: 'a' .*'b(\\x00c)?' .*Cast or drop them"):
        as_lazyframe(way(table))


@pytest.mark.parametrize("format", ["parquet", "csv"])
@ALL_WAYS
def test_small_decimals_and_offsets_are_delivered(way: Any, format: str, tmp_path: Path) -> None:
    """Decimals of 32 and 64 bits have their values, and moments with an offset are the same moments."""
    price, seen = LEAVES["decimal32(4, 1)"], LEAVES["timestamp +05:30"]
    table = pa.table({"price": price, "wide": LEAVES["decimal64(12, 1)"], "seen": seen})
    path = tmp_path / f"x.{format}"
    mc_sink.sink_madconnect(way(table), path, progress=False)
    found = pl.read_parquet(path) if format == "parquet" else pl.read_csv(path, try_parse_dates=True)
    assert found["price"].cast(pl.Decimal(4, 1)).to_list() == price.to_pylist()
    assert found["wide"].cast(pl.Decimal(12, 1)).to_list() == table["wide"].to_pylist()
    assert found["seen"].cast(pl.Datetime("us")).cast(pl.Int64).to_list() == [1, None, 3, 4]


@pytest.mark.parametrize("sql", ["1.50::DECIMAL(6,2)", "[1.50::DECIMAL(6,2)]", "{'f': 1.50::DECIMAL(12,2)}"])
@pytest.mark.parametrize(
    "read", [lambda found: found, lambda found: found.to_arrow_reader(1)], ids=["relation", "reader"]
)
def test_duckdbs_small_decimals_are_delivered(sql: str, read: Any, tmp_path: Path) -> None:
    """DuckDB exports them with its newer Arrow formats."""
    with duckdb.connect() as connection:
        connection.execute("SET arrow_output_version = '1.5'")
        relation = connection.sql(f"SELECT {sql} AS price, 1 AS n")
        mc_sink.sink_madconnect(read(relation), tmp_path / "x.parquet", progress=False)
    assert str(Decimal("1.50")) in str(pq.read_table(tmp_path / "x.parquet")["price"].to_pylist())


VECTORS = pa.array([[0.1, 0.2], None, [0.3, 0.4], [0.5, 0.6]] * 25_000, pa.list_(pa.float32(), 2))
IDS = pa.array(range(100_000))
CUT: dict[str, Callable[[], Any]] = {
    "columns cut differently": lambda: pa.table({"id": pa.chunked_array([IDS[:60_000], IDS[60_000:]]), "v": VECTORS}),
    "sliced table": lambda: pa.table({"id": IDS, "v": VECTORS}).slice(1),
    "reader": lambda: pa.table({"id": IDS, "v": VECTORS}).to_reader(max_chunksize=30_000),
    "batches": lambda: pa.table({"id": IDS, "v": VECTORS}).to_batches(max_chunksize=30_000),
    "generator": lambda: iter(pa.table({"id": IDS, "v": VECTORS}).to_batches(max_chunksize=7_777)),
    "struct": lambda: pa.table({"id": IDS, "v": pa.StructArray.from_arrays([VECTORS], names=["v"])}).slice(3),
}


@pytest.mark.parametrize("make", CUT.values(), ids=CUT)
def test_vectors_with_nulls_are_delivered_however_they_are_cut(make: Callable[[], Any], tmp_path: Path) -> None:
    """Every row is there, with its own vector."""
    path = tmp_path / "x.parquet"
    mc_sink.sink_madconnect(make(), path, progress=False)
    found = pl.read_parquet(path)
    first = 100_000 - found.height
    assert first in {0, 1, 3}
    assert found["id"].to_list() == list(range(first, 100_000))
    vectors = found["v"] if found["v"].dtype != pl.Struct else found["v"].struct.field("v")
    assert vectors.to_list() == VECTORS[first:].to_pylist()


def test_a_dataset_is_a_frame_and_a_scanner_is_one(tmp_path: Path) -> None:
    """Of files: all rows, or those and the columns that the scanner is for; previewed too."""
    pq.write_table(pa.table({"n": [1, 2, 3], "s": ["x", "y", None]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"n": [4], "s": ["z"]}), tmp_path / "b.parquet")
    dataset = ds.dataset([tmp_path / "a.parquet", tmp_path / "b.parquet"])
    scanner = dataset.scanner(columns=["n"], filter=ds.field("n") > 2)
    assert mc_sink.preview(dataset, tmp_path / "x.csv").columns == ("n", "s")
    assert mc_sink.preview(scanner, tmp_path / "x.csv").columns == ("n",)
    mc_sink.sink_madconnect(dataset, tmp_path / "x.csv", progress=False)
    mc_sink.sink_madconnect(scanner, tmp_path / "y.csv", progress=False)
    assert (tmp_path / "x.csv").read_text() == "n,s\n1,x\n2,y\n3,\n4,z\n"
    assert (tmp_path / "y.csv").read_text() == "n\n3\n4\n"


@ALL_WAYS
def test_a_preview_refuses_what_the_delivery_refuses(way: Any, tmp_path: Path) -> None:
    """It looks at the columns where that reads nothing, extension types inside others among them."""
    held = pa.table({"odd": HELD["extension in a list"]})
    mc_sink.preview(way(held), tmp_path / "x.parquet")
    mc_sink.sink_madconnect(way(held), tmp_path / "x.parquet", progress=False)
    refused = way(pa.table({"odd": REFUSED["field twice"][0]}))
    if hasattr(refused, "schema") or hasattr(refused, "projected_schema") or isinstance(refused, list):
        with pytest.raises(ConfigurationError, match="'odd'"):
            mc_sink.preview(refused, tmp_path / "y.parquet")


def test_a_column_with_nul_in_its_name_keeps_its_values(tmp_path: Path) -> None:
    """In a Polars frame such a name is like any other, also where rows are parked by partition."""
    rows = pl.DataFrame({"k": ["a", "b"] * 3, "\x000": list("uvwxyz"), "\x00\x000": range(6), "n": range(6)})
    rows = rows.with_columns(deep=pl.struct(pl.col("n").alias("a\x00b")))
    receipt = mc_sink.sink_madconnect(rows, f"{tmp_path}/", partition_by="k", format="parquet", progress=False)
    found = pl.concat([pl.read_parquet(file.path, hive_partitioning=False) for file in receipt.files])
    assert found.sort("n").equals(rows.drop("k"))


def test_a_stream_that_is_no_table_is_refused() -> None:
    """An exported column is not a frame."""
    for thing in (pl.Series("n", [1]), pa.array([1]), pa.chunked_array([[1]])):
        with pytest.raises(ConfigurationError):
            as_lazyframe(thing)
        with pytest.raises(ConfigurationError):
            as_lazyframe(iter([thing]))
