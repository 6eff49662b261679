"""Rows → one file after the other, each closed and staged as soon as it is full."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mc_sink._files._file import FilePlan, write_file

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import polars as pl

    from mc_sink.formats import Format
    from mc_sink.names import Names
    from mc_sink.staged import StagedFile
    from mc_sink.storage import Store

    Batches = Generator[pl.DataFrame, None, None]


@dataclass(frozen=True, slots=True)
class DeliveryPlan:
    """The files to be: their names, columns and format, how many rows at most, and which ones are there already."""

    names: Names
    schema: pl.Schema
    format: Format
    row_group_size: int
    max_rows: int | None
    there: frozenset[str]

    def file(self, part: int) -> FilePlan:
        """Plan the file with this number, counted from 0."""
        target = self.names.file(part)
        return FilePlan(
            target,
            self.schema,
            self.format,
            self.row_group_size,
            several=self.names.several,
            there=target.url in self.there,
        )


class _Rolls:
    """Batches, dealt out in lots of at most `max_rows` rows; looks one batch ahead, so that no lot is empty.

    Only lots are pulled from, and so all of the query runs where the encoder does.
    """

    def __init__(self, batches: Batches, max_rows: int) -> None:
        self._batches, self._max_rows = batches, max_rows
        self._ahead: pl.DataFrame | None = None
        self.ended = False

    def lot(self) -> Batches:
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


def write_files(
    batches: Batches, plan: DeliveryPlan, store: Store, advance: Callable[[int, int], None]
) -> tuple[StagedFile, ...]:
    """Stage all of `batches`, at least one file, or raise what went wrong first, leaving nothing visible or staged."""
    if plan.max_rows is None:
        return (write_file(batches, plan.file(0), store, advance),)
    files: list[StagedFile] = []
    rolls = _Rolls(batches, plan.max_rows)
    try:
        while not rolls.ended:
            before = sum(file.num_bytes for file in files)
            files.append(write_file(rolls.lot(), plan.file(len(files)), store, _from(advance, before)))
    except BaseException as error:
        for left in filter(None, map(store.discard, files)):
            error.add_note(f"mc_sink: {left}")
        raise
    finally:
        with suppress(ValueError):  # an engine that was left behind is still inside it
            batches.close()
    return tuple(files)


def _from(advance: Callable[[int, int], None], before: int) -> Callable[[int, int], None]:
    """Count bytes on from those of earlier files."""
    return lambda rows, num_bytes: advance(rows, before + num_bytes)
