"""An upload that may be an object is never aborted: some stores then collect the parts of the visible object.

The server here forgets no upload that was completed, as a store does after a crash in between, and an Abort destroys
the object that was made of it.
"""

from __future__ import annotations

import _thread
import logging
import pickle
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import pytest

import mc_sink
from mc_sink import CommitError, CommitUnknown
from mc_sink.staged import Multipart
from tests.servers.fault import FaultServer
from tests.servers.faults import FOREVER, Body, Call, Reset, Status
from tests.support.frames import FORMATS, as_text
from tests.support.small_deliveries import FRAME, RUN, TINY, deliver, options, rows, seen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("tiny")

LOST: dict[str, list[tuple[Any, str]]] = {
    "reply lost": [(Reset(), "after")],
    "error after it was done": [(Status(500), "after")],
    "no answer, each time": [(Body(), "after")] * 9,
}
REPEATED = ("NoSuchUpload", "OK", "InProgress")


@pytest.fixture(params=REPEATED)
def keeper(request: pytest.FixtureRequest) -> Iterator[FaultServer]:
    """Give a store that keeps completed uploads."""
    with FaultServer(replace(TINY, completed_uploads="kept", repeated_complete=request.param)) as made:
        yield made


def lose(server: FaultServer, how: str, n: int = 1) -> None:
    """Let the n-th Complete take effect without an answer that says so."""
    for k, (fault, when) in enumerate(LOST[how]):
        server.fault("Complete", fault, n=n + k, when=when)  # type: ignore[arg-type]


