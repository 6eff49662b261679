"""The file that engines write into: deaf after a failure, and it never forgets which failure was the first."""

from __future__ import annotations

import threading
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_sink import UploadError
from mc_sink.staged import Temporary
from mc_sink.storage import Writer

DONE = Temporary("/data/x.csv", "/data/.x.csv.partial")


class Shelf:
    """A destination in memory that can fail, and can make a `write` wait until it is stopped."""

    def __init__(self, *, fail_at: int | None = None, wait_at: int | None = None) -> None:
        self.taken: list[bytes] = []
        self.calls: list[str] = []
        self.crc = 0
        self.waiting = threading.Event()
        self.stopped = threading.Event()
        self.busy = threading.Lock()
        self._fail_at, self._wait_at = fail_at, wait_at

    def write(self, data: bytes) -> None:
        """Take bytes, one writer at a time."""
        assert self.busy.acquire(blocking=False)
        try:
            if len(self.taken) == self._fail_at:
                raise OSError("the shelf is full")
            if len(self.taken) == self._wait_at:
                self.waiting.set()
                assert self.stopped.wait(10)
                raise UploadError("the upload was stopped")
            self.taken.append(data)
            self.crc = zlib.crc32(data, self.crc)
        finally:
            self.busy.release()

    def finish(self) -> Temporary:
        """Say that all is stored."""
        self.calls.append("finish")
        return DONE

    def stop(self) -> None:
        """Let a write that waits go."""
        self.calls.append("stop")
        self.stopped.set()

    def abort(self) -> str | None:
        """Throw all away."""
        self.calls.append("abort")
        return "something is left behind"


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_bytes_are_passed_on_counted_and_summed(writes: list[bytes]) -> None:
    """What is written arrives in order; `tell`, `num_bytes` and `crc` are those of all of it."""
    shelf = Shelf()
    writer = Writer(shelf)
    assert [writer.write(data) for data in writes] == [len(data) for data in writes]
    assert b"".join(shelf.taken) == b"".join(writes)
    assert writer.tell() == writer.num_bytes == len(b"".join(writes))
    assert writer.crc == zlib.crc32(b"".join(writes))
    assert writer.finish() is DONE


def test_engines_may_call_flush() -> None:
    """It stores nothing and ends nothing."""
    shelf = Shelf()
    writer = Writer(shelf)
    writer.flush()
    writer.write(b"x")
    writer.flush()
    assert (shelf.taken, shelf.calls) == ([b"x"], [])


def test_a_failing_store_is_told_once_and_then_nothing_more_gets_through() -> None:
    """The store's own exception is raised and kept; later writes are swallowed, as engines make them."""
    shelf = Shelf(fail_at=1)
    writer = Writer(shelf)
    writer.write(b"one")
    with pytest.raises(OSError, match="full") as raised:
        writer.write(b"two")
    assert writer.write(b"three") == 5
    writer.flush()
    assert writer.failure is raised.value
    assert shelf.taken == [b"one"]
    assert (writer.num_bytes, writer.crc) == (3, zlib.crc32(b"one"))


def test_nothing_is_finished_after_a_failure() -> None:
    """An engine that carries on as on success gets no upload to publish, and the first failure as the cause."""
    shelf = Shelf(fail_at=0)
    writer = Writer(shelf)
    with pytest.raises(OSError, match="full") as raised:
        writer.write(b"one")
    with pytest.raises(UploadError, match="can't be finished") as refused:
        writer.finish()
    assert refused.value.__cause__ is raised.value
    assert "finish" not in shelf.calls


def test_nothing_is_finished_after_a_poisoning() -> None:
    """A writer that was poisoned swallows everything and refuses to finish."""
    shelf = Shelf()
    writer = Writer(shelf)
    cause = KeyboardInterrupt()
    writer.write(b"one")
    writer.poison(cause)
    assert writer.write(b"two") == 3
    assert shelf.taken == [b"one"]
    with pytest.raises(UploadError) as refused:
        writer.finish()
    assert refused.value.__cause__ is cause


def test_the_first_failure_is_the_one_kept() -> None:
    """All later failures are consequences."""
    writer = Writer(Shelf(fail_at=0))
    with pytest.raises(OSError, match="full") as raised:
        writer.write(b"one")
    writer.poison(KeyboardInterrupt())
    writer.abort(SystemExit())
    assert writer.failure is raised.value


def test_a_poisoned_write_that_waits_is_let_go() -> None:
    """Poisoning waits for no lock: it ends the write that holds it, and its cause is the one kept."""
    shelf = Shelf(wait_at=0)
    writer = Writer(shelf)
    cause = KeyboardInterrupt()
    with ThreadPoolExecutor(1) as engine:
        written = engine.submit(writer.write, b"one")
        assert shelf.waiting.wait(10)
        writer.poison(cause)
        with pytest.raises(UploadError, match="stopped"):
            written.result(10)
    assert writer.failure is cause


def test_aborting_waits_for_a_write_under_way_and_tells_what_is_left() -> None:
    """The store discards only after the last write has ended."""
    shelf = Shelf(wait_at=0)
    writer = Writer(shelf)
    with ThreadPoolExecutor(1) as engine:
        written = engine.submit(writer.write, b"one")
        assert shelf.waiting.wait(10)
        assert writer.abort(KeyboardInterrupt()) == "something is left behind"
        assert isinstance(written.exception(10), UploadError)
    assert shelf.calls == ["stop", "abort"]


def test_writes_after_finishing_are_swallowed() -> None:
    """What an engine writes too late changes neither the bytes nor their sum."""
    shelf = Shelf()
    writer = Writer(shelf)
    writer.write(b"one")
    writer.finish()
    assert writer.write(b"late") == 4
    assert shelf.taken == [b"one"]
    assert writer.crc == zlib.crc32(b"one")


def test_leaving_or_dropping_a_writer_finishes_nothing() -> None:
    """It has no `close`, and garbage collection shows nothing."""
    shelf = Shelf()
    writer = Writer(shelf)
    writer.write(b"one")
    assert not hasattr(writer, "close")
    assert not hasattr(writer, "__exit__")
    del writer
    assert shelf.calls == []


def test_threads_write_one_at_a_time() -> None:
    """Writes from several threads are never in the store at once; all are counted, and summed in their order."""
    shelf = Shelf()
    writer = Writer(shelf)
    with ThreadPoolExecutor(8) as engine:
        list(engine.map(writer.write, [bytes([i % 256]) * (i % 97) for i in range(2_000)]))
    assert writer.num_bytes == sum(i % 97 for i in range(2_000))
    assert writer.crc == zlib.crc32(b"".join(shelf.taken))
