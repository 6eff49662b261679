"""Parts of one run that are staged apart: what can't be proven over all of them, or collides, is refused."""

from __future__ import annotations

import gc
import pickle
from typing import TYPE_CHECKING, Any

import pandera.polars as pa
import polars as pl
import pytest

import mc_sink
from mc_sink import AlreadyExistsError, ConfigurationError
from tests.support.frames import FORMATS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.fault import FaultServer

FRAME = pl.DataFrame({"id": range(90)}).with_columns(k=pl.col("id") % 3)
ONCE = pa.DataFrameSchema({"id": pa.Column(pl.Int64, unique=True)}, strict=False)
TOGETHER = pa.DataFrameSchema({"id": pa.Column(pl.Int64)}, unique=["id", "k"], strict=False)
FEW = pa.DataFrameSchema({"id": pa.Column(pl.Int64, pa.Check.lt(80))}, strict=False)


def part(server: FaultServer, number: int, **how: Any) -> mc_sink.Staged:
    """Stage one partition, as one of several executors does."""
    given: dict[str, Any] = {"partition_by": "k", "run_id": "a", "storage_options": server.storage_options} | how
    return mc_sink.stage(FRAME.filter(k=number), server.writer.target("p/"), **given)


UNPROVEN: dict[str, tuple[dict[str, Any], str]] = {
    "previous": ({"previous": FRAME.head(5), "keys": "id"}, "previous="),
    "a unique column": ({"schema": ONCE}, "unique in the schema"),
    "unique columns": ({"schema": TOGETHER}, "unique in the schema"),
    "a count of rejects": ({"schema": FEW, "on_invalid": "reject", "max_rejects": 9}, "max_rejects="),
    "a fraction of rejects": ({"schema": FEW, "on_invalid": "reject", "max_rejects": 0.5}, "max_rejects="),
}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(("how", "option"), UNPROVEN.values(), ids=UNPROVEN)
def test_what_was_checked_for_each_part_alone_is_refused(
    fault_s3: FaultServer, how: dict[str, Any], option: str, format: str
) -> None:
    """Two parts were never compared with each other: nothing becomes visible; one part by itself is a whole run."""
    storage: dict[str, Any] = {"storage_options": fault_s3.storage_options}
    staged = []
    for number in (0, 1):
        own: dict[str, Any] = {"rejects": fault_s3.writer.target(f"bad/{number}.csv")} if "max_rejects" in how else {}
        own |= {"previous": how["previous"].filter(k=number)} if "previous" in how else {}
        staged.append(part(fault_s3, number, **how | own, format=format))
    with pytest.raises(ConfigurationError, match=rf"2 parts can't be published .* with {option}.*became visible"):
        mc_sink.publish(staged, **storage)
    assert fault_s3.listing(fault_s3.bucket) == {}
    assert mc_sink.publish(staged[:1], **storage).num_files > 0
    mc_sink.discard(staged[1:], **storage)


@pytest.mark.parametrize("format", FORMATS)
def test_fewer_parts_than_are_visible_are_refused(fault_s3: FaultServer, format: str) -> None:
    """The rows of the part that is left out would stay without an account: before and after the manifest."""
    storage: dict[str, Any] = {"storage_options": fault_s3.storage_options}
    for manifest in (True, False):
        how = {"format": format, "manifest": manifest, "run_id": f"run-{manifest}"}
        staged = [part(fault_s3, number, **how) for number in range(3)]
        mc_sink.publish(staged, **storage)
        before = fault_s3.listing(fault_s3.bucket)
        for fewer in (staged[:2], staged[:1], staged[1:]):
            with pytest.raises(AlreadyExistsError, match=r"no part of this one, from .*number of parts changed"):
                mc_sink.publish(fewer, **storage)
        assert fault_s3.listing(fault_s3.bucket) == before
        assert mc_sink.publish(staged, **storage).num_found == 3


COLLIDING: dict[str, dict[str, Any]] = {
    "one file": {"partition_by": None},
    "numbered files": {"partition_by": None, "max_rows_per_file": 20},
    "a partition": {},
    "a template": {"name": "{run_id}/all{ext}", "partition_by": None},
}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("how", COLLIDING.values(), ids=COLLIDING)
def test_a_part_with_the_names_of_another_is_refused_before_its_upload(
    fault_s3: FaultServer, how: dict[str, Any], format: str
) -> None:
    """Nothing is sent for it; when the other is discarded, published or let go of, the names are free."""
    how = how | {"format": format}
    first = part(fault_s3, 0, **how)
    sent = len(fault_s3.log.of("Create", "Put", "Part"))
    with pytest.raises(ConfigurationError, match=r"already staged for .* and waits to be published"):
        part(fault_s3, 0, **how)
    assert len(fault_s3.log.of("Create", "Put", "Part")) == sent
    part(fault_s3, 0, **how | {"run_id": "another"})
    mc_sink.discard([first], storage_options=fault_s3.storage_options)
    first = part(fault_s3, 0, **how)
    elsewhere = pickle.dumps(first)
    del first
    gc.collect()
    again = part(fault_s3, 0, **how)  # as a retry in the same process
    with pytest.raises(ConfigurationError, match="given twice"):  # what another process holds is found when published
        mc_sink.publish([pickle.loads(elsewhere), again], storage_options=fault_s3.storage_options)  # noqa: S301
    assert fault_s3.listing(fault_s3.bucket) == {}


@pytest.mark.parametrize("local", [True, False])
def test_rejects_at_one_key_are_refused_before_the_upload(
    fault_s3: FaultServer, tmp_path: Path, *, local: bool
) -> None:
    """The second part's rows aren't uploaded in vain; with rejects of its own it goes on."""
    place = f"{tmp_path}/bad.csv" if local else fault_s3.writer.target("bad/bad.csv")
    how: dict[str, Any] = {"schema": FEW, "on_invalid": "reject", "rejects": place}
    first = part(fault_s3, 0, **how)
    sent = len(fault_s3.log.of("Create", "Put", "Part"))
    with pytest.raises(ConfigurationError, match=r"already staged for .*bad\.csv"):
        part(fault_s3, 1, **how)
    assert len(fault_s3.log.of("Create", "Put", "Part")) == sent
    second = part(fault_s3, 1, **how | {"rejects": place.replace("bad.csv", "bad-1.csv")})
    receipt = mc_sink.publish([first, second], storage_options=fault_s3.storage_options)
    assert receipt.rejects is not None
    assert (receipt.num_rows, receipt.rejects.num_rows, len(receipt.rejects.files)) == (54, 6, 2)


def test_of_several_parts_one_is_kept_as_its_bytes(fault_s3: FaultServer) -> None:
    """A journal holds what is kept. So a part is uploaded where another of its run waits, and so are its rejects."""
    how: dict[str, Any] = {"partition_by": None, "schema": FEW, "on_invalid": "reject"}
    staged = [
        part(fault_s3, n, **how, name=f"{{run_id}}-{n}{{ext}}", rejects=fault_s3.writer.target(f"bad/{n}.csv"))
        for n in range(3)
    ]
    assert [[type(file.upload).__name__ for file in one.all_files] for one in staged] == [
        ["Whole", "Whole"],
        ["Multipart", "Multipart"],
        ["Multipart", "Multipart"],
    ]
    assert mc_sink.publish(staged, storage_options=fault_s3.storage_options).num_files == 3
    assert fault_s3.pending_uploads(fault_s3.bucket) == []
