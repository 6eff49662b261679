"""Stores that take `If-None-Match: *` and ignore it: nothing foreign is replaced, but for a window of one request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import mc_sink
from mc_sink import AlreadyExistsError, CommitError
from mc_sink.storage.s3.client import Requests
from tests.servers.fault import FaultServer
from tests.servers.faults import FOREVER, Call, Reset, Status
from tests.servers.rules import GRANTED, Rules
from tests.support.frames import FORMATS, as_text
from tests.support.small_deliveries import FRAME, MANIFEST, RUN, deliver, options, rows, seen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("tiny")

DEAF: dict[str, Any] = {"min_part_size": 1, "if_none_match_on_put": "ignored", "if_none_match_on_complete": "ignored"}
# An upload, and an object that is put whole: which request makes it visible, and how large its parts are.
KINDS = {"Complete": 400, "Put": 2**20}


@pytest.fixture
def deaf() -> Iterator[FaultServer]:
    """Give a store that ignores every condition."""
    with FaultServer(Rules(**DEAF)) as server:
        yield server


def foreign(server: FaultServer, key: str) -> Call:
    """Return the fault of another writer who delivers to a key while the request waits."""
    return Call(lambda _: server.put_foreign(server.bucket, key, b"foreign"))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("op", KINDS)
@pytest.mark.parametrize("run_id", [None, RUN])
def test_what_appears_during_the_upload_is_not_replaced(
    deaf: FaultServer, op: str, format: str, run_id: str | None
) -> None:
    """The key was free at the beginning and is taken before the request: refused, and what is there stays."""

    def frame() -> Any:
        yield FRAME
        deaf.put_foreign(deaf.bucket, key, b"foreign")

    key = f"p/x.{format}"
    with pytest.raises(AlreadyExistsError, match=r"Nothing became visible|nothing more became visible"):
        deliver(deaf, frame(), to=key, part_size=KINDS[op], format=format, run_id=run_id)
    assert deaf.read(deaf.bucket, key) == b"foreign"
    assert list(seen(deaf)) == [key]
    assert deaf.pending_uploads(deaf.bucket) == []
    assert deaf.log.of(op) == []


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("part", [1, 2])
def test_each_of_several_files_is_looked_for_on_its_own(deaf: FaultServer, format: str, part: int) -> None:
    """One listing for all of them would leave a window as long as the publishing of all: each has its own."""
    key = f"p/{RUN}-0000{part}.{format}"
    deaf.fault("Complete", foreign(deaf, key), n=part)
    with pytest.raises(CommitError, match=rf"Publishing stopped at .*\. {part} of 4 files are visible\.$"):
        deliver(deaf, format=format)
    assert deaf.read(deaf.bucket, key) == b"foreign"
    assert len(seen(deaf)) == part + 1


@pytest.mark.parametrize("op", KINDS)
def test_a_request_that_is_repeated_looks_again(deaf: FaultServer, op: str) -> None:
    """The first attempt was refused for a moment, and another writer delivered before the second."""
    key = "p/x.csv"
    deaf.fault(op, Status(503, "SlowDown"))

    def meanwhile(_: object) -> None:
        if deaf.log.of(op):
            deaf.put_foreign(deaf.bucket, key, b"foreign")

    deaf.fault("List", Call(meanwhile), times=9)
    with pytest.raises(mc_sink.SinkError):
        deliver(deaf, to=key, part_size=KINDS[op])
    assert deaf.read(deaf.bucket, key) == b"foreign"


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("op", KINDS)
def test_a_lost_reply_is_settled_on_such_a_store_too(deaf: FaultServer, tmp_path: Path, op: str, format: str) -> None:
    """The repeated request finds the object of the first one, and isn't sent: one copy, and a success."""
    deaf.fault(op, Reset(), when="after")
    receipt = deliver(deaf, to=f"p/x.{format}", part_size=KINDS[op], format=format, run_id=None)
    assert receipt.verify().ok
    assert len(deaf.log.of(op)) == 1
    assert [file.create_only for file in receipt.files] == ["listing"]
    assert rows(deaf, format, tmp_path).equals(as_text(FRAME, format))


@pytest.mark.parametrize("op", KINDS)
def test_the_receipt_says_that_a_window_remained(deaf: FaultServer, op: str) -> None:
    """In its facts and in its words; not for a run that replaces, nor for a local file."""
    receipt = deliver(deaf, part_size=KINDS[op], max_rows_per_file=30)
    assert [file.create_only for file in receipt.files] == ["listing"] * 2
    assert "create-only 2 of 2 files by a listing right before the request; a window of one request remained" in str(
        receipt
    )
    assert [file.create_only for file in deliver(deaf, part_size=KINDS[op], max_rows_per_file=30).files] == [None] * 2
    replacing = deliver(deaf, part_size=KINDS[op], max_rows_per_file=30, if_exists="overwrite")
    assert [file.create_only for file in replacing.files] == [None] * 2
    assert "create-only" not in str(replacing)


