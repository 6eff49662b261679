"""Load statements that run here: DuckDB and pandas give the frame back, in every dialect that they read."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pytest

import mc_sink
from mc_sink import Csv, Parquet

if TYPE_CHECKING:
    from pathlib import Path

    from mc_sink import Receipt

FRAME = pl.DataFrame(
    {
        "id": [1, 2, 3, None],
        "text": ['a "quoted", cell', "line\nend", "N\\ is not it", "it's ü"],
        "float": [1.5, -2.5e-9, float("inf"), 0.1],
        "flag": [True, None, False, True],
        "day": [date(2026, 11, 22), None, date(1999, 12, 31), date(2026, 1, 2)],
        "clock": [time(10, 15, 30, 123_456)] * 4,
        "seen_at": [datetime(2026, 11, 22, 10, 15, 30, 5, tzinfo=UTC), None, *[datetime(2000, 1, 1, tzinfo=UTC)] * 2],
        "naive": [datetime(2026, 11, 22, 10, 15, 30)] * 4,  # noqa: DTZ001  it has no zone
        "price": [Decimal("1.10"), Decimal("-20.05"), None, Decimal("0.00")],
        "small": pl.Series([1, 255, None, 0], dtype=pl.UInt8),
        "country": ["US", "DE", None, "a/b c"],
    },
    schema_overrides={"price": pl.Decimal(10, 2)},
)
DIALECTS: dict[str, dict[str, Any]] = {
    "default": {},
    "gzip": {"format": "csv.gz"},
    "redshift": {"preset": "redshift", "manifest": False},
    "snowflake": {"preset": "snowflake"},
    "bigquery": {"preset": "bigquery", "format": "csv"},
    "clickhouse": {"preset": "clickhouse", "format": "csv"},
    "databricks": {"preset": "databricks", "format": "csv.gz"},
    "semicolons": {"format": Csv(separator=";", quote_char="'", null_value="NULL", decimal_comma=True)},
    "always": {"format": Csv(quote_style="always", null_value="NULL", line_terminator="\r\n")},
    "all texts": {"format": Csv(quote_style="non_numeric", null_value="\\N")},
    "tabs": {"format": Csv(separator="\t", include_header=False, quote_style="non_numeric", null_value="\\N")},
    "utf-16": {"format": Csv(encoding="utf-16", null_value="\\N")},
    "byte order mark": {"format": Csv(include_bom=True, null_value="\\N")},
    "own formats": {
        "format": Csv(date_format="%d.%m.%Y", datetime_format="%d.%m.%Y %H:%M:%S%.6f%:z", boolean_format=("yes", "no"))
    },
    "parquet": {"format": "parquet"},
    "several files": {"max_rows_per_file": 1, "preset": "snowflake"},
    "partitions": {"partition_by": "country", "preset": "snowflake"},
    "partitions of Parquet": {"partition_by": ["day", "country"], "format": "parquet"},
    "partitions kept": {"partition_by": "country", "include_key": True},
}
# "own formats" is of datetimes with a zone.
# ClickHouse reads no boolean in quotes, which its preset refuses.
LEFT_OUT = {"own formats": "naive", "clickhouse": "flag"}


def delivered(name: str, folder: Path) -> tuple[pl.DataFrame, Receipt]:
    """Deliver the frame in a dialect; return what its readers have to find, and the receipt."""
    frame = FRAME.drop(LEFT_OUT.get(name, []))
    return frame, mc_sink.sink_madconnect(frame, f"{folder}/", **DIALECTS[name])


def found_by_duckdb(statement: str) -> pl.DataFrame:
    """Execute a statement that creates the table `sales`, and return its rows."""
    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        database.execute(statement)
        found: pl.DataFrame = pl.DataFrame(database.sql("FROM sales").to_arrow_table())
        return found


def found_by_pandas(statement: str) -> pl.DataFrame:
    """Execute code that assigns `sales`, and return its rows."""
    names: dict[str, Any] = {}
    exec(statement, names)  # noqa: S102  our own code, as a receiver would run it
    found: pl.DataFrame = pl.from_pandas(names["sales"])
    return found


def as_delivered(found: pl.DataFrame, frame: pl.DataFrame, receipt: Receipt) -> pl.DataFrame:
    """Return the rows with the dtypes and in the order of the frame; columns that the statement names stay text."""
    columns = []
    for name, dtype in frame.schema.items():
        column = found.get_column(name)
        if column.dtype == pl.String and dtype != pl.String:
            column = parsed(column, dtype, receipt)
        columns.append(column.cast(dtype))
    return pl.DataFrame(columns).sort("text")


def parsed(column: pl.Series, dtype: pl.DataType, receipt: Receipt) -> pl.Series:
    """Convert a text by the dialect of the receipt."""
    assert receipt.content
    dialect = receipt.content.dialect
    if isinstance(dtype, pl.Boolean):
        return column.replace_strict(dialect["boolean_format"], [True, False], return_dtype=pl.Boolean)
    if isinstance(dtype, pl.Date):
        return column.str.to_date(dialect.get("date_format") or "%F")
    if isinstance(dtype, pl.Datetime):
        return column.str.to_datetime(dialect["datetime_format"], time_unit="us", time_zone="UTC")
    if isinstance(dtype, pl.Time):
        return column.str.to_time("%T%.f")
    return column.str.replace(",", ".", literal=True).cast(dtype)


@pytest.mark.parametrize("name", DIALECTS)
def test_duckdb_reads_what_was_delivered(name: str, tmp_path: Path) -> None:
    """The statement alone gives back every row and value."""
    frame, receipt = delivered(name, tmp_path)
    found = found_by_duckdb(receipt.load_statement("sales", "duckdb"))
    assert as_delivered(found, frame, receipt).equals(frame.sort("text"))


@pytest.mark.parametrize("name", DIALECTS)
def test_pandas_reads_what_was_delivered(name: str, tmp_path: Path) -> None:
    """The code alone gives back every row and value."""
    frame, receipt = delivered(name, tmp_path)
    found = found_by_pandas(receipt.load_statement("sales", "pandas"))
    assert as_delivered(found, frame, receipt).equals(frame.sort("text"))


@pytest.mark.parametrize("read", ["duckdb", "pandas"])
def test_nulls_and_empty_texts_are_as_the_notes_say(read: str, tmp_path: Path) -> None:
    """Where a reader can't tell them apart, a comment above the statement says so."""
    frame = pl.DataFrame({"text": ["", None, "x"], "n": [1, 2, 3]})
    for dialect in (Csv(), Csv(null_value="\\N"), Csv(null_value="")):
        receipt = mc_sink.sink_madconnect(frame, f"{tmp_path}/", format=dialect)
        statement = receipt.load_statement("sales", read)
        found = found_by_duckdb(statement) if read == "duckdb" else found_by_pandas(statement)
        texts = found.sort("n").get_column("text").to_list()
        assert ("read alike" in statement) == (texts != ["", None, "x"])


