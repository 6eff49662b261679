"""A plan → its batches, in order, with proof that they are all of its rows.

The one home of `sink_batches`, an unstable call of Polars'. `collect_batches` is used nowhere: when the engine panics
it ends as if all rows had come (measured, Polars 2.1.0), where `sink_batches` raises what ended the engine.
"""

from __future__ import annotations

import re
from collections.abc import Sized
from contextlib import closing
from threading import Condition
from typing import TYPE_CHECKING, Any

import polars as pl

from mc_sink._regroup import BATCH_BYTES, Regroup
from mc_sink._worker import Stopped, Worker
from mc_sink.exceptions import NOTHING_VISIBLE, QueryError, panics_as_query_errors

if TYPE_CHECKING:
    from collections.abc import Generator

# The plans whose number of rows Polars reads from local Parquet footers or from a frame in memory, and nowhere else.
_COUNTABLE = re.compile(
    r"SELECT \[len\(\)\]\n"
    r" *(?:Parquet SCAN \[(?!\S+://)[^\n]*\]\n *PROJECT 0/\d+ COLUMNS(?:\n *ESTIMATED ROWS: \d+)?"
    r"|DF \[[^\n]*\]; PROJECT\[[^\n]*\] 0/\d+ COLUMNS)\n?"
)


def pull(frame: pl.LazyFrame, row_group_size: int) -> Generator[pl.DataFrame, None, None]:
    """Yield a plan's rows in order, in batches of at most `row_group_size` rows; the engine waits between them.

    The batches end only where the engine reported that the query had come to its end. Whatever ended it earlier is
    raised: the query's or the source's own exception, or a panic of the engine. Where a plan's number of rows can be
    read from Parquet footers or from a frame in memory, it is compared with the rows that came.

    A batch holds at most `BATCH_BYTES` of values, or a single row that is larger. Where batches are cut depends on the
    rows alone, so that equal rows make equal files.

    Raises
    ------
    QueryError
        The engine broke down, or fewer or more rows came than the plan's source holds.
    """
    expected, num_rows = count_rows(frame), 0
    with closing(_batches_of(frame, row_group_size)) as batches:
        for batch in batches:
            num_rows += batch.height
            yield batch
    check_num_rows(num_rows, expected)


def check_num_rows(num_rows: int, expected: int | None) -> None:
    """Raise `QueryError` if another number of rows came than a source is known to hold; None is not known."""
    if expected is not None and num_rows != expected:
        raise QueryError(
            f"The query ended without an error after {num_rows:,} rows, and its source holds {expected:,}: the engine "
            f"lost rows, or the source changed meanwhile. Run it again; if it happens again, please report it. "
            f"{NOTHING_VISIBLE}"
        )


def known_num_rows(frame: object) -> int | None:
    """Return the number of rows of a frame in memory, without reading it; None where only a run can tell."""
    if isinstance(frame, list | tuple):
        counts = [known_num_rows(batch) for batch in frame]
        return None if None in counts else sum(count or 0 for count in counts)
    if isinstance(frame, pl.DataFrame):
        return frame.height
    is_pandas = type(frame).__module__.partition(".")[0] == "pandas" and type(frame).__name__ == "DataFrame"
    if is_pandas and isinstance(frame, Sized):
        return len(frame)
    is_arrow = hasattr(frame, "__arrow_c_stream__") or hasattr(frame, "__arrow_c_array__")
    num_rows: Any = getattr(frame, "num_rows", None)  # a table or batch of pyarrow's
    return num_rows if is_arrow and isinstance(num_rows, int) else None


def count_rows(frame: pl.LazyFrame) -> int | None:
    """Return how many rows a plan has, where that is read from Parquet footers or a frame in memory; else None."""
    counted = frame.select(pl.len())
    if _COUNTABLE.fullmatch(counted.explain()) is None:
        return None
    return int(counted.collect(engine="streaming").item())


def _batches_of(frame: pl.LazyFrame, row_group_size: int) -> Generator[pl.DataFrame, None, None]:
    """Run a plan on a thread of its own and yield its batches, or raise what ended the engine."""
    handover, regroup = _Handover(), Regroup(row_group_size, BATCH_BYTES)

    def take(rows: pl.DataFrame) -> bool:
        """Return whether the engine is to end early."""
        return not all(map(handover.put, regroup.add(rows)))

    def run() -> None:
        try:
            with panics_as_query_errors():  # here, because a panic that passes through a second engine breaks that too
                frame.sink_batches(take, maintain_order=True, engine="streaming")
                all(map(handover.put, regroup.rest()))
        except BaseException as error:  # noqa: BLE001  raised where the batches are pulled
            handover.end(error)
        else:
            handover.end(None)

    engine = Worker(run, lambda _: handover.stop())
    engine.start()
    try:
        while (batch := handover.get()) is not None:
            yield batch
    finally:
        if not engine.done:
            engine.end(Stopped())


class _Handover:
    """One batch at a time from the engine's thread to the one that pulls, and then how the engine ended."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._batch: pl.DataFrame | None = None
        self._error: BaseException | None = None
        self._ended = self._stopped = False

    def put(self, batch: pl.DataFrame) -> bool:
        """Wait until the batch before was taken, and leave this one; return False once nothing more is wanted."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._batch is None)
            if not self._stopped:
                self._batch = batch
            self._changed.notify_all()
            return not self._stopped

    def get(self) -> pl.DataFrame | None:
        """Wait for the next batch; return None after the last one, or raise what ended the engine."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._batch is not None)
            batch, self._batch = self._batch, None
            self._changed.notify_all()
        if batch is None and self._error is not None:
            error, self._error = self._error, None  # no cycle: its traceback knows this object
            raise error
        return batch

    def end(self, error: BaseException | None) -> None:
        """Note how the engine ended; None is its word that there are no more rows."""
        with self._changed:
            self._error, self._ended = error, True
            self._changed.notify_all()

    def stop(self) -> None:
        """Refuse all further batches, and drop the one that waits."""
        with self._changed:
            self._stopped, self._batch = True, None
            self._changed.notify_all()
