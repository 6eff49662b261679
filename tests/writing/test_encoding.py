"""One file from batches: what the encoder is held to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from mc_sink import ConfigurationError, UploadError
from mc_sink.formats import Csv, OneRun
from mc_sink.storage import open_store
from mc_sink.target import parse_target
from mc_sink.writing import FilePlan, write_file

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from mc_sink.formats.format import Runs


FRAME = pl.DataFrame({"n": [1, 2, 3], "s": ["a", "b", None]})


class StopsEarly(Csv):
    """An encoder that is content with the first row, as an engine with a fault might be."""

    def write(self, runs: Runs, *args: Any, **facts: Any) -> Any:
        """Encode one row."""
        return super().write(OneRun(iter([next(runs.pull()).head(1)]), runs.schema), *args, **facts)


def batches(*frames: pl.DataFrame) -> Generator[pl.DataFrame, None, None]:
    """Give frames one after the other."""
    yield from frames


def plan(folder: Path, format: Csv) -> FilePlan:
    """Plan a file in a folder."""
    return FilePlan(parse_target(folder / "x.csv"), FRAME.schema, format, 100)


def test_every_row_is_counted(tmp_path: Path) -> None:
    """Rows, bytes and checksum of what was staged are those of the file."""
    to = plan(tmp_path, Csv())
    seen: list[tuple[int, int]] = []
    staged = write_file(batches(FRAME, FRAME), to, open_store(to.target), lambda *told: seen.append(told))
    assert staged.num_rows == 6
    assert [rows for rows, _ in seen] == [3, 3]
    assert list(tmp_path.glob("*.csv")) == []


def test_an_encoder_that_stops_early_is_caught(tmp_path: Path) -> None:
    """A short file is never staged, however well the encoder says that it ended."""
    to = plan(tmp_path, StopsEarly())
    with pytest.raises(UploadError, match="before its source did"):
        write_file(batches(FRAME, FRAME, FRAME), to, open_store(to.target), lambda *_: None)
    assert list(tmp_path.iterdir()) == []


def test_a_batch_of_another_schema_is_caught(tmp_path: Path) -> None:
    """A batch of any origin is not encoded under a schema that isn't its own."""
    to = plan(tmp_path, Csv())
    other = FRAME.with_columns(pl.col("n").cast(pl.Float64))
    with pytest.raises(ConfigurationError, match=r"from row 3 on has columns .*, and the run has "):
        write_file(batches(FRAME, other), to, open_store(to.target), lambda *_: None)
    assert list(tmp_path.iterdir()) == []
