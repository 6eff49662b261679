"""Ways to the bucket that fail: for each request, what passes is passed over, and what doesn't ends in time and is told."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

import mc_sink
from mc_sink import AlreadyExistsError, CommitUnknown, SinkError, UploadError
from mc_sink.storage._retries import Pace
from tests.faulting import FRAME, HURRY, LARGE, Small, small_store
from tests.frames import FORMATS, SMALL_PARTS, as_text, numbers, read_back
from tests.servers.faults import FOREVER, BlackHole, Dribble, Fault, FlipByte, Late, Reset, Status, WhitespaceThenReply

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mc_sink._order import FormatName
    from tests.conftest import Recorded

# What a delivery in parts sends, and `Put` for one in a single request.
SENDING = ["List", "Create", "Part", "Complete", "Put"]
EVERY_FORMAT = pytest.mark.parametrize("format", FORMATS)
EVERY_OP = pytest.mark.parametrize("op", SENDING)
OVERLOADED: list[Fault] = [
    Status(503, "SlowDown"),
    Status(500),
    Status(429, "TooManyRequests"),
    Status(408, "RequestTimeout"),
]
SECONDS = 20.0
"""Generous, on a busy machine, for what ends within a few read timeouts of half a second."""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Small]:
    """Give a store that takes small parts."""
    with small_store(tmp_path) as made:
        yield made


def size_for(op: str) -> dict[str, int]:
    """Choose the size of parts so that a delivery has a request of this name."""
    return {"part_size": LARGE} if op == "Put" else {}


@EVERY_FORMAT
@EVERY_OP
def test_overload_that_passes_is_waited_out(small: Small, format: FormatName, op: str) -> None:
    """503, 500, 429 and 408, twice each, cost two requests more, and the object is whole and there once."""
    for fault in OVERLOADED:
        small.empty()
        before = len(small.server.log.of(op))
        small.server.fault(op, fault, times=2)
        receipt = small.deliver(format, max_concurrency=1, **size_for(op))
        assert receipt.num_rows == FRAME.height
        assert small.holds(format), fault
        assert [record.status for record in small.server.log.of(op)][before : before + 3][:2] == [fault.status] * 2  # type: ignore[union-attr]
        assert small.tidy()


@EVERY_FORMAT
@EVERY_OP
def test_overload_that_stays_is_an_error(small: Small, format: FormatName, op: str) -> None:
    """It ends after all tries with what the store said; where the store may have acted all the same, as unknown."""
    for fault in OVERLOADED:
        small.empty()
        before = len(small.server.log.of(op))
        small.server.fault(op, fault, times=FOREVER)
        unclear = op in {"Complete", "Put"} and fault != Status(429, "TooManyRequests")
        error = small.fails(format, CommitUnknown if unclear else UploadError, max_concurrency=1, **size_for(op))
        assert len(small.server.log.of(op)) - before == Pace().tries
        assert ("may or may not be visible" if unclear else f"{Pace().tries} tries") in str(error)
        assert ("no object there" if unclear else "Nothing became visible") in str(error)
        assert small.tidy() or unclear


@EVERY_FORMAT
@EVERY_OP
@pytest.mark.parametrize("when", ["before", "during", "after"])
def test_a_broken_connection_is_passed_over(small: Small, format: FormatName, op: str, when: str) -> None:
    """Reset before its body, within it or after its effect: the request is sent again, and delivers once."""
    at = {"before": Reset("head"), "during": Reset("body"), "after": Reset()}[when]
    small.server.fault(op, at, when="after" if when == "after" else "before")
    receipt = small.deliver(format, **size_for(op))
    assert receipt.verify().ok
    assert small.holds(format)
    assert small.keys() == [f"p/x.{format}"]
    # Of a Create whose reply was lost nobody knows the upload.
    assert small.tidy() or (op, when) == ("Create", "after")


@EVERY_FORMAT
def test_a_connection_that_always_breaks_is_an_error(small: Small, format: FormatName) -> None:
    """Whatever request it is, the error comes within the deadline, and nothing is visible."""
    for op in SENDING:
        small.empty()
        small.server.fault(op, Reset("body"), times=FOREVER)
        error = small.fails(format, SinkError, **size_for(op))
        assert isinstance(error, CommitUnknown if op in {"Complete", "Put"} else UploadError)


@EVERY_FORMAT
@EVERY_OP
def test_silence_and_dribble_end(small: Small, format: FormatName, op: str) -> None:
    """A store that never answers, and one that answers or reads a byte a second, are left within a few read timeouts."""
    for fault in (BlackHole(), Dribble(1.0), Dribble(1.0, side="body")):
        if op in {"List", "Create"} and fault == Dribble(1.0, side="body"):
            continue  # they have no body
        small.server.store.bucket(small.server.bucket).clear()
        small.server.heal()
        small.server.fault(op, fault, times=FOREVER)
        started = time.monotonic()
        with pytest.raises(SinkError) as raised:
            small.deliver(format, read_timeout=HURRY / 2, **size_for(op))
        assert time.monotonic() - started < SECONDS
        assert isinstance(raised.value, CommitUnknown if op in {"Complete", "Put"} else UploadError)


@EVERY_FORMAT
def test_silence_that_ends_is_passed_over(small: Small, format: FormatName) -> None:
    """One request in the dark, before or after its effect, is sent again once its time is over."""
    for op in SENDING:
        for after in (False, True):
            small.empty()
            small.server.fault(op, BlackHole(), when="after" if after else "before")
            assert small.deliver(format, **size_for(op)).num_rows == FRAME.height
            assert small.holds(format), (op, after)


@EVERY_FORMAT
def test_blanks_before_an_answer_are_waited_for(small: Small, format: FormatName) -> None:
    """A store that puts an object together keeps the line warm for longer than two read timeouts: a success."""
    small.server.fault("Complete", WhitespaceThenReply(2.5 * HURRY), when="after")
    assert small.deliver(format).verify().ok
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
def test_a_real_store_notices_a_flipped_byte(
    recorded: Recorded, tmp_path: Path, format: FormatName, rows: int
) -> None:
    """In front of a real server a byte of the second part, or of the one Put, flips: sent again, the object is whole."""
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


@EVERY_FORMAT
@pytest.mark.parametrize("op", ["Create", "Part", "Complete", "Put"])
def test_a_late_duplicate_changes_nothing(small: Small, format: FormatName, op: str) -> None:
    """The first try takes effect when the second has succeeded long ago, or the whole delivery: one whole object."""
    small.server.fault(op, Late(2.5 * HURRY))
    small.deliver(format, **size_for(op))
    assert small.server.wait_until_idle()
    assert small.holds(format)
    assert small.keys() == [f"p/x.{format}"]


@EVERY_FORMAT
def test_parts_that_arrive_out_of_order_stay_in_order(small: Small, format: FormatName) -> None:
    """The first part is there last, and comes first all the same."""
    small.server.fault("Part", Late(0.5))
    small.deliver(format, read_timeout=30)
    arrived = [*next(iter(small.server.store.completed.values())).data]
    assert len(small.server.log.of("Part")) >= 2
    assert arrived
    assert small.holds(format)


@EVERY_FORMAT
def test_an_effect_that_comes_after_the_error_is_what_the_error_says(small: Small, format: FormatName) -> None:
    """A put that is applied when nobody waits any more was "unknown", and a rerun without an id finds it there."""
    small.server.fault("Put", Late(3 * HURRY), times=FOREVER)
    with pytest.raises(CommitUnknown, match="may or may not be visible"):
        small.deliver(format, part_size=LARGE, read_timeout=HURRY / 2)
    small.server.heal()
    assert small.server.wait_until_idle()
    assert small.holds(format)
    with pytest.raises(AlreadyExistsError):
        small.deliver(format, part_size=LARGE)
