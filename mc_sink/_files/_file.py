"""Batches → one finished, invisible file: the engine encodes, the writer uploads, the rows are counted on the way."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mc_sink._plan import Batches, from_batches
from mc_sink._worker import Stopped, Worker
from mc_sink.exceptions import NOTHING_VISIBLE, ConfigurationError, UploadError
from mc_sink.staged import StagedFile
from mc_sink.storage import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import polars as pl

    from mc_sink.formats import Format
    from mc_sink.storage import Store
    from mc_sink.target import Target


class _Feed:
    """Batches on their way into the encoder: counted, stoppable, and remembering what their source raised."""

    def __init__(
        self, batches: Generator[pl.DataFrame, None, None], schema: pl.Schema, advance: Callable[[int], None]
    ) -> None:
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
            return batch if batch is None else self._as_promised(batch)
        except BaseException as error:
            self.failure = error
            raise

    def _as_promised(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Hold every batch to the one schema of the run; the encoder would not notice."""
        if batch.schema != self._schema:
            raise ConfigurationError(
                f"A batch from row {self.num_rows:,} on has the schema {dict(batch.schema)}, and the run has "
                f"{dict(self._schema)}. Cast in the query. {NOTHING_VISIBLE}"
            )
        return batch


@dataclass(frozen=True, slots=True)
class FilePlan:
    """One file to be: where, with which columns, in which format; one of `several`, or `there` already."""

    target: Target
    schema: pl.Schema
    format: Format
    row_group_size: int
    several: bool = False
    there: bool = False

    def open(self, store: Store) -> Writer:
        """Take bytes for it, or compare them with those that an earlier try has published."""
        if self.there:
            return Writer(store.compare(self.target))
        return Writer(store.open(self.target, self.format.content_type, several=self.several))


def write_file(
    batches: Generator[pl.DataFrame, None, None], plan: FilePlan, store: Store, advance: Callable[[int, int], None]
) -> StagedFile:
    """Stage all of `batches` as one file, or raise what went wrong first, leaving nothing visible.

    What the source or the store raised arrives as itself, whatever the engine made of it on the way.
    """
    writer = plan.open(store)
    feed = _Feed(batches, plan.schema, lambda rows: advance(rows, writer.num_bytes))

    def stop(cause: BaseException) -> None:
        feed.stop()
        writer.poison(cause)

    def encode() -> StagedFile:
        plan.format.write(from_batches(feed.pull, plan.schema), writer, plan.row_group_size)
        feed.check_exhausted()
        upload = writer.finish()
        return StagedFile(plan.target.url, feed.num_rows, writer.num_bytes, f"crc32:{writer.crc:08x}", upload)

    with Worker(encode, stop) as worker:
        try:
            return worker.result()
        except BaseException as raised:
            first = raised if worker.interrupted else feed.failure or writer.failure or raised
            _note(first, plan.target.url, writer.abort(first))
            if first is raised:
                raise
            raise first from first.__cause__
        finally:
            feed.close()


def _note(error: BaseException, url: str, left_behind: str | None) -> None:
    """Tell on the error itself, without touching its type or message, what it means for the receiver."""
    error.add_note(f"mc_sink: {NOTHING_VISIBLE} ({url})")
    if left_behind:
        error.add_note(f"mc_sink: {left_behind}")
