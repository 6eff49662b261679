"""Parts: how an object is cut, how many are on their way, and what is made of the store's answers."""

from __future__ import annotations

import asyncio
import threading
import time
import zlib
from base64 import b64decode
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_sink import AlreadyExistsError, ConfigurationError, PermissionDenied, SinkError, UploadError
from mc_sink.staged import Multipart, Whole
from mc_sink.storage import StoreSupport
from mc_sink.storage.s3.failures import RequestFailed
from mc_sink.storage.s3.multipart import MAX_KEPT, S3Parts, abort_upload
from mc_sink.storage.s3.part_plan import MIB, PartPlan
from mc_sink.storage.s3.request import SIGNED, SUMMED, PartBody

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mc_sink.storage.s3.client import Requests

SMALL = PartPlan(first_size=4, doubles_every=2, in_flight=3, max_parts=12, max_size=16, min_size=1)
WHERE = {"Bucket": "bucket", "Key": "p/x.csv"}
TIB = 2**40


class Shelf:
    """The store's side of an upload, in memory, on an event loop of its own: it answers while `answering` is set."""

    def __init__(self, *, sums_parts: bool = True) -> None:
        self.sums_parts = sums_parts
        self.support = StoreSupport()
        self.answering = threading.Event()
        self.answering.set()
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {}
        self.in_flight = 0
        self.most_in_flight = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def start(self, operation: str, **parameters: Any) -> Future[dict[str, Any]]:
        """Begin a request, and keep the bytes of its body, as a store does."""
        if "Body" in parameters:
            parameters["Body"].seek(0)
            parameters["Body"] = PartBody([memoryview(parameters["Body"].read())])
        self.asked.append((operation, parameters))
        return asyncio.run_coroutine_threadsafe(self._answer(operation, parameters), self._loop)

    def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Make a request and wait for its answer."""
        return self.start(operation, **parameters).result(10)

    def bodies(self) -> list[bytes]:
        """Give the bodies of the parts, in their order."""
        return [parameters["Body"].read() for operation, parameters in self.asked if operation == "upload_part"]

    def operations(self) -> list[str]:
        """Give the names of what was asked."""
        return [operation for operation, _ in self.asked]

    def close(self) -> None:
        """Cancel what is under way, and end the loop."""
        self.answering.set()
        asyncio.run_coroutine_threadsafe(self._cancel_all(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _cancel_all(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _answer(self, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        if operation == "upload_part":
            self.in_flight += len(parameters["Body"])
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            try:
                await asyncio.sleep(0)
                while not self.answering.is_set():  # noqa: ASYNC110  it is set by other threads
                    await asyncio.sleep(0.001)
            finally:
                self.in_flight -= len(parameters["Body"])
        if operation in self.answers:
            return self.answers[operation](parameters)
        if operation == "create_multipart_upload":
            return {"UploadId": "u1"}
        echoed = {"ChecksumCRC32": parameters["ChecksumCRC32"]} if "ChecksumCRC32" in parameters else {}
        return {"ETag": f'"{len(self.asked)}"', SIGNED: self.signs(operation), SUMMED: echoed, **echoed}

    def signs(self, operation: str) -> bool:
        """Whether bodies are signed; this store has checked what it echoes."""
        return operation == "upload_part" and not self.sums_parts


def fails(code: str, status: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Make an answer that refuses."""

    def refuse(parameters: dict[str, Any]) -> dict[str, Any]:
        operation = "upload_part" if "PartNumber" in parameters else "create_multipart_upload"
        raise RequestFailed(operation, status, code, "no", uncertain=status >= 500)

    return refuse


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    """Give a store in memory."""
    made = Shelf()
    yield made
    made.close()


