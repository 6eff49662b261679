"""Pull a plan's batches, in order, with proof that they are all of its rows, in sizes that depend on the rows alone.

The one home of `sink_batches`, an unstable call of Polars'. `collect_batches` is used nowhere: when the engine panics
it ends as if all rows had come (measured, Polars 2.1.0), where `sink_batches` raises what ended the engine.
"""

from __future__ import annotations

import re
from collections.abc import Sized
from contextlib import closing
from functools import cache, lru_cache
from threading import Condition
from typing import TYPE_CHECKING, Any

import polars as pl

from mc_sink._nested import leaf_dtypes
from mc_sink._polars import Map
from mc_sink._runtime.engine_thread import STEP_SECONDS, Stopped, Worker, check_stopped
from mc_sink._runtime.kept_rows import compact, copied, kept_alive
from mc_sink.exceptions import QueryError, panics_as_query_errors

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

# The plans whose number of rows Polars reads from local Parquet footers or from a frame in memory, and nowhere else.
# Polars 1.40 writes `*` for no columns, and names one column of a frame.
_COUNTABLE = re.compile(
    r"SELECT \[len\(\)\]\n"
    r" *(?:Parquet SCAN \[(?!\S+://)[^\n]*\]\n *PROJECT [0*]/\d+ COLUMNS(?:\n *ESTIMATED ROWS: \d+)?"
    r"|DF \[[^\n]*\]; PROJECT(?:\[[^\n]*\])? [\d*]+/\d+ COLUMNS)\n?"
)
# A batch of wide rows ends here, before it has all the rows that it may have: from 168 bytes a row on, of 100,000.
# About ten are alive at once on the longest way through, and allocators keep as much again.
BATCH_BYTES = 16 * 2**20
# From so many pieces on, a batch is copied into one: engines handle each piece on its own.
_MANY_PIECES = 5
# A piece is small that has less than this part of a batch's rows.
_SMALL = 16
_LABELS = (pl.Categorical, pl.Enum)


def pull(frame: pl.LazyFrame, row_group_size: int) -> Generator[pl.DataFrame, None, None]:
    """Yield a plan's rows in order, in batches of at most `row_group_size` rows; the engine waits between them.

    The batches end only where the engine reported the end of the query. Any error that ended it earlier is raised: the
    query's or the source's own exception, or a panic of the engine. If a plan's number of rows can be read from Parquet
    footers or from a frame in memory, it is compared with the rows that came.

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
    """Raise `QueryError` if other than the `expected` number of rows came; None means that it is not known."""
    if expected is not None and num_rows != expected:
        raise QueryError(
            f"The query ended without an error after {num_rows:,} rows, and its source holds {expected:,}: the engine "
            f"lost rows, or the source changed meanwhile. Run it again; if it happens again, please report it."
        )


def known_num_rows(frame: object) -> int | None:
    """Return the number of rows of a frame in memory, without reading it; None where only a run can show it."""
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
    """Return a plan's number of rows if Parquet footers or a frame in memory have it, else None."""
    counted = frame.select(pl.len())
    if _COUNTABLE.fullmatch(counted.explain()) is None:
        return None
    return int(counted.collect(engine="streaming").item())


