"""Memory is bounded in bytes, however wide the rows: 600 MB of them stay under 1,000 MB, with any options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from tests.servers.fault_child import fault_child
from tests.support.wide_frames import measured

if TYPE_CHECKING:
    from pathlib import Path

MOST = 1_000
ROWS = 3_000
FILES: dict[str, dict[str, Any]] = {
    "one file": {},
    "by bytes": {"max_bytes_per_file": 64 << 20},
    "by bytes, in small row groups": {"max_bytes_per_file": 64 << 20, "row_group_size": 500},
    "by rows": {"max_rows_per_file": 1_000},
    "by partition": {"partition_by": "third"},
    "by partition, sorted": {"partition_by": "sorted"},
}


def check(folder: Path, format: str, **case: Any) -> dict[str, Any]:
    """Deliver to a folder, hold the peak to its bound, and the files to the rows."""
    found = measured(folder, f"{folder}/out/", format, **case)
    assert found["peak"] < MOST
    if "files" in found:
        scan = pl.scan_parquet if format == "parquet" else pl.scan_csv
        paths = [path.removeprefix("file://") for path in found["files"]]
        counted = scan(paths).select(pl.len(), pl.col("id").n_unique().alias("ids")).collect(engine="streaming")
        assert counted.rows() == [(found["rows"], found["rows"])]
    return found


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("format", "files"), [("parquet", "one file"), ("csv", "by partition")])
def test_wide_rows_are_bounded(tmp_path: Path, format: str, files: str) -> None:
    """Two that took most of it, of the many below."""
    assert check(tmp_path, format, options=FILES[files])["rows"] == ROWS


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("files", FILES)
@pytest.mark.parametrize("format", ["csv", "csv.gz", "parquet"])
def test_wide_rows_are_bounded_in_every_form(tmp_path: Path, format: str, files: str) -> None:
    """One file or many, split in every way."""
    assert check(tmp_path, format, options=FILES[files])["rows"] == ROWS


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("files", ["one file", "by bytes", "by partition"])
@pytest.mark.parametrize("format", ["csv", "csv.gz", "parquet"])
def test_rows_of_megabytes_are_bounded(tmp_path: Path, format: str, files: str) -> None:
    """An encoder gathers hundreds of rows whatever they take, and so it is given fewer."""
    assert check(tmp_path, format, width=5_000_000, options=FILES[files])["rows"] == 120


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["binary", "list", "struct"])
def test_columns_of_any_dtype_are_bounded(tmp_path: Path, kind: str) -> None:
    """What makes a row wide may lie at any depth."""
    assert check(tmp_path, "parquet", kind=kind, options=FILES["by partition"])["rows"] == ROWS
    if kind != "binary":
        assert check(tmp_path, "csv", kind=kind, options={"if_exists": "overwrite"})["rows"] == ROWS


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("source", ["reader", "scan"])
@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_every_source_is_bounded(tmp_path: Path, format: str, source: str) -> None:
    """An Arrow reader, and a scan of a Parquet file with row groups of 2 MB."""
    assert check(tmp_path, format, source=source)["rows"] == ROWS


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("how", ["valid", "unique", "rejects", "rejects in Python"])
@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_validation_is_bounded(tmp_path: Path, format: str, how: str) -> None:
    """What a schema has to gather: rows in doubt, keys, and rejects."""
    found = check(tmp_path, format, how=how)
    assert found["rows"] + found["rejected"] == ROWS
    assert found["rejected"] == (1_000 if how.startswith("rejects") else 0)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_report_is_bounded(tmp_path: Path) -> None:
    """Every row fails with a value of 200 KB: all are counted, and as many are kept as 32 MiB hold."""
    found = check(tmp_path, "csv", how="invalid")
    assert "3,000 rows failed" in found["error"]
    assert 0 < found["cases"] < 1_000


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("how", ["new", "changed"])
@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_a_comparison_is_bounded(tmp_path: Path, format: str, how: str) -> None:
    """Both sides of it, and what differs."""
    assert check(tmp_path, format, how=how)["rows"] == ROWS


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("files", ["one file", "by bytes", "by partition"])
@pytest.mark.parametrize("format", ["csv", "csv.gz", "parquet"])
def test_an_upload_is_bounded(tmp_path: Path, format: str, files: str) -> None:
    """The parts in flight come on top."""
    with fault_child() as writer:
        who = writer.credentials
        stored = {"storage_options": {"key": who.key, "secret": who.secret, "endpoint_url": writer.url}}
        found = measured(tmp_path, writer.target("wide/"), format, options=FILES[files] | stored)
    assert found["rows"] == ROWS
    assert found["peak"] < MOST
