"""Several deliveries at once, and deliveries inside event loops, pools and generators: whole, apart, or not at all."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import mc_sink
from mc_sink import Receipt
from tests.servers.faults import Call
from tests.support import child_deliveries
from tests.support.frames import FORMATS, SMALL_PARTS, as_text, failing_generator, failing_once, numbers, read_back
from tests.support.versions import raised_for

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from tests.servers.fault import FaultServer

# In seconds: less than the two read timeouts after which a child leaves a silent store.
IN_TIME = 30.0
BOUND = 120.0
BATCH = numbers(50_000)


class SourceError(Exception):
    """Raised by a caller's own source."""


def options(server: FaultServer) -> dict[str, Any]:
    """Give the server's address and key, and small parts."""
    return server.storage_options | SMALL_PARTS


def nothing_visible(server: FaultServer) -> bool:
    """Say whether the bucket shows no object and keeps no upload."""
    return not server.listing(server.bucket) and not server.pending_uploads(server.bucket)


def at_once(*deliveries: Callable[[], Receipt]) -> list[Receipt | Exception]:
    """Begin all of them at the same moment, and give what each returned or raised."""
    gate = threading.Barrier(len(deliveries))

    def begin(delivery: Callable[[], Receipt]) -> Receipt | Exception:
        gate.wait()
        try:
            return delivery()
        except (mc_sink.SinkError, raised_for(SourceError)) as error:
            return error

    with ThreadPoolExecutor(len(deliveries)) as pool:
        return list(pool.map(begin, deliveries))


def test_deliveries_on_many_threads_stay_apart(fault_s3: FaultServer, tmp_path: Path) -> None:
    """Eight at once, in three formats, to a bucket and a folder: each arrives whole, with its own rows alone."""
    frames = [numbers(60_000 + n).with_columns(who=pl.lit(n)) for n in range(8)]
    places = [f"{fault_s3.writer.target('p')}/{n}.{FORMATS[n % 3]}" for n in range(6)]
    places += [f"{tmp_path}/{n}.{FORMATS[n % 3]}" for n in range(6, 8)]

    def delivery(n: int) -> Callable[[], Receipt]:
        stored = options(fault_s3) if n < 6 else None
        return lambda: mc_sink.sink_madconnect(frames[n], places[n], storage_options=stored, run_id=f"run-{n}")

    receipts = at_once(*map(delivery, range(8)))
    for n, receipt in enumerate(receipts):
        assert isinstance(receipt, Receipt), receipt
        assert (receipt.run_id, receipt.num_rows) == (f"run-{n}", 60_000 + n)
        key, format = places[n].removeprefix(fault_s3.writer.target("")), FORMATS[n % 3]
        data = fault_s3.read(fault_s3.bucket, key) if n < 6 else (tmp_path / f"{n}.{format}").read_bytes()
        assert_frame_equal(read_back(data, format, tmp_path), as_text(frames[n], format))
    assert len(fault_s3.listing(fault_s3.bucket)) == 6
    assert fault_s3.pending_uploads(fault_s3.bucket) == []


def test_one_that_fails_takes_no_other_with_it(fault_s3: FaultServer) -> None:
    """Three at once, of which one's source fails once all have begun: the others arrive whole."""

    def delivery(name: str, frame: Any) -> Callable[[], Receipt]:
        target = fault_s3.writer.target(f"p/{name}.csv")
        return lambda: mc_sink.sink_madconnect(frame, target, storage_options=options(fault_s3))

    failing = failing_once(BATCH, lambda: len(fault_s3.log.of("Part")) > 3, SourceError("gone"))
    failed, *others = at_once(
        delivery("failing", failing), delivery("a", pl.concat([BATCH] * 6)), delivery("b", pl.concat([BATCH] * 6))
    )
    assert isinstance(failed, raised_for(SourceError))
    assert [other.num_rows for other in others if isinstance(other, Receipt)] == [300_000, 300_000]
    assert list(fault_s3.listing(fault_s3.bucket)) == ["p/a.csv", "p/b.csv"]
    assert fault_s3.pending_uploads(fault_s3.bucket) == []


