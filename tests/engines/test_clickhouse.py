"""ClickHouse, in this process, reads deliveries by their load statements and finds every row and value."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import mc_sink
from mc_sink import ConfigurationError
from tests.loading.test_statements_run import DIALECTS, FRAME, as_delivered, delivered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

session = pytest.importorskip("chdb.session", reason="make test-engines installs ClickHouse")

REFUSED = {"semicolons", "always", "tabs", "utf-16"}


@pytest.fixture
def clickhouse(tmp_path: Path) -> Iterator[Any]:
    """Open a session in this process."""
    with session.Session(str(tmp_path / "clickhouse")) as opened:
        yield opened


def found_by(clickhouse: Any, statement: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Execute a statement that inserts into `sales`, and return its rows."""
    select = statement[statement.index("SELECT") :].rstrip(";").replace("\nSETTINGS", "\nLIMIT 0 SETTINGS")
    names = ", ".join(f"`{name}`" for name in frame.columns)
    clickhouse.query("CREATE DATABASE IF NOT EXISTS d")
    clickhouse.query(f"CREATE OR REPLACE TABLE d.sales ENGINE = Memory AS {select}")
    clickhouse.query(statement)
    return pl.read_parquet(BytesIO(clickhouse.query(f"SELECT {names} FROM d.sales", "Parquet").bytes()))  # noqa: S608


@pytest.mark.parametrize("name", [name for name in DIALECTS if name not in REFUSED])
def test_clickhouse_reads_what_was_delivered(name: str, tmp_path: Path, clickhouse: Any) -> None:
    """Nulls, quotes, line ends, moments, decimals and partitions come back as they were."""
    (tmp_path / "files").mkdir()
    frame, receipt = delivered(name, tmp_path / "files")
    found = found_by(clickhouse, receipt.load_statement("d.sales", "clickhouse"), frame)
    if "Parquet" in receipt.load_statement("d.sales", "clickhouse"):  # the note says so
        found = found.with_columns(pl.col("clock").dt.time())
    assert as_delivered(found, frame, receipt).equals(frame.sort("text"))


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("csv", marks=pytest.mark.reads("clickhouse", "csv")),
        pytest.param("csv.gz", marks=pytest.mark.reads("clickhouse", "csv.gz")),
        pytest.param("parquet", marks=pytest.mark.reads("clickhouse", "parquet")),
    ],
)
def test_clickhouse_reads_its_preset(
    kind: Any, tmp_path: Path, clickhouse: Any, proves: Callable[[mc_sink.Receipt, str], None]
) -> None:
    """Every dtype that the preset takes comes back; of a CSV, 0 and 1 are read as booleans."""
    (tmp_path / "files").mkdir()
    frame = FRAME.drop("clock") if kind == "parquet" else FRAME.with_columns(pl.col("flag").cast(pl.UInt8))
    receipt = mc_sink.sink_madconnect(frame, f"{tmp_path}/files/", preset="clickhouse", format=kind)
    statement = receipt.load_statement("d.sales", "clickhouse")
    found = found_by(clickhouse, statement, frame)
    assert as_delivered(found, frame, receipt).equals(frame.sort("text"))
    if kind != "parquet":
        found = found_by(clickhouse, statement.replace("`flag` Nullable(UInt8)", "`flag` Nullable(Bool)"), frame)
        assert found.schema["flag"] == pl.Boolean
        assert found.sort("text").get_column("flag").equals(FRAME.sort("text").get_column("flag"))
    version = str(clickhouse.query("SELECT version()", "TSV")).strip()
    proves(receipt, f"ClickHouse {version}")


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_clickhouse_cannot_read_is_refused(name: str, tmp_path: Path) -> None:
    """The error says what to deliver instead."""
    receipt = delivered(name, tmp_path)[1]
    with pytest.raises(ConfigurationError, match=r"for clickhouse: it .*Deliver (?:with|in) "):
        receipt.load_statement("sales", "clickhouse")


def test_clickhouse_reads_blanks_and_texts_like_nulls(tmp_path: Path, clickhouse: Any) -> None:
    """Blanks at the ends stay, with and without quotes, and an empty text is as the notes say."""
    frame = pl.DataFrame({"text": [" a ", "", None, "N", "\t", "'x'"], "n": range(6)})
    (tmp_path / "files").mkdir()
    receipt = mc_sink.sink_madconnect(frame, f"{tmp_path}/files/", format=mc_sink.Csv(null_value="\\N"))
    found = found_by(clickhouse, receipt.load_statement("d.sales", "clickhouse"), frame)
    assert found.cast(frame.schema).sort("n").equals(frame)


def test_partition_columns_of_every_dtype_come_back(tmp_path: Path, clickhouse: Any) -> None:
    """Text in folders is decoded, and converted to the column's type."""
    (tmp_path / "files").mkdir()
    keys = ["day", "seen_at", "country", "id", "flag"]
    receipt = mc_sink.sink_madconnect(FRAME, f"{tmp_path}/files/", partition_by=keys, preset="snowflake")
    found = found_by(clickhouse, receipt.load_statement("d.sales", "clickhouse"), FRAME)
    assert as_delivered(found, FRAME, receipt).equals(FRAME.sort("text"))
