"""The tables of docs/types.md are what the code does: every dtype has a row, and every row is made and compared."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from mc_sink import ConfigurationError, Csv, Parquet
from tests.support.dtypes import Map, existing
from tests.support.format_readers import PARQUET_READERS, READERS, asked_type, cells, encoded, found_type, in_parquet
from tests.support.versions import as_polars_reads, pyarrow_finds, reading_extensions

DOCS = (Path(__file__).parents[2] / "docs" / "types.md").read_text(encoding="utf-8")
WHEN = datetime(2026, 11, 22, 10, 15, 30, 123456, tzinfo=UTC)
NAIVE = WHEN.replace(tzinfo=None)
STRUCT = pl.Struct({"a": pl.Int64, "b": pl.String})
VALUES: list[tuple[pl.DataType, Any]] = [
    (pl.Boolean(), True),
    *((dtype(), -1) for dtype in (pl.Int8, pl.Int16, pl.Int32, pl.Int64)),
    *((dtype(), 1) for dtype in (pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)),
    (pl.Int128(), -1),
    (pl.UInt128(), 1),
    *((dtype(), 0.5) for dtype in (pl.Float16, pl.Float32, pl.Float64)),
    (pl.Decimal(10, 2), Decimal("1.50")),
    (pl.String(), "text"),
    (pl.Categorical(), "label"),
    (pl.Enum(["label"]), "label"),
    (pl.Binary(), b"\x00\xff"),
    (pl.Date(), WHEN.date()),
    (pl.Time(), NAIVE.time()),
    *((pl.Datetime(unit), NAIVE.replace(microsecond=123_000)) for unit in ("ms", "us", "ns")),
    *((pl.Datetime(unit, "UTC"), WHEN.replace(microsecond=123_000)) for unit in ("ms", "us", "ns")),
    (pl.Datetime("us", "Europe/Berlin"), WHEN),
    *((pl.Duration(unit), timedelta(seconds=90)) for unit in ("ms", "us", "ns")),
    (pl.Null(), None),
    (pl.List(pl.Int64), [1, None]),
    (pl.Array(pl.Int64, 2), [1, None]),
    (STRUCT, {"a": 1, "b": "x"}),
    (Map(pl.String, pl.Int64), [{"key": "a", "value": 1}]),
    (pl.Object(), object()),
    (pl.Extension("uuid", pl.Binary()), b"\x00\xff"),
]
CASES = pytest.mark.parametrize(("dtype", "value"), VALUES, ids=[str(dtype) for dtype, _ in VALUES])
REFUSED = ["refused", "", "", ""]


def frame_of(dtype: pl.DataType, value: Any) -> pl.DataFrame:
    """Make a column of a value and a null."""
    if isinstance(dtype, pl.BaseExtension):
        return pl.DataFrame({"x": pl.Series([value, None], dtype=dtype.ext_storage()).ext.to(dtype)})
    return pl.DataFrame({"x": pl.Series([value, None], dtype=dtype)})


def csv_row(dtype: pl.DataType, value: Any, folder: Path) -> list[str]:
    """Give what the code makes of a dtype in CSV: what is written, and the types that the readers are asked for."""
    frame = frame_of(dtype, value).with_columns(y=1)
    dialect, told = Csv(), "`{}`"
    if dtype.is_nested():
        dialect, told = Csv(nested="json"), 'refused, or with `nested="json"` `{}`'
    try:
        written = cells(dialect, frame)[1][0]
    except ConfigurationError:
        return [f"`{dtype}`", *REFUSED]
    for format in (dialect, Csv(nested=dialect.nested, compression="gzip")):
        path = folder / f"x{format.extension}"
        path.write_bytes(encoded(format, frame))
        for read in READERS.values():
            assert_frame_equal(read(path, frame.schema, format), frame)
    asked = [asked_type(reader, dtype, dialect) for reader in READERS]
    return [f"`{dtype}`", told.format(written) if written else "nothing", *asked]


def parquet_row(dtype: pl.DataType, value: Any, folder: Path) -> list[str]:
    """Give what the code makes of a dtype in Parquet: whether it is taken, and the types that the readers find."""
    frame, path = frame_of(dtype, value), folder / "x.parquet"
    format, told = Parquet(), "as it is"
    if "Int128" in str(dtype):
        format, told = Parquet(int128="decimal"), 'refused, or with `int128="decimal"` a decimal'
    if isinstance(dtype, pl.Null):
        format, told = Parquet(null_dtype="write"), 'refused, or with `null_dtype="write"` as it is'
    if isinstance(dtype, pl.Enum):
        told = "as text"
    try:
        path.write_bytes(encoded(format, frame))
    except ConfigurationError:
        return [f"`{dtype}`", *REFUSED]
    return [f"`{dtype}`", told, *(found_type(reader, path) for reader in PARQUET_READERS)]


def documented(title: str) -> dict[str, list[str]]:
    """Give the rows of a table in the docs, by their first cell; the last, Spark's, is from its documentation."""
    section = DOCS.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
    rows = [re.split(r"\s*\|\s*", line)[1:-1] for line in section.splitlines() if line.startswith("| `")]
    return {row[0]: row for row in rows}


