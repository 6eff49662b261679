"""Many files are published at once, but for the first and the manifest; no failure leaves anything unknown."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

import mc_sink
from mc_sink import AlreadyExistsError, CommitError, CommitUnknown
from mc_sink.publishing import publication
from tests.servers.fault import FaultServer
from tests.servers.faults import FOREVER, BlackHole, Call, Kill, Reset, Status
from tests.support import killed_deliveries
from tests.support.frames import numbers
from tests.support.killed_deliveries import Children
from tests.support.small_deliveries import FRAME, MANIFEST, RUN, TINY, assert_delivered_once, deliver, options, seen

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.operations import Request
    from tests.servers.strike import Incoming
    from tests.servers.wire import Reply

pytestmark = pytest.mark.usefixtures("tiny")
NUM_FILES = 20
MANY: dict[str, Any] = {"max_rows_per_file": 3, "part_size": 50}
DENIED = Status(403, "AccessDenied")


def recover(server: FaultServer, **how: Any) -> Any:
    """Recover the run."""
    return mc_sink.recover(RUN, storage_options=options(server), **how)


def urls(server: FaultServer) -> list[str]:
    """Return the URLs of the delivery's files, in order, with its manifest last."""
    return [server.writer.target(key) for key in [*(f"p/{RUN}-{n:05d}.csv" for n in range(NUM_FILES)), MANIFEST]]


def visible(server: FaultServer) -> set[str]:
    """Return the URLs of all that is visible."""
    return {server.writer.target(key) for key in seen(server)}


def test_several_are_under_way_at_once(server: FaultServer, tmp_path: Path) -> None:
    """All but the first wait for one another at the server; that could not be if one came after the other."""
    meeting, alone = threading.Barrier(NUM_FILES - 1, timeout=30), []

    def count(_: object) -> None:
        time.sleep(0.3)
        alone.append(len(server.log.of("Complete")))

    server.fault("Complete", Call(count))
    server.fault("Complete", Call(lambda _: meeting.wait()), n=2, times=NUM_FILES - 1)
    receipt = deliver(server, **MANY)
    assert alone == [1]
    assert [file.path for file in receipt.files] == urls(server)[:-1]
    assert server.log.of("Complete")[-1].key == MANIFEST
    assert_delivered_once(server, FRAME, "csv", tmp_path)


def test_64_are_under_way_at_once(server: FaultServer) -> None:
    """Of 79 files after the first, 64 wait for one another at the server: they take two round trips in a row."""
    meeting = threading.Barrier(64, timeout=30)
    server.fault("Complete", Call(lambda _: meeting.wait()), n=2, times=64)
    patient = options(server, part_size=50) | {"config_kwargs": {"read_timeout": 60}}  # no request is sent twice
    receipt = mc_sink.sink_madconnect(
        numbers(160), server.writer.target("p/"), max_rows_per_file=2, storage_options=patient, progress=False
    )
    assert receipt.num_files == 80
    assert not meeting.broken


def test_nothing_is_visible_where_the_first_key_is_taken(server: FaultServer) -> None:
    """The first file is published by itself, so that its refusal leaves no half delivery."""
    taken = f"p/{RUN}-00000.csv"
    meanwhile = Call(lambda _: server.put_foreign(server.bucket, taken, b"foreign"))
    server.fault("Part", meanwhile, n=NUM_FILES)
    with pytest.raises(AlreadyExistsError):
        deliver(server, **MANY)
    assert len(server.log.of("Complete")) <= 1
    assert list(seen(server)) == [taken]


@pytest.mark.parametrize("k", [2, 7, NUM_FILES])
def test_a_refusal_tells_what_is_visible_and_recovery_ends_it(server: FaultServer, tmp_path: Path, k: int) -> None:
    """What was under way has ended when the error is raised, which lists both sides in order."""
    server.fault("Complete", DENIED, n=k)
    with pytest.raises(CommitError, match="Publishing stopped at") as raised:
        deliver(server, **MANY)
    assert not isinstance(raised.value, CommitUnknown)
    assert set(raised.value.committed) == visible(server)
    both = set(raised.value.committed) | set(raised.value.uncommitted)
    assert list(raised.value.committed) == [url for url in urls(server) if url in raised.value.committed]
    assert list(raised.value.uncommitted) == [url for url in urls(server) if url in raised.value.uncommitted]
    assert both == set(urls(server))
    server.heal()
    receipt = recover(server)
    assert receipt.num_found == len(raised.value.committed)
    assert_delivered_once(server, FRAME, "csv", tmp_path)


