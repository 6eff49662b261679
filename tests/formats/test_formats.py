"""Formats: what all of them promise, which one is chosen, and that they are values."""

from __future__ import annotations

import gzip
import re
from dataclasses import FrozenInstanceError, fields
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mc_sink
from mc_sink import ConfigurationError, Csv, Parquet
from mc_sink._runtime.batches import pull
from mc_sink.formats import BY_NAME, OneRun, choose_format
from tests.support.format_readers import ALL_FORMATS, FRAME, NAMES, Tape, cells, encoded, text_of

if TYPE_CHECKING:
    from pathlib import Path

    from mc_sink.formats import Format


@pytest.mark.parametrize("format", ALL_FORMATS, ids=NAMES)
def test_a_file_that_only_writes_gets_what_a_local_file_gets(format: Format, tmp_path: Path) -> None:
    """Encoders ask for `write`, `flush` and `tell` alone, and write the same bytes to memory and to the disk."""
    path = tmp_path / "file"
    with path.open("wb") as file:
        format.write(OneRun(iter([FRAME]), FRAME.schema), file, 100_000)
    assert path.read_bytes() == encoded(format)


@pytest.mark.parametrize("format", ALL_FORMATS, ids=NAMES)
def test_duckdb_reads_what_was_written(format: Format, tmp_path: Path) -> None:
    """A reader that shares no code with the encoder finds every row and value."""
    path = tmp_path / f"file{format.extension}"
    path.write_bytes(encoded(format))
    reader = "read_parquet" if format.extension == ".parquet" else "read_csv"
    relation = duckdb.sql(f"SELECT number, float, text, nothing, day FROM {reader}('{path}')")  # noqa: S608  our own path
    found = relation.fetchall() if relation else []
    expected = FRAME.select("number", "float", "text", "nothing", "day").rows()
    assert [[value or None for value in row] for row in found] == [[value or None for value in row] for row in expected]


@pytest.mark.parametrize("format", ALL_FORMATS, ids=NAMES)
def test_equal_data_gives_equal_bytes(format: Format) -> None:
    """The same frame is the same file, run after run."""
    frame = pl.DataFrame({"n": range(400_000)}).with_columns(text=pl.col("n").hash().cast(pl.String))
    assert encoded(format, frame) == encoded(format, frame)


@pytest.mark.parametrize("format", ALL_FORMATS, ids=NAMES)
def test_a_failing_query_raises_its_own_exception(format: Format) -> None:
    """What the query raises arrives with its own type, whichever encoder ran."""
    rows = pl.LazyFrame({"n": range(300_000)}).with_columns(
        late=pl.when(pl.col("n") == 299_999).then(pl.lit("x")).otherwise(pl.lit("1")).cast(pl.Int8)
    )
    with pytest.raises(pl.exceptions.InvalidOperationError, match="conversion"):
        format.write(OneRun(pull(rows, 100_000), rows.collect_schema()), Tape(), 100_000)


@pytest.mark.parametrize("format", ALL_FORMATS, ids=NAMES)
def test_zero_rows_are_a_valid_file(format: Format) -> None:
    """A frame without rows gives the header, or the schema."""
    empty = FRAME.clear()
    if isinstance(format, Csv):
        assert cells(format, empty) == [FRAME.columns]
        assert text_of(format, empty).endswith("\n")
    else:
        found = pq.read_table(pa.BufferReader(encoded(format, empty)))
        assert found.num_rows == 0
        assert pl.DataFrame(found).schema == FRAME.schema


def test_zero_rows_without_a_header_are_no_bytes() -> None:
    """Nothing at all is what such a CSV holds; gzip still has its member."""
    assert encoded(Csv(include_header=False), FRAME.clear()) == b""
    assert gzip.decompress(encoded(Csv(include_header=False, compression="gzip"), FRAME.clear())) == b""


@pytest.mark.parametrize("format", ALL_FORMATS, ids=NAMES)
def test_a_frame_without_columns_is_refused(format: Format) -> None:
    """No columns, no file."""
    with pytest.raises(ConfigurationError, match="no columns"):
        format.check(pl.Schema())


@pytest.mark.parametrize("options", [{"seperator": ";"}, {"compresion": "gzip"}])
def test_a_misspelt_option_is_an_error(options: dict[str, Any]) -> None:
    """An unknown name is refused by Python itself."""
    with pytest.raises(TypeError, match=next(iter(options))):
        Csv(**options)
    with pytest.raises(TypeError, match=next(iter(options))):
        Parquet(**options)


