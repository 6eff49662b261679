"""A delivery that was cut short while it was published: rolled forward or thrown away, by what its journal holds."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pandera.polars as pa
import polars as pl
import pytest

import mc_sink
from mc_sink import AlreadyExistsError, CommitError, ConfigurationError, ObjectOptions
from mc_sink.staged import Multipart
from tests.servers.fault import FaultServer
from tests.servers.faults import FOREVER, Body, Call, Reset, Status
from tests.servers.rules import GRANTED, Rules
from tests.support.frames import FORMATS, SMALL_PARTS, as_text, numbers
from tests.support.small_deliveries import (
    FRAME,
    MANIFEST,
    RUN,
    assert_delivered_once,
    data_files,
    deliver,
    options,
    rows,
    seen,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Recorded

DENIED = Status(403, "AccessDenied")
SCHEMA = pa.DataFrameSchema({"id": pa.Column(pl.Int64, pa.Check.lt(50))}, name="few")


pytestmark = pytest.mark.usefixtures("tiny")


def stop_at(server: FaultServer, k: int, **how: Any) -> CommitError:
    """Deliver, and be refused at the k-th of the requests that publish."""
    server.fault("Complete", DENIED, n=k)
    with pytest.raises(CommitError) as raised:
        deliver(server, **how)
    return raised.value


def interrupt_at(server: FaultServer, k: int, op: str = "Complete", **how: Any) -> KeyboardInterrupt:
    """Deliver, and meet Ctrl-C when the k-th of the requests that publish has been done and not been answered."""
    main = threading.main_thread().ident or 0

    def interrupt(_: object) -> None:
        signal.pthread_kill(main, signal.SIGINT)
        time.sleep(0.2)

    server.fault(op, Call(interrupt), n=k, when="after")
    with pytest.raises(KeyboardInterrupt) as raised:
        deliver(server, **how)
    return raised.value


def recover(server: FaultServer, **how: Any) -> Any:
    """Recover the run."""
    return mc_sink.recover(RUN, storage_options=options(server), **how)


@pytest.mark.parametrize("k", [2, 3, 4])
@pytest.mark.parametrize("format", FORMATS)
def test_what_was_cut_short_is_rolled_forward(server: FaultServer, tmp_path: Path, format: str, k: int) -> None:
    """Stopped at the k-th of three files, or at the manifest: the error tells both sides, and recovery ends it."""
    error = stop_at(server, k, format=format)
    everything = [server.writer.target(key) for key in [*[f"p/{RUN}-0000{n}.{format}" for n in range(3)], MANIFEST]]
    assert (list(error.committed), list(error.uncommitted)) == (everything[: k - 1], everything[k - 1 :])
    assert list(seen(server)) == [key.removeprefix(server.writer.target()) for key in sorted(error.committed)]
    (journal,) = mc_sink.list_journals()
    assert (journal.run_id, journal.target, journal.num_files) == (RUN, server.writer.target("p/"), 3)
    receipt = recover(server)
    assert (receipt.num_rows, receipt.num_found) == (60, k - 1)
    assert receipt.verify().ok
    assert_delivered_once(server, FRAME, format, tmp_path)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_what_was_cut_short_is_thrown_away(server: FaultServer, k: int) -> None:
    """What isn't visible is gone, what is stays and is named, and nothing waits."""
    error = stop_at(server, k)
    left = recover(server, action="discard")
    assert [sentence.split(" is visible")[0] for sentence in left] == list(error.committed)
    assert len(seen(server)) == k - 1
    assert server.pending_uploads(server.bucket) == []
    assert mc_sink.list_journals() == []
    with pytest.raises(ConfigurationError, match="has no journal"):
        recover(server)


def test_a_discard_tells_of_a_manifest(server: FaultServer) -> None:
    """Where all of it was visible when it was cut short, giving up says so, manifest and all."""
    interrupt_at(server, 4)
    assert [told.split(" is visible")[0] for told in recover(server, action="discard")][-1] == server.writer.target(
        MANIFEST
    )
    assert len(seen(server)) == 4


def test_an_upload_that_can_not_be_thrown_away_is_named() -> None:
    """Without the right to abort, recovery names each upload that stays, and the rule that removes it."""
    with FaultServer(Rules(min_part_size=1, granted=GRANTED - {"Abort"})) as server:
        stop_at(server, 2)
        pending = server.pending_uploads(server.bucket)
        assert len(pending) == 2
        left = recover(server, action="discard")
        for upload in pending:
            assert any(upload.upload_id in told and "AbortIncompleteMultipartUpload" in told for told in left)


def test_an_action_that_is_none_touches_nothing(server: FaultServer) -> None:
    """A misspelt action neither publishes nor throws away."""
    stop_at(server, 2)
    before, pending = seen(server), server.pending_uploads(server.bucket)
    with pytest.raises(ConfigurationError, match='Give "publish" or "discard"'):
        recover(server, action="Publish")
    assert (seen(server), server.pending_uploads(server.bucket)) == (before, pending)
    assert len(mc_sink.list_journals()) == 1