@pytest.mark.parametrize("rows", [10, 150_000], ids=["one request", "many parts"])
@pytest.mark.parametrize("place", ["a bucket", "a folder"])
def test_one_of_two_at_the_same_moment_wins(fault_s3: FaultServer, tmp_path: Path, place: str, rows: int) -> None:
    """Two deliveries to one key: one is there, whole, and the other raises because the key is taken."""
    stored = options(fault_s3) if place == "a bucket" else None
    target = fault_s3.writer.target("p/x.csv") if place == "a bucket" else str(tmp_path / "x.csv")
    frames = [numbers(rows).with_columns(who=pl.lit(n)) for n in range(2)]

    def delivery(n: int) -> Callable[[], Receipt]:
        return lambda: mc_sink.sink_madconnect(frames[n], target, storage_options=stored)

    ends = at_once(delivery(0), delivery(1))
    assert sorted(type(end).__name__ for end in ends) == ["AlreadyExistsError", "Receipt"]
    (winner,) = (n for n, end in enumerate(ends) if isinstance(end, Receipt))
    data = fault_s3.read(fault_s3.bucket, "p/x.csv") if place == "a bucket" else (tmp_path / "x.csv").read_bytes()
    assert_frame_equal(read_back(data, "csv", tmp_path), frames[winner].cast(pl.String))
    assert fault_s3.pending_uploads(fault_s3.bucket) == []
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("rows", [10, 150_000], ids=["one request", "many parts"])
def test_one_run_id_twice_at_the_same_moment_delivers_once(fault_s3: FaultServer, rows: int) -> None:
    """A retry that overlaps what it retries ends well, both do, and one object exists."""

    def delivery() -> Receipt:
        target = fault_s3.writer.target("p/")
        return mc_sink.sink_madconnect(numbers(rows), target, run_id="one", storage_options=options(fault_s3))

    ends = at_once(delivery, delivery)
    assert [type(end).__name__ for end in ends] == ["Receipt", "Receipt"], ends
    assert list(fault_s3.listing(fault_s3.bucket)) == ["p/one.csv"]
    assert fault_s3.pending_uploads(fault_s3.bucket) == []


def test_a_coroutine_may_deliver(fault_s3: FaultServer) -> None:
    """Called in a coroutine, it holds the loop as any call does, delivers, and leaves the loop as it was."""

    async def main() -> tuple[int, str]:
        receipt = mc_sink.sink_madconnect(BATCH, fault_s3.writer.target("p/x.csv"), storage_options=options(fault_s3))
        await asyncio.sleep(0)
        return receipt.num_rows, await asyncio.to_thread(lambda: "still running")

    assert asyncio.run(main()) == (50_000, "still running")
    assert list(fault_s3.listing(fault_s3.bucket)) == ["p/x.csv"]


def test_a_loop_runs_on_beside_deliveries_on_its_threads(fault_s3: FaultServer) -> None:
    """`asyncio.to_thread` gives the loop back: it turns while three deliveries are under way."""
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += bool(fault_s3.log.of("Part"))
            await asyncio.sleep(0.001)

    async def main() -> list[Receipt]:
        turning = asyncio.create_task(turn())
        targets = [fault_s3.writer.target(f"p/x.{format}") for format in FORMATS]
        frame, storage = pl.concat([BATCH] * 6), options(fault_s3)
        try:
            return await asyncio.gather(
                *(asyncio.to_thread(mc_sink.sink_madconnect, frame, t, storage_options=storage) for t in targets)
            )
        finally:
            turning.cancel()

    assert [receipt.num_rows for receipt in asyncio.run(main())] == [300_000] * 3
    assert turns > 0


def test_a_cancelled_wait_leaves_the_delivery_to_its_thread(fault_s3: FaultServer) -> None:
    """Cancelling a task ends no thread: the delivery goes on to its end, whole, and the loop is free meanwhile."""
    sent = threading.Event()
    fault_s3.fault("Part", Call(lambda _: sent.set()))

    async def main() -> tuple[bool, int]:
        target, frame = fault_s3.writer.target("p/x.csv"), pl.concat([BATCH] * 8)
        task = asyncio.create_task(
            asyncio.to_thread(mc_sink.sink_madconnect, frame, target, storage_options=options(fault_s3))
        )
        await asyncio.to_thread(sent.wait, BOUND)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        receipt = mc_sink.sink_madconnect(BATCH, fault_s3.writer.target("p/y.csv"), storage_options=options(fault_s3))
        return task.cancelled(), receipt.num_rows

    assert asyncio.run(main()) == (True, 50_000)
    assert list(fault_s3.listing(fault_s3.bucket)) == ["p/x.csv", "p/y.csv"]
    assert fault_s3.pending_uploads(fault_s3.bucket) == []


def test_a_task_that_was_cancelled_may_still_deliver(fault_s3: FaultServer) -> None:
    """What a task delivers while it winds up is not ended by the cancelling that it winds up for."""

    async def wind_up() -> Receipt:
        try:
            await asyncio.sleep(60)
        finally:
            frame = (BATCH for _ in range(8))
            receipt = mc_sink.sink_madconnect(
                frame, fault_s3.writer.target("p/x.csv"), storage_options=options(fault_s3)
            )
        return receipt

    async def main() -> None:
        task = asyncio.create_task(wind_up())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(main())
    assert list(fault_s3.listing(fault_s3.bucket)) == ["p/x.csv"]