def is_intact(server: FaultServer, format: str, folder: Path) -> bool:
    """Whether every row can be read, and no object was destroyed."""
    return not server.destroyed(server.bucket) and rows(server, format, folder).equals(as_text(FRAME, format))


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("how", LOST)
@pytest.mark.parametrize("format", FORMATS)
def test_a_delivery_that_is_settled_by_evidence_is_left_alone(  # noqa: PLR0913, PLR0917  three dimensions, three fixtures
    keeper: FaultServer, format: str, how: str, n: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is delivered, nothing is aborted, and no warning speaks of an upload that could not be."""
    lose(keeper, how, n)
    with caplog.at_level(logging.WARNING):
        receipt = deliver(keeper, format=format)
    assert receipt.verify().ok
    assert keeper.log.of("Abort") == []
    assert "abort" not in caplog.text
    assert is_intact(keeper, format, tmp_path)


@pytest.mark.parametrize("ending", ["recover", "rerun", "discard", "discard staged"])
@pytest.mark.parametrize("format", FORMATS)
def test_an_interrupted_delivery_destroys_nothing(
    keeper: FaultServer, format: Any, ending: str, tmp_path: Path
) -> None:
    """It stopped after the second of three was made; every way to end it leaves visible files as they are."""
    staged = mc_sink.stage(
        FRAME,
        keeper.writer.target("p/"),
        run_id=RUN,
        format=format,
        max_rows_per_file=20,
        storage_options=options(keeper),
    )

    keeper.fault("Complete", Call(interrupt), n=2, when="after")
    with pytest.raises(KeyboardInterrupt):
        mc_sink.publish([staged], storage_options=options(keeper))
    assert keeper.wait_until_idle()
    keeper.heal()
    visible = {key: one.data for key, one in seen(keeper).items()}
    assert len(visible) == 2
    if ending == "discard staged":
        mc_sink.discard([pickle.loads(pickle.dumps(staged))], storage_options=options(keeper))  # noqa: S301  our own
    elif ending == "discard":
        left = mc_sink.recover(RUN, action="discard", storage_options=options(keeper))
        assert sum("is visible and stays" in message for message in left) == 2
    elif ending == "recover":
        assert mc_sink.recover(RUN, storage_options=options(keeper)).verify().ok
    else:
        assert deliver(keeper, format=format).verify().ok
    assert keeper.destroyed(keeper.bucket) == []
    assert {key: keeper.read(keeper.bucket, key) for key in visible} == {
        key: b"".join(data) for key, data in visible.items()
    }
    if "discard" not in ending:
        assert is_intact(keeper, format, tmp_path)


def interrupt(_: object) -> None:
    """Interrupt the main thread, and give it the time to hear it."""
    _thread.interrupt_main()
    time.sleep(0.3)


@pytest.mark.parametrize("format", FORMATS)
def test_a_third_try_tidies_what_never_was_an_object_and_nothing_else(format: str, tmp_path: Path) -> None:
    """The first attempt's Complete had effect and the second's was refused: the first's uploads stay, the others go."""
    with FaultServer(replace(TINY, completed_uploads="kept")) as server:
        server.fault("Complete", Reset(), when="after")
        server.fault("Complete", Reset("head"), n=2, times=FOREVER)
        server.fault("List", Status(500), n=6, times=FOREVER)  # those after the first Complete
        with pytest.raises(CommitError):
            deliver(server, format=format, read_timeout=0.5)
        server.heal()
        (journal,) = mc_sink.list_journals()
        first = journal.staged[0].files[0].upload
        assert isinstance(first, Multipart)
        assert deliver(server, format=format).verify().ok
        assert first.upload_id not in {one.upload_id for one in server.log.of("Abort")}
        assert len(server.log.of("Abort")) == 2
        assert is_intact(server, format, tmp_path)


def test_a_late_discard_looks_first(tmp_path: Path) -> None:
    """Another process published it, and its journal is struck out: nothing but a listing tells."""
    with FaultServer(replace(TINY, completed_uploads="kept")) as server:
        how: dict[str, Any] = {"run_id": RUN, "max_rows_per_file": 20, "storage_options": options(server)}
        staged = mc_sink.stage(FRAME, server.writer.target("p/"), **how)
        mc_sink.publish([staged], storage_options=options(server))
        left = mc_sink.discard([staged], storage_options=options(server))
        assert server.log.of("Abort") == []
        assert len(left) == 3
        assert all("may be the object at" in message for message in left)
        assert is_intact(server, "csv", tmp_path)


def test_what_is_certainly_no_object_is_aborted() -> None:
    """Staged and never published, or refused for certain: nothing stays pending, in this process or the next."""
    with FaultServer(replace(TINY, completed_uploads="kept")) as server:
        how: dict[str, Any] = {"run_id": RUN, "max_rows_per_file": 20, "storage_options": options(server)}
        for _ in range(2):
            staged = mc_sink.stage(FRAME, server.writer.target("p/"), **how)
            assert mc_sink.discard([staged], storage_options=options(server)) == []
            assert server.pending_uploads(server.bucket) == []
        server.fault("Complete", Status(403, "AccessDenied"))
        with pytest.raises(mc_sink.PermissionDenied):
            deliver(server)
        assert server.pending_uploads(server.bucket) == []


def test_an_object_that_proved_to_be_another_is_not_touched() -> None:
    """What is visible is wrong, and no more is done to it."""
    with FaultServer(replace(TINY, completed_uploads="kept")) as server:
        server.fault(
            "Complete",
            Body(
                200, b"<CompleteMultipartUploadResult><ETag>%s-4</ETag></CompleteMultipartUploadResult>" % (b"0" * 32)
            ),
            when="after",
        )
        server.fault("List", Status(403, "AccessDenied"), n=2, times=FOREVER)
        with pytest.raises(CommitError, match="is not what was sent"):
            deliver(server, max_rows_per_file=None)
        assert server.log.of("Abort") == []


# --- Uploads that only the store knows


@pytest.mark.parametrize("fault", [Reset(), Status(500)], ids=["lost", "error"])
def test_an_upload_whose_create_was_not_answered_is_reported(
    server: FaultServer, fault: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The second attempt begins another, and the delivery is whole; the first may be pending, and is reported."""
    server.fault("Create", fault, when="after")
    assert deliver(server, max_rows_per_file=None).verify().ok
    assert len(server.pending_uploads(server.bucket)) == 1
    (message,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert f"s3://bucket/p/{RUN}.csv" in message
    assert "AbortIncompleteMultipartUpload" in message


def test_no_upload_is_reported_for_being_asked_to_slow_down(
    server: FaultServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A throttled Create has begun nothing."""
    server.fault("Create", Status(503, "SlowDown"))
    assert deliver(server, max_rows_per_file=None).verify().ok
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_an_upload_whose_create_is_never_answered_is_reported(server: FaultServer) -> None:
    """The delivery fails, and the note on its error says that an upload may be pending."""
    server.fault("Create", Status(500), times=FOREVER, when="after")
    with pytest.raises(mc_sink.UploadError) as raised:
        deliver(server, max_rows_per_file=None, read_timeout=0.5)
    assert len(server.pending_uploads(server.bucket)) > 1
    assert any("not answered" in note and "AbortIncompleteMultipartUpload" in note for note in raised.value.__notes__)


def test_nothing_is_unknown_that_a_listing_settles(keeper: FaultServer) -> None:
    """A Complete that is reported as in progress for ever is settled as soon as its object is visible."""
    keeper.fault("Complete", Status(500, "InternalError", "This multipart completion is already in progress"))
    keeper.fault("Complete", Reset(), n=2, when="after")
    try:
        assert deliver(keeper).verify().ok
    except CommitUnknown:
        pytest.fail("it is visible")


@pytest.mark.parametrize("format", FORMATS)
def test_a_refusal_that_our_own_request_may_have_caused_aborts_nothing(format: str, tmp_path: Path) -> None:
    """Something in between repeats a Complete and passes on the second answer, 412: the object is this run's."""
    with FaultServer(replace(TINY, completed_uploads="kept")) as server:
        server.fault("Complete", Status(412, "PreconditionFailed"), when="after")
        assert deliver(server, format=format).verify().ok
        assert server.log.of("Abort") == []
        assert server.destroyed(server.bucket) == []
        assert is_intact(server, format, tmp_path)


@pytest.mark.parametrize("etags", ["s3", "whole"])
def test_such_a_refusal_under_a_run_id_of_its_own_aborts_nothing_either(etags: Literal["s3", "whole"]) -> None:
    """A run without an earlier attempt may be refused because the key is taken; the object may still be its own."""
    with FaultServer(replace(TINY, completed_uploads="kept", etags=etags)) as server:
        server.fault("Complete", Status(412, "PreconditionFailed"), when="after")
        with suppress(mc_sink.SinkError):  # a store whose ETags identify the object may settle it
            mc_sink.sink_madconnect(FRAME, server.writer.target("p/"), storage_options=options(server), progress=False)
        assert server.log.of("Complete")
        assert server.log.of("Abort") == []
        assert server.destroyed(server.bucket) == []