def parts_on(shelf: Shelf, plan: PartPlan = SMALL) -> S3Parts:
    """Begin an object."""
    return S3Parts(cast("Requests", shelf), "bucket", "p/x.csv", {"ContentType": "text/csv"}, plan, keeps_whole=True)


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, or fail after five seconds."""
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


# --- The plan


def test_ten_thousand_parts_hold_the_largest_object() -> None:
    """From the default first size, 10,000 parts hold more than 5 TiB, the largest object for most stores."""
    plan = PartPlan()
    assert plan.max_parts == 10_000
    assert sum(plan.size(number) for number in range(1, plan.max_parts + 1)) >= 5 * TIB


@pytest.mark.parametrize("first_size", [5 * MIB, 6 * MIB, 8 * MIB, 100 * MIB, 5 * 1024 * MIB])
def test_any_first_size_holds_the_largest_object(first_size: int) -> None:
    """No first size that is taken runs out of parts before 5 TiB."""
    plan = PartPlan(first_size=first_size)
    assert sum(plan.size(number) for number in range(1, plan.max_parts + 1)) >= 5 * TIB


@given(st.integers(5 * MIB, 5 * 1024 * MIB))
def test_every_part_is_of_a_size_that_s3_takes(first_size: int) -> None:
    """Sizes start as asked, never shrink, and stay from 5 MiB to 5 GiB."""
    plan = PartPlan(first_size=first_size)
    sizes = [plan.size(number) for number in range(1, plan.max_parts + 1)]
    assert sizes[0] == first_size
    assert sizes == sorted(sizes)
    assert 5 * MIB <= sizes[0] <= sizes[-1] <= 5 * 1024 * MIB


def test_parts_double_every_nine_hundred() -> None:
    """The 901st part is twice the first."""
    plan = PartPlan()
    assert [plan.size(number) // MIB for number in (1, 900, 901, 1_800, 1_801, 10_000)] == [16, 16, 32, 32, 64, 5_120]


@pytest.mark.parametrize(
    "asked",
    [
        {"first_size": 5 * MIB - 1},
        {"first_size": 5 * 1024 * MIB + 1},
        {"first_size": 0},
        {"in_flight": 0},
        {"in_flight": -1},
    ],
)
def test_a_plan_that_s3_would_refuse_is_refused(asked: dict[str, Any]) -> None:
    """Sizes and numbers out of range are refused under the names that the caller wrote."""
    with pytest.raises(ConfigurationError, match=r"default_block_size=.* with max_concurrency="):
        PartPlan(**asked)


# --- Cutting


@given(writes=st.lists(st.binary(max_size=30), max_size=12))
def test_any_writes_give_parts_of_the_planned_sizes(writes: list[bytes]) -> None:
    """However the bytes come, every part but the last has its planned size, and together they are the bytes."""
    shelf = Shelf()
    whole = b"".join(writes)
    plan = PartPlan(first_size=4, doubles_every=2, in_flight=2, max_size=16, min_size=1)
    parts = parts_on(shelf, plan)
    try:
        for data in writes:
            parts.write(data)
        upload = parts.finish()
    finally:
        shelf.close()
    if len(whole) < 4:
        assert upload == Whole("bucket", "p/x.csv", whole, {"ContentType": "text/csv"})
        assert shelf.asked == []
        return
    assert isinstance(upload, Multipart)
    assert b"".join(shelf.bodies()) == whole
    sizes = [part.num_bytes for part in upload.parts]
    assert sizes[:-1] == [plan.size(number) for number in range(1, len(sizes))]
    assert 0 < sizes[-1] <= plan.size(len(sizes))
    assert [part.number for part in upload.parts] == list(range(1, len(sizes) + 1))


def test_less_than_a_part_is_kept_and_nothing_is_sent(shelf: Shelf) -> None:
    """A small object is staged as its bytes, for the one request that will put it."""
    parts = parts_on(shelf)
    parts.write(b"abc")
    assert parts.finish() == Whole("bucket", "p/x.csv", b"abc", {"ContentType": "text/csv"})
    assert shelf.asked == []


def test_a_larger_object_is_uploaded_whatever_the_size_of_a_part(shelf: Shelf) -> None:
    """A journal holds as text what is kept; one byte more is an upload of a single part."""
    for size, kind in ((MAX_KEPT, Whole), (MAX_KEPT + 1, Multipart)):
        parts = parts_on(shelf, PartPlan(first_size=64 * MIB))
        parts.write(bytes(size))
        assert type(parts.finish()) is kind
    assert shelf.operations() == ["create_multipart_upload", "upload_part"]


def test_nothing_written_is_an_empty_object(shelf: Shelf) -> None:
    """No bytes at all are an object too."""
    upload = parts_on(shelf).finish()
    assert isinstance(upload, Whole)
    assert upload.body == b""


def test_an_upload_carries_its_options_sums_and_etags(shelf: Shelf) -> None:
    """The upload is created with the object's options; each part goes with its number and CRC32, and keeps its ETag."""
    parts = parts_on(shelf)
    parts.write(b"abcdefgh+")
    upload = parts.finish()
    assert isinstance(upload, Multipart)
    (_, created), *sent = shelf.asked
    assert created == WHERE | {"ContentType": "text/csv", "ChecksumAlgorithm": "CRC32", "ChecksumType": "FULL_OBJECT"}
    for number, (operation, parameters) in enumerate(sent, start=1):
        assert operation == "upload_part"
        assert parameters["PartNumber"] == number
        assert parameters["UploadId"] == upload.upload_id == "u1"
        assert b64decode(parameters["ChecksumCRC32"]) == zlib.crc32(parameters["Body"].read()).to_bytes(4, "big")
    assert [(part.checksum, part.num_bytes) for part in upload.parts] == [
        (parameters["ChecksumCRC32"], len(parameters["Body"])) for _, parameters in sent
    ]
    assert all(part.etag for part in upload.parts)


