"""Ways to the bucket that fail: at each request, what passes is passed over, and what stays ends in time."""

from __future__ import annotations

import time
from itertools import cycle, product
from typing import TYPE_CHECKING, Any

import pytest

import mc_sink
from mc_sink import AlreadyExistsError, CommitUnknown, UploadError
from mc_sink.exceptions import NOTHING_VISIBLE
from mc_sink.storage._retries import Pace
from tests.faulting import FRAME, HURRIED, LARGE, Small, at_once, small_store
from tests.frames import FORMATS, SMALL_PARTS, as_text, numbers, read_back
from tests.servers.faults import FOREVER, BlackHole, Dribble, Fault, FlipByte, Late, Reset, Status, WhitespaceThenReply

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mc_sink._order import FormatName
    from tests.conftest import Recorded
    from tests.servers.faults import When

# What a delivery in parts sends, and `Put` for one in a single request.
SENDING = ["List", "Create", "Part", "Complete", "Put"]
BOTH: list[When] = ["before", "after"]
RESETS: list[tuple[Fault, When]] = [
    (Reset("head"), "before"),
    (Reset("body"), "before"),
    (Reset("end"), "before"),
    (Reset(), "after"),
]
EVERY_FORMAT = pytest.mark.parametrize("format", FORMATS)
OVERLOADED = [Status(503, "SlowDown"), Status(500), Status(429, "TooManyRequests"), Status(408, "RequestTimeout")]
SECONDS = 30.0
"""Generous, on a busy machine, for what ends within a few read timeouts of a second."""


@pytest.fixture
def small() -> Iterator[Small]:
    """Give a store that takes small parts."""
    with small_store() as made:
        yield made


def size_for(op: str) -> dict[str, Any]:
    """Choose the size of parts so that a delivery has a request of this name."""
    return {"part_size": LARGE} if op == "Put" else {}


def test_overload_that_passes_is_waited_out() -> None:
    """503, 500, 429 and 408, twice, at each request cost two requests more, and the object is whole and there once."""

    def check(small: Small, case: tuple[FormatName, str, Status]) -> None:
        format, op, fault = case
        small.server.fault(op, fault, times=2)
        receipt = small.deliver(format, max_concurrency=1, **size_for(op))
        assert receipt.num_rows == FRAME.height
        assert small.holds(format)
        statuses = [record.status for record in small.server.log.of(op)]
        assert statuses[:3] == [fault.status, fault.status, 200]
        assert small.tidy()

    at_once(product(FORMATS, SENDING, OVERLOADED), check)


def test_overload_that_stays_is_an_error() -> None:
    """After all tries it says what the store said; where the store may have acted all the same, that nobody knows."""

    def check(small: Small, case: tuple[FormatName, str, Status]) -> None:
        format, op, fault = case
        small.server.fault(op, fault, times=FOREVER)
        unclear = op in {"Complete", "Put"} and fault.status != 429
        error = small.fails(
            format, CommitUnknown if unclear else UploadError, read_timeout=HURRIED, max_concurrency=1, **size_for(op)
        )
        assert 2 <= len(small.server.log.of(op)) <= Pace().tries
        assert ("may or may not be visible" if unclear else f"{len(small.server.log.of(op))} tries") in str(error)
        assert ("no object there" if unclear else NOTHING_VISIBLE) in str(error)
        assert small.tidy() or unclear

    at_once(product(FORMATS, SENDING, OVERLOADED), check)


def test_a_broken_connection_is_passed_over() -> None:
    """Reset before a body, within it, at its end or after the effect: the request is sent again, and delivers once."""

    def check(small: Small, case: tuple[FormatName, str, tuple[Fault, When]]) -> None:
        format, op, (fault, when) = case
        small.server.fault(op, fault, when=when)
        receipt = small.deliver(format, **size_for(op))
        assert receipt.verify().ok
        assert small.holds(format)
        assert small.keys() == [f"p/x.{format}"]
        # Of a Create whose reply was lost nobody knows the upload.
        assert small.tidy() or (op, when) == ("Create", "after")

    at_once(product(FORMATS, SENDING, RESETS), check)


def test_a_connection_that_always_breaks_is_an_error() -> None:
    """Whatever request it is, the error comes within the deadline, and nothing is visible."""

    def check(small: Small, case: tuple[FormatName, str]) -> None:
        format, op = case
        small.server.fault(op, Reset("body"), times=FOREVER)
        error = CommitUnknown if op in {"Complete", "Put"} else UploadError
        small.fails(format, error, read_timeout=HURRIED, **size_for(op))

    at_once(product(FORMATS, SENDING), check)


def test_silence_and_dribble_end() -> None:
    """A store that never answers, or answers or reads a byte a second, is left within a few read timeouts."""

    def check(small: Small, case: tuple[FormatName, str, Fault]) -> None:
        format, op, fault = case
        small.server.fault(op, fault, times=FOREVER)
        started = time.monotonic()
        if op in {"Complete", "Put"} and fault == Dribble(1.0):
            # It took effect, and a listing shows that.
            assert small.deliver(format, read_timeout=HURRIED, **size_for(op)).verify().ok
        else:
            with pytest.raises(CommitUnknown if op in {"Complete", "Put"} else UploadError):
                small.deliver(format, read_timeout=HURRIED, **size_for(op))
            assert small.keys() == []
        assert time.monotonic() - started < SECONDS

    slow: list[tuple[str, Fault]] = [*product(SENDING, [Dribble(1.0)]), *product(SENDING[2:], [Dribble(1.0, "body")])]
    rotating = [(format, op, fault) for format, (op, fault) in zip(cycle(FORMATS), slow)]  # noqa: B905  cycle has no end
    silent: list[tuple[FormatName, str, Fault]] = [
        (format, op, BlackHole()) for format, op in product(FORMATS, SENDING)
    ]
    at_once([*silent, *rotating], check)


