"""Batches on their way into an engine: counted, stoppable, and pulled where Ctrl-C can't harm."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

import polars as pl

from mc_sink._spill import compact
from mc_sink._worker import Stopped, Worker
from mc_sink.exceptions import NOTHING_VISIBLE, ConfigurationError, UploadError, add_note

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from mc_sink._plan import Batches

    BatchGenerator = Generator[pl.DataFrame, None, None]


class Feed:
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

    def check_exhausted(self) -> None:
        """Refuse a file whose encoder ended well without having read its source to the end."""
        if not self._exhausted:
            raise UploadError(
                f"The encoder ended after {self.num_rows:,} rows, before its source did. {NOTHING_VISIBLE} "
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


def as_promised(batch: pl.DataFrame, schema: pl.Schema, num_rows: int) -> pl.DataFrame:
    """Hold every batch to the one schema of the run; the encoder would not notice."""
    if batch.schema != schema:
        raise ConfigurationError(
            f"A batch from row {num_rows:,} on has the schema {dict(batch.schema)}, and the run has {dict(schema)}. "
            f"Cast in the query. {NOTHING_VISIBLE}"
        )
    return batch


def regrouped(batches: Batches, schema: pl.Schema, num_rows: int) -> BatchGenerator:
    """Yield the same rows in batches of `num_rows`, each of one piece, whatever they came in.

    Measured: gzip's blocks, and so its bytes, depend on how the batches that feed the encoder are cut; cut like this,
    the same rows give the same bytes.
    """
    waiting: list[pl.DataFrame] = []
    height = passed = 0
    for batch in batches:
        waiting.append(compact(as_promised(batch, schema, passed)))
        height += batch.height
        passed += batch.height
        if height < num_rows:
            continue
        joined = pl.concat(waiting, rechunk=False)
        whole = height - height % num_rows
        for start in range(0, whole, num_rows):
            yield joined.slice(start, num_rows).rechunk()
        height -= whole
        waiting = [joined.slice(whole)] if height else []
    if height:
        yield pl.concat(waiting, rechunk=False).rechunk()


def consume(batches: BatchGenerator, schema: pl.Schema) -> None:
    """Pull all batches off the main thread, or raise what their source raised, with a note.

    The caller closes `batches`.
    """
    feed = Feed(batches, schema, lambda _rows: None)
    with Worker(lambda: deque(feed.pull(), maxlen=0), lambda _cause: feed.stop()) as worker:
        try:
            worker.result()
        except BaseException as raised:
            first = raised if worker.interrupted else feed.failure or raised
            note(first, None)
            if first is raised:
                raise
            raise first from first.__cause__


def note(error: BaseException, url: str | None, left_behind: str | None = None) -> None:
    """Tell on the error itself, without touching its type or message, what it means for the receiver."""
    add_note(error, NOTHING_VISIBLE + (f" ({url})" if url else ""))
    if left_behind:
        add_note(error, left_behind)
