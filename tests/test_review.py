"""Where features meet: partitions, markers, manifests, presets and templates with reruns and half published runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import mc_sink
from mc_sink import AlreadyExistsError, CommitError
from tests.servers.faults import Status

if TYPE_CHECKING:
    from tests.servers.fault import FaultServer

FRAME = pl.DataFrame({"id": range(90), "text": "x"}).with_columns(k=pl.col("id") % 3)


def deliver(server: FaultServer, frame: pl.DataFrame = FRAME, **how: Any) -> mc_sink.Receipt:
    """Deliver as run "a"; nothing in it depends on the clock."""
    given: dict[str, Any] = {"run_id": "a", "storage_options": server.storage_options} | how
    return mc_sink.sink_madconnect(frame, server.writer.target("p/"), **given)


OTHERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "no folders": ({"partition_by": "k"}, {}),
    "rows a file, and no folders": ({"partition_by": "k"}, {"max_rows_per_file": 30}),
    "a template": ({"partition_by": "k"}, {"name": "{run_id}{ext}"}),
    "another template": ({"partition_by": "k", "name": "x{k}/{run_id}-{part}{ext}"}, {"name": "{run_id}{ext}"}),
    "replacing": ({"partition_by": "k"}, {"if_exists": "overwrite"}),
}


@pytest.mark.parametrize(("first", "then"), OTHERS.values(), ids=OTHERS)
def test_rows_of_a_half_published_run_never_come_again_elsewhere(
    fault_s3: FaultServer, first: dict[str, Any], then: dict[str, Any]
) -> None:
    """A rerun that names files otherwise is refused, and the first try's journal still ends the run, once."""
    fault_s3.fault("Complete", Status(403, "AccessDenied"), n=2)
    with pytest.raises(CommitError):
        deliver(fault_s3, **first)
    before = fault_s3.listing(fault_s3.bucket)
    with pytest.raises(AlreadyExistsError, match=r"no part of this one.*Nothing of this try became visible"):
        deliver(fault_s3, **then)
    assert fault_s3.listing(fault_s3.bucket) == before
    assert mc_sink.recover("a", storage_options=fault_s3.storage_options).num_rows == 90
    assert fault_s3.pending_uploads(fault_s3.bucket) == []


def test_a_run_without_rows_can_be_run_again(fault_s3: FaultServer) -> None:
    """Its manifest says that the marker, which names no run, is its own; another run's marker is refused as ever."""
    how: dict[str, Any] = {"frame": FRAME.head(0), "partition_by": "k", "success_marker": True}
    deliver(fault_s3, **how)
    before = fault_s3.listing(fault_s3.bucket)
    assert deliver(fault_s3, **how).num_rows == 0
    assert fault_s3.listing(fault_s3.bucket) == before
    with pytest.raises(AlreadyExistsError, match="marker of another run"):
        deliver(fault_s3, **how, run_id="b")


def test_a_manifest_that_is_visible_is_told(fault_s3: FaultServer) -> None:
    """Where no row makes no file, the marker may fail when the manifest has closed the delivery already."""
    how: dict[str, Any] = {"frame": FRAME.head(0), "partition_by": "k", "success_marker": True}
    fault_s3.fault("Put", Status(403, "AccessDenied"), n=2)
    with pytest.raises(CommitError, match="1 of 2 files are visible") as raised:
        deliver(fault_s3, **how)
    assert "Nothing became visible" not in str(raised.value)
    assert list(raised.value.committed) == [fault_s3.writer.target("p/_manifests/a.json")]
    deliver(fault_s3, **how)
    assert mc_sink.list_journals() == []
