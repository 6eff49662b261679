"""The manifest: its content, when it becomes visible, and the attempts that can't write it."""

from __future__ import annotations

import errno
import os
from datetime import datetime
from typing import TYPE_CHECKING, Any, get_args

import pandera.polars as pa
import polars as pl
import pytest

import mc_sink
from mc_sink import AlreadyExistsError, CommitError, CommitUnknown
from mc_sink.publishing.manifest import _WIDEST
from mc_sink.receipt import Integrity
from tests.servers.faults import FOREVER, Call, Reset, Status
from tests.support.frames import FORMATS
from tests.support.small_deliveries import (
    FRAME,
    MANIFEST,
    RUN,
    assert_delivered_once,
    data_files,
    deliver,
    manifest_of,
    options,
    seen,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.fault import FaultServer

SCHEMA = pa.DataFrameSchema({"id": pa.Column(pl.Int64, pa.Check.lt(50))}, name="few")
BIG = 2**20  # a part holds the manifest, so that it is one Put
FACTS = ("path", "num_rows", "num_bytes", "etag", "checksum", "integrity", "partition")
REJECTING: dict[str, Any] = {"schema": SCHEMA, "on_invalid": "reject"}


pytestmark = pytest.mark.usefixtures("tiny")


def facts_of(receipt: Any) -> dict[str, Any]:
    """Give what a receipt and a manifest both tell, as the manifest has it."""
    return {
        "run_id": receipt.run_id,
        "target": receipt.target,
        "validated": receipt.validated,
        "num_files": len(receipt.files),
        "num_rows": receipt.num_rows,
        "num_bytes": receipt.num_bytes,
        "num_rejected": receipt.rejects.num_rows if receipt.rejects else 0,
        "files": [{name: getattr(file, name) for name in FACTS} for file in receipt.files],
    }


@pytest.mark.parametrize("how", [{}, {"schema": SCHEMA}, REJECTING], ids=["unjudged", "judged", "rejecting"])
@pytest.mark.parametrize("format", FORMATS)
def test_it_says_what_the_receipt_says(server: FaultServer, format: str, how: dict[str, Any], tmp_path: Path) -> None:
    """Its facts are those of the receipt and of the store, and columns, format and schema besides."""
    frame = FRAME.head(50) if how and how is not REJECTING else FRAME
    if how is REJECTING:
        how = how | {"rejects": f"{tmp_path}/"}
    receipt = deliver(server, frame, format=format, **how)
    facts = manifest_of(server)
    assert {name: facts[name] for name in facts_of(receipt)} == facts_of(receipt)
    assert receipt.manifest == server.writer.target(MANIFEST)
    assert (facts["version"], facts["format"]) == (1, format)
    assert facts["schema"] == ("few" if how else None)
    assert facts["columns"] == {name: str(dtype) for name, dtype in FRAME.schema.items()}
    assert datetime.fromisoformat(facts["started_at"]) == receipt.started_at
    assert datetime.fromisoformat(facts["ended_at"]) >= receipt.started_at
    assert {file["path"]: file["num_bytes"] for file in facts["files"]} == {
        server.writer.target(key): seen(server)[key].size for key in data_files(server)
    }
    assert seen(server)[MANIFEST].headers["content-type"] == "application/json"


@pytest.mark.parametrize("number", [9, 10_000], ids=["few", "many"])
def test_manifests_of_one_delivery_are_as_long(server: FaultServer, number: int) -> None:
    """Whenever it is written, the same delivery has a manifest of the same size, which is how it is known again."""
    sizes = set()
    for _ in range(3):
        deliver(server, FRAME.head(number), if_exists="overwrite")
        sizes.add(seen(server)[MANIFEST].size)
    assert len(sizes) == 1


@pytest.mark.parametrize(
    ("how", "written"),
    [
        ({}, True),
        ({"manifest": False}, False),
        ({"max_rows_per_file": None}, False),
        ({"max_rows_per_file": None, "manifest": True}, True),
        ({"to": "p/x.csv"}, False),
        ({"to": "p/x.csv", "manifest": True}, True),
        ({"max_rows_per_file": 1_000}, True),
    ],
)
def test_it_is_written_where_there_may_be_several_files(server: FaultServer, how: Any, *, written: bool) -> None:
    """Or where it was asked for; and the receipt says where."""
    receipt = deliver(server, **how)
    assert (MANIFEST in seen(server)) == written
    assert receipt.manifest == (server.writer.target(MANIFEST) if written else None)
    assert receipt.verify().checked == len(receipt.files) + written


def test_it_is_the_last_thing_to_appear(server: FaultServer, tmp_path: Path) -> None:
    """When its request arrives every file is there, the rejects too, and it is not."""
    found: list[set[str]] = []
    server.fault("Put", Call(lambda _: found.append(set(seen(server, "")))), n=2)
    deliver(server, **REJECTING, rejects=server.writer.target("bad/"), part_size=BIG)
    (there,) = found
    assert there == set(seen(server, "")) - {MANIFEST}
    assert len(there) == 4
    receipt = mc_sink.sink_madconnect(FRAME, f"{tmp_path}/p/", max_rows_per_file=20)
    assert sorted(path.name for path in (tmp_path / "p" / "_manifests").iterdir()) == [f"{receipt.run_id}.json"]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_it_is_absent_after_a_failure(server: FaultServer, n: int) -> None:
    """Whichever file can't be published, no manifest becomes visible."""
    server.fault("Complete", Status(403, "AccessDenied"), n=n)
    with pytest.raises((CommitError, mc_sink.PermissionDenied)):
        deliver(server, part_size=BIG)
    assert MANIFEST not in seen(server)


FAILURES: dict[str, tuple[Any, type[CommitError]]] = {
    "refused": (Status(403, "AccessDenied"), CommitError),
    "not done, no reply": (Reset(), CommitUnknown),
    "failing store": (Status(500), CommitUnknown),
}


@pytest.mark.parametrize(("fault", "error"), FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("ending", ["recover", "rerun"])
def test_one_that_can_not_be_written_is_named_and_completed(
    server: FaultServer, tmp_path: Path, fault: Any, error: type[CommitError], ending: str
) -> None:
    """The files are visible, it is not: the error says just that, and recovery or a rerun writes it."""
    server.fault("Put", fault, times=FOREVER)
    with pytest.raises(CommitError) as raised:
        deliver(server, part_size=BIG, read_timeout=1)
    assert type(raised.value) is error
    assert raised.value.uncommitted == (server.writer.target(MANIFEST),)
    assert len(raised.value.committed) == 3
    assert "3 of 4 files are visible" in str(raised.value)
    assert MANIFEST not in seen(server)
    before = seen(server)
    server.heal()
    receipt = end(server, ending)
    assert receipt.num_found == 3
    assert {key: one for key, one in seen(server).items() if key != MANIFEST} == before
    assert_delivered_once(server, FRAME, "csv", tmp_path)


@pytest.mark.parametrize("times", [1, FOREVER], ids=["once", "forever"])
@pytest.mark.parametrize("part_size", [400, BIG], ids=["upload", "Put"])
def test_a_lost_reply_to_it_is_settled(server: FaultServer, tmp_path: Path, times: float, part_size: int) -> None:
    """It was written and the reply was lost: a listing shows that, and the delivery is a success."""
    for op in ("Put", "Complete"):
        server.fault(op, Reset(), n=1 if op == "Put" else 4, times=times, when="after")
    deliver(server, part_size=part_size)
    assert_delivered_once(server, FRAME, "csv", tmp_path)


def end(server: FaultServer, ending: str) -> Any:
    """End what waits, the one way or the other."""
    if ending == "recover":
        return mc_sink.recover(RUN, storage_options=options(server, BIG))
    return deliver(server, part_size=BIG)


def test_somebody_elses_object_is_not_taken_for_it(server: FaultServer) -> None:
    """Another object at its key is never a success, stays as it is, and is reported."""
    server.fault("Put", Call(lambda request: server.put_foreign(request.bucket, request.key, b"{}")))
    with pytest.raises(CommitError, match="not this delivery's manifest"):
        deliver(server, part_size=BIG)
    for _ in range(2):
        with pytest.raises(CommitError, match="not this delivery's manifest"):
            end(server, "recover")
    assert server.read(server.bucket, MANIFEST) == b"{}"
    assert len(data_files(server)) == 3


def test_a_file_delivery_does_not_take_another_ones(server: FaultServer) -> None:
    """Under a file key without a run id a manifest at the key is another run's, regardless of its content."""
    receipt = deliver(server, to="p/x.csv", manifest=True, run_id="a")
    text = server.read(server.bucket, "p/_manifests/a.json")
    staged = mc_sink.stage(
        FRAME, server.writer.target("p/y.csv"), manifest=True, storage_options=options(server), run_id=None
    )
    place = f"p/_manifests/{staged.run_id}.json"
    server.put_foreign(server.bucket, place, text)
    with pytest.raises(CommitError, match="1 of 2 files are visible"):
        mc_sink.publish([staged], storage_options=options(server))
    assert server.read(server.bucket, place) == text
    assert receipt.verify().ok


def test_more_rows_after_it_closed_a_delivery_add_nothing(server: FaultServer) -> None:
    """Staged before it was there, published after: the file that it doesn't list is refused, and none is added."""
    more = mc_sink.stage(
        FRAME,
        server.writer.target("p/"),
        run_id=RUN,
        max_rows_per_file=20,
        storage_options=options(server),
    )
    deliver(server, FRAME.head(40))
    before = seen(server)
    with pytest.raises(AlreadyExistsError, match="has been delivered: its manifest is at"):
        mc_sink.publish([more], storage_options=options(server))
    assert seen(server) == before
    # Two of its uploads would make the very objects that are visible: such an upload may be one, and is reported.
    kept = "\n".join(mc_sink.discard([more], storage_options=options(server)))
    pending = server.pending_uploads(server.bucket)
    assert [one.key for one in pending] == [f"p/{RUN}-00000.csv", f"p/{RUN}-00001.csv"]
    assert all(one.upload_id in kept for one in pending)
    assert mc_sink.list_journals() == []


def test_fewer_rows_than_it_lists_are_no_success(server: FaultServer) -> None:
    """Staged before it was there, published after, and it lists a file more: never reported as delivered."""
    fewer = mc_sink.stage(
        FRAME.head(40),
        server.writer.target("p/"),
        run_id=RUN,
        max_rows_per_file=20,
        storage_options=options(server),
    )
    deliver(server)
    before = seen(server)
    with pytest.raises(AlreadyExistsError, match=r"1 object of an earlier attempt of run r-1 .* part of this one"):
        mc_sink.publish([fewer], storage_options=options(server))
    assert seen(server) == before


def test_a_folder_keeps_no_half_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locally, a manifest that may not take its name leaves no hidden file behind, and is written later."""
    link, folder = os.link, tmp_path / "p" / "_manifests"

    def refusing(source: str, name: str) -> None:
        if name.endswith(".json"):
            raise OSError(errno.EPERM, "no links here", name)
        link(source, name)

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", refusing)
        with pytest.raises(CommitError, match="3 of 4 files are visible"):
            mc_sink.sink_madconnect(FRAME, f"{tmp_path}/p/", run_id=RUN, max_rows_per_file=20)
    assert not folder.exists()
    assert mc_sink.recover(RUN).num_found == 3
    assert [path.name for path in folder.iterdir()] == [f"{RUN}.json"]


def test_every_word_for_a_proof_is_as_wide_as_the_others() -> None:
    """Two attempts of a run may prove a file in different ways, and their manifests are compared by size."""
    assert max(len(f'"integrity": "{word}",') for word in get_args(Integrity)) == _WIDEST
