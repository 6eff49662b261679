"""Frames of every kind through a real S3 server, written by a user who may only write, read back by the owner."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import mc_sink
from mc_sink import Csv, Parquet
from tests.formats.test_roundtrip import comes_back, refused
from tests.support.format_strategies import dialects, frames

if TYPE_CHECKING:
    import polars as pl

    from mc_sink.sandbox.admin import Admin, Writer

_HEALTH = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture]


@settings(max_examples=30, deadline=None, suppress_health_check=_HEALTH, derandomize=True)
@given(frame=frames(), format=st.one_of(dialects(), dialects(), st.builds(Parquet)))
def test_what_the_server_holds_is_read_back(
    seaweed: Admin, writer: Writer, frame: pl.DataFrame, format: Csv | Parquet
) -> None:
    """The object's bytes are read by all three libraries as the frame that was sent."""
    assume(not refused(frame, format))
    receipt = mc_sink.sink_madconnect(
        frame, writer.target("p/"), format=format, storage_options=writer.storage_options, progress=False
    )
    data = seaweed.read(writer.bucket, f"p/{receipt.run_id}{format.extension}")
    assert receipt.num_bytes == len(data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"x{format.extension}")
        path.write_bytes(data)
        comes_back(path, frame, format)
