"""How an upload is cut into parts, and how many of their bytes are in flight, which bounds its memory.

Memory is bounded by the bytes in flight, plus one part that is being cut. Parts grow, doubling every 900, so that
10,000 of them hold more than 10 TiB from any first size. While they grow, fewer are in flight.
Limits: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from time import monotonic, process_time

from mc_sink.exceptions import ConfigurationError

MIB = 2**20
# Bytes in flight, at first and at most.
IN_FLIGHT, MOST_IN_FLIGHT = 48 * MIB, 256 * MIB
# How much more a wider upload has to move to stay; and which share of this machine's processors is busy where the line
# is not the limit. Of a single processor, or of two, it is 0.8 of one.
GAIN, BUSY = 1.1, 0.4


@dataclass(frozen=True, slots=True, eq=False)
class PartPlan:
    """How an upload is cut into parts; sizes are in bytes.

    - `first_size`: measured, parts of 16 MiB take half the requests of 8 MiB, and 4 % less time for a whole delivery.
    - `doubles_every`: after so many parts their size doubles.
    - `in_flight`: how many parts are sent at once; None for as many as 48 MiB hold, and at least two, and for more
      where that makes the upload faster; see `Width`.
    - `equal`: parts don't double. Then 10,000 of 16 MiB hold 156 GiB, and more needs a larger first part.
    """

    first_size: int = 16 * MIB
    doubles_every: int = 900
    in_flight: int | None = None
    max_parts: int = 10_000
    max_size: int = 5 * 1024 * MIB
    min_size: int = 5 * MIB
    equal: bool = False

    def __post_init__(self) -> None:
        if not self.min_size <= self.first_size <= self.max_size or (self.in_flight is not None and self.in_flight < 1):
            raise ConfigurationError(
                f"default_block_size={self.first_size:,} with max_concurrency={self.in_flight}: S3 takes parts of "
                f"{self.min_size:,} to {self.max_size:,} bytes, and at least 1 must be in flight. Change them in "
                "storage_options."
            )

    def size(self, number: int) -> int:
        """Return the bytes of part `number`, counted from 1."""
        if self.equal:
            return self.first_size
        return min(self.first_size << (number - 1) // self.doubles_every, self.max_size)

    @property
    def most_bytes(self) -> int | None:
        """The largest upload; None where parts grow, so that S3's own limit is reached first."""
        return self.first_size * self.max_parts if self.equal else None

    @property
    def bytes_in_flight(self) -> int:
        """How many bytes may be in flight at first; a single part may be larger."""
        return self.first_size * (self.in_flight or max(2, IN_FLIGHT // self.first_size))

    @property
    def most_in_flight(self) -> int:
        """How many bytes may be in flight where more parts at once make the upload faster."""
        return self.first_size * (self.in_flight or max(2, MOST_IN_FLIGHT // self.first_size))


class Width:
    """How many bytes may be in flight at once: 48 MiB at first, and at most 256 MiB.

    On a distant line each part waits for its reply, and more parts at once fill the line. So while the upload waits for
    the line, and not for this machine's processors, twice as much is tried, and stays if that moves 10 % more. What
    didn't is tried once more, because lines vary. 10 Gbit/s at 50 ms need 12 to 16 parts of 16 MiB.
    """

    def __init__(self, plan: PartPlan) -> None:
        self.num_bytes, self._most = plan.bytes_in_flight, plan.most_in_flight
        self._before, self._rate = self.num_bytes, 0.0
        self._attempts_left = 2 if self.num_bytes < self._most else 0
        self._begin(0)

    def learn(self, num_stored: int) -> None:
        """Judge the present width once twice as many bytes have been stored with it; called while an upload waits."""
        if not self._attempts_left or num_stored - self._stored < 2 * self.num_bytes:
            return
        seconds = monotonic() - self._began
        rate, processors = (num_stored - self._stored) / seconds, (process_time() - self._cpu_began) / seconds
        if rate < GAIN * self._rate:
            self.num_bytes, self._rate = self._before, 0.0
            self._attempts_left -= 1
        elif self.num_bytes == self._most or processors > BUSY * max(2, os.cpu_count() or 1):
            self._attempts_left = 0
        else:
            self._before, self._rate = self.num_bytes, rate
            self.num_bytes = min(self.num_bytes * 2, self._most)
        self._begin(num_stored)

    def _begin(self, num_stored: int) -> None:
        self._stored, self._began, self._cpu_began = num_stored, monotonic(), process_time()
