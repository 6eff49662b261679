"""Deliveries of several files, asked for by the public call: partitions, splitting, templates, and their preview."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pandera.polars as pa
import polars as pl
import pyarrow.parquet as pq
import pytest

import mc_sink
from mc_sink import ConfigurationError, Csv
from tests.support.frames import FORMATS, as_text, numbers, read_back

if TYPE_CHECKING:
    from pathlib import Path

    from mc_sink.sandbox.admin import Admin, Writer
    from tests.servers.fault import FaultServer

COUNTRIES = ["US", "DE", "FR", None]
WORLD = numbers(1_000).select(
    "id",
    country=(pl.col("id") % 4).replace_strict(list(range(4)), COUNTRIES, return_dtype=pl.String),
    day=pl.date(2026, 11, 20) + pl.duration(days=pl.col("id") % 3),
    text=pl.lit("text"),
)


def rows_of(seaweed: Admin, writer: Writer, receipt: mc_sink.Receipt, format: str, folder: Path) -> list[pl.DataFrame]:
    """Read every file of a receipt back with a library that had no part in writing it."""
    keys = [file.path.removeprefix(f"s3://{writer.bucket}/") for file in receipt.files]
    return [read_back(seaweed.read(writer.bucket, key), format, folder) for key in keys]


@pytest.mark.parametrize("format", FORMATS)
def test_partitions_arrive_as_a_group_by_has_them(seaweed: Admin, writer: Writer, tmp_path: Path, format: str) -> None:
    """Under the write-only key: each partition's rows in its folder, in order, split, and counted in the manifest."""
    receipt = mc_sink.sink_madconnect(
        WORLD,
        writer.target("p/"),
        format=format,  # type: ignore[arg-type]
        partition_by=["country", "day"],
        max_rows_per_file=50,
        storage_options=writer.storage_options,
    )
    facts = json.loads(seaweed.read(writer.bucket, f"p/_manifests/{receipt.run_id}.json"))
    counted: Counter[tuple[str | None, str]] = Counter()
    for file in facts["files"]:
        counted[file["partition"]["country"], file["partition"]["day"]] += file["num_rows"]
    groups = WORLD.group_by("country", "day").len()
    assert counted == {(country, str(day)): number for country, day, number in groups.iter_rows()}
    assert facts["partition_by"] == ["country", "day"]
    assert list(facts["columns"]) == ["id", "text"]
    found: dict[Any, list[pl.DataFrame]] = {}
    for file, rows in zip(receipt.files, rows_of(seaweed, writer, receipt, format, tmp_path), strict=True):
        assert rows.height == file.num_rows <= 50
        found.setdefault(tuple((file.partition or {}).values()), []).append(rows)
    for (country, day), part in WORLD.partition_by("country", "day", as_dict=True, maintain_order=True).items():
        expected = as_text(part.drop("country", "day"), format)
        assert pl.concat(found[country, str(day)]).equals(expected)


@pytest.mark.parametrize(
    ("how", "kept"),
    [
        ({}, False),
        ({"include_key": True}, True),
        ({"name": "{country}/{run_id}-{part:05d}{ext}"}, True),
        ({"name": "{country}/{run_id}-{part:05d}{ext}", "include_key": False}, False),
        ({"name": "{run_id}/{part:05d}{ext}"}, False),
    ],
)
def test_the_key_is_kept_where_no_folder_tells_it(tmp_path: Path, how: dict[str, Any], *, kept: bool) -> None:
    """Hive's folders are read back as columns, a template's names are not; who says which gets that."""
    frame = WORLD.filter(pl.col("country").is_not_null())
    receipt = mc_sink.sink_madconnect(frame, f"{tmp_path}/", format="parquet", partition_by="country", **how)
    assert receipt.num_files == 3
    for file in receipt.files:
        assert ("country" in pq.ParquetFile(file.path).schema_arrow.names) == kept
        assert {name for name in ("US", "DE", "FR") if name in file.path} == set((file.partition or {}).values())


