"""Presets as a caller asks for them: a receiver's values where no argument is given, and always its limits."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import mc_sink
from mc_sink import PRESETS, ConfigurationError, Csv, Limit, LimitError
from tests.support.frames import numbers

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.fault import FaultServer

FRAME = numbers(100).select("id", email=pl.concat_str(pl.lit("a@example.com"), "id"))


def send(server: FaultServer, frame: Any = FRAME, to: str = "p/", **options: Any) -> mc_sink.Receipt:
    """Deliver to the server that fails on command, and here does not."""
    return mc_sink.sink_madconnect(
        frame, server.writer.target(to), run_id="a", storage_options=server.storage_options, progress=False, **options
    )


def nothing_there(server: FaultServer) -> bool:
    """Whether the bucket is as empty as it was, uploads included."""
    return not server.listing(server.bucket) and not server.pending_uploads(server.bucket)


WAYS: list[tuple[str, dict[str, Any], str]] = [
    ("redshift", {}, "p/a-00000.csv.gz"),
    ("redshift", {"format": "parquet"}, "p/a-00000.parquet"),
    ("redshift", {"to": "p/x.parquet"}, "p/x.parquet"),
    ("redshift", {"name": "{run_id}/{part:05d}{ext}"}, "p/a/00000.csv.gz"),
    ("liveramp", {}, "p/a_file-part-0.csv"),
    ("liveramp", {"to": "p/x", "format": "csv"}, "p/x"),
    ("bigquery", {}, "p/a.parquet"),
    ("bigquery", {"max_rows_per_file": 100}, "p/a-00000.parquet"),
    ("bigquery", {"format": "csv"}, "p/a-00000.csv"),
]


@pytest.mark.parametrize(("preset", "how", "key"), WAYS)
def test_ones_own_arguments_override(fault_s3: FaultServer, preset: str, how: dict[str, Any], key: str) -> None:
    """What the caller says holds, and what he doesn't is the receiver's; a preview says the same."""
    receipt = send(fault_s3, preset=preset, **how)
    assert [file.path for file in receipt.files] == [fault_s3.writer.target(key)]
    how = {"to": "p/"} | how
    seen = mc_sink.preview(FRAME, fault_s3.writer.target(how.pop("to")), preset=preset, run_id="a", **how)
    assert seen.files[0] == receipt.files[0].path


def test_the_receivers_dialect_manifest_and_bounds_are_taken(fault_s3: FaultServer) -> None:
    """Redshift gets its manifest and its nulls; a dialect of one's own is taken as it is."""
    frame = pl.DataFrame({"a": [1, None], "b": ["", None]})
    send(fault_s3, frame, preset="redshift")
    manifest = json.loads(fault_s3.read(fault_s3.bucket, "p/_manifests/a.json"))
    assert [entry["url"] for entry in manifest["entries"]] == [fault_s3.writer.target("p/a-00000.csv.gz")]
    send(fault_s3, frame, to="q/", preset="excel", format="csv")
    assert fault_s3.read(fault_s3.bucket, "q/a-00000.csv").startswith(b"\xef\xbb\xbfa,b\r\n")
    send(fault_s3, frame, to="r/", preset="excel", format=Csv())
    assert fault_s3.read(fault_s3.bucket, "r/a-00000.csv").startswith(b"a,b\n")
    send(fault_s3, frame, to="s/", preset=replace(PRESETS["excel"], success_marker=True))
    assert "s/_SUCCESS" in fault_s3.listing(fault_s3.bucket)


LONG = FRAME.with_columns(email=pl.lit("x" * 70_000))
BROKEN: dict[str, tuple[str, pl.DataFrame, str, int]] = {
    "a header": ("bigquery", FRAME.rename({"email": "e-mail"}), "header characters", 0),
    "a cell": ("redshift", LONG, "cell size", 1),
    "a row": ("liveramp", LONG, "row size", 1),
    "few rows": ("liveramp", FRAME.head(24), "fewest rows per file", 1),
}