@pytest.mark.parametrize("how", ["in_a_coroutine", "in_a_thread_of_a_loop"])
def test_ctrl_c_under_an_event_loop_ends_in_order(fault_s3: FaultServer, how: str) -> None:
    """Once is enough for a coroutine; a thread is waited for by the loop and by Python, and each takes one more."""
    child = child_deliveries.start(how, fault_s3.url, "parquet")
    sent = threading.Event()
    fault_s3.fault("Part", Call(lambda _: sent.set()), n=2)
    try:
        assert sent.wait(BOUND)
        begun = time.monotonic()
        child.send_signal(signal.SIGINT)
        while how == "in_a_thread_of_a_loop" and child.poll() is None and time.monotonic() - begun < BOUND:
            time.sleep(0.3)
            child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=BOUND)
    finally:
        child.kill()
    assert time.monotonic() - begun < IN_TIME
    assert "KeyboardInterrupt" in errors
    assert "Fatal Python error" not in errors
    assert fault_s3.log.of("Complete", "Put") == []
    assert fault_s3.listing(fault_s3.bucket) == {}


def stage_share(url: str, storage: dict[str, Any], rows: int) -> mc_sink.Staged:
    """Stage some rows, in a process of its own."""
    return mc_sink.stage(numbers(rows), url, run_id=f"share-{rows}", storage_options=storage)


def test_spawned_children_stage_and_their_parent_publishes(fault_s3: FaultServer) -> None:
    """What is staged travels from a pool of spawned interpreters, and nothing shows until it is published here."""
    sizes, storage = [10, 60_000, 120_000], options(fault_s3)
    url = fault_s3.writer.target("p/")
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        shares = [pool.submit(stage_share, url, storage, rows) for rows in sizes]
        staged = [share.result(timeout=BOUND) for share in shares]
    assert fault_s3.listing(fault_s3.bucket) == {}
    receipts = [mc_sink.publish([one], storage_options=storage) for one in staged]
    assert [receipt.num_rows for receipt in receipts] == sizes
    assert all(receipt.verify().ok for receipt in receipts)
    assert len(fault_s3.listing(fault_s3.bucket)) == 3


ENDINGS = {
    "GeneratorExit": GeneratorExit,
    "CancelledError": asyncio.CancelledError,
    "KeyboardInterrupt": KeyboardInterrupt,
    "SystemExit": SystemExit,
}


@pytest.mark.parametrize("kind", ["generator", "source of Polars"])
@pytest.mark.parametrize("error", ENDINGS.values(), ids=ENDINGS)
def test_a_source_that_is_told_to_end_ends_the_delivery(
    fault_s3: FaultServer, error: type[BaseException], kind: str
) -> None:
    """What means "end" to Python ends a delivery as an error does, when it comes out of its source."""
    ending = error()
    frame: Any = failing_once(BATCH, lambda: fault_s3.log.of("Part"), ending)
    expected = raised_for(error)
    if kind == "generator":
        frame, expected = failing_generator(BATCH, lambda: fault_s3.log.of("Part"), ending), error
    begun = time.monotonic()
    with pytest.raises(expected) as raised:
        mc_sink.sink_madconnect(frame, fault_s3.writer.target("p/x.csv"), storage_options=options(fault_s3))
    assert time.monotonic() - begun < IN_TIME
    assert raised.value is ending or f": {error.__name__}: " in str(raised.value)
    assert (raised.value is ending) == (expected is error)
    assert nothing_visible(fault_s3)


def close_between_batches(source: Generator[pl.DataFrame, None, None]) -> None:
    """Close a generator as soon as it isn't running; until then Python refuses."""
    while True:
        with suppress(ValueError):
            return source.close()


@pytest.mark.parametrize("format", FORMATS)
def test_a_source_closed_from_elsewhere_is_not_one_that_ended(fault_s3: FaultServer, format: str) -> None:
    """An `ExitStack` that unwinds closes a source under a delivery on another thread: what came so far isn't shown."""

    def source() -> Generator[pl.DataFrame, None, None]:
        while True:
            yield BATCH

    target, storage = fault_s3.writer.target(f"p/x.{format}"), options(fault_s3)
    with ThreadPoolExecutor(1) as pool:
        with ExitStack() as stack:
            batches = source()
            stack.callback(close_between_batches, batches)
            delivery = pool.submit(mc_sink.sink_madconnect, batches, target, storage_options=storage)
            while not fault_s3.log.of("Part"):
                time.sleep(0.001)
        with pytest.raises(mc_sink.ConfigurationError, match="Other code closed the source"):
            delivery.result(timeout=BOUND)
    assert nothing_visible(fault_s3)


@pytest.mark.parametrize("format", FORMATS)
def test_a_generator_that_is_dropped_shows_nothing(fault_s3: FaultServer, format: str) -> None:
    """What was staged in a generator whose consumer goes away is thrown away with it."""

    def steps() -> Iterator[str]:
        with ExitStack() as stack:
            staged = mc_sink.stage(
                numbers(150_000), fault_s3.writer.target(f"p/x.{format}"), storage_options=options(fault_s3)
            )
            stack.callback(mc_sink.discard, [staged], storage_options=options(fault_s3))
            yield "staged"
            mc_sink.publish([staged], storage_options=options(fault_s3))
            yield "published"

    begun = time.monotonic()
    for step in steps():
        assert step == "staged"
        break
    assert time.monotonic() - begun < IN_TIME
    assert fault_s3.log.of("Complete", "Put") == []
    assert nothing_visible(fault_s3)