def test_a_template_without_numbers_gets_one_file_a_partition(tmp_path: Path) -> None:
    """Rows that come back after their partition seemed to have ended are in its one file, in their order."""
    frame = pl.concat([WORLD.drop_nulls().sort("country", maintain_order=True)] * 2)
    receipt = mc_sink.sink_madconnect(
        frame, f"{tmp_path}/", name="{country}/{run_id}{ext}", partition_by="country", row_group_size=100
    )
    assert [file.num_rows for file in receipt.files] == [500, 500, 500]
    for file in receipt.files:
        country = (file.partition or {})["country"]
        assert pl.read_csv(file.path)["id"].to_list() == frame.filter(country=country)["id"].to_list()


@pytest.mark.parametrize("format", FORMATS)
def test_no_file_exceeds_its_bytes(seaweed: Admin, writer: Writer, tmp_path: Path, format: str) -> None:
    """As the store has it, header and compression included; the files together are the frame, in order."""
    dice = random.Random(3)  # noqa: S311  a test's dice
    frame = pl.DataFrame({"n": range(4_000), "text": [f"{dice.getrandbits(128):032x}" for _ in range(4_000)]})
    receipt = mc_sink.sink_madconnect(
        frame,
        writer.target("p/"),
        format=format,  # type: ignore[arg-type]
        max_bytes_per_file=20_000,
        storage_options=writer.storage_options,
    )
    assert receipt.num_files > 3
    assert [file.path for file in receipt.files] == [
        writer.target(f"p/{receipt.run_id}-{part:05d}.{format}") for part in range(receipt.num_files)
    ]
    sizes = {key: one.size for key, one in seaweed.listing(writer.bucket).items() if "/_manifests/" not in key}
    assert max(sizes.values()) <= 20_000
    assert pl.concat(rows_of(seaweed, writer, receipt, format, tmp_path)).equals(as_text(frame, format))


def test_a_preview_lists_the_keys_that_the_run_makes(fault_s3: FaultServer) -> None:
    """What can be known before: every key where rows are counted, the first ones and a pattern where bytes are."""
    options = fault_s3.storage_options
    place = fault_s3.writer.target("p/")
    exact = mc_sink.preview(WORLD, place, max_rows_per_file=300, success_marker=True, storage_options=options)
    assert len(fault_s3.log) == 0
    made = mc_sink.sink_madconnect(
        WORLD, place, max_rows_per_file=300, success_marker=True, run_id=exact.run_id, storage_options=options
    )
    assert exact.files == tuple(file.path for file in made.files)
    assert (exact.manifest, exact.success_marker) == (made.manifest, made.success_marker)
    assert {f"s3://{fault_s3.bucket}/{key}" for key in fault_s3.listing(fault_s3.bucket)} == {
        *exact.files,
        exact.manifest,
        exact.success_marker,
    }
    place = fault_s3.writer.target("q/")
    open_ended = mc_sink.preview(WORLD, place, max_bytes_per_file=5_000, storage_options=options)
    made = mc_sink.sink_madconnect(
        WORLD, place, max_bytes_per_file=5_000, run_id=open_ended.run_id, storage_options=options
    )
    assert open_ended.num_files is None
    assert open_ended.files == tuple(file.path for file in made.files)[: len(open_ended.files)]
    divided = mc_sink.preview(WORLD.lazy(), place, partition_by="country", storage_options=options)
    assert divided.pattern == f"{place}country={{country}}/{divided.run_id}-{{part:05d}}.csv"
    assert divided.columns == ("id", "day", "text")


