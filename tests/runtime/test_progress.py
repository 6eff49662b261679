"""The progress bar: how many of how many rows, what is uploaded, what is published, and how it ended."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import mc_sink
from mc_sink._runtime.progress import Progress
from mc_sink.testing import sample
from tests.servers.fault import FaultServer
from tests.servers.rules import GRANTED, Rules

if TYPE_CHECKING:
    from pathlib import Path

ROWS = pl.DataFrame({"id": range(300_000), "text": [f"row {n:064d}" for n in range(300_000)]})


def drawings(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the bar as it was drawn each time on standard error, without the moves of the cursor."""
    return [one.strip() for one in re.split(r"\r|\n|\x1b\[A", capsys.readouterr().err) if one.strip()]


@pytest.mark.parametrize("lazy", [False, True], ids=["frame", "parquet"])
def test_the_total_is_that_of_the_frame(tmp_path: Path, capsys: pytest.CaptureFixture[str], *, lazy: bool) -> None:
    """Of a frame in memory, and of a scan whose footers have it."""
    ROWS.head(70_000).write_parquet(tmp_path / "in.parquet")
    frame: Any = pl.scan_parquet(tmp_path / "in.parquet") if lazy else ROWS.head(70_000)
    mc_sink.sink_madconnect(frame, tmp_path / "out.csv", progress=True)
    last = drawings(capsys)[-1]
    assert "100%" in last
    assert "70.0k/70.0k" in last
    assert last.endswith("delivered]")


def test_an_unknown_number_has_no_total(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An iterable of frames is counted as it comes."""
    mc_sink.sink_madconnect(iter([ROWS.head(40_000), ROWS.head(30_000)]), tmp_path / "out.csv", progress=True)
    last = drawings(capsys)[-1]
    assert "70.0k rows" in last
    assert "%" not in last


def test_rejected_rows_are_counted_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The bar is full when every row was judged, delivered or not."""
    rows = sample("audience", 1_000).collect()
    rows = rows.with_columns(action=pl.when(pl.int_range(pl.len()) < 10).then(pl.lit("?")).otherwise("action"))
    receipt = mc_sink.sink_madconnect(
        rows, f"{tmp_path}/out/", schema="audience", on_invalid="reject", rejects=f"{tmp_path}/r/", progress=True
    )
    assert receipt.num_rows == 990
    assert "100%" in drawings(capsys)[-1]


def test_it_ends_when_everything_is_uploaded_and_published(capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes that the store has acknowledged, up to the last one; then the published files; then the receipt."""
    with FaultServer() as server:
        receipt = mc_sink.sink_madconnect(
            ROWS,
            f"s3://{server.bucket}/p/",
            format="csv",
            storage_options=server.storage_options | {"default_block_size": 5 * 2**20},
            progress=True,
        )
    drawn, staged = drawings(capsys), f"{receipt.num_bytes / 2**20:.1f} MiB staged"
    assert any(" uploaded]" in one for one in drawn), drawn
    assert any(staged in one and "100%" in one for one in drawn), drawn
    assert "delivered]" in drawn[-1]


def test_a_failed_run_leaves_a_bar_that_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Also if it fails while it is published, when all rows have come."""
    with FaultServer(Rules(granted=GRANTED - {"Put"})) as server, pytest.raises(mc_sink.PermissionDenied):
        mc_sink.sink_madconnect(
            ROWS.head(10), f"s3://{server.bucket}/p/", storage_options=server.storage_options, progress=True
        )
    assert drawings(capsys)[-1].endswith("failed: PermissionDenied]")


def test_a_bar_that_breaks_fails_nothing() -> None:
    """Its library may raise anything, and at any time."""

    class Broken:
        def update(self, _rows: int) -> None:
            raise RuntimeError("the kernel is gone")

        def __getattr__(self, name: str) -> Any:
            return lambda *_, **__: None

    progress = Progress(lambda _total: Broken())
    progress.begin(lambda: 1)
    progress.advance(1, 1)
    progress.publish(1)
    progress.end("delivered")


def test_a_total_that_cannot_be_found_fails_nothing() -> None:
    """The query itself raises what is wrong."""
    totals: list[int | None] = []

    def missing() -> int:
        raise FileNotFoundError("rows.parquet")

    Progress(totals.append).begin(missing)
    assert totals == [None]


def test_staging_ends_as_staged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bar that is full must not claim that anything is visible."""
    staged = mc_sink.stage(ROWS.head(10), tmp_path / "out.csv", progress=True)
    mc_sink.discard([staged])
    assert drawings(capsys)[-1].endswith("staged]")