@pytest.mark.parametrize(
    ("name", "asked", "expected"),
    [
        ("", None, Csv()),
        ("audience.csv", None, Csv()),
        ("audience.CSV", None, Csv()),
        ("audience.csv.gz", None, Csv(compression="gzip")),
        ("audience.parquet", None, Parquet()),
        ("audience", "csv", Csv()),
        ("audience.txt", "csv", Csv()),
        ("audience.csv.gzip", "csv.gz", Csv(compression="gzip")),
        ("audience.pq", "parquet", Parquet()),
        ("audience.tsv", Csv(separator="\t"), Csv(separator="\t")),
        ("audience", "parquet", Parquet()),
        ("", "csv.gz", Csv(compression="gzip")),
        ("audience.csv", Csv(separator=";"), Csv(separator=";")),
        ("audience.csv.gz", Csv(compression="gzip", separator=";"), Csv(compression="gzip", separator=";")),
    ],
)
def test_the_format_is_what_was_asked_for_else_the_suffix_else_csv(name: str, asked: Any, expected: Format) -> None:
    """An explicit format wins, then the name, then CSV."""
    assert choose_format(name, asked) == expected


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("audience.csv", "parquet"),
        ("audience.csv", "csv.gz"),
        ("audience.csv.gz", "csv"),
        ("audience.CSV.GZ", Csv()),
        ("audience.parquet", Csv()),
        ("audience.xlsx", None),
        ("audience.json", None),
        ("audience.gz", None),
        ("audience.csv.gzip", "csv"),
        ("audience.pq", "csv"),
        ("audience.sqlite", "csv"),
        ("audience.csv.zst", None),
        ("audience.csv.zst", "csv"),
        ("audience.arrow", Parquet()),
        ("audience.sync.gz", "csv"),
        ("audience.gz", "csv.gz"),
        ("audience.parquet.gz", "csv.gz"),
        ("audience.json.gz", "csv.gz"),
        ("audience.tar.gz", "csv.gz"),
    ],
)
def test_a_name_that_promises_something_else_is_refused(name: str, asked: Any) -> None:
    """A file is never named for what it isn't."""
    with pytest.raises(ConfigurationError, match=r"suffix of another format|ends in"):
        choose_format(name, asked)


@pytest.mark.parametrize("name", ["x.sync.gz", "x.sync.1.gz", "X.SYNC.GZ"])
@pytest.mark.parametrize("asked", ["csv.gz", Csv(compression="gzip")])
def test_a_gzip_file_may_have_a_suffix_of_its_receiver_s(name: str, asked: Any) -> None:
    """Where the format is given: before `.gz`, it names no other format."""
    assert choose_format(name, asked) == Csv(compression="gzip")


@pytest.mark.parametrize("asked", ["CSV", "json", "csv.gzip", "", 7, Csv, pl.DataFrame])
def test_what_is_no_format_is_refused_with_the_formats_there_are(asked: Any) -> None:
    """An unknown name, a class in place of its value, or anything else gets the list of names."""
    with pytest.raises(ConfigurationError, match=r"'csv', 'csv\.gz', 'parquet'"):
        choose_format("", asked)


@pytest.mark.parametrize("format", [*ALL_FORMATS, Parquet(statistics={"min": True})], ids=[*NAMES, "picked"])
def test_a_format_is_a_value(format: Format) -> None:
    """Formats are equal by their options, can't be changed, and have no place for an attribute of another name."""
    name = fields(format)[0].name  # type: ignore[arg-type]
    with pytest.raises(FrozenInstanceError):
        setattr(format, name, "other")
    assert not hasattr(format, "__dict__")
    assert format == eval(repr(format), {"Csv": Csv, "Parquet": Parquet})  # noqa: S307  the repr of our own value


def test_formats_can_be_keys() -> None:
    """Values whose options are all hashable are hashable."""
    assert {Csv(): 1, Parquet(): 2, Csv(separator=";"): 3}[Csv()] == 1
    assert len({*BY_NAME.values(), *ALL_FORMATS}) == 3


@pytest.mark.parametrize(
    ("format", "extension", "media_type"),
    [
        (Csv(), ".csv", "text/csv"),
        (Csv(compression="gzip"), ".csv.gz", "application/gzip"),
        (Parquet(compression="snappy"), ".parquet", "application/vnd.apache.parquet"),
    ],
)
def test_each_format_knows_its_suffix_and_media_type(format: Format, extension: str, media_type: str) -> None:
    """The suffix and media type are those that are registered."""
    assert (format.extension, format.content_type) == (extension, media_type)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("exports", "s3://bucket/exports/"),
        ("exports.v2", "pass format="),
        ("x.txt", "pass format="),
        ("x.csv.gzip", "Did you mean .csv.gz"),
        ("x.pq", "Did you mean .parquet"),
        ("x.", "pass format="),
        ("csv", "pass format="),
        ("x.csv ", "pass format="),
    ],
)
def test_a_name_that_says_no_format_needs_one(name: str, meant: str) -> None:
    """It may be a prefix without its slash, or promise another format; with one that is asked for it is taken."""
    with pytest.raises(ConfigurationError, match=re.escape(meant)):
        choose_format(name, None, url=f"s3://bucket/{name}")
    with pytest.raises(ConfigurationError, match="doesn't show which format"):
        choose_format(name, None, (Csv(compression="gzip"),))
    assert choose_format(name, "csv.gz" if "gz" in name else "parquet" if "pq" in name else "csv").content_type


@pytest.mark.parametrize("name", ["{run_id}.txt", "{run_id}", "{run_id}.csv.gzip", "{run_id}-{part}.dat"])
def test_a_template_says_its_format_as_a_file_does(tmp_path: Path, name: str) -> None:
    """By its end, or by format=; {ext} is always the format's own."""
    with pytest.raises(ConfigurationError, match="doesn't show which format"):
        mc_sink.preview(None, f"{tmp_path}/", name=name)
    with pytest.raises(ConfigurationError, match="doesn't show which format"):
        mc_sink.preview(None, f"{tmp_path}/", name=name, preset="snowflake")
    assert mc_sink.preview(None, f"{tmp_path}/", name=name, format="csv.gz").format.extension == ".csv.gz"
    with pytest.raises(ConfigurationError, match="doesn't show which format"):
        mc_sink.preview(None, f"{tmp_path}/x.csv", rejects=f"{tmp_path}/bad", on_invalid="reject", schema="audience")
