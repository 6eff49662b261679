"""A reply that was lost, and what the store says to the next try: settled by evidence, or said to be unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import mc_sink
from mc_sink import AlreadyExistsError, CommitUnknown, ObjectOptions, SinkError
from tests.delivered import FRAME, RUN, TINY, deliver, options, rows, seen, tiny_parts
from tests.frames import as_text
from tests.servers.fault import FaultServer
from tests.servers.faults import FOREVER, Body, Call, Reset, Status
from tests.servers.rules import Rules

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# How the object is sent: the operation that makes it visible, and the part size that makes it so.
SENT = {"Put": 2**20, "Complete": 400}
# Where it is sent to, and under which run id; each is one object.
PLACES: dict[str, dict[str, Any]] = {
    "prefix": {"to": "p/", "run_id": None},
    "prefix, run id": {"to": "p/"},
    "file": {"to": "p/x.csv", "run_id": None},
    "file, run id": {"to": "p/x.csv"},
}
NEXT: dict[str, Any] = {
    "as it is": None,
    "200": Body(200, b""),
    "NoSuchUpload": Status(404, "NoSuchUpload"),
    "InternalError": Status(500, "InternalError"),
    "SlowDown": Status(503, "SlowDown"),
    "412": Status(412, "PreconditionFailed"),
    "409": Status(409, "ConditionalRequestConflict"),
    "no reply": Reset("head"),
}


@pytest.fixture(autouse=True)
def cut_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few rows fill many parts."""
    tiny_parts(monkeypatch)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """Give an empty bucket that takes tiny parts."""
    with FaultServer(TINY) as made:
        yield made


def deliver_one(server: FaultServer, op: str, **how: Any) -> Any:
    """Deliver one object by one kind of request."""
    return deliver(server, **{"part_size": SENT[op], "max_rows_per_file": None} | how)


@pytest.mark.parametrize("then", NEXT.values(), ids=NEXT)
@pytest.mark.parametrize("place", ["prefix, run id", "file"])
@pytest.mark.parametrize("op", SENT)
def test_a_reply_lost_after_the_effect_is_a_success(
    server: FaultServer, tmp_path: Path, op: str, place: str, then: Any
) -> None:
    """Whatever the store answers to the tries after it, the object is ours, and there is one of it."""
    server.fault(op, Reset(), when="after")
    if then is not None:
        server.fault(op, then, n=2, times=FOREVER)
    receipt = deliver_one(server, op, **PLACES[place])
    assert receipt.verify().ok
    assert_one(server, tmp_path)


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("op", SENT)
def test_no_reply_at_all_after_the_effect_is_a_success(
    server: FaultServer, tmp_path: Path, op: str, place: dict[str, Any]
) -> None:
    """Every reply is lost, and the listing shows that it was done."""
    server.fault(op, Reset(), times=FOREVER, when="after")
    assert deliver_one(server, op, **place).verify().ok
    assert_one(server, tmp_path)


@pytest.mark.parametrize("repeated", ["NoSuchUpload", "OK"])
@pytest.mark.parametrize("ending", ["recover", "rerun"])
@pytest.mark.parametrize("op", SENT)
def test_what_no_listing_settles_ends_in_one_copy(tmp_path: Path, op: str, ending: str, repeated: Any) -> None:
    """The reply is lost and so is every listing: unknown, never a failure; when the store is back there is one copy."""
    with FaultServer(Rules(min_part_size=1, repeated_complete=repeated)) as server:
        server.fault(op, Reset(), times=FOREVER, when="after")
        server.fault("List", Reset("head"), n=3, times=FOREVER)  # the first two look for files and for a manifest
        with pytest.raises(CommitUnknown, match="may or may not be visible") as raised:
            deliver_one(server, op)
        assert raised.value.uncommitted == (server.writer.target(f"p/{RUN}.csv"),)
        server.heal()
        assert end(server, op, ending).verify().ok
        assert_one(server, tmp_path)


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("op", SENT)
def test_a_reply_lost_before_the_effect_is_no_success(
    server: FaultServer, tmp_path: Path, op: str, place: dict[str, Any]
) -> None:
    """Nothing is there: unknown, because a late request may still arrive; the journal makes one copy of it."""
    server.fault(op, Reset(), times=FOREVER)
    with pytest.raises(CommitUnknown, match="no object there"):
        deliver_one(server, op, **place)
    assert seen(server) == {}
    (journal,) = mc_sink.list_journals()
    server.heal()
    mc_sink.recover(journal.run_id, storage_options=options(server))
    assert_one(server, tmp_path)