@pytest.mark.parametrize(("preset", "frame", "limit", "listed"), BROKEN.values(), ids=BROKEN)
def test_data_that_break_a_limit_fail_with_its_name(
    fault_s3: FaultServer, preset: str, frame: pl.DataFrame, limit: str, listed: int
) -> None:
    """Columns before the first request, cells and rows before anything is visible; and no cell is shown."""
    expected = f'breaks? "{limit}" of the preset "{preset}".*Nothing became visible'
    with pytest.raises(LimitError, match=expected) as raised:
        send(fault_s3, frame, preset=preset)
    assert (raised.value.preset, raised.value.limit) == (preset, limit)
    assert "xxx" not in str(raised.value)
    assert nothing_there(fault_s3)
    assert bool(fault_s3.log.of("List")) == bool(listed)
    if not listed:
        with pytest.raises(LimitError, match=limit):
            mc_sink.preview(frame, "s3://bucket/p/", preset=preset)


def test_a_sheet_too_long_is_two_files_or_an_error(tmp_path: Path) -> None:
    """Under a prefix the rows go on in a second file; a single file can't be cut, and fails."""
    rows = pl.LazyFrame({"n": pl.int_range(1_048_576, eager=True)})
    receipt = mc_sink.sink_madconnect(rows, f"{tmp_path}/", preset="excel")
    assert [file.num_rows for file in receipt.files] == [1_048_575, 1]
    with pytest.raises(LimitError, match="rows per file"):
        mc_sink.sink_madconnect(rows, f"{tmp_path}/x.csv", preset="excel")
    assert not (tmp_path / "x.csv").exists()


def test_a_finished_file_that_is_too_large_is_never_seen(fault_s3: FaultServer, tmp_path: Path) -> None:
    """Its size is known when it is finished: one file fails with nothing left, and under a prefix it is cut."""
    small = replace(PRESETS["snowflake"], format=Csv(), limits=(Limit("file size", 500, "bytes", "a test", (".csv",)),))
    with pytest.raises(LimitError, match=r"bytes \(.*x.csv\) break \"file size\".*500 bytes"):
        send(fault_s3, to="x.csv", preset=small)
    assert nothing_there(fault_s3)
    receipt = mc_sink.sink_madconnect(FRAME, f"{tmp_path}/", preset=replace(small, max_bytes_per_file=500))
    assert receipt.num_files > 3
    assert max(file.num_bytes for file in receipt.files) <= 500


def test_rows_of_each_file_are_counted(tmp_path: Path) -> None:
    """Many rows in small partitions keep a bound that they would break together, and too small a one is refused."""
    frame = numbers(60).with_columns(k=pl.col("id") % 3)
    rows = (Limit("rows per file", 20, "rows", "a test"), Limit("fewest rows per file", 20, "rows", "a test"))
    small = replace(PRESETS["athena"], limits=rows)
    receipt = mc_sink.sink_madconnect(frame, f"{tmp_path}/a/", preset=small, partition_by="k")
    assert [file.num_rows for file in receipt.files] == [20, 20, 20]
    for wrong, limit in [(frame.tail(59), "fewest rows per file"), (pl.concat([frame] * 2), "rows per file")]:
        with pytest.raises(LimitError, match=rf'rows? \(.*/k=.*breaks? "{limit}"'):
            mc_sink.sink_madconnect(wrong, f"{tmp_path}/b/", preset=small, partition_by="k")
    assert not list((tmp_path / "b").rglob("*.parquet"))


def test_a_receiver_that_is_not_known_is_an_error(tmp_path: Path) -> None:
    """With the name that may have been meant."""
    with pytest.raises(ConfigurationError, match=r"preset='live-ramp'.*Did you mean 'liveramp'"):
        mc_sink.sink_madconnect(FRAME, f"{tmp_path}/", preset="live-ramp")
