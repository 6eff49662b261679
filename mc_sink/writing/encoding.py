"""Encode batches into one staged file: the engine encodes, the writer uploads, and rows are counted."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from mc_sink._frames import from_batches
from mc_sink._runtime.batches import BATCH_BYTES, Regroup
from mc_sink._runtime.engine_thread import Stopped, Worker
from mc_sink.exceptions import NOTHING_VISIBLE, ConfigurationError, SinkError, UploadError, add_note
from mc_sink.staged import StagedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    import polars as pl

    from mc_sink._frames import Batches
    from mc_sink.formats import Gathers
    from mc_sink.receipt import CountedWarning
    from mc_sink.storage import Store, Writer
    from mc_sink.writing.plan import FilePlan

    BatchGenerator = Generator[pl.DataFrame, None, None]

T = TypeVar("T")


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


class FileEncoder:
    """One file while it is made: `encode` it, then `finish` it, or `abort` it; nothing of it is ever visible.

    `num_rows` and `num_bytes` are those of the whole file, also where it is more than `max_bytes`; then it holds what
    can't be finished.
    """

    def __init__(
        self, batches: BatchGenerator, plan: FilePlan, writer: Writer, advance: Callable[[int, int], None]
    ) -> None:
        self.plan, self.writer = plan, writer
        self._feed = BatchSource(batches, plan.schema, lambda rows: advance(rows, writer.num_bytes))
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
                note_visibility(first, self.plan.target.url, self.abort(first))
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
    encoding = FileEncoder(batches, plan, plan.open(store), advance)

    def work() -> StagedFile:
        encoding.encode()
        return encoding.finish()

    return encoding.run(work)


class BatchSource:
    """Batches for one engine run: counted, stoppable, and remembering what their source raised."""

    def __init__(self, batches: BatchGenerator, schema: pl.Schema, advance: Callable[[int], None]) -> None:
        self._batches, self._schema, self._advance = batches, schema, advance
        self._stopped = threading.Event()
        self._exhausted = False
        self.failure: BaseException | None = None
        self.num_rows = 0

    def stop(self) -> None:
        """End the encoder as soon as it asks for more."""
        self._stopped.set()

    def close(self) -> None:
        """Let go of the query, so that it ends now and not when an exception that knows of it is dropped."""
        with suppress(ValueError):  # an engine that was left behind is still inside it
            self._batches.close()

    def pull(self) -> Batches:
        """Yield each batch, or raise what the source raised."""
        while (batch := self._next()) is not None:
            yield batch
            self.num_rows += batch.height
            self._advance(batch.height)
        self._exhausted = True

    def check_exhausted(self, runs: BoundedRuns) -> None:
        """Refuse a file whose encoder ended well without having read its source to the end, in all its runs."""
        if not (self._exhausted and runs.ended and not runs.more and runs.num_rows == self.num_rows):
            raise UploadError(
                f"The encoder ended after {runs.num_rows:,} rows, before its source did. "
                "This should not happen: please report it."
            )

    def _next(self) -> pl.DataFrame | None:
        if self._stopped.is_set():
            raise Stopped
        try:
            batch = next(self._batches, None)
            return batch if batch is None else as_promised(batch, self._schema, self.num_rows)
        except BaseException as error:
            self.failure = error
            raise


class BoundedRuns:
    """Rows for an encoder that gathers some of them, whatever they take, in runs that bound their bytes.

    Where fewer rows than it gathers take more than it should be given at once, or than `BATCH_BYTES`, they are given in
    runs of no more bytes than that. The last run ends where the rows do. Where runs end depends on the rows alone.
    """

    def __init__(self, batches: Batches, row_group_size: int, gathers: Gathers) -> None:
        self._gathers, self._most = gathers, max(BATCH_BYTES, gathers.num_bytes)
        self._groups = self._regrouped(batches, max(row_group_size, gathers.num_rows))
        self.more = False
        self.ended = False
        self.num_rows = 0

    def pull(self) -> Batches:
        """Yield the rows of the next run."""
        self.ended = self.more = False
        # Not by `for`: what it leaves early it closes, and the rows of the next run would be gone.
        while not self.more and (found := next(self._groups, None)) is not None:
            group, is_last = found
            yield group
            self.num_rows += group.height
            self.more = is_last
        self.ended = True

    def _regrouped(self, batches: Batches, num_rows: int) -> Iterator[tuple[pl.DataFrame, bool]]:
        """Yield batches, and whether a run ends with each, though more rows follow."""
        regroup = Regroup(num_rows, self._most)
        for batch in batches:
            for group in regroup.add(batch):
                yield from self._runs_of(group, more=True)
        for group in regroup.rest():
            yield from self._runs_of(group, more=False)

    def _runs_of(self, group: pl.DataFrame, *, more: bool) -> Iterator[tuple[pl.DataFrame, bool]]:
        if group.height >= self._gathers.num_rows:
            yield group, False
            return
        regroup = Regroup(group.height, self._gathers.num_bytes)
        *runs, last = [*regroup.add(group), *regroup.rest()]
        for run in runs:
            yield run, True
        yield last, more


def as_promised(batch: pl.DataFrame, schema: pl.Schema, num_rows: int) -> pl.DataFrame:
    """Hold every batch to the one schema of the run; the encoder would not notice."""
    if batch.schema != schema:
        raise ConfigurationError(
            f"A batch from row {num_rows:,} on has the schema {dict(batch.schema)}, and the run has {dict(schema)}. "
            f"Cast in the query."
        )
    return batch


def promised(batches: Batches, schema: pl.Schema) -> BatchGenerator:
    """Pass batches on, each held to the schema of the run."""
    num_rows = 0
    for batch in batches:
        yield as_promised(batch, schema, num_rows)
        num_rows += batch.height


def consume(batches: BatchGenerator, schema: pl.Schema) -> None:
    """Pull all batches off the main thread, or raise what their source raised, with a note.

    The caller closes `batches`.
    """
    feed = BatchSource(batches, schema, lambda _rows: None)
    with Worker(lambda: deque(feed.pull(), maxlen=0), lambda _cause: feed.stop()) as worker:
        try:
            worker.result()
        except BaseException as raised:
            first = raised if worker.interrupted else feed.failure or raised
            note_visibility(first, None)
            if first is raised:
                raise
            raise first from first.__cause__


def note_visibility(error: BaseException, url: str | None, left_behind: str | None = None) -> None:
    """Tell on the error itself, without touching its type or message, what it means for the receiver."""
    if not isinstance(error, SinkError):
        add_note(error, NOTHING_VISIBLE + (f" ({url})" if url else ""))
    if left_behind:
        add_note(error, left_behind)