@CASES
def test_the_csv_table_is_what_happens(dtype: pl.DataType, value: Any, tmp_path: Path) -> None:
    """A row says what is written and which types read it back, in CSV and gzip CSV; refused means refused."""
    assert documented("CSV and gzip CSV")[f"`{dtype}`"][:5] == csv_row(dtype, value, tmp_path)


@CASES
def test_the_parquet_table_is_what_happens(dtype: pl.DataType, value: Any, tmp_path: Path) -> None:
    """A row says which types the readers find; refused means refused."""
    name, told, polars, pyarrow, duckdb, *_ = documented("Parquet")[f"`{dtype}`"]
    expected = [name, told, str(as_polars_reads(dtype)) if as_polars_reads(dtype) != dtype else polars]
    with reading_extensions():
        assert [*expected, pyarrow_finds(pyarrow), duckdb] == parquet_row(dtype, value, tmp_path)


def test_every_dtype_has_a_row() -> None:
    """No dtype that Polars has is missing in either table, and no row is about one that it hasn't."""
    found = {name: getattr(pl, name) for name in dir(pl)}
    classes = {kind for kind in found.values() if isinstance(kind, type) and issubclass(kind, pl.DataType)}
    assert {type(dtype) for dtype, _ in existing(VALUES)} == classes - {pl.DataType, pl.BaseExtension, pl.Unknown}
    for title in ("CSV and gzip CSV", "Parquet"):
        assert list(documented(title)) == [f"`{dtype}`" for dtype, _ in VALUES]


@pytest.mark.parametrize("format", [Csv(), Parquet()], ids=["csv", "parquet"])
@CASES
def test_a_column_of_nulls_keeps_its_dtype(
    dtype: pl.DataType, value: Any, format: Csv | Parquet, tmp_path: Path
) -> None:
    """A column without a value in it reads back with the dtype that it had."""
    frame = frame_of(dtype, value)[1:].with_columns(y=1) if value is not None else frame_of(dtype, value)[1:]
    path = tmp_path / "x"
    try:
        format.check(frame.schema)
    except ConfigurationError:
        return
    if isinstance(format, Csv):
        path.write_bytes(encoded(format, frame.with_columns(y=1)))
        for read in READERS.values():
            assert_frame_equal(read(path, frame.with_columns(y=1).schema, format), frame.with_columns(y=1))
    else:
        path.write_bytes(encoded(format, frame))
        with reading_extensions():
            found = pl.read_parquet(path).schema
        assert found == {name: as_polars_reads(dtype) for name, dtype in in_parquet(frame).schema.items()}
