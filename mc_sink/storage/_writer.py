"""The file object that an engine writes into: one writer at a time, and deaf once a delivery has failed.

Measured: after an error Polars may go on writing, from its own threads, and flush as on success; and what `write`
raises loses its identity on the way. So a failed writer refuses once, swallows whatever comes later, and keeps the
original exception aside. Nothing here publishes: leaving, closing or dropping a writer shows nothing.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from isal import isal_zlib

from mc_sink.exceptions import UploadError

if TYPE_CHECKING:
    from mc_sink.staged import Upload


PATIENCE_SECONDS = 1.0


class Destination(Protocol):
    """Where a store takes bytes for one file that stays invisible until it is published."""

    def write(self, data: bytes) -> None:
        """Take the next bytes; may wait, which pushes back on the query."""

    def finish(self) -> Upload:
        """Store what is left and give what publishing needs."""

    def stop(self) -> None:
        """End what is under way, from any thread and without waiting; a `write` that waits raises."""

    def abort(self) -> str | None:
        """Throw away what was stored; a sentence on what is left behind, if anything is. Raises nothing."""


class Writer:
    """A binary file for engines. Counts `num_bytes` and sums `crc`; `failure` is the first thing that went wrong."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._lock = threading.Lock()
        self._finished = False
        self.failure: BaseException | None = None
        self.num_bytes = 0
        self.crc = 0

    def write(self, data: bytes) -> int:
        """Take bytes; raises what the store raised, once, and swallows everything after that."""
        size = len(data)
        with self._lock:
            if self.failure is not None or self._finished:
                return size
            try:
                self._destination.write(data)
            except BaseException as error:
                self._fail(error)
                raise
            self.crc = isal_zlib.crc32(data, self.crc)
            self.num_bytes += size
        return size

    def poison(self, cause: BaseException) -> None:
        """Let nothing more through, and end an engine that waits in `write`; the first cause is the one kept."""
        self._fail(cause)
        self._destination.stop()

    def abort(self, cause: BaseException) -> str | None:
        """Poison, wait for a `write` under way to leave, and throw away what was stored; as `Destination.abort`."""
        self.poison(cause)
        if not self._lock.acquire(timeout=PATIENCE_SECONDS):
            return "The store did not answer, so what was uploaded could not be thrown away; it is invisible."
        try:
            return self._destination.abort()
        finally:
            self._lock.release()

    def finish(self) -> Upload:
        """Store the rest and give what publishing needs; refuses after any failure."""
        with self._lock:
            if self.failure is not None:
                raise UploadError("This file failed earlier and can't be finished.") from self.failure
            self._finished = True
            try:
                return self._destination.finish()
            except BaseException as error:
                self._fail(error)
                raise

    def _fail(self, cause: BaseException) -> None:
        self.failure = self.failure or cause

    def tell(self) -> int:
        """Bytes taken so far; engines ask."""
        return self.num_bytes

    def flush(self) -> None:
        """Do nothing: parts are cut by size alone; engines call it."""