def test_a_local_file_needs_no_listing(tmp_path: Path) -> None:
    """A hard link can't replace a file."""
    receipt = mc_sink.sink_madconnect(FRAME, f"{tmp_path}/")
    assert receipt.files[0].create_only == "condition"
    assert "create-only" not in str(receipt)


@pytest.mark.parametrize("op", KINDS)
def test_a_request_has_one_listing_right_before_it(server: FaultServer, op: str) -> None:
    """Of that key alone, for the manifest too; a request that may replace has none."""
    for if_exists in ("fail", "overwrite"):
        asked = len(server.log)
        deliver(server, part_size=KINDS[op], max_rows_per_file=30, if_exists=if_exists)
        log = list(server.log)[asked:]
        published = [number for number, one in enumerate(log) if one.op in KINDS]
        assert len(published) == 3
        before = [log[number - 1] for number in published]
        looked = [
            one.op == "List" and one.query["prefix"] == log[n].key for one, n in zip(before, published, strict=True)
        ]
        assert looked == [if_exists == "fail"] * 3


def test_aws_keeps_its_conditions() -> None:
    """There, and where a store has shown that it refuses, no listing is made; elsewhere one is."""
    condition = {"IfNoneMatch": "*"}
    keys = {"key": "x", "secret": "y"}
    for url, way in (
        (None, "condition"),
        ("https://s3.eu-central-1.amazonaws.com", "condition"),
        ("https://bucket.vpce-1.s3.us-east-1.vpce.amazonaws.com", "condition"),
        ("https://s3.cn-north-1.amazonaws.com.cn", "condition"),
        ("https://storage.googleapis.com", "listing"),
        ("https://amazonaws.com.example.org", "listing"),
    ):
        requests = Requests(keys | ({"endpoint_url": url} if url else {}))
        for operation in ("put_object", "complete_multipart_upload"):
            assert requests.create_only(operation, condition) == way
            assert requests.create_only(operation, {}) is None


def test_a_refusal_shows_that_the_condition_is_kept(server: FaultServer) -> None:
    """A store that has refused one Complete keeps the condition for the next: these are sent without a listing."""
    staged = mc_sink.stage(
        FRAME, server.writer.target("p/"), run_id=RUN, max_rows_per_file=20, storage_options=options(server)
    )
    mc_sink.publish([staged], storage_options=options(server))
    server.store.bucket(server.bucket).pop(MANIFEST)
    server.store.bucket(server.bucket).pop(f"p/{RUN}-00002.csv")
    assert [file.create_only for file in deliver(server).files] == [None, None, "listing"]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("op", KINDS)
def test_a_writer_who_may_not_list_delivers_and_is_told(tmp_path: Path, op: str, format: str) -> None:
    """The condition is sent all the same; whether the store keeps it is not proven, and the receipt says so."""
    with FaultServer(Rules(min_part_size=1, granted=GRANTED - {"List"})) as server:
        receipt = deliver(server, part_size=KINDS[op], format=format, max_rows_per_file=30)
        assert [file.create_only for file in receipt.files] == ["unproven"] * 2
        assert "2 of 2 files not proven: the listing was refused" in str(receipt)
        assert rows(server, format, tmp_path).equals(as_text(FRAME, format))
        with pytest.raises(mc_sink.SinkError):
            deliver(server, part_size=KINDS[op], format=format, max_rows_per_file=30)


@pytest.mark.parametrize("op", KINDS)
def test_a_listing_that_fails_ends_the_delivery_before_the_request(deaf: FaultServer, op: str) -> None:
    """What can't be looked for isn't published blindly; the error says that nothing is visible."""
    deaf.fault("List", Status(500), n=2, times=FOREVER)
    with pytest.raises(mc_sink.UploadError, match="Nothing became visible"):
        deliver(deaf, to="p/x.csv", part_size=KINDS[op], read_timeout=0.5, run_id=None)
    assert deaf.log.of(op) == []
    assert seen(deaf) == {}


def test_the_manifest_is_not_replaced_either(deaf: FaultServer) -> None:
    """What appears at its key while the last file is published stays, and the error says what is visible."""
    deaf.fault("Complete", foreign(deaf, MANIFEST), n=3)
    with pytest.raises(CommitError, match="3 of 4 files are visible"):
        deliver(deaf)
    assert deaf.read(deaf.bucket, MANIFEST) == b"foreign"
