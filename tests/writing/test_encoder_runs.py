"""Wide rows are encoded in several runs, and make one file: the same rows, the same bytes, one header, one footer."""

from __future__ import annotations

import gzip
import io
import os
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest

from mc_sink import ConfigurationError, Csv, Parquet
from mc_sink.formats import OneRun, csv, parquet
from mc_sink.formats.parquet_footer import read_struct, write_struct
from mc_sink.writing import encoding
from mc_sink.writing.encoding import BoundedRuns

if TYPE_CHECKING:
    from pathlib import Path

    from mc_sink.formats import Format

NUMBERS = range(900)
# Narrow rows, wide ones in their midst, one that is larger than the bound alone, and narrow ones again.
WIDTHS = [2_000 if 300 <= n < 600 else 30_000 if n == 700 else n % 7 for n in NUMBERS]
FRAME = pl.DataFrame(
    {
        "id": NUMBERS,
        "wide": [("=1+" if n == 650 else f"{n:03}") + "x" * width for n, width in zip(NUMBERS, WIDTHS, strict=True)],
        "list": [[n, None] if n % 3 else None for n in NUMBERS],
        "label": pl.Series([f"l{n % 4}" for n in NUMBERS], dtype=pl.Categorical),
        "pair": [{"a": n, "b": "y"} for n in NUMBERS],
    }
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bound what is gathered to 20 kB instead of 8 to 32 MiB."""
    monkeypatch.setattr(encoding, "BATCH_BYTES", 20_000)
    monkeypatch.setattr(parquet, "_ROW_GROUP_BYTES", 20_000)
    monkeypatch.setattr(csv, "_LINES_BYTES", 10_000)


def encoded(format: Format, frame: pl.DataFrame = FRAME, *, step: int = 900, group: int = 100, **more: Any) -> bytes:
    """Encode a frame that comes `step` rows at a time, as a delivery does."""
    runs = BoundedRuns(iter(frame.iter_slices(step)), frame.schema, group, format.gathers(group))
    file = io.BytesIO()
    format.write(runs, file, group, **more)
    assert runs.num_rows == frame.height
    return file.getvalue()


def heights(data: bytes) -> list[int]:
    """Return the rows of each row group."""
    footer = pq.ParquetFile(io.BytesIO(data)).metadata
    return [footer.row_group(number).num_rows for number in range(footer.num_row_groups)]


def test_row_groups_end_where_their_bytes_do() -> None:
    """A hundred rows each where they are narrow, and about 20 kB where they are wide."""
    found = heights(encoded(Parquet()))
    assert found[:2] == [100, 100]
    assert sum(found) == FRAME.height
    assert 1 in found
    assert max(found[4:-5]) < 12


@pytest.mark.parametrize("compression", ["zstd", "snappy", "uncompressed"])
def test_a_parquet_file_of_several_runs_reads_back(tmp_path: Path, compression: Any) -> None:
    """By three readers, whole, and by rows that statistics lead to."""
    (tmp_path / "x.parquet").write_bytes(encoded(Parquet(compression=compression), metadata={"mc": "sink"}))
    path = str(tmp_path / "x.parquet")
    assert pl.read_parquet(path).equals(FRAME)
    assert pl.scan_parquet(path).filter(pl.col("id") == 580).collect().equals(FRAME[580:581])
    arrow = pq.read_table(path)
    assert arrow.column("wide").to_pylist() == FRAME["wide"].to_list()
    assert arrow.column("list").to_pylist() == FRAME["list"].to_list()
    assert pq.read_table(path, filters=[("id", "=", 580)]).column("id").to_pylist() == [580]
    assert duckdb.execute("select wide, pair.a from read_parquet(?) where id >= 599", [path]).fetchall() == [
        (row["wide"], row["pair"]["a"]) for row in FRAME[599:].iter_rows(named=True)
    ]
    footer = pq.ParquetFile(path).metadata
    assert footer.num_rows == FRAME.height
    assert footer.metadata[b"mc"] == b"sink"
    assert all(footer.row_group(n).column(0).is_stats_set for n in range(footer.num_row_groups))


@pytest.mark.parametrize("format", [Parquet(), Csv(nested="json"), Csv(nested="json", compression="gzip")])
def test_the_same_rows_make_the_same_bytes(format: Format) -> None:
    """However they came."""
    whole = encoded(format)
    assert [encoded(format, step=step) == whole for step in (1, 7, 250, 899)] == [True] * 4


def test_a_file_of_one_run_is_what_the_encoder_wrote() -> None:
    """Byte for byte: nothing is joined where rows are narrow."""
    narrow, plain = FRAME.select("id", "label"), io.BytesIO()
    Parquet().write(OneRun(iter([narrow]), narrow.schema), plain, 100)
    assert encoded(Parquet(), narrow, step=100) == plain.getvalue()
    assert heights(plain.getvalue()) == [100] * 9


@pytest.mark.parametrize("format", [Parquet(), Csv(nested="json")])
def test_a_file_without_rows_has_its_columns(format: Format) -> None:
    """A single run without rows is made."""
    data = encoded(format, FRAME.clear())
    found = pl.read_parquet(data) if isinstance(format, Parquet) else pl.read_csv(data)
    assert found.height == 0
    assert found.columns == FRAME.columns


@pytest.mark.parametrize("rows", [1, 10, 12, 300, 301, 310, 700, 701, 702])
def test_rows_may_end_anywhere(rows: int) -> None:
    """In the first run, with it, behind it, with a row that is a run alone."""
    assert pl.read_parquet(encoded(Parquet(), FRAME[:rows])).equals(FRAME[:rows])
    assert pl.read_parquet(encoded(Parquet(), FRAME[-rows:], step=5)).equals(FRAME[-rows:])


@pytest.mark.parametrize(("format", "least"), [(Parquet(), 30), (Csv(nested="json"), 70)])
def test_wide_rows_take_many_runs(format: Format, least: int) -> None:
    """So that all the tests here are about files of several."""
    runs, number = BoundedRuns(iter([FRAME]), FRAME.schema, 100, format.gathers(100)), 0
    while runs.more or not number:
        rows = pl.concat(runs.pull())
        assert rows.height == 1 or rows["wide"].str.len_bytes().sum() <= 200_000
        number += 1
    assert runs.num_rows == FRAME.height
    assert number > least


@pytest.mark.parametrize("compression", ["uncompressed", "gzip"])
def test_a_csv_has_one_header(compression: Any) -> None:
    """And one byte order mark, and one gzip member; the bytes are those of a single run."""
    rows = FRAME.select("id", "wide", "label").rename({"wide": "=wide"})
    format = Csv(include_bom=True, compression=compression)
    data, plain = encoded(format, rows), io.BytesIO()
    format.write(OneRun(iter([rows]), rows.schema), plain, 100)
    texts = [gzip.decompress(found) if compression == "gzip" else found for found in (data, plain.getvalue())]
    assert texts[0] == texts[1]
    assert texts[0].startswith("\ufeffid,=wide,label\n".encode())
    assert texts[0].count(b"wide,label") == 1


def test_what_is_counted_is_counted_once() -> None:
    """One cell that a spreadsheet would execute in a later run, and one header."""
    rows = FRAME.select("id", "wide").rename({"wide": "=wide"})
    runs = BoundedRuns(iter([rows]), rows.schema, 100, Csv().gathers(100))
    warnings = Csv().write(runs, io.BytesIO(), 100)
    assert sum(warning.num_cells for warning in warnings) == 2


def test_a_row_is_named_by_its_number_in_the_file() -> None:
    """Not by that in its run."""
    with pytest.raises(ConfigurationError, match=r"'wide' \(row 650\)"):
        encoded(Csv(formulas="raise"), FRAME.select("id", "wide"))


def test_a_footer_is_written_as_it_was_read() -> None:
    """Every field of it, also those that nothing here knows."""
    data = encoded(Parquet(), FRAME[:100], metadata={"k": "v" * 300})
    length = int.from_bytes(data[-8:-4], "little")
    footer = data[-8 - length : -8]
    assert write_struct(read_struct(footer)) == footer
    with pytest.raises(ValueError, match="cut off"):
        read_struct(footer[:-1])
    with pytest.raises(ValueError, match="ends after"):
        read_struct(footer + os.urandom(1))
