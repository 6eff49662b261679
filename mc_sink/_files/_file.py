"""Batches → one finished, invisible file: the engine encodes, the writer uploads, the rows are counted on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from mc_sink._files._feed import BoundedRuns, Feed, note
from mc_sink._plan import from_batches
from mc_sink._worker import Worker
from mc_sink.staged import StagedFile
from mc_sink.storage import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import polars as pl

    from mc_sink._files._feed import BatchGenerator
    from mc_sink.formats import Format
    from mc_sink.partitions import Partition
    from mc_sink.receipt import CountedWarning
    from mc_sink.storage import Store
    from mc_sink.target import Target

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class FilePlan:
    """One file to be: where, with which columns, in which format; one of `several`, or `there` already.

    `metadata` are facts about the run that a format may have a place for.
    """

    target: Target
    schema: pl.Schema
    format: Format
    row_group_size: int
    several: bool = False
    there: bool = False
    partition: Partition | None = None
    metadata: Mapping[str, str] | None = None

    def open(self, store: Store) -> Writer:
        """Take bytes for it, or compare them with those that an earlier try has published."""
        if self.there:
            return Writer(store.compare(self.target))
        return Writer(store.open(self.target, self.format.content_type, several=self.several))


class _Bounded:
    """Passes bytes on as long as they are no more than `max_bytes` together; beyond that it only counts them."""

    def __init__(self, writer: Writer, max_bytes: int) -> None:
        self._writer, self._max_bytes = writer, max_bytes
        self.num_bytes = 0

    def write(self, data: bytes) -> int:
        self.num_bytes += len(data)
        return self._writer.write(data) if self.num_bytes <= self._max_bytes else len(data)

    def tell(self) -> int:
        return self.num_bytes

    def flush(self) -> None:
        """Do nothing, as the writer does."""


class Encoding:
    """One file while it is made: `encode` it, then `finish` it, or `abort` it; nothing of it is ever visible.

    `num_rows` and `num_bytes` are those of the whole file, also where it is more than `max_bytes`; then it holds what
    can't be finished.
    """

    def __init__(
        self, batches: BatchGenerator, plan: FilePlan, writer: Writer, advance: Callable[[int, int], None]
    ) -> None:
        self.plan, self.writer = plan, writer
        self._feed = Feed(batches, plan.schema, lambda rows: advance(rows, writer.num_bytes))
        self._aborted = False
        self._warnings: tuple[CountedWarning, ...] = ()
        self.num_bytes = 0

    @property
    def num_rows(self) -> int:
        """Rows that went into the file."""
        return self._feed.num_rows

    def encode(self, max_bytes: int | None = None) -> None:
        """Have the engine write all of it; bytes go on as they come, but none beyond `max_bytes`."""
        file = self.writer if max_bytes is None else _Bounded(self.writer, max_bytes)
        plan = self.plan
        runs = BoundedRuns(self._feed.pull(), plan.row_group_size, plan.format.gathers(plan.row_group_size))
        rows = from_batches(runs.pull, plan.schema)
        self._warnings = plan.format.write(rows, file, plan.row_group_size, metadata=plan.metadata, runs=runs)
        self._feed.check_exhausted(runs)
        self.num_bytes = file.num_bytes

    def finish(self) -> StagedFile:
        """Store the rest of its bytes."""
        upload = self.writer.finish()
        partition = self.plan.partition.values if self.plan.partition else None
        crc = f"crc32:{self.writer.crc:08x}"
        return StagedFile(self.plan.target.url, self.num_rows, self.num_bytes, crc, upload, partition, self._warnings)

    def abort(self, cause: BaseException) -> str | None:
        """Throw away what was stored, once; a sentence on what is left behind, if anything is."""
        if self._aborted:
            return None
        self._aborted = True
        return self.writer.abort(cause)

    def run(self, work: Callable[[], T]) -> T:
        """Do `work` off the main thread, or raise what went wrong first, with the file aborted.

        What the source or the store raised arrives as itself, whatever the engine made of it on the way.
        """
        with Worker(work, self._stop) as worker:
            try:
                return worker.result()
            except BaseException as raised:
                first = raised if worker.interrupted else self._feed.failure or self.writer.failure or raised
                note(first, self.plan.target.url, self.abort(first))
                if first is raised:
                    raise
                raise first from first.__cause__
            finally:
                self._feed.close()

    def _stop(self, cause: BaseException) -> None:
        self._feed.stop()
        self.writer.poison(cause)


def write_file(
    batches: BatchGenerator, plan: FilePlan, store: Store, advance: Callable[[int, int], None]
) -> StagedFile:
    """Stage all of `batches` as one file, or raise what went wrong first, leaving nothing visible."""
    encoding = Encoding(batches, plan, plan.open(store), advance)

    def work() -> StagedFile:
        encoding.encode()
        return encoding.finish()

    return encoding.run(work)
