"""Names and reruns: under every template, a run finds its own files and no others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import mc_sink
from mc_sink import AlreadyExistsError
from tests.support.frames import numbers

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.fault import FaultServer

RUN_ID = "20261122T101530Z-nightly"
FRAME = numbers(10)
TEMPLATES = [
    None,
    "{run_id}/{part:05d}{ext}",
    "{date}/{run_id}-{part}{ext}",
    "{part:02d}-{run_id}{ext}",
    "{run_id}={timestamp:%H%M}-{part:03d}.DAT",
]
ALIKE = ["a-1", "a-10", "a-1-00000", "a", "a-1.csv"]


def deliver(server: FaultServer, rows: int = 10, **how: Any) -> mc_sink.Receipt:
    """Deliver the first rows in files of three."""
    given: dict[str, Any] = {"format": "csv", "max_rows_per_file": 3, "storage_options": server.storage_options} | how
    return mc_sink.sink_madconnect(FRAME.head(rows), server.writer.target("p/"), **given)


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_rerun_finds_what_it_has_delivered(fault_s3: FaultServer, template: str | None) -> None:
    """The second attempt compares all files, and sends none of them again."""
    first = deliver(fault_s3, name=template, run_id=RUN_ID)
    sent = len(fault_s3.log.of("Put", "Create"))
    again = deliver(fault_s3, name=template, run_id=RUN_ID)
    assert [file.path for file in again.files] == [file.path for file in first.files]
    assert again.num_found == 4
    assert len(fault_s3.log.of("Put", "Create")) == sent


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_rerun_with_fewer_files_is_refused(fault_s3: FaultServer, template: str | None) -> None:
    """What is left of the earlier attempt is found, wherever the number stands in a name, and nothing changes."""
    deliver(fault_s3, name=template, run_id=RUN_ID)
    before = fault_s3.listing(fault_s3.bucket)
    with pytest.raises(AlreadyExistsError, match="this one doesn't make"):
        deliver(fault_s3, rows=6, name=template, run_id=RUN_ID)
    assert fault_s3.listing(fault_s3.bucket) == before


@pytest.mark.parametrize("template", [None, "{run_id}-{part:05d}{ext}", "{part}-{run_id}", "{run_id}/{part}{ext}"])
def test_runs_with_ids_that_are_alike_leave_each_other_alone(fault_s3: FaultServer, template: str | None) -> None:
    """Each is delivered beside the others, and each rerun finds its own alone."""
    for run_id in ALIKE:
        assert deliver(fault_s3, name=template, run_id=run_id).num_found == 0
    assert all(deliver(fault_s3, name=template, run_id=run_id).num_found == 4 for run_id in ALIKE)
    assert len(fault_s3.listing(fault_s3.bucket)) == 5 * len(ALIKE)


@pytest.mark.parametrize("template", [None, "{part:05d}-{run_id}{ext}"])
def test_a_new_run_lists_little(fault_s3: FaultServer, template: str | None) -> None:
    """It asks for its own id alone, however much lies under the prefix; only a rerun looks through that."""
    for number in range(1_500):
        fault_s3.put_foreign(fault_s3.bucket, f"p/{number:05d}-other.csv", b"")
    run_id = deliver(fault_s3, name=template).run_id
    assert all(run_id in record.query["prefix"] for record in fault_s3.log.of("List"))


def test_an_overwrite_without_the_run_id_replaces(fault_s3: FaultServer) -> None:
    """The names are the same for every run, and the last one's files are there."""
    first = deliver(fault_s3, name="{part:05d}{ext}", if_exists="overwrite")
    second = deliver(fault_s3, name="{part:05d}{ext}", if_exists="overwrite")
    assert [file.path for file in second.files] == [file.path for file in first.files]
    assert second.verify().ok
    assert second.stale == ()
    assert len(fault_s3.listing(fault_s3.bucket, "p/0000")) == 4


@pytest.mark.parametrize("run_id", [None, "second"])
def test_an_overwrite_with_fewer_files_is_refused(fault_s3: FaultServer, run_id: str | None) -> None:
    """The file that it would leave behind is found, whether the run has an id of its own or not."""
    deliver(fault_s3, name="{part:05d}{ext}", if_exists="overwrite")
    before = fault_s3.listing(fault_s3.bucket)
    with pytest.raises(
        AlreadyExistsError, match=r"1 object of an earlier run would stay .*Stale:\n  s3://bucket/p/00003.csv\n"
    ):
        deliver(fault_s3, rows=9, name="{part:05d}{ext}", if_exists="overwrite", run_id=run_id)
    assert fault_s3.listing(fault_s3.bucket) == before


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_local_rerun_delivers_once(tmp_path: Path, template: str | None) -> None:
    """On the disk too, the second attempt changes nothing."""
    given: dict[str, Any] = {"name": template, "format": "csv", "run_id": RUN_ID, "max_rows_per_file": 3}
    mc_sink.sink_madconnect(FRAME, f"{tmp_path}/", **given)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert mc_sink.sink_madconnect(FRAME, f"{tmp_path}/", **given).num_found == 4
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == {
        path: time for path, time in before.items() if path.is_file()
    }
