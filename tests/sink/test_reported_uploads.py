"""Workers report the uploads that they begin, so that a driver finds those of lost workers without listing any."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

import mc_sink
from tests.servers.fault import FaultServer
from tests.servers.faults import Status
from tests.support.shared_deliveries import FRAME, open_on, parts_of
from tests.support.small_deliveries import TINY, assert_delivered_once, seen

if TYPE_CHECKING:
    from pathlib import Path


def stage_all(delivery: mc_sink.Delivery, uploads: list[tuple[str, str]]) -> list[mc_sink.Share]:
    """Stage the frame in three shares, and add the uploads that they have begun."""
    return [
        delivery.stage(part, number=number, report=lambda *one: uploads.append(one))
        for number, part in enumerate(parts_of(FRAME, 3))
    ]


def test_reported_uploads_of_lost_workers_are_aborted(fault_s3: FaultServer, tmp_path: Path) -> None:
    """With three permissions: those of another attempt are aborted after the manifest, and the receipt says so."""
    delivery = open_on(fault_s3, format="parquet", part_size=0)
    uploads = list[tuple[str, str]]()
    lost = stage_all(delivery, uploads)
    shares = stage_all(delivery, uploads)
    staged = [file for share in [*lost, *shares] for file in share.files]
    assert uploads == [(file.path, file.upload.upload_id) for file in staged]  # type: ignore[union-attr]
    receipt = delivery.publish(shares, num_shares=3, reported=uploads)
    assert receipt.sweep == mc_sink.Sweep("denied", 3, reported=True)
    assert "lost uploads reported by the workers: 3 aborted, 0 left" in str(receipt)
    assert_delivered_once(fault_s3, FRAME, "parquet", tmp_path)


def test_reported_uploads_are_discarded(fault_s3: FaultServer) -> None:
    """Also where no share names them; those in a journal stay."""
    delivery = open_on(fault_s3, format="parquet", part_size=0)
    uploads = list[tuple[str, str]]()
    shares = stage_all(delivery, uploads)
    assert delivery.discard([], reported=uploads[:1]) == []
    assert len(fault_s3.pending_uploads(fault_s3.bucket)) == 2
    assert delivery.discard(shares, reported=uploads) == []
    assert (seen(fault_s3), fault_s3.pending_uploads(fault_s3.bucket)) == ({}, [])
    uploads.clear()
    shares = stage_all(delivery, uploads)
    fault_s3.fault("Complete", Status(403, "AccessDenied"), n=2)
    with pytest.raises(mc_sink.CommitError):
        delivery.publish(shares, num_shares=3, reported=uploads)
    assert delivery.discard([], reported=uploads) == []
    assert len(fault_s3.pending_uploads(fault_s3.bucket)) == 2


def test_an_upload_that_can_not_be_reported_is_aborted(fault_s3: FaultServer) -> None:
    """The share ends before the first part, with the error of the report."""
    delivery = open_on(fault_s3, format="parquet", part_size=0)

    def refuse(url: str, upload_id: str) -> None:
        raise ConnectionError(f"{url} {upload_id}: the driver is gone")

    with pytest.raises(ConnectionError, match="the driver is gone"):
        delivery.stage(FRAME, number=0, report=refuse)
    assert (fault_s3.log.of("Part"), fault_s3.pending_uploads(fault_s3.bucket)) == ([], [])


def test_a_reported_upload_that_may_be_an_object_stays() -> None:
    """Some stores still list the upload of a visible object, and an Abort takes that object's parts."""
    with FaultServer(replace(TINY, completed_uploads="kept")) as keeping:
        delivery = open_on(keeping, format="parquet", part_size=0)
        uploads = list[tuple[str, str]]()
        delivery.publish(stage_all(delivery, uploads), num_shares=3, reported=uploads)
        left = delivery.discard([], reported=uploads)
        assert ["may be the object" in sentence for sentence in left] == [True] * 3
        assert len(seen(keeping)) == 4
