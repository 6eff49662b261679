"""Deliveries in a process of their own, for tests that end the process.

Run it as `python -m tests.support.child_deliveries HOW PLACE FORMAT`.

A place is the URL of the test server, or a folder. `start` is for the tests, everything else for the child.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

import mc_sink
from mc_sink._runtime import fork_guard
from tests.servers.rules import WRITER, Rules
from tests.support.frames import SMALL_PARTS, endless_until, numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mc_sink import Receipt

ROOT = Path(__file__).parents[2]
ROWS = 200_000
MEMORY_LEFT = 16 * 2**20


def start(how: str, *arguments: object, under: Sequence[str] = ()) -> subprocess.Popen[str]:
    """Start one of the ways below in a process of its own, which may be begun `under` another command."""
    return start_python(
        "-X", "faulthandler", "-m", "tests.support.child_deliveries", how, *map(str, arguments), under=under
    )


def start_python(
    *arguments: str, under: Sequence[str] = (), env: Mapping[str, str | None] | None = None
) -> subprocess.Popen[str]:
    """Start an interpreter where this one's tests are found; of `env`, None removes a variable."""
    variables = {name: value for name, value in {**os.environ, **(env or {})}.items() if value is not None}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*under, sys.executable, *arguments], cwd=ROOT, env=variables, **pipes)


def deliver(place: str, format: Any, frame: Any = None, **options: Any) -> Receipt:
    """Deliver without end, or a frame, to the test server or a folder."""
    if frame is None:
        frame = endless_until(numbers(50_000), lambda: False)
    return mc_sink.sink_madconnect(frame, target_at(place, format), **stored_at(place), **options)


def target_at(place: str, format: str) -> str:
    """Return the one target of these children."""
    return f"s3://{Rules().buckets[0]}/p/x.{format}" if place.startswith("http") else f"{place}/x.{format}"


def stored_at(place: str, **more: Any) -> dict[str, Any]:
    """Return the storage options for a bucket: address, key, small parts, and a timeout far beyond a busy machine."""
    if not place.startswith("http"):
        return {}
    where = {"key": WRITER.key, "secret": WRITER.secret, "endpoint_url": place}
    return {"storage_options": where | SMALL_PARTS | {"config_kwargs": {"read_timeout": 20}} | more}


def interrupted(place: str, format: str) -> None:
    """Deliver on the main thread until a signal comes; SIGTERM raises SystemExit, as services have it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    deliver(place, format)


def killed(place: str, format: str) -> None:
    """Deliver until a signal comes that Python leaves to the system."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a parent started by nohup would have its children ignore it
    deliver(place, format)