@pytest.mark.parametrize("format", FORMATS)
def test_recovery_may_be_cut_short_too(server: FaultServer, tmp_path: Path, format: str) -> None:
    """Refused again and again, each time one file further, it ends with one copy."""
    stop_at(server, 2, format=format)
    for _ in range(3):
        server.heal()
        server.fault("Complete", DENIED, n=2)
        with suppress(CommitError):
            recover(server)
    server.heal()
    with suppress(ConfigurationError):
        recover(server)
    assert_delivered_once(server, FRAME, format, tmp_path)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("ending", ["recover", "rerun", "discard"])
def test_two_attempts_cut_short_leave_no_upload(server: FaultServer, tmp_path: Path, format: str, ending: str) -> None:
    """The second attempt's journal knows the first one's uploads, so that they are discarded however it ends."""
    stop_at(server, 2, format=format)
    server.heal()
    stop_at(server, 1, format=format)
    (journal,) = mc_sink.list_journals()
    noted = [*journal.superseded, *journal.staged[0].files]
    known = {file.upload.upload_id for file in noted if isinstance(file.upload, Multipart)}
    pending = {upload.upload_id for upload in server.pending_uploads(server.bucket)}
    assert len(pending) == 4
    assert pending <= known
    server.heal()
    if ending == "discard":
        recover(server, action="discard")
        assert server.pending_uploads(server.bucket) == []
        assert mc_sink.list_journals() == []
        deliver(server, format=format)
    elif ending == "recover":
        recover(server)
    else:
        deliver(server, format=format)
    assert_delivered_once(server, FRAME, format, tmp_path)


def test_an_upload_that_is_gone_while_the_listing_lags_is_unknown(server: FaultServer, tmp_path: Path) -> None:
    """The first attempt's Complete took effect without an answer. That the upload is gone then says nothing of it."""
    nothing = Body(200, b"<ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated></ListBucketResult>")
    server.fault("List", nothing, times=FOREVER)
    server.fault("Complete", Reset("head"), when="after")
    server.fault("Complete", Reset("head"), n=2, times=FOREVER)
    with pytest.raises(mc_sink.CommitUnknown):
        deliver(server)
    server.heal()
    server.fault("List", nothing, times=FOREVER)
    with pytest.raises(mc_sink.CommitUnknown, match="NoSuchUpload") as raised:
        recover(server)
    assert raised.value.visible == "unknown"
    server.heal()
    recover(server)
    assert_delivered_once(server, FRAME, "csv", tmp_path)


def test_an_attempt_that_publishes_nothing_keeps_the_earlier_ones_journal(server: FaultServer, tmp_path: Path) -> None:
    """A rerun whose first request is refused says that something waits, and what ends it."""
    server.fault("Complete", Reset("head"), times=FOREVER)
    with pytest.raises(mc_sink.CommitUnknown):
        deliver(server)
    server.heal()
    server.fault("Complete", DENIED)
    with pytest.raises(mc_sink.PermissionDenied) as raised:
        deliver(server)
    assert any(f'recover("{RUN}")' in note for note in raised.value.__notes__)
    recover(server)
    assert_delivered_once(server, FRAME, "csv", tmp_path)


def test_a_first_request_that_is_refused_leaves_nothing(server: FaultServer) -> None:
    """Nothing was visible, so that nothing waits: the uploads are gone, and so is the journal."""
    server.fault("Complete", DENIED)
    with pytest.raises(mc_sink.PermissionDenied, match="Nothing became visible"):
        deliver(server)
    assert seen(server) == {}
    assert server.pending_uploads(server.bucket) == []
    assert mc_sink.list_journals() == []


@pytest.mark.parametrize("format", FORMATS)
def test_a_delivery_with_rejects_is_rolled_forward(server: FaultServer, tmp_path: Path, format: str) -> None:
    """Stopped at the rejects, which come after the files and before the manifest, recovery publishes those."""
    how: dict[str, Any] = {"schema": SCHEMA, "on_invalid": "reject", "rejects": server.writer.target("bad/")}
    stop_at(server, 4, format=format, part_size=200, **how)
    receipt = recover(server)
    assert receipt.rejects is not None
    assert (receipt.num_rows, receipt.rejects.num_rows) == (50, 10)
    assert len(seen(server, "bad/")) == 1
    assert_delivered_once(server, FRAME.head(50), format, tmp_path)


@pytest.mark.parametrize("repeated", ["NoSuchUpload", "OK"])
@pytest.mark.parametrize("op", ["Complete", "Put"])
def test_what_was_published_and_not_struck_out_is_found(tmp_path: Path, op: str, repeated: Any) -> None:
    """All is visible, and only the journal wasn't struck out: recovery finds every file and makes none again."""
    with FaultServer(Rules(min_part_size=1, repeated_complete=repeated)) as server:
        how: dict[str, Any] = {
            "max_rows_per_file": None,
            "manifest": True,
            "part_size": 400 if op == "Complete" else 2**20,
        }
        interrupt_at(server, 2, op, **how)
        before = seen(server)
        assert len(before) == 2
        recover(server)
        assert seen(server) == before
        assert_delivered_once(server, FRAME, "csv", tmp_path)


