"""Rows → one file after the other, each closed and staged as soon as it is full: by rows, by bytes, or by both."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol

from mc_sink._files._rows import Rows
from mc_sink._files._search import Search
from mc_sink.exceptions import NOTHING_VISIBLE, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

    from mc_sink._files._feed import BatchGenerator
    from mc_sink._files._file import FilePlan
    from mc_sink._files._staging import Staging

# What the first file is guessed from, encoded once for nothing.
SAMPLE_ROWS = 10_000


class Rolls(Protocol):
    """A way to cut rows into files."""

    def write(self, batches: BatchGenerator, plans: Iterator[FilePlan]) -> None:
        """Make one file or more of the rows, by the next plans; all of `batches` is pulled where the encoder runs."""


class RowRolls:
    """Files of at most `max_rows` rows each, all full but the last; of all rows where that is None."""

    def __init__(self, staging: Staging, max_rows: int | None) -> None:
        self._staging, self._max_rows = staging, max_rows or sys.maxsize

    def write(self, batches: BatchGenerator, plans: Iterator[FilePlan]) -> None:
        """Make at least one file, and no empty one after it."""
        lots = _Lots(batches, self._max_rows)
        while not lots.ended:
            self._staging.keep(self._staging.encode(lots.lot(), next(plans)))


class ByteRolls:
    """Files of at most `max_bytes` bytes each, as stored, and of at most `max_rows` rows.

    A file that came out larger is thrown away before it is finished, and made anew of fewer rows; so is one that came
    out under half its bound, of more rows, as long as nothing of it was sent. Where a file is cut depends on the rows
    alone, and so it is the same on every run.
    """

    def __init__(self, staging: Staging, max_bytes: int, max_rows: int | None, folder: str | None) -> None:
        self._staging, self._max_bytes, self._folder = staging, max_bytes, folder
        self._max_rows = max_rows or sys.maxsize
        self._empty = 0
        self._bytes_per_row = 0.0

    def write(self, batches: BatchGenerator, plans: Iterator[FilePlan]) -> None:
        """Make at least one file, and no empty one after it."""
        with Rows(batches, self._folder) as rows:
            ended = False
            while not ended:
                plan = next(plans)
                if not self._bytes_per_row:
                    self._learn(rows, plan)
                ended = self._write_one(rows, plan)

    def _learn(self, rows: Rows, plan: FilePlan) -> None:
        """Measure a file without rows, and one of a few."""
        _, self._empty = self._staging.measure(_nothing(), plan)
        if self._empty > self._max_bytes:
            raise self._too_large("A file without any rows", self._empty, plan)
        num_rows, num_bytes = self._staging.measure(rows.sample(SAMPLE_ROWS), plan)
        self._bytes_per_row = max(1.0, (num_bytes - self._empty) / max(1, num_rows))

    def _write_one(self, rows: Rows, plan: FilePlan) -> bool:
        """Keep the first try that is worth it, and say whether there are no more rows."""
        search = Search(self._max_bytes, self._empty, self._bytes_per_row, self._max_rows)
        while True:
            file = self._staging.encode(rows.take(search.num_rows), plan, self._max_bytes)
            search.note(file.num_rows, file.num_bytes)
            ended = rows.ends_with(file.num_rows)
            if search.is_full or (search.fits and ended):
                break
            self._staging.redo(file)
            if file.num_rows == 1 and not search.fits:
                row = f"Row {self._staging.num_rows:,} (from 0, in the order of the files)"
                raise self._too_large(f"{row} alone", file.num_bytes, plan)
        if not ended:  # the last file of all says little: it is as small as it happens to be
            self._bytes_per_row = search.bytes_per_row
        rows.drop(file.num_rows)
        self._staging.keep(file)
        return ended

    def _too_large(self, what: str, num_bytes: int, plan: FilePlan) -> ConfigurationError:
        return ConfigurationError(
            f"{what} takes {num_bytes:,} bytes as {plan.format.extension}, and max_bytes_per_file is "
            f"{self._max_bytes:,} ({plan.target.url}). Raise it. {NOTHING_VISIBLE}"
        )


class _Lots:
    """Batches, dealt out in lots of at most `max_rows` rows; looks one batch ahead, so that no lot is empty.

    Only lots are pulled from, and so all of the query runs where the encoder does.
    """

    def __init__(self, batches: BatchGenerator, max_rows: int) -> None:
        self._batches, self._max_rows = batches, max_rows
        self._ahead: pl.DataFrame | None = None
        self.ended = False

    def lot(self) -> BatchGenerator:
        """Yield the batches of the next file."""
        left = self._max_rows
        while left and (batch := self._take()) is not None:
            taken = batch.head(left)
            left -= taken.height
            self._ahead = batch.slice(taken.height) if taken.height < batch.height else None
            yield taken
        self._ahead = self._take()
        self.ended = self._ahead is None

    def _take(self) -> pl.DataFrame | None:
        """Give what is left of a batch, or the next one that has rows."""
        ahead, self._ahead = self._ahead, None
        return ahead if ahead is not None else next((batch for batch in self._batches if batch.height), None)


def _nothing() -> BatchGenerator:
    yield from ()