@pytest.mark.parametrize("longer", [0, 1], ids=["as long", "longer"])
@pytest.mark.parametrize("lost", [0, 1, FOREVER], ids=["no reply lost", "one lost", "all lost"])
@pytest.mark.parametrize("place", ["prefix, run id", "file"])
@pytest.mark.parametrize("op", SENT)
def test_somebody_elses_object_is_never_a_success(
    server: FaultServer, op: str, place: str, lost: float, longer: int
) -> None:
    """Another object takes the key after the look: it stays as it is, and the error doesn't say that ours is there."""
    theirs = b"x" * (len(FRAME.write_csv()) + longer)

    def take(request: Any) -> None:
        key = request.query["prefix"].removesuffix(".csv") + ".csv"
        server.put_foreign(request.bucket, key, theirs)

    server.fault("List", Call(take), when="after")
    server.fault(op, Reset("head"), times=lost)
    with pytest.raises(SinkError) as raised:
        deliver_one(server, op, **PLACES[place])
    certain = lost == 0 or (lost == 1 and longer)
    assert type(raised.value) is (AlreadyExistsError if certain else CommitUnknown)
    assert [one.data for one in seen(server).values()] == [(theirs,)]
    assert len(mc_sink.list_journals()) == (not certain)
    assert bool(server.pending_uploads(server.bucket)) == (not certain and op == "Complete")


@pytest.mark.parametrize("theirs", [b"x" * 3, b"x" * len(FRAME.write_csv()), None], ids=["short", "as long", "none"])
@pytest.mark.parametrize("lost", [0, 1], ids=["no reply lost", "one lost"])
def test_an_upload_aborted_behind_our_back_is_never_a_success(
    server: FaultServer, theirs: bytes | None, lost: int
) -> None:
    """Somebody throws the upload away, and perhaps puts something else there: no success, and theirs stays."""

    def abort(request: Any) -> None:
        server.store.abort(request.bucket, request.key, request.upload_id)
        if theirs is not None:
            server.put_foreign(request.bucket, request.key, theirs)

    if lost:
        server.fault("Complete", Status(500), n=1)
        server.fault("Complete", Call(abort), n=2)
    else:
        server.fault("Complete", Call(abort))
    with pytest.raises(SinkError) as raised:
        deliver_one(server, "Complete", to="p/x.csv")
    assert isinstance(raised.value, CommitUnknown) or "Nothing became visible" in str(raised.value)
    assert isinstance(raised.value, CommitUnknown) == bool(lost or (theirs and len(theirs) > 3))
    assert [one.data for one in seen(server).values()] == ([(theirs,)] if theirs else [])


@pytest.mark.parametrize("times", [1, FOREVER], ids=["once", "forever"])
@pytest.mark.parametrize("op", SENT)
def test_a_store_without_conditions_keeps_one_copy(tmp_path: Path, op: str, times: float) -> None:
    """It takes the same request twice: the second makes the same object again, at the same key."""
    with FaultServer(Rules(min_part_size=1, conditions="ignored")) as server:
        server.fault(op, Reset(), times=times, when="after")
        assert deliver_one(server, op).verify().ok
        assert_one(server, tmp_path)


KMS: dict[str, Any] = {"object_options": ObjectOptions(sse="aws:kms")}


@pytest.mark.parametrize("asked", [{}, KMS], ids=["by default", "asked for"])
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("op", SENT)
def test_under_kms_a_lost_reply_is_unknown(op: str, place: dict[str, Any], asked: dict[str, Any]) -> None:
    """An ETag proves nothing there: what may be ours is neither told as a success nor as somebody else's."""
    with FaultServer(Rules(min_part_size=1, etags="opaque")) as server:
        server.fault(op, Reset(), when="after")
        with pytest.raises(CommitUnknown, match="KMS"):
            deliver_one(server, op, **place, **asked)
        assert len(seen(server)) == 1
        (journal,) = mc_sink.list_journals()
        before = seen(server)
        if op == "Complete" or asked:
            with pytest.raises(CommitUnknown):
                mc_sink.recover(journal.run_id, storage_options=options(server))
        assert seen(server) == before
        assert mc_sink.recover(journal.run_id, action="discard", storage_options=options(server)) == [
            f"{server.writer.target(next(iter(before)))} is visible and stays: only its bucket's owner can remove it."
        ]


@pytest.mark.parametrize("op", SENT)
def test_under_kms_an_undisturbed_delivery_is_a_success(op: str) -> None:
    """The store's own answer is believed, and its ETag is in the receipt."""
    with FaultServer(Rules(min_part_size=1, etags="opaque")) as server:
        assert deliver_one(server, op, **KMS).verify().ok


def end(server: FaultServer, op: str, ending: str) -> Any:
    """End what waits, the one way or the other."""
    if ending == "recover":
        return mc_sink.recover(RUN, storage_options=options(server))
    return deliver_one(server, op)


def assert_one(server: FaultServer, folder: Path) -> None:
    """Fail unless there is one object with all rows, and nothing waits."""
    assert len(seen(server)) == 1
    assert rows(server, "csv", folder).equals(as_text(FRAME, "csv"))
    assert server.pending_uploads(server.bucket) == []
    assert mc_sink.list_journals() == []