def test_other_object_options_survive(tmp_path: Path) -> None:
    """The options of the objects are sent when they are rolled forward, from the journal alone."""
    asked = ObjectOptions(acl="private", storage_class="STANDARD_IA", tags={"a": "b & c"}, metadata={"source": "crm"})
    with FaultServer(Rules(min_part_size=1, granted=GRANTED | {"PutTagging"})) as server:
        server.fault("Put", Reset("head"), times=FOREVER)
        with pytest.raises(mc_sink.CommitUnknown):
            deliver(server, part_size=2**20, max_rows_per_file=None, object_options=asked, manifest=True)
        server.heal()
        recover(server)
        for key in (f"p/{RUN}.csv", MANIFEST):
            headers = server.stored(server.bucket, key).headers
            assert headers["x-amz-acl"] == "private"
            assert headers["x-amz-storage-class"] == "STANDARD_IA"
            assert headers["x-amz-tagging"] == "a=b+%26+c"
            assert headers["x-amz-meta-source"] == "crm"
        assert rows(server, "csv", tmp_path).equals(as_text(FRAME, "csv"))


@pytest.mark.parametrize("publishing", [1, 2, 3, 4])
@pytest.mark.parametrize("format", FORMATS)
def test_an_interrupt_while_publishing_can_be_recovered(
    server: FaultServer, tmp_path: Path, publishing: int, format: str
) -> None:
    """Ctrl-C in the midst of it: the exception says what ends it, the journal waits, and recovery ends it."""
    interruption = interrupt_at(server, publishing, format=format)
    assert any(f'recover("{RUN}")' in note for note in interruption.__notes__)
    assert len(mc_sink.list_journals()) == 1
    assert len(seen(server)) == publishing
    receipt = recover(server)
    assert receipt.num_found == min(publishing, 3)
    assert_delivered_once(server, FRAME, format, tmp_path)


@pytest.mark.parametrize("format", FORMATS)
def test_a_half_delivery_on_a_real_server_is_ended(recorded: Recorded, format: str) -> None:
    """The real server, a writer with three permissions: the second file is refused, then rolled forward, or rerun."""
    storage = recorded.writer.storage_options | SMALL_PARTS
    how: dict[str, Any] = {"format": format, "max_rows_per_file": 4, "storage_options": storage}
    for run_id in ("recovered", "rerun"):
        recorded.proxy.heal()
        recorded.proxy.fault("Complete", DENIED, n=2)
        with pytest.raises(CommitError):
            mc_sink.sink_madconnect(numbers(10), recorded.writer.target("p/"), run_id=run_id, **how)
        if run_id == "recovered":
            receipt = mc_sink.recover(run_id, storage_options=storage)
        else:
            receipt = mc_sink.sink_madconnect(numbers(10), recorded.writer.target("p/"), run_id=run_id, **how)
        assert (receipt.num_rows, receipt.num_found) == (10, 1)
        assert receipt.verify().ok
    assert recorded.proxy.log.forbidden() == []
    assert len(recorded.server.listing(recorded.writer.bucket, "p/")) == 8
    assert recorded.server.pending_uploads(recorded.writer.bucket) == []
    assert mc_sink.list_journals() == []


def test_recovery_waits_for_a_delivery_under_way(server: FaultServer, tmp_path: Path) -> None:
    """Recovering what isn't dead ends in one copy: the one waits for the other, and then has nothing to do."""
    errors: list[BaseException] = []

    def recovering() -> None:
        try:
            recover(server, action="discard")
        except BaseException as error:  # noqa: BLE001  the test looks at it
            errors.append(error)

    thread = threading.Thread(target=recovering)

    def meanwhile(_: object) -> None:
        thread.start()
        thread.join(0.3)

    server.fault("Complete", Call(meanwhile), n=2)
    deliver(server)
    thread.join(10)
    assert [type(error) for error in errors] == [ConfigurationError]
    assert_delivered_once(server, FRAME, "csv", tmp_path)


def test_a_foreign_object_is_no_part_of_a_recovery(server: FaultServer) -> None:
    """Another writer's object at the next key stops it, stays, and the rest can still be thrown away."""
    stop_at(server, 2)
    taken = f"p/{RUN}-00001.csv"
    server.put_foreign(server.bucket, taken, b"foreign")
    with pytest.raises(CommitError, match="stays as it was") as raised:
        recover(server)
    assert isinstance(raised.value.__cause__, AlreadyExistsError)
    assert server.read(server.bucket, taken) == b"foreign"
    recover(server, action="discard")
    assert data_files(server) == [f"p/{RUN}-00000.csv", taken]
    assert server.pending_uploads(server.bucket) == []
