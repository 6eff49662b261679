"""A file holds the categories of its own rows and no others: none of rows filtered out, rejected, or in other files."""

from __future__ import annotations

import base64
import gzip
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pandera.polars import Check, Column, DataFrameSchema

import mc_sink
from mc_sink import ConfigurationError, Csv, Parquet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "LEFT-OUT"
LABELS = ["a", "b", SECRET, "z"]
ENUM = pl.Enum(LABELS)
# The pages as they are, so that a search of the bytes sees every text; one page format with a dictionary, one without.
OPEN = Parquet(compression="uncompressed")
FORMATS = {"parquet": OPEN, "csv": Csv(nested="json"), "csv.gz": Csv(nested="json", compression="gzip")}
ALL_FORMATS = pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)


def frame(dtype: pl.DataType) -> pl.DataFrame:
    """Return 40 rows, ten with the label that must not leave; a list per row hides it under a null where `n` is odd."""
    rows = pl.DataFrame({"n": range(40), "label": pl.Series(LABELS * 10).cast(dtype)})
    listed = pl.concat_list("label", "label")
    return rows.with_columns(
        listed=listed,
        inside=pl.struct(pl.col("label").alias("deep")),
        deeper=pl.concat_list(pl.struct(pl.col("label").alias("deep"))),
        arrayed=listed.cast(pl.Array(dtype, 2)),
    )


DTYPES: dict[str, pl.DataType] = {
    "enum": ENUM,
    "categorical": pl.Categorical(),
    "categories of a name": pl.Categorical(pl.Categories("labels", "tests")),
}
ALL_DTYPES = pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)


def texts_of(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file as they are, and those that are kept in it compressed or as base64."""
    content = path.read_bytes()
    yield gzip.decompress(content) if path.suffix == ".gz" else content
    if path.suffix == ".parquet":
        for value in (pq.read_metadata(path).metadata or {}).values():
            yield value
            yield base64.b64decode(value + b"==")


def holding(folder: Path, text: str = SECRET) -> list[str]:
    """Return the names of the files in a folder, at any depth, that hold a text."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [path.name for path in files if any(text.encode() in found for found in texts_of(path))]


@ALL_FORMATS
@ALL_DTYPES
def test_rows_that_were_filtered_out_leave_nothing(dtype: pl.DataType, format: Any, tmp_path: Path) -> None:
    """Neither the pages nor the footer nor the manifest hold a label that no row has."""
    kept = frame(dtype).lazy().filter(pl.col("label").cast(pl.String) != SECRET)
    mc_sink.sink_madconnect(kept, f"{tmp_path}/", format=format, manifest=True, progress=False)
    assert holding(tmp_path) == []
    assert holding(tmp_path, "a") != []


@ALL_FORMATS
@ALL_DTYPES
def test_what_a_null_hides_leaves_nothing(dtype: pl.DataType, format: Any, tmp_path: Path) -> None:
    """A null list, struct or array may lie over values that were there; they are not delivered."""
    nested = [name for name in frame(dtype).columns if name != "n"]
    told = pl.col("label").cast(pl.String) != SECRET
    hidden = frame(dtype).with_columns(pl.when(told).then(pl.col(name)).alias(name) for name in nested[::-1])
    mc_sink.sink_madconnect(hidden, f"{tmp_path}/", format=format, manifest=True, progress=False)
    assert holding(tmp_path) == []


@ALL_FORMATS
@ALL_DTYPES
@pytest.mark.parametrize("order", ["sorted", "mixed"])
def test_another_partition_leaves_nothing(dtype: pl.DataType, format: Any, order: str, tmp_path: Path) -> None:
    """A label is in the files of its own partition alone, whether rows stream or are parked until all have come."""
    place = pl.when(pl.col("label").cast(pl.String) == SECRET).then(pl.lit("there")).otherwise(pl.lit("here"))
    rows = frame(dtype).with_columns(place=place)
    rows = rows.sort("place", maintain_order=True) if order == "sorted" else rows
    mc_sink.sink_madconnect(rows, f"{tmp_path}/", format=format, partition_by="place", progress=False)
    assert holding(tmp_path / "place=here") == []
    assert len(holding(tmp_path / "place=there")) == 1


@ALL_FORMATS
@ALL_DTYPES
def test_a_rejected_row_leaves_nothing_among_the_delivered(dtype: pl.DataType, format: Any, tmp_path: Path) -> None:
    """A rejected row's label is in the rejects alone, and the delivered rows' labels are not there."""
    bad = frame(dtype).with_columns(ok=pl.col("label").cast(pl.String) != SECRET)
    schema = DataFrameSchema({"ok": Column(bool, Check.eq(value=True))}, name="ok")
    out, rejects = tmp_path / "out", tmp_path / "rejects"
    options: Any = {"on_invalid": "reject", "rejects": f"{rejects}/", "format": format, "progress": False}
    receipt = mc_sink.sink_madconnect(bad, f"{out}/", schema=schema, **options)
    assert receipt.num_rows == 30
    assert holding(out) == []
    assert len(holding(rejects)) == 1


@ALL_DTYPES
def test_files_of_few_rows_hold_their_own_labels(dtype: pl.DataType, tmp_path: Path) -> None:
    """Each of several files has the labels of its rows, cut from one batch."""
    mc_sink.sink_madconnect(frame(dtype), f"{tmp_path}/", format=OPEN, max_rows_per_file=1, progress=False)
    assert len(holding(tmp_path)) == 10


@ALL_FORMATS
def test_what_did_not_change_leaves_nothing(format: Any, tmp_path: Path) -> None:
    """Of a change set only the rows that differ leave."""
    rows = frame(ENUM).select("n", "label")
    now = rows.with_columns(pl.when(pl.col("n") == 0).then(pl.lit("z")).otherwise("label").cast(ENUM).alias("label"))
    mc_sink.sink_madconnect(now, f"{tmp_path}/", format=format, previous=rows, keys="n", progress=False)
    assert holding(tmp_path) == []


def test_arrow_and_pandas_categories_leave_nothing(tmp_path: Path) -> None:
    """Values of a dictionary that no row has are not written, for dictionaries of every library."""
    indices = pa.array([0, 1, None])
    table = pa.table({"label": pa.DictionaryArray.from_arrays(indices, pa.array(LABELS))})
    for number, each in enumerate([table, table.to_pandas(), table.to_reader(), iter([table])]):
        mc_sink.sink_madconnect(each, tmp_path / f"{number}.parquet", format=OPEN, progress=False)
    assert holding(tmp_path) == []


def test_an_enum_is_read_as_text(tmp_path: Path) -> None:
    """What a reader of Parquet gets is the text of each row, at any depth, and nulls stay nulls."""
    rows = frame(ENUM).with_columns(empty=pl.lit(None, ENUM))
    mc_sink.sink_madconnect(rows, tmp_path / "x.parquet", format=OPEN, progress=False)
    found = pl.read_parquet(tmp_path / "x.parquet")
    assert not {"Enum", "Categorical"} & set(str(found.schema).replace("(", " ").split())
    assert found.to_dicts() == rows.to_dicts()


def test_an_extension_over_categories_is_refused(tmp_path: Path) -> None:
    """Its storage can't be written without all of them."""
    rows = pl.DataFrame({"label": pl.Series(["a"], dtype=ENUM).ext.to(pl.Extension("label", ENUM))})
    with pytest.raises(ConfigurationError, match="'label'"):
        mc_sink.sink_madconnect(rows, tmp_path / "x.parquet", progress=False)
    assert list(tmp_path.iterdir()) == []