def _batches_of(frame: pl.LazyFrame, row_group_size: int) -> Generator[pl.DataFrame, None, None]:
    """Run a plan on its own thread and yield its batches, or raise the error that ended the engine."""
    handover, regroup = _Handover(), Regroup(row_group_size, BATCH_BYTES)

    def take(rows: pl.DataFrame) -> bool:
        """Return whether the engine is to end early."""
        return handover.stopped or not all(map(handover.put, regroup.add(rows)))

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
    """Hands one batch at a time from the engine's thread to the pulling thread, and then how the engine ended."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._batch: pl.DataFrame | None = None
        self._error: BaseException | None = None
        self._ended = self.stopped = False

    def put(self, batch: pl.DataFrame) -> bool:
        """Leave a batch and wait until it was taken; return False once `stop` was called.

        The engine has its next batches ready by itself: one that waited here would be one more in memory.
        """
        with self._changed:
            if not self.stopped:
                self._batch = batch
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.stopped or self._batch is None)
            return not self.stopped

    def get(self) -> pl.DataFrame | None:
        """Wait for the next batch; return None after the last one, or raise the error that ended the engine.

        Raises `Stopped` once the run that pulls is stopped. In steps, because a signal may reach another thread.
        """
        with self._changed:
            while not self._changed.wait_for(lambda: self._ended or self._batch is not None, STEP_SECONDS):
                check_stopped()
            batch, self._batch = self._batch, None
            self._changed.notify_all()
        if batch is None and self._error is not None:
            error, self._error = self._error, None  # no cycle: its traceback knows this object
            raise error
        return batch

    def end(self, error: BaseException | None) -> None:
        """Record how the engine ended; None means that no more rows follow."""
        with self._changed:
            self._error, self._ended = error, True
            self._changed.notify_all()

    def stop(self) -> None:
        """Refuse all further batches, and drop the waiting one."""
        with self._changed:
            self.stopped, self._batch = True, None
            self._changed.notify_all()


class Regroup:
    """Regroups rows into batches whose ends depend on the rows alone, and not on the frames that they came in.

    Each batch is the longest run of rows that has at most `num_rows` rows and at most `num_bytes` of values, or one row
    that is larger. Memory: two batches, and the rows that were added last.
    """

    def __init__(self, num_rows: int, num_bytes: int) -> None:
        self._num_rows, self._num_bytes = num_rows, num_bytes
        self._waiting: list[pl.DataFrame] = []
        self._height = self._most = 0

    def add(self, rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """Yield the batches that these rows complete; after a batch of fewer than `num_rows` rows, more rows follow."""
        for piece in rows.iter_slices(self._num_rows):  # an engine may hand over millions at once
            if piece.height:
                yield from self._add(piece)

    def _add(self, piece: pl.DataFrame) -> Iterator[pl.DataFrame]:
        self._wait(piece)
        if self._height < self._num_rows and self._most <= self._num_bytes:
            return
        rows = pl.concat(self._take(), rechunk=False)
        start = 0
        for end in _cuts(rows, self._num_rows, self._num_bytes):
            yield _in_few_pieces(rows[start:end])
            start = end
        if rows.height - start == self._num_rows:
            yield _in_few_pieces(rows[start:])
        else:
            self._wait(rows[start:])

    def rest(self) -> Iterator[pl.DataFrame]:
        """Yield the last batch, if any rows are left."""
        if self._waiting:
            yield _in_few_pieces(pl.concat(self._take(), rechunk=False))

    def _wait(self, rows: pl.DataFrame) -> None:
        self._waiting.append(rows)
        self._height += rows.height
        self._most += most_bytes(rows)
        number = len(self._waiting)
        # Pieces that are large have lost few rows to a filter, and looking at them would load pyarrow: 0.2 s, 40 MB.
        are_small = self._height * _SMALL < self._num_rows * number
        if are_small and number > 1 and not number & (number - 1):
            self._copy_waiting()

    def _copy_waiting(self) -> None:
        """Copy the waiting rows if they keep many others alive, as filtered rows do.

        Slices of one frame keep no more alive together than each of them does, and are not copied.
        """
        waiting = pl.concat(self._waiting, rechunk=False)
        if kept_alive(waiting) - kept_alive(self._waiting[-1]) > 2 * self._num_bytes:
            self._waiting = [copied(waiting)]

    def _take(self) -> list[pl.DataFrame]:
        waiting, self._waiting = self._waiting, []
        self._height = self._most = 0
        return waiting


def regrouped(
    batches: Iterable[pl.DataFrame], num_rows: int, num_bytes: int = BATCH_BYTES
) -> Generator[pl.DataFrame, None, None]:
    """Yield the same rows in the batches of `Regroup`, each of one piece.

    Measured: gzip's blocks, and so its bytes, depend on how the batches that feed the encoder are cut. Cut like this,
    the same rows give the same bytes, in any batches.
    """
    regroup = Regroup(num_rows, num_bytes)
    for batch in map(compact, batches):
        for group in regroup.add(batch):
            yield group.rechunk()
    for group in regroup.rest():
        yield group.rechunk()


def most_bytes(frame: pl.DataFrame) -> int:
    """Return an upper bound of the bytes of a frame's values: Polars' cheap estimate, which counts bitmaps too."""
    # Column by column, because a frame's own estimate has a value that is the same in all rows once.
    # A column with categories, at any depth, stores their text once.
    return int(sum(_sizes(column).sum() if _has_labels(column.dtype) else column.estimated_size() for column in frame))


@lru_cache(maxsize=1_000)
def _has_labels(dtype: pl.DataType) -> bool:
    return any(isinstance(each, _LABELS) for each in leaf_dtypes(dtype))


def _cuts(frame: pl.DataFrame, num_rows: int, num_bytes: int) -> Iterator[int]:
    """Yield the row numbers at which batches begin, except the first."""
    if most_bytes(frame) <= num_bytes or sum(map(_num_bytes, frame)) <= num_bytes:
        yield from range(num_rows, frame.height, num_rows)
        return
    sizes = pl.zeros(frame.height, pl.UInt64, eager=True)
    for column in frame:
        sizes += _sizes(column)
    sums = sizes.cum_sum()
    start = before = 0
    while True:
        fits = int(sums.search_sorted(before + num_bytes, side="right"))
        start = min(max(start + 1, fits), start + num_rows)
        if start >= frame.height:
            return
        yield start
        before = sums[start - 1]


def _in_few_pieces(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.rechunk() if rows.n_chunks() >= _MANY_PIECES else rows


def _sizes(column: pl.Series) -> pl.Series:
    """Return the bytes of each value, regardless of slices, bitmaps and buffers; a null has none."""
    column = column.alias("")  # the methods of a Series named "*" or "^a$" take its name for a pattern
    if isinstance(column.dtype, pl.String):
        sizes = column.str.len_bytes()
    elif isinstance(column.dtype, pl.Binary):
        sizes = column.bin.size()
    elif isinstance(column.dtype, _LABELS):
        sizes = column.cat.len_bytes()
    elif isinstance(column.dtype, Map):
        sizes = _sizes(column.map.entries())
    elif isinstance(column.dtype, pl.Array):
        sizes = _sizes(column.arr.to_list())
    elif isinstance(column.dtype, pl.List):
        sizes = _sizes_of_lists(column)
    elif isinstance(column.dtype, pl.Struct):
        sizes = pl.zeros(len(column), pl.UInt64, eager=True)
        for field in column.struct.unnest():
            sizes += _sizes(field)
    elif isinstance(column.dtype, pl.BaseExtension):
        sizes = _sizes(column.ext.storage())
    else:
        sizes = pl.Series([_width(column.dtype)]).new_from_index(0, len(column))
    return sizes.cast(pl.UInt64).fill_null(0)


def _num_bytes(column: pl.Series) -> int:
    """Return the bytes of all values; measured, on batches of 100,000 rows, a tenth of the time of their sizes."""
    if isinstance(column.dtype, pl.String):
        return int(column.alias("").str.len_bytes().sum())
    if column.dtype.is_numeric() or column.dtype.is_temporal():
        return len(column) * _width(column.dtype)
    return int(_sizes(column).sum())


def _sizes_of_lists(column: pl.Series) -> pl.Series:
    lengths = column.list.len().cast(pl.UInt64).fill_null(0)
    ends = lengths.cum_sum()
    items = _sizes(column.filter(lengths > 0).explode(empty_as_null=False))
    sums = pl.concat([pl.Series([0], dtype=pl.UInt64), items.cum_sum()])
    return sums.gather(ends) - sums.gather(ends - lengths)


@cache
def _width(dtype: pl.DataType) -> int:
    """Return the bytes of a value of a fixed-width dtype; 0 for less than one byte."""
    return int(pl.Series([None] * 8, dtype=dtype).estimated_size()) // 8