def test_a_statement_reads_its_own_delivery_only(tmp_path: Path) -> None:
    """Other files under the prefix are left alone, the manifest and those of a run whose id begins alike too."""
    one = mc_sink.sink_madconnect(FRAME, f"{tmp_path}/", run_id="a", manifest=True, partition_by="country")
    mc_sink.sink_madconnect(FRAME, f"{tmp_path}/", run_id="a-b", partition_by="country")
    for read, found in (("duckdb", found_by_duckdb), ("pandas", found_by_pandas)):
        assert found(one.load_statement("sales", read)).height == FRAME.height


def test_int128_and_nested_columns_are_declared(tmp_path: Path) -> None:
    """Numbers of 128 bits keep their digits; JSON stays text, and the note names the column."""
    frame = pl.DataFrame({"n": pl.Series([2**100], dtype=pl.Int128), "l": [[1, 2]]})
    receipt = mc_sink.sink_madconnect(frame, f"{tmp_path}/x.csv", format=Csv(nested="json"))
    statement = receipt.load_statement("sales", "duckdb")
    with duckdb.connect() as database:
        database.execute(statement)
        assert database.sql("SELECT n, l FROM sales").fetchall() == [(2**100, "[1,2]")]
    assert "As text, because the receiver doesn't parse their text: 'l'." in statement


def test_a_local_delivery_of_parquet_is_read_whatever_its_options(tmp_path: Path) -> None:
    """Compression is in the file."""
    frame = FRAME.drop("clock")
    for compression in ("zstd", "snappy", "gzip", "lz4", "brotli", "uncompressed"):
        receipt = mc_sink.sink_madconnect(frame, f"{tmp_path}/", format=Parquet(compression=compression))
        found = found_by_duckdb(receipt.load_statement("sales", "duckdb"))
        assert as_delivered(found, frame, receipt).equals(frame.sort("text"))
