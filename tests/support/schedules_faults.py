"""What goes wrong in a generated schedule: which request it strikes, and whether before or after its effect.

Stores that lie are left out: a refusal as definite as AccessDenied never follows the effect of what publishes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hypothesis import strategies as st

from tests.servers.faults import (
    FOREVER,
    BlackHole,
    Body,
    Dribble,
    Fault,
    FlipByte,
    Late,
    Reset,
    Status,
    When,
    WhitespaceThenReply,
)

if TYPE_CHECKING:
    from tests.servers.endpoint import Endpoint

READ_TIMEOUT = 0.4
"""Seconds; an attempt in which nothing moves ends after two of them, a Complete after five."""
PATIENT_TIMEOUT = 2.0
"""Seconds, where another writer acts while a request waits."""
LATE = 1.2 * 2 * READ_TIMEOUT
LATE_COMPLETE = 1.2 * 5 * READ_TIMEOUT

OPS = ("Create", "Part", "Complete", "Put", "Abort", "List")
_RESULT = "<CompleteMultipartUploadResult><Bucket>bucket</Bucket>{}</CompleteMultipartUploadResult>"
_ERROR = "<?xml version='1.0'?>\n  <Error><Code>{}</Code><Message>no</Message></Error>"
PASSING: tuple[Fault, ...] = (
    Status(500),
    Status(503, "SlowDown"),
    Status(429, "TooManyRequests"),
    Status(408, "RequestTimeout"),
    Reset("head"),
    Reset("body"),
    Reset("end"),
    Body(200, _ERROR.format("InternalError").encode()),
)
NO_ANSWER: tuple[Fault, ...] = (
    Body(200, b""),
    Body(200, b"<html>Please log in.</html>"),
    Body(200, _RESULT.format("<Key>p/another</Key><ETag>x</ETag>").encode()),
    Body(200, _RESULT.format("").encode()),
    Body(200, _RESULT.format("").encode()[:40]),
)
MAYBE_OURSELVES: tuple[Fault, ...] = (
    Status(412, "PreconditionFailed"),
    Status(409, "ConditionalRequestConflict"),
)
GONE = Status(404, "NoSuchUpload")
REFUSING: tuple[Fault, ...] = (
    Status(403, "AccessDenied"),
    Status(400, "ExpiredToken"),
    Body(200, _ERROR.format("AccessDenied").encode()),
)
SLOW: tuple[Fault, ...] = (BlackHole(), Dribble(300.0), Dribble(3000.0, side="body"), WhitespaceThenReply(LATE))
SLOW_KINDS = (BlackHole, Dribble, WhitespaceThenReply, Late)


@dataclass(frozen=True, slots=True)
class Struck:
    """One fault of a schedule, in the words of `Endpoint.fault`."""

    op: str
    do: Fault
    n: int
    times: float
    when: When

    def strike(self, server: Endpoint) -> None:
        """Plan it, counted from now."""
        server.fault(self.op, self.do, n=self.n, times=self.times, when=self.when)


@dataclass(frozen=True, slots=True)
class Meanwhile:
    """An act of another writer while the n-th request named `op` waits."""

    who: Literal["stranger", "owner", "owner and stranger", "the same data", "other data"]
    op: str
    n: int


@st.composite
def struck(draw: st.DrawFn) -> Struck:
    """Draw a fault that a real store, or what stands in front of it, may have."""
    op = draw(st.sampled_from(OPS))
    n = draw(st.sampled_from([1, 1, 1, 2, 2, 3, 4]))
    if draw(st.sampled_from([False] * 5 + [True])):
        late = Late(LATE_COMPLETE if op == "Complete" else LATE)
        do = draw(st.sampled_from([*SLOW, late, late]))
        return Struck(op, do, n, draw(st.sampled_from([1, 1, 2])), "before" if do == late else draw(_WHEN))
    refusal = draw(st.sampled_from([False] * 4 + [True]))
    do = draw(st.sampled_from(REFUSING if refusal else _passing(op)))
    times = draw(st.sampled_from([1, 1, 1, 2, 3, FOREVER]))
    return Struck(op, do, n, times, "before" if refusal else draw(_WHEN))


def _passing(op: str) -> list[Fault]:
    """Return what may pass, or hides what happened, on requests with this name."""
    ourselves = MAYBE_OURSELVES if op in {"Put", "Complete"} else ()
    gone = (GONE,) if op in {"Part", "Complete"} else ()
    return [*PASSING, FlipByte(), *NO_ANSWER, *ourselves, *ourselves, *gone]


_WHEN: st.SearchStrategy[When] = st.sampled_from(["before", "before", "after"])
MEANWHILE = st.builds(
    Meanwhile,
    st.sampled_from(["stranger", "owner", "owner and stranger", "the same data", "other data"]),
    st.sampled_from(["Complete", "Put", "List", "Part"]),
    st.sampled_from([1, 1, 2, 3]),
)
FAULTS = st.lists(st.one_of(struck(), struck(), struck(), MEANWHILE), max_size=2)