def test_a_store_without_checksums_is_sent_none() -> None:
    """Where sums are switched off, no request names one."""
    shelf = Shelf(sums_parts=False)
    parts = parts_on(shelf)
    try:
        parts.write(b"abcdefgh")
        parts.finish()
    finally:
        shelf.close()
    assert not any(name.startswith("Checksum") for _, parameters in shelf.asked for name in parameters)


# --- In flight


def test_several_parts_are_on_their_way_and_no_more_than_planned(shelf: Shelf) -> None:
    """With a store that doesn't answer, three parts of four bytes are sent, and the writer waits with the fourth."""
    plan = PartPlan(first_size=4, in_flight=3, min_size=1)
    parts = parts_on(shelf, plan)
    shelf.answering.clear()
    with ThreadPoolExecutor(1) as engine:
        written = engine.submit(parts.write, b"x" * 40)
        until(lambda: shelf.in_flight == 12)
        time.sleep(0.05)
        assert (shelf.in_flight, written.done()) == (12, False)
        shelf.answering.set()
        written.result(10)
    parts.finish()
    assert shelf.most_in_flight == 12
    assert len(shelf.bodies()) == 10


@given(writes=st.lists(st.integers(1, 60), min_size=1, max_size=8), in_flight=st.integers(1, 4))
def test_bytes_in_flight_are_bounded_while_parts_grow(writes: list[int], in_flight: int) -> None:
    """Never more than the first size times the parts in flight is on its way, or else a single part."""
    shelf = Shelf()
    plan = PartPlan(first_size=4, doubles_every=2, in_flight=in_flight, max_size=64, min_size=1)
    parts = parts_on(shelf, plan)
    try:
        for size in writes:
            parts.write(b"x" * size)
        parts.finish()
    finally:
        shelf.close()
    largest = max((len(body) for body in shelf.bodies()), default=0)
    assert shelf.most_in_flight <= max(plan.bytes_in_flight, largest)


def test_an_object_of_too_many_parts_is_refused(shelf: Shelf) -> None:
    """Past the last part the error says so, and how many there may be."""
    with pytest.raises(UploadError, match="more than 12 parts"):
        parts_on(shelf).write(b"x" * 1_000)
    assert len(shelf.bodies()) == 12


