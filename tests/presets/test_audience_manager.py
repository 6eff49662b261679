"""Adobe Audience Manager: the layout and the names of its pages, and what a line can't hold."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import mc_sink
from mc_sink import LimitError

RUN = "1366545717"
FRAME = pl.DataFrame(
    {"user": ["59767559181262060060278870901087098252", "DBwFoc3dhf"], "traits": ["d_sid=24,d_unsid=28", "30608,50354"]}
)
LINES = b"59767559181262060060278870901087098252\td_sid=24,d_unsid=28\nDBwFoc3dhf\t30608,50354\n"


def deliver(folder: Path, frame: pl.DataFrame = FRAME, **options: Any) -> mc_sink.Receipt:
    """Deliver by the preset, under names of its page."""
    given: dict[str, Any] = {
        "name": "ftp_dpm_21_{run_id}.sync",
        "format": "csv",
        "run_id": RUN,
        "progress": False,
    } | options
    return mc_sink.sink_madconnect(frame, f"{folder}/date=2026-11-28/", preset="audience_manager", **given)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, ["ftp_dpm_21_1366545717.sync"]),
        ({"name": "ftp_dpm_20914_21_{run_id}.overwrite"}, ["ftp_dpm_20914_21_1366545717.overwrite"]),
        ({"name": "ftp_dpm_21_{run_id}.sync.{part}.gz", "format": "csv.gz"}, ["ftp_dpm_21_1366545717.sync.0.gz"]),
        (
            {"name": "ftp_dpm_21_{run_id}.sync.{part}", "max_rows_per_file": 1},
            ["ftp_dpm_21_1366545717.sync.0", "ftp_dpm_21_1366545717.sync.1"],
        ),
    ],
)
def test_files_have_the_documented_layout(tmp_path: Path, options: dict[str, Any], names: list[str]) -> None:
    """No header, no quotes, a tab between a user and the traits; nothing lies beside them."""
    receipt = deliver(tmp_path, **options)
    files = [Path(file.path) for file in receipt.files]
    assert [file.name for file in files] == names
    data = [gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes() for file in files]
    assert b"".join(data) == LINES
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == names


@pytest.mark.parametrize(
    ("frame", "options", "words"),
    [
        (FRAME, {"name": None, "run_id": None}, '"file names"'),
        (FRAME, {"run_id": "day"}, r'1 file name .*ftp_dpm_21_day\.sync.* breaks "file names"'),
        (FRAME.with_columns(more=1), {}, '"columns"'),
        (FRAME.head(0), {}, '"fewest rows per file"'),
        (FRAME, {"manifest": True}, '"other files"'),
        (FRAME, {"format": "parquet"}, '"format"'),
        *[
            (FRAME.with_columns(traits=pl.lit(f"a{character}b")), {}, '"forbidden characters"')
            for character in '\t\n\r"'
        ],
    ],
)
def test_what_the_pages_exclude_is_refused(
    tmp_path: Path, frame: pl.DataFrame, options: dict[str, Any], words: str
) -> None:
    """With the limit's name and its page, and nothing visible."""
    with pytest.raises(LimitError, match=words) as raised:
        deliver(tmp_path, frame, **options)
    assert re.search(r"experienceleague\.adobe\.com/en/docs/audience-manager", str(raised.value))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_name_is_checked_before_a_row_is_read(tmp_path: Path) -> None:
    """And that of an encrypted file without the suffix of its encryption."""

    def rows() -> Any:
        read.append("a row")
        yield FRAME

    read: list[str] = []

    with pytest.raises(LimitError, match='"file names"'):
        mc_sink.sink_madconnect(rows(), f"{tmp_path}/", preset="tealium", name="ü-{run_id}-{part}{ext}")
    assert read == []
    from pyrage.x25519 import Identity

    encrypt = mc_sink.Age(recipients=[str(Identity.generate().to_public())])
    receipt = deliver(tmp_path, name="ftp_dpm_21_{run_id}.sync.age", encrypt=encrypt)
    assert receipt.files[0].path.endswith("/ftp_dpm_21_1366545717.sync.age")
