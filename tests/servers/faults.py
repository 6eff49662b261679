"""The things that can go wrong on the way to a bucket, as frozen values, and the plan that says when they do."""

from __future__ import annotations

import math
import signal
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.operations import Request

When: TypeAlias = Literal["before", "after"]
FOREVER: Final = math.inf
"""For `times`: from the n-th request on, every one."""


@dataclass(frozen=True, slots=True)
class Status:
    """Answer with this status and S3's error document."""

    status: int
    code: str = "InternalError"
    message: str = "Made up for a test."


@dataclass(frozen=True, slots=True)
class Reset:
    """Break the connection: at the `head` before the body is read, half way into the `body`, or at its `end`."""

    at: Literal["head", "body", "end"] = "end"


@dataclass(frozen=True, slots=True)
class BlackHole:
    """Read everything and never answer, until the client gives up or the server stops."""


@dataclass(frozen=True, slots=True)
class Dribble:
    """Do everything right and slowly: read the `body` or write the `reply` at this rate."""

    bytes_per_second: float
    side: Literal["body", "reply"] = "reply"


@dataclass(frozen=True, slots=True)
class Body:
    """Answer with exactly these bytes."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class WhitespaceThenReply:
    """Answer 200 at once, then send blanks for so many seconds, then the reply, which may be an error document.

    Before the effect, the reply is an `InternalError` in a 200.
    """

    seconds: float


@dataclass(frozen=True, slots=True)
class Late:
    """Read everything, wait so many seconds, and only then do it, though the client may have given up meanwhile."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Kill:
    """Send the signal to a process, the client as a rule, and break the connection; `pid` may be asked for later."""

    pid: int | Callable[[], int]
    signal: int = signal.SIGKILL


@dataclass(frozen=True, slots=True)
class FlipByte:
    """Flip a bit of the body's byte `at` on the way in, as a bad network card would, and go on as usual."""

    at: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """Call the function with the request, and go on as usual; it may use the server while the request waits."""

    function: Callable[[Request], object]


Fault: TypeAlias = Status | Reset | BlackHole | Dribble | Body | WhitespaceThenReply | Late | Kill | FlipByte | Call


@dataclass(slots=True)
class _Planned:
    op: str
    do: Fault
    n: int
    times: float
    when: When
    seen: int = 0

    def strikes(self, request: Request) -> bool:
        """Count the request if the fault is about it, and return True if its turn has come."""
        if self.op not in {"*", request.op}:
            return False
        self.seen += 1
        return self.n <= self.seen < self.n + self.times


class Plan:
    """Which requests are struck by what."""

    def __init__(self) -> None:
        self._planned: list[_Planned] = []
        self._lock = threading.Lock()

    def add(self, op: str, do: Fault, *, n: int, times: float, when: When) -> None:
        """Plan a fault for the n-th request (from 1, counted from now) named `op`, and the `times - 1` after it."""
        with self._lock:
            self._planned.append(_Planned(op, do, n, times, when))

    def clear(self) -> None:
        """Clear all planned faults."""
        with self._lock:
            self._planned.clear()

    def arrive(self, request: Request) -> tuple[When, Fault] | None:
        """Count the request with every planned fault, and give the first one whose turn it is."""
        with self._lock:
            striking = [planned for planned in self._planned if planned.strikes(request)]
        return (striking[0].when, striking[0].do) if striking else None