def test_silence_that_ends_is_passed_over() -> None:
    """One request in the dark, before or after its effect, is sent again once its time is over."""

    def check(small: Small, case: tuple[FormatName, str, When]) -> None:
        format, op, when = case
        small.server.fault(op, BlackHole(), when=when)
        assert small.deliver(format, read_timeout=HURRIED, **size_for(op)).num_rows == FRAME.height
        assert small.holds(format)

    at_once(product(FORMATS, SENDING, BOTH), check)


@EVERY_FORMAT
def test_blanks_before_an_answer_are_waited_for(small: Small, format: FormatName) -> None:
    """A store that puts an object together keeps the line warm for longer than two read timeouts: a success."""
    small.server.fault("Complete", WhitespaceThenReply(2.5 * HURRIED), when="after")
    assert small.deliver(format, read_timeout=HURRIED).verify().ok
    assert small.server.log.ops().count("Complete") == 1
    assert small.holds(format)


@pytest.mark.long
@EVERY_FORMAT
def test_twenty_seconds_of_blanks_are_waited_for(small: Small, format: FormatName) -> None:
    """The same in real time, with the read timeout that is the default."""
    small.server.fault("Complete", WhitespaceThenReply(20), when="after")
    assert small.deliver(format, read_timeout=60).verify().ok
    assert small.server.log.ops().count("Complete") == 1


@EVERY_FORMAT
@pytest.mark.parametrize("op", ["Part", "Put"])
def test_a_byte_that_flips_on_the_way_is_noticed(small: Small, format: FormatName, op: str) -> None:
    """The store refuses what isn't what was meant, and takes it the second time; flipped every time, it is an error."""
    small.server.fault(op, FlipByte(7))
    small.deliver(format, max_concurrency=1, **size_for(op))
    assert [record.status for record in small.server.log.of(op)][:2] == [400, 200]
    assert small.holds(format)
    small.empty()
    small.server.fault(op, FlipByte(7), times=FOREVER)
    error = small.fails(format, UploadError, **size_for(op))
    assert "not those that were sent" in str(error)
    assert small.tidy()


@EVERY_FORMAT
@pytest.mark.parametrize("rows", [60, 200_000], ids=["Put", "Part"])
def test_a_real_store_notices_a_flipped_byte(recorded: Recorded, tmp_path: Path, format: FormatName, rows: int) -> None:
    """In front of a real server a byte of the first part, or of the one Put, flips: sent again, all of it is whole."""
    op = "Put" if rows == FRAME.height else "Part"
    frame = numbers(rows)
    recorded.proxy.fault(op, FlipByte(1000))
    mc_sink.sink_madconnect(
        frame,
        recorded.writer.target(f"p/x.{format}"),
        storage_options=recorded.writer.storage_options | SMALL_PARTS | {"max_concurrency": 1},
    )
    assert [record.status for record in recorded.proxy.log.of(op)][:2] == [400, 200]
    data = recorded.server.read(recorded.writer.bucket, f"p/x.{format}")
    assert read_back(data, format, tmp_path).equals(as_text(frame, format))


def test_a_late_duplicate_changes_nothing() -> None:
    """The first try takes effect when the second has succeeded, or the whole delivery: one whole object."""

    def check(small: Small, case: tuple[FormatName, str]) -> None:
        format, op = case
        small.server.fault(op, Late(1.5 * HURRIED))
        small.deliver(format, read_timeout=HURRIED, **size_for(op))
        assert small.server.wait_until_idle()
        assert len(small.server.log.of(op)) >= 2
        assert small.holds(format)
        assert small.keys() == [f"p/x.{format}"]

    at_once(product(FORMATS, ["Create", "Part", "Complete", "Put"]), check)


@EVERY_FORMAT
def test_parts_that_arrive_out_of_order_stay_in_order(small: Small, format: FormatName) -> None:
    """The first part is there last, and comes first all the same."""
    small.server.fault("Part", Late(0.5))
    small.deliver(format)
    assert len(small.server.log.of("Part")) >= 2
    assert small.holds(format)


def test_an_effect_that_comes_after_the_error_is_what_the_error_says() -> None:
    """A put that is applied when nobody waits any more was "unknown"; the key is taken then, by the whole object."""

    def check(small: Small, format: FormatName) -> None:
        small.server.fault("Put", Late(4 * HURRIED), times=FOREVER)
        with pytest.raises(CommitUnknown, match="may or may not be visible"):
            small.deliver(format, part_size=LARGE, read_timeout=HURRIED)
        small.server.heal()
        assert small.server.wait_until_idle()
        assert small.holds(format)
        with pytest.raises(AlreadyExistsError):
            small.deliver(format, part_size=LARGE)

    at_once(FORMATS, check)