# --- Failures


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [("AccessDenied", 403, PermissionDenied), ("InternalError", 500, UploadError), ("NoSuchUpload", 404, UploadError)],
)
def test_a_part_that_fails_fails_the_object(shelf: Shelf, code: str, status: int, error: type[SinkError]) -> None:
    """The store's refusal becomes this library's error, naming the part, and what was asked for is not finished."""
    shelf.answers["upload_part"] = fails(code, status)
    parts = parts_on(shelf)
    parts.write(b"abcd")
    with pytest.raises(error, match=r"s3://bucket/p/x\.csv, part 1") as raised:
        parts.finish()
    assert isinstance(raised.value.__cause__, RequestFailed)
    assert "complete_multipart_upload" not in shelf.operations()


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("AccessDenied", 403, PermissionDenied),
        ("PreconditionFailed", 412, AlreadyExistsError),
        ("InvalidStorageClass", 400, ConfigurationError),
    ],
)
def test_an_upload_that_cannot_begin_fails_the_object(
    shelf: Shelf, code: str, status: int, error: type[SinkError]
) -> None:
    """Nothing is sent when the store doesn't begin an upload, and nothing is there to abort."""
    shelf.answers["create_multipart_upload"] = fails(code, status)
    parts = parts_on(shelf)
    with pytest.raises(error):
        parts.write(b"abcd")
    assert parts.abort() is None
    assert shelf.operations() == ["create_multipart_upload"]


@pytest.mark.parametrize(
    ("operation", "expected"), [("create_multipart_upload", "without an upload id"), ("upload_part", "without an ETag")]
)
@pytest.mark.parametrize("answer", [{}, {"ETag": "", "UploadId": ""}, {"ETag": None, "UploadId": None}])
def test_an_answer_that_says_nothing_is_no_success(
    shelf: Shelf, operation: str, expected: str, answer: dict[str, Any]
) -> None:
    """A reply without an upload id, or a part's without an ETag, fails the object."""
    shelf.answers[operation] = lambda _: answer
    parts = parts_on(shelf)
    with pytest.raises(UploadError, match=expected):  # noqa: PT012  either call may be the one that notices
        parts.write(b"abcd")
        parts.finish()


def test_stopping_ends_a_write_that_waits(shelf: Shelf) -> None:
    """A write that waits for a store that doesn't answer raises at once, and its requests are cancelled."""
    parts = parts_on(shelf, PartPlan(first_size=4, in_flight=1, min_size=1))
    shelf.answering.clear()
    with ThreadPoolExecutor(1) as engine:
        written = engine.submit(parts.write, b"x" * 40)
        until(lambda: shelf.in_flight == 4)
        parts.stop()
        with pytest.raises(UploadError, match="was stopped") as raised:
            written.result(5)
    assert isinstance(raised.value.__cause__, CancelledError)
    until(lambda: shelf.in_flight == 0)


def test_nothing_is_sent_after_a_stop(shelf: Shelf) -> None:
    """A part that is full after the stop stays here."""
    parts = parts_on(shelf)
    parts.write(b"abcd")
    parts.stop()
    with pytest.raises(UploadError, match="was stopped"):
        parts.write(b"x" * 40)
    assert len(shelf.bodies()) == 1


def test_aborting_waits_for_parts_and_then_asks_the_store(shelf: Shelf) -> None:
    """The abort is the last request: no part may arrive after it and be paid for."""
    parts = parts_on(shelf)
    shelf.answering.clear()
    parts.write(b"abcdefgh")
    until(lambda: shelf.in_flight == 8)
    shelf.answers["abort_multipart_upload"] = lambda _: {"in_flight": shelf.in_flight}
    assert parts.abort() is None
    assert shelf.asked[-1] == ("abort_multipart_upload", WHERE | {"UploadId": "u1"})
    assert shelf.in_flight == 0


def test_aborting_what_was_never_begun_asks_nothing(shelf: Shelf) -> None:
    """An object that was kept in memory leaves nothing at the store."""
    parts = parts_on(shelf)
    parts.write(b"abc")
    assert parts.abort() is None
    assert shelf.asked == []


@pytest.mark.parametrize(
    ("code", "expected"), [("NoSuchUpload", None), ("AccessDenied", "The upload u1 of s3://bucket/p/x.csv could not")]
)
def test_an_abort_that_is_refused_is_told_and_not_raised(shelf: Shelf, code: str, expected: str | None) -> None:
    """A refusal gives a sentence with the upload's id and what removes it; an upload that is gone gives none."""
    shelf.answers["abort_multipart_upload"] = fails(code, 403)
    left = abort_upload(cast("Requests", shelf), WHERE, "u1")
    if expected is None:
        assert left is None
    else:
        assert left is not None
        assert left.startswith(expected)
        assert "AbortIncompleteMultipartUpload" in left