def test_no_other_is_begun_after_a_failure(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused to one file is refused to the next."""
    monkeypatch.setattr("mc_sink.storage.s3.bucket.S3Store.publishes_at_once", 2)
    server.fault("Complete", DENIED, n=4, times=FOREVER)
    with pytest.raises(CommitError):
        deliver(server, **MANY)
    assert len(server.log.of("Complete")) <= 6


class TwoFail(FaultServer):
    """A store at which one file is denied, and another is never answered as it should be, once all are under way."""

    together = threading.Barrier(NUM_FILES - 1, timeout=30)
    answers: ClassVar = {"00005.csv": (403, "AccessDenied"), "00009.csv": (500, "InternalError")}
    healed = False

    def answer(self, request: Request, incoming: Incoming) -> Reply:
        """Refuse the two."""
        name = request.key.rpartition("-")[2]
        if request.op != "Complete" or self.healed:
            return super().answer(request, incoming)
        if name != "00000.csv" and len(self.log.of("Complete")) <= NUM_FILES:
            with suppress(threading.BrokenBarrierError):
                self.together.wait()
        if name in self.answers:
            return self.error(request, *self.answers[name], "Made up.")
        return super().answer(request, incoming)


def test_doubt_weighs_more_than_a_refusal(tmp_path: Path) -> None:
    """One file is refused, and another may be visible: the error says that it isn't known, and tells of both."""
    with TwoFail(TINY) as server:
        with pytest.raises(CommitUnknown, match=r"00009.csv may or may not be visible") as raised:
            deliver(server, **MANY, read_timeout=1.5)
        assert any("another file failed too" in note and "00005.csv" in note for note in raised.value.__notes__)
        assert set(raised.value.committed) == visible(server)
        server.healed = True
        recover(server)
        assert_delivered_once(server, FRAME, "csv", tmp_path)


def test_an_interrupt_ends_what_is_under_way(server: FaultServer, tmp_path: Path) -> None:
    """Ctrl-C while the store is silent: it is raised at once, says what may be visible, and recovery ends it."""
    main, begun = threading.main_thread().ident or 0, time.monotonic()

    def interrupt(_: object) -> None:
        deadline = time.monotonic() + 15
        while len(server.log.of("Complete")) < NUM_FILES and time.monotonic() < deadline:
            time.sleep(0.02)  # until all the others have been sent
        signal.pthread_kill(main, signal.SIGINT)

    server.fault("Complete", Call(interrupt), n=2)
    server.fault("Complete", BlackHole(), n=3, times=FOREVER)
    slow = options(server) | {"config_kwargs": {"read_timeout": 60}}
    with pytest.raises(KeyboardInterrupt) as raised:
        mc_sink.sink_madconnect(
            FRAME, server.writer.target("p/"), run_id=RUN, max_rows_per_file=3, storage_options=slow, progress=False
        )
    assert time.monotonic() - begun < 20
    notes = raised.value.__notes__
    # All but the first, and the one whose request was the second to arrive, whichever that was.
    told = [url for url in urls(server) if any(f"{url} was just being published and may be" in note for note in notes)]
    assert len(told) >= NUM_FILES - 2
    assert any(f'recover("{RUN}")' in note for note in notes)
    server.heal()
    assert recover(server).num_rows == FRAME.height
    assert_delivered_once(server, FRAME, "csv", tmp_path)


@pytest.mark.parametrize("when", ["before", "after"])
def test_replies_that_are_lost_are_settled_by_evidence(server: FaultServer, tmp_path: Path, when: Any) -> None:
    """Every second reply breaks off, before or after its effect, and the delivery is whole all the same."""
    for n in range(2, NUM_FILES, 2):
        server.fault("Complete", Reset(), n=n, when=when)
    assert deliver(server, **MANY).num_rows == FRAME.height
    assert_delivered_once(server, FRAME, "csv", tmp_path, in_doubt=True)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("ending", ["recover", "rerun"])
def test_a_killed_publisher_is_recovered(state: Path, tmp_path: Path, ending: str, when: Any) -> None:
    """SIGKILL while several requests are under way: the journal knows each of them, and one copy comes of it."""
    num_rows = 15 * 20
    with FaultServer(TINY) as server, Children(1) as children:
        child = children.take()
        server.fault("Complete", Kill(child.pid), n=6, when=when)
        child.start(state, url=server.url, run_id=RUN, rows=num_rows)
        code, errors = child.end()
        assert code == -signal.SIGKILL, errors
        assert server.wait_until_idle()
        server.heal()
        assert 1 <= len(visible(server)) < 15
        if ending == "recover":
            mc_sink.recover(RUN, storage_options=options(server, killed_deliveries.PART_SIZE))
        else:
            killed_deliveries.deliver(server.url, rows=num_rows, run_id=RUN)
        assert_delivered_once(server, killed_deliveries.frame(num_rows), "csv", tmp_path, in_doubt=True)


def test_few_files_become_visible_in_order(server: FaultServer) -> None:
    """Of nine files none is visible before the one ahead of it."""
    deliver(server, max_rows_per_file=7, part_size=50)
    keys = [record.key for record in server.log.of("Complete")]
    assert keys == [*(f"p/{RUN}-{n:05d}.csv" for n in range(publication.FEW_FILES + 1)), MANIFEST]
