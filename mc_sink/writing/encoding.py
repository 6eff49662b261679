"""Encode batches into one staged file: the engine encodes, the writer uploads, and rows are counted."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, TypeVar

from mc_sink._nested import dtype_shown
from mc_sink._runtime.batches import BATCH_BYTES, Regroup
from mc_sink._runtime.engine_thread import Stopped, Worker, next_of
from mc_sink.encryption import ClearFile, encrypt_into
from mc_sink.exceptions import NOTHING_VISIBLE, ConfigurationError, SinkError, UploadError, add_note
from mc_sink.staged import StagedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    import polars as pl

    from mc_sink._frames import Batches
    from mc_sink.encrypted import ClearBytes
    from mc_sink.formats import Gathers
    from mc_sink.receipt import CountedWarning
    from mc_sink.storage import Store, Writer
    from mc_sink.writing.plan import FilePlan

    BatchGenerator = Generator[pl.DataFrame, None, None]

T = TypeVar("T")


class _Bounded:
    """Passes on at most `max_bytes` bytes, and only counts the bytes beyond them."""

    def __init__(self, writer: Writer, max_bytes: int) -> None:
        self._writer, self._max_bytes = writer, max_bytes
        self.num_bytes = 0

    def write(self, data: bytes) -> int:
        self.num_bytes += len(data)
        return self._writer.write(data) if self.num_bytes <= self._max_bytes else len(data)

    def tell(self) -> int:
        return self.num_bytes

    def flush(self) -> None:
        """Ignore the call, as the writer does."""


class FileEncoder:
    """Encodes one file: call `encode`, and then `finish` or `abort`. Nothing of it ever becomes visible.

    `num_rows` and `num_bytes` count the whole file even if it exceeds `max_bytes`. Such a file cannot be finished; call
    `abort`.
    """

    def __init__(
        self, batches: BatchGenerator, plan: FilePlan, writer: Writer, advance: Callable[[int, int], None]
    ) -> None:
        self.plan, self.writer = plan, writer
        self._source = BatchSource(batches, plan.schema, lambda rows: advance(rows, writer.num_bytes))
        self._aborted = False
        self._warnings: tuple[CountedWarning, ...] = ()
        self._clear: ClearBytes | None = None
        self.num_bytes = 0

    @property
    def num_rows(self) -> int:
        """Rows of the file."""
        return self._source.num_rows

    def encode(self, max_bytes: int | None = None) -> None:
        """Encode all rows; the bytes go to the writer as they come, but none beyond `max_bytes`."""
        file = self.writer if max_bytes is None else _Bounded(self.writer, max_bytes)
        plan = self.plan
        gathers = plan.format.gathers(plan.row_group_size)
        runs = BoundedRuns(self._source.pull(), plan.schema, plan.row_group_size, gathers)
        with encrypt_into(file, plan.cipher) if plan.cipher else nullcontext(file) as opened:
            self._warnings = plan.format.write(runs, opened, plan.row_group_size, metadata=plan.metadata)
        self._clear = opened.clear if isinstance(opened, ClearFile) else None
        self._source.check_exhausted(runs)
        self.num_bytes = file.num_bytes

    def finish(self) -> StagedFile:
        """Upload the rest of the bytes, and return the staged file."""
        upload = self.writer.finish()
        partition = self.plan.partition.values if self.plan.partition else None
        return StagedFile(
            self.plan.target.url,
            self.num_rows,
            self.num_bytes,
            f"crc32:{self.writer.crc:08x}",
            upload,
            partition,
            self._warnings,
            self._clear,
        )

    def abort(self, cause: BaseException) -> str | None:
        """Discard the stored bytes, once; return a sentence on what is left behind, if anything is."""
        if self._aborted:
            return None
        self._aborted = True
        return self.writer.abort(cause)

    def run(self, work: Callable[[], T]) -> T:
        """Run `work` off the main thread; abort the file and raise the first error.

        An error of the source or of the store is raised with its own type, which engines change.
        """
        with Worker(work, self._stop) as worker:
            try:
                return worker.result()
            except BaseException as raised:
                first = raised if worker.interrupted else self._source.failure or self.writer.failure or raised
                note_visibility(first, self.plan.target.url, self.abort(first))
                if self.plan.several and first is raised and isinstance(first, ConfigurationError):
                    add_note(first, f"Rows are counted from 0 in {self.plan.target.url}.")
                if first is raised:
                    raise
                raise first from first.__cause__
            finally:
                self._source.close()

    def _stop(self, cause: BaseException) -> None:
        self._source.stop()
        self.writer.poison(cause)


def write_file(
    batches: BatchGenerator, plan: FilePlan, store: Store, advance: Callable[[int, int], None]
) -> StagedFile:
    """Stage all of `batches` as one file, or raise the first error, leaving nothing visible."""
    encoder = FileEncoder(batches, plan, plan.open(store), advance)

    def work() -> StagedFile:
        encoder.encode()
        return encoder.finish()

    return encoder.run(work)


class BatchSource:
    """The batches of one engine run. It counts them, can stop them, and keeps the error of their source."""

    def __init__(self, batches: BatchGenerator, schema: pl.Schema, advance: Callable[[int], None]) -> None:
        self._batches, self._schema, self._advance = batches, schema, advance
        self._stopped = threading.Event()
        self._exhausted = False
        self.failure: BaseException | None = None
        self.num_rows = 0

    def stop(self) -> None:
        """Stop the encoder as soon as it asks for the next batch."""
        self._stopped.set()

    def close(self) -> None:
        """Close the query, so that it ends now and not when an exception that refers to it is dropped."""
        with suppress(ValueError):  # an engine that was left behind is still inside it
            self._batches.close()

    def pull(self) -> Batches:
        """Yield each batch, or raise the error of the source."""
        while (batch := self._next()) is not None:
            yield batch
            self.num_rows += batch.height
            self._advance(batch.height)
        self._exhausted = True

    def check_exhausted(self, runs: BoundedRuns) -> None:
        """Raise if the encoder ended without an error before it had read its source to the end, in all its runs."""
        if not (self._exhausted and runs.ended and not runs.more and runs.num_rows == self.num_rows):
            raise UploadError(
                f"The encoder ended after {runs.num_rows:,} rows, before its source did. "
                "This should not happen: please report it."
            )

    def _next(self) -> pl.DataFrame | None:
        if self._stopped.is_set():
            raise Stopped
        try:
            batch = next_of(self._batches, self._stopped)
            return batch if batch is None else as_promised(batch, self._schema, self.num_rows)
        except BaseException as error:
            self.failure = error
            raise


class BoundedRuns:
    """Divides rows into runs of bounded bytes, for an encoder that gathers a number of rows regardless of their bytes.

    If fewer rows than the encoder gathers have more bytes than its bound, or than `BATCH_BYTES`, they are divided into
    runs of no more bytes than that. Where runs end depends on the rows alone.
    """

    def __init__(self, batches: Batches, schema: pl.Schema, row_group_size: int, gathers: Gathers) -> None:
        self.schema = schema
        self._gathers, self._most = gathers, max(BATCH_BYTES, gathers.num_bytes)
        self._groups = self._regrouped(batches, max(row_group_size, gathers.num_rows))
        self.more = False
        self.ended = False
        self.num_rows = 0

    def pull(self) -> Batches:
        """Yield the rows of the next run."""
        self.ended = self.more = False
        # Not by `for`, which closes a generator that it leaves early: the rows of the next run would be lost.
        while not self.more and (found := next(self._groups, None)) is not None:
            group, is_last = found
            yield group
            self.num_rows += group.height
            self.more = is_last
        self.ended = True

    def _regrouped(self, batches: Batches, num_rows: int) -> Iterator[tuple[pl.DataFrame, bool]]:
        """Yield batches, each with whether a run ends with it and more rows follow."""
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
    """Return the batch, or raise if it has another schema than the run; the encoder would not notice."""
    if batch.schema != schema:
        found, expected = _shown(batch.schema), _shown(schema)
        reason = f"columns {found}, and the run has {expected}" if found != expected else "other categories of an Enum"
        raise ConfigurationError(f"A batch from row {num_rows:,} on has {reason}. Cast the columns in the query.")
    return batch


def _shown(schema: pl.Schema) -> str:
    return ", ".join(f"{name!r} ({dtype_shown(dtype)})" for name, dtype in schema.items())


def promised(batches: Batches, schema: pl.Schema) -> BatchGenerator:
    """Yield the batches; raise at the first one that has another schema than the run."""
    num_rows = 0
    for batch in batches:
        yield as_promised(batch, schema, num_rows)
        num_rows += batch.height


def consume(batches: BatchGenerator, schema: pl.Schema) -> None:
    """Pull all batches off the main thread, or raise the error of their source, with a note.

    The caller closes `batches`.
    """
    source = BatchSource(batches, schema, lambda _rows: None)
    with Worker(lambda: deque(source.pull(), maxlen=0), lambda _cause: source.stop()) as worker:
        try:
            worker.result()
        except BaseException as raised:
            first = raised if worker.interrupted else source.failure or raised
            note_visibility(first, None)
            if first is raised:
                raise
            raise first from first.__cause__


def note_visibility(error: BaseException, url: str | None, left_behind: str | None = None) -> None:
    """Note on an error, without changing its type or message, that nothing is visible and what is left behind."""
    if not isinstance(error, SinkError):
        add_note(error, NOTHING_VISIBLE + (f" ({url})" if url else ""))
    if left_behind:
        add_note(error, left_behind)