ORDERS = {
    "unsorted": WORLD,
    "sorted": WORLD.sort("country", "day"),
    "coming back": pl.concat([WORLD.sort("country", "day")] * 2),
    "no rows": WORLD.clear(),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("most", [None, 30])
def test_a_preview_of_a_frame_in_memory_lists_its_partitions(tmp_path: Path, order: str, most: int | None) -> None:
    """Every key that the run then makes and no other, in the same order, whatever the order of the rows."""
    how: dict[str, Any] = {"partition_by": ["country", "day"], "max_rows_per_file": most, "row_group_size": 100}
    seen = mc_sink.preview(ORDERS[order], f"{tmp_path}/", **how)
    made = mc_sink.sink_madconnect(ORDERS[order], f"{tmp_path}/", run_id=seen.run_id, **how)
    assert seen.files == tuple(file.path for file in made.files)
    assert seen.num_files == made.num_files


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no rows": ({"max_rows_per_file": 0}, "max_rows_per_file=0 is too small"),
    "no bytes": ({"max_bytes_per_file": 0}, "max_bytes_per_file=0 is too small"),
    "unknown column": ({"partition_by": "land"}, r"The frame lacks 1 column of partition_by: \['land'\]"),
    "float column": ({"partition_by": "id", "frame": pl.DataFrame({"id": [1.5], "n": [1]})}, r"'id' \(Float64\)"),
    "every column": ({"partition_by": ["id", "country", "day", "text"]}, "the files would have none"),
    "no key": ({"include_key": True}, "is about partition columns"),
    "no number": ({"name": "{run_id}{ext}", "max_bytes_per_file": 5}, r"has no \{part\}"),
    "one column of two": (
        {"partition_by": ["country", "day"], "name": "{day}/{run_id}{ext}"},
        "differ only in country",
    ),
}


@pytest.mark.parametrize(("how", "message"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("call", [mc_sink.sink_madconnect, mc_sink.preview])
def test_what_can_not_be_is_refused_before_anything(
    tmp_path: Path, call: Any, how: dict[str, Any], message: str
) -> None:
    """By the run and by its preview, in the same words, with nothing written."""
    how = {"frame": WORLD} | how
    with pytest.raises(ConfigurationError, match=message):
        call(how.pop("frame"), f"{tmp_path}/", **how)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("asked", [{"partition_by": "country"}, {"max_bytes_per_file": 500}])
def test_several_files_need_a_prefix(tmp_path: Path, asked: dict[str, Any]) -> None:
    """A file's name is one file's."""
    with pytest.raises(ConfigurationError, match=f"is a single file, and {next(iter(asked))} may need several"):
        mc_sink.sink_madconnect(WORLD, f"{tmp_path}/x.csv", **asked)


def test_parquet_tells_its_run_and_schema(tmp_path: Path) -> None:
    """Each file's footer has them, where any reader finds them."""
    frame = pl.DataFrame({"email": ["a@example.com"] * 3, "country": ["DE", "US", "US"]})
    receipt = mc_sink.sink_madconnect(frame, f"{tmp_path}/", format="parquet", run_id="a", max_rows_per_file=2)
    for file in receipt.files:
        metadata = pq.read_metadata(file.path).metadata
        assert metadata[b"mc_sink.run_id"] == b"a"
        assert b"mc_sink.schema" not in metadata
    few = pa.DataFrameSchema({"email": pa.Column(str)}, name="few", strict=False)
    receipt = mc_sink.sink_madconnect(frame, f"{tmp_path}/", format="parquet", schema=few)
    assert pq.read_metadata(receipt.files[0].path).metadata[b"mc_sink.schema"] == b"few"


def test_warnings_of_all_files_are_one_count(tmp_path: Path) -> None:
    """Receipt and its texts tell what a spreadsheet would execute, column by column, whatever the files."""
    frame = pl.DataFrame({"@n": range(6), "t": ["=1", "+1", "x", "-a", "y", "=z"]})
    receipt = mc_sink.sink_madconnect(frame, f"{tmp_path}/", max_rows_per_file=2)
    told = {(one.kind, one.column): one.num_cells for one in receipt.warnings}
    assert told == {("formula", "@n"): 3, ("formula", "t"): 4}
    assert "4 cells of 't' start like a formula" in str(receipt)
    assert "4 cells of &#x27;t&#x27; start like a formula" in receipt._repr_html_()
    escaped = mc_sink.sink_madconnect(frame, f"{tmp_path}/x.csv", format=Csv(formulas="escape"))
    assert {one.kind for one in escaped.warnings} == {"escaped"}
