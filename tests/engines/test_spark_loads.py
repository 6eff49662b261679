"""Spark and Hive's own serdes read deliveries by their load statements and find every row and value."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import mc_sink
from mc_sink.loading import load_statement
from tests.loading.test_statements_run import DIALECTS, FRAME, as_delivered, delivered
from tests.support.spark_sessions import spark_session

pytest.importorskip("pyspark", reason="make test-engines installs Spark")

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ESCAPED = mc_sink.Csv(escape_char="\\", datetime_format="iso")
# Spark's reader of Parquet has no type for a time of day.
WITHOUT_CLOCK = [name for name in DIALECTS if "parquet" in str(DIALECTS[name])]


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Open a local session with Hive's serdes, in UTC."""
    folder = tmp_path_factory.mktemp("spark")
    hive = {
        "spark.sql.catalogImplementation": "hive",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.hadoop.javax.jdo.option.ConnectionURL": f"jdbc:derby:;databaseName={folder}/metastore;create=true",
        "spark.sql.session.timeZone": "UTC",
    }
    with spark_session("local[1]", folder, **hive) as opened:
        yield opened


def found_by(spark: Any, statement: str) -> pl.DataFrame:
    """Run the code, and return the rows of the view that it creates."""
    exec(statement, {"spark": spark})  # noqa: S102  our own code, as a receiver would run it
    return pl.DataFrame(spark.table("sales").toArrow())


@pytest.mark.parametrize("name", DIALECTS)
def test_spark_reads_what_was_delivered(name: str, tmp_path: Path, spark: Any) -> None:
    """Nulls, quotes, line ends, moments, decimals and partitions come back as they were."""
    frame, receipt = delivered(name, tmp_path)
    if name in WITHOUT_CLOCK:
        frame = frame.drop("clock")
        receipt = mc_sink.sink_madconnect(frame, f"{tmp_path}/again/", **DIALECTS[name])
    found = found_by(spark, receipt.load_statement("sales", "spark"))
    assert as_delivered(found, frame, receipt).equals(frame.sort("text"))


def hive_statements(receipt: mc_sink.Receipt, folder: Path) -> list[str]:
    """Return Athena's statements for the files as if they were in S3, with the local folder in its place."""
    assert receipt.content
    content, bucket = receipt.content, "s3://bucket/p/"
    moved: dict[str, Any] = {url.replace(f"{folder}/", bucket): {} for url in [file.path for file in receipt.files]}
    text = load_statement(content, bucket, moved, None, "sales", "athena").replace(bucket, f"file://{folder}/")
    text = re.sub("^--.*\n", "", text, flags=re.MULTILINE)
    return [statement.strip() for statement in text.split(";\n\n")]


@pytest.mark.parametrize("partitions", [{}, {"partition_by": "country"}], ids=["one file", "partitions"])
@pytest.mark.parametrize("format", ["parquet", "csv", "csv.gz", ESCAPED], ids=str)
def test_hives_serdes_read_what_athenas_statement_declares(
    format: Any, partitions: dict[str, Any], tmp_path: Path, spark: Any
) -> None:
    """`OpenCSVSerde` and Hive's Parquet find every row; of CSV every value is a text, as the note says.

    Backslashes are read where they are escaped.
    """
    lost = r"\n" if format is ESCAPED else r"[\n\\]"
    frame = FRAME.drop("clock", "small", "seen_at").with_columns(pl.col("text").str.replace_all(lost, "/"))
    if format is ESCAPED:
        frame = pl.concat(
            [frame, frame.head(4).with_columns(text=pl.Series(["C:\\new", "x\\", '\\"', 'back\\"slash,x']))]
        )
    frame = frame.with_columns(pl.col("country").fill_null("none"))
    if format == "parquet":  # Hive 2 reads neither moments nor decimals of 64 bits; Athena does by its documents
        frame = frame.drop("naive", "price")
    receipt = mc_sink.sink_madconnect(frame, f"{tmp_path}/", preset="athena", format=format, **partitions)
    spark.sql("DROP TABLE IF EXISTS sales")
    spark.sql("SET spark.sql.hive.convertMetastoreParquet=false")
    for statement in hive_statements(receipt, tmp_path):
        spark.sql(statement.rstrip(";"))
    found = pl.DataFrame(spark.table("sales").toArrow())
    if format != "parquet":
        assert set(found.dtypes) == {pl.String}
        kept = frame.select(pl.col("text", "country", "id", "day").cast(pl.String).fill_null(""))
        # Spark, unlike Hive and Athena, reads the header as a row: it ignores skip.header.line.count.
        headers = found.filter(text="text")
        assert headers.height == len(receipt.files)
        found = found.filter(pl.col("text") != "text")
        assert found.select(kept.columns).sort("text").to_dicts() == kept.sort("text").to_dicts()
        return
    assert as_delivered(found, frame, receipt).equals(frame.sort("text"))
