"""Publishing more than one file: what is visible and what is not, at every interruption."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandera.polars as pa
import polars as pl
import pytest

import mc_sink
from mc_sink import AlreadyExistsError, CommitError, CommitUnknown, ConfigurationError
from tests.servers.faults import FOREVER, Body, Status
from tests.support.frames import SMALL_PARTS, numbers

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.fault import FaultServer

SCHEMA = pa.DataFrameSchema({"id": pa.Column(pl.Int64, pa.Check.lt(5))}, name="few")


def staged(server: FaultServer) -> tuple[mc_sink.Staged, dict[str, object]]:
    """Stage a delivery of two files, one of them its rejects, in the same bucket."""
    options = server.storage_options | SMALL_PARTS
    made = mc_sink.stage(
        numbers(10),
        server.writer.target("p/x.csv"),
        schema=SCHEMA,
        on_invalid="reject",
        rejects=server.writer.target("bad/x.csv"),
        storage_options=options,
    )
    assert server.listing(server.bucket) == {}
    return made, options


def test_rejects_follow_their_delivery(fault_s3: FaultServer) -> None:
    """Both are published, the delivery first."""
    delivery, options = staged(fault_s3)
    receipt = mc_sink.publish([delivery], storage_options=options)
    assert [record.key for record in fault_s3.log.of("Put")] == ["p/x.csv", "bad/x.csv"]
    assert receipt.rejects is not None
    assert (receipt.num_rows, receipt.rejects.num_rows) == (5, 5)
    assert receipt.verify().ok


def test_rejects_never_appear_without_their_delivery(fault_s3: FaultServer) -> None:
    """Where the delivery can't be published, its rejects aren't either."""
    delivery, options = staged(fault_s3)
    fault_s3.put_foreign(fault_s3.bucket, "p/x.csv", b"foreign")
    with pytest.raises(AlreadyExistsError):
        mc_sink.publish([delivery], storage_options=options)
    assert list(fault_s3.listing(fault_s3.bucket)) == ["p/x.csv"]


@pytest.mark.parametrize(
    ("fault", "error"),
    [(Status(403, "AccessDenied"), CommitError), (Body(200, b""), CommitUnknown)],
    ids=["refused", "no answer"],
)
def test_stopping_part_way_tells_what_is_visible(
    fault_s3: FaultServer, fault: Status | Body, error: type[CommitError]
) -> None:
    """The second of two files fails: the error lists the one that is visible and the one that is not, or may be."""
    delivery, options = staged(fault_s3)
    fault_s3.fault("Put", fault, n=2, times=FOREVER)
    with pytest.raises(CommitError, match="1 of 2 files are visible") as raised:
        mc_sink.publish([delivery], storage_options=options)
    assert type(raised.value) is error
    assert "Nothing became visible" not in str(raised.value)
    assert raised.value.committed == (fault_s3.writer.target("p/x.csv"),)
    assert raised.value.uncommitted == (fault_s3.writer.target("bad/x.csv"),)
    assert list(fault_s3.listing(fault_s3.bucket)) == ["p/x.csv"]


def test_one_publish_takes_one_run(tmp_path: Path) -> None:
    """Files of two runs don't become one receipt, and nothing of them is shown."""
    runs = [mc_sink.stage(numbers(1), f"{tmp_path}/") for _ in range(2)]
    with pytest.raises(ConfigurationError, match="2 runs"):
        mc_sink.publish(runs)
    with pytest.raises(ConfigurationError, match="0 runs"):
        mc_sink.publish([])
    assert mc_sink.discard(runs) == []
    assert list(tmp_path.iterdir()) == []