def abandoned(place: str, format: str) -> None:
    """Deliver on a daemon thread, and leave the interpreter meanwhile."""
    threading.Thread(target=deliver, args=(place, format), daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    while True:  # a signal may reach an engine's thread, and then ends no sleep of this one
        time.sleep(0.05)


def blocked(place: str, format: str) -> None:
    """Deliver from a source that prints a line and then blocks."""

    def source() -> Iterator[pl.DataFrame]:
        yield from [numbers(100_000)] * 4
        say("blocked")
        time.sleep(60)

    deliver(place, format, source())


def in_a_coroutine(place: str, format: str) -> None:
    """Deliver from a coroutine, on the thread of its event loop."""

    async def main() -> None:
        deliver(place, format)

    asyncio.run(main())


def in_a_thread_of_a_loop(place: str, format: str) -> None:
    """Deliver on a thread that an event loop waits for."""
    asyncio.run(asyncio.to_thread(deliver, place, format))


def forked_at_first(place: str, format: str) -> None:
    """Fork before the first query, and deliver in the child."""
    in_fork(lambda: say(deliver(place, format, numbers_later()).num_rows))


def forked_after_query(place: str, format: str) -> None:
    """Fork after a query, and deliver in the child, whose engine doesn't answer."""
    fork_guard.PATIENCE_SECONDS = 1.0
    numbers(10).sort("day")
    in_fork(lambda: say(deliver(place, format, numbers_later()).num_rows))


def forked_beside_another_library(place: str, format: str) -> None:
    """Fork beside a foreign thread with a name that Polars' threads have, and deliver."""
    if sys.platform == "linux":
        Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text("polars-0", encoding="ascii")
    in_fork(lambda: say(deliver(place, format, numbers_later()).num_rows))


def forked_twice(place: str, format: str) -> None:
    """Fork, deliver in the child, and fork and deliver once more from there, where no answer is waited for."""

    def child() -> None:
        deliver(place, format, numbers_later())
        fork_guard.PATIENCE_SECONDS = 1_000.0
        in_fork(lambda: deliver(place, format, numbers_later(), if_exists="overwrite"))

    in_fork(child)


def forked_to_publish(place: str, format: str) -> None:
    """Stage, fork, and publish in the child, which takes no engine."""
    staged = mc_sink.stage(numbers(ROWS), target_at(place, format), **stored_at(place))
    in_fork(lambda: say(mc_sink.publish([staged], **stored_at(place)).num_rows))


def forking_meanwhile(place: str, format: str) -> None:
    """Fork again and again while a delivery is under way, and leave each child in order."""

    def source() -> Iterator[pl.DataFrame]:
        for _ in range(4):
            yield numbers(ROWS // 4)
            if (child := os.fork()) == 0:
                os._exit(0)
            os.waitpid(child, 0)

    delivery = threading.Thread(target=lambda: say(deliver(place, format, source()).num_rows))
    delivery.start()
    while delivery.is_alive():
        if (child := os.fork()) == 0:
            sys.exit()
        os.waitpid(child, 0)
        time.sleep(0.05)


def without_descriptors(place: str, format: str) -> None:
    """Deliver with no file descriptor left, print the outcome, and deliver again with enough of them."""
    limits, frame = resource.getrlimit(resource.RLIMIT_NOFILE), numbers(ROWS)
    take_descriptors()
    tell(lambda: deliver(place, format, frame))
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    tell(lambda: deliver(place, format, frame))


def losing_descriptors(place: str, format: str) -> None:
    """Deliver, and have no file descriptor left in mid-delivery, so that a lost connection can't be replaced."""

    def source() -> Iterator[pl.DataFrame]:
        for number in range(8):
            if number == 1:
                take_descriptors()
            yield numbers(50_000)

    stored = stored_at(place, max_concurrency=1, config_kwargs={"read_timeout": 10})  # retries go on for twice as long
    # All that is imported late has to be here by then.
    mc_sink.discard([mc_sink.stage(numbers(50_000), target_at(place, format), **stored)], **stored)
    tell(lambda: mc_sink.sink_madconnect(source(), target_at(place, format), **stored))


def losing_memory(place: str, format: str) -> None:
    """Deliver from a source that keeps what it gave, until no memory is left."""

    def source() -> Iterator[pl.DataFrame]:
        kept = [numbers(50_000)] * 4
        yield from kept
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY_LEFT,) * 2)
        while True:
            kept.append(numbers(50_000))
            yield kept[-1]

    tell(lambda: deliver(place, format, source()))


def filling(place: str, format: str) -> None:
    """Deliver into a folder that is too small, and print its files then."""
    tell(lambda: deliver(place, format, numbers(ROWS)))
    say(sorted(path.name for path in Path(place).iterdir()))


def filling_with_rejects(place: str, format: str, folder: str) -> None:
    """Deliver to the test server, with more rejects than a folder takes, and print the folder's files then."""
    import pandera.polars as pa

    schema = pa.DataFrameSchema({"day": pa.Column(pl.Int8, pa.Check.lt(3))})
    rejects: dict[str, Any] = {"on_invalid": "reject", "rejects": f"{folder}/rejected.csv"}
    tell(lambda: deliver(place, format, numbers(ROWS), schema=schema, **rejects))
    say(sorted(path.name for path in Path(folder).iterdir()))


def in_fork(work: Callable[[], object]) -> None:
    """Run `work` in a fork's child, report a refusal, and end with the child's exit code."""
    if child := os.fork():
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    tell(work)


def tell(work: Callable[[], object]) -> None:
    """Run `work`, and print the error that it raised, or "delivered"."""
    try:
        work()
    except (Exception, pl.exceptions.PanicException) as error:  # noqa: BLE001  the test judges every error
        say(f"{'/'.join(kind.__name__ for kind in type(error).__mro__)}: {error}")
    else:
        say("delivered")


def say(what: object) -> None:
    """Print a line for the test."""
    print(what, flush=True)  # noqa: T201  the test reads it


def take_descriptors() -> None:
    """Forbid this process to open more files; those that are open stay."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def numbers_later() -> pl.LazyFrame:
    """Make a plan without running any query."""
    return pl.LazyFrame({"id": range(ROWS)})


HOW: dict[str, Callable[..., None]] = {
    how.__name__: how
    for how in (
        interrupted,
        killed,
        abandoned,
        blocked,
        in_a_coroutine,
        in_a_thread_of_a_loop,
        forked_at_first,
        forked_after_query,
        forked_beside_another_library,
        forked_twice,
        forked_to_publish,
        forking_meanwhile,
        without_descriptors,
        losing_descriptors,
        losing_memory,
        filling,
        filling_with_rejects,
    )
}

if __name__ == "__main__":
    HOW[sys.argv[1]](*sys.argv[2:])
