"""A plan → its batches, in order, with proof that they are all of its rows.

The one home of `sink_batches`, an unstable call of Polars'. `collect_batches` is used nowhere: when the engine panics
it ends as if all rows had come (measured, Polars 2.1.0), where `sink_batches` raises what ended the engine.
"""

from __future__ import annotations

import re
from contextlib import closing
from threading import Condition
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from mc_sink._worker import Stopped, Worker
from mc_sink.exceptions import NOTHING_VISIBLE, QueryError, panics_as_query_errors

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

# A batch of wide rows ends here, before it has all the rows that it may have.
BATCH_BYTES = 32 * 2**20
# Rows are weighed in lots: one look at a few costs as much as one at thousands.
_LOT_ROWS, _LOT_BYTES = 10_000, BATCH_BYTES // 2
# From so many pieces on, a batch is copied into one: engines handle each piece on its own.
_MANY_PIECES = 5
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
    handover, gathered = _Handover(), _Gathered(frame.collect_schema(), row_group_size)

    def take(rows: pl.DataFrame) -> bool:
        """Return whether the engine is to end early."""
        return not all(map(handover.put, gathered.add(rows)))

    def run() -> None:
        try:
            with panics_as_query_errors():  # here, because a panic that passes through a second engine breaks that too
                frame.sink_batches(take, maintain_order=True, engine="streaming")
                all(map(handover.put, gathered.rest()))
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


class _Gathered:
    """Rows as the engine hands them over, gathered into batches: bounded in rows and in bytes, cut by the rows alone.

    Each batch is the longest run of rows that has at most `max_rows` rows and at most `BATCH_BYTES` of values.
    """

    def __init__(self, schema: pl.Schema, max_rows: int) -> None:
        widths = [_width(pl.nth(n), dtype) for n, dtype in enumerate(schema.dtypes())]
        varying = [width.varying for width in widths if width.varying is not None]
        self._fixed = sum(width.fixed for width in widths)
        self._varying = pl.sum_horizontal(varying) + self._fixed if varying else None
        self._max_rows = max_rows
        self._lot: list[pl.DataFrame] = []
        self._lot_rows = self._lot_bytes = 0
        self._pieces: list[pl.DataFrame] = []
        self._num_rows = self._num_bytes = 0

    def add(self, rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """Yield the batches that are complete with these rows."""
        if not rows.height:
            return
        self._lot.append(rows)
        self._lot_rows += rows.height
        self._lot_bytes += int(rows.estimated_size())
        if self._lot_rows >= min(_LOT_ROWS, self._max_rows) or self._lot_bytes >= _LOT_BYTES:
            yield from self._weigh()

    def rest(self) -> Iterator[pl.DataFrame]:
        """Yield what is left when no more rows come."""
        yield from self._weigh()
        if self._pieces:
            yield self._close()

    def _weigh(self) -> Iterator[pl.DataFrame]:
        """Move the rows of the lot into batches, and yield those that are complete."""
        if not self._lot:
            return
        rows, first = _joined(self._lot), 0
        self._lot, self._lot_rows, self._lot_bytes = [], 0, 0
        while first < rows.height:
            piece = rows.slice(first, self._max_rows - self._num_rows)
            taken, num_bytes = self._fitting(piece)
            if taken:
                self._pieces.append(piece.head(taken))
            self._num_rows += taken
            self._num_bytes += num_bytes
            first += taken
            if taken < piece.height or self._num_rows == self._max_rows:
                yield self._close()

    def _fitting(self, piece: pl.DataFrame) -> tuple[int, int]:
        """Return how many rows of a piece the batch still takes, at least one if it is empty, and their bytes."""
        left, at_least = BATCH_BYTES - self._num_bytes, 0 if self._pieces else 1
        if self._varying is None:
            taken = min(piece.height, max(at_least, left // self._fixed)) if self._fixed else piece.height
            return taken, taken * self._fixed
        widths = piece.select(self._varying).to_series()
        num_bytes = int(widths.sum())
        if num_bytes <= left:
            return piece.height, num_bytes
        taken = max(at_least, int((widths.cum_sum() <= left).sum()))
        return taken, int(widths.head(taken).sum())

    def _close(self) -> pl.DataFrame:
        pieces, self._pieces, self._num_rows, self._num_bytes = self._pieces, [], 0, 0
        return _joined(pieces)


def _joined(pieces: list[pl.DataFrame]) -> pl.DataFrame:
    return pieces[0] if len(pieces) == 1 else pl.concat(pieces, rechunk=len(pieces) >= _MANY_PIECES)


class _Width(NamedTuple):
    """The bytes of a column's values, without offsets and masks: so many in each row, and those that vary by row."""

    fixed: int
    varying: pl.Expr | None


def _width(values: pl.Expr, dtype: pl.DataType) -> _Width:
    """Return the bytes of each value; a text counts in full in every row, also where Polars stores it once."""
    if isinstance(dtype, pl.String):
        return _Width(0, _counted(values.str.len_bytes()))
    if isinstance(dtype, pl.Binary):
        return _Width(0, _counted(values.bin.size("b")))
    if isinstance(dtype, pl.Array):
        return _width(values.arr.to_list(), pl.List(dtype.inner))
    if isinstance(dtype, pl.List):
        inner = _width(pl.element(), _made(dtype.inner))
        own = _counted(values.list.len()) * inner.fixed
        return _Width(0, own if inner.varying is None else own + _counted(values.list.eval(inner.varying).list.sum()))
    if isinstance(dtype, pl.Struct):
        widths = [_width(values.struct.field(field.name), _made(field.dtype)) for field in dtype.fields]
        varying = [width.varying for width in widths if width.varying is not None]
        return _Width(sum(width.fixed for width in widths), pl.sum_horizontal(varying) if varying else None)
    return _Width(_FIXED.get(dtype.base_type(), 8), None)


def _counted(number: pl.Expr) -> pl.Expr:
    return number.cast(pl.UInt64).fill_null(0)


def _made(dtype: Any) -> pl.DataType:
    """Return a dtype as an object; Polars lets a nested one stand as its class."""
    return pl.Series(dtype=dtype).dtype


_FIXED: dict[Any, int] = {
    **dict.fromkeys((pl.Null, pl.Boolean), 0),
    **dict.fromkeys((pl.Int8, pl.UInt8), 1),
    **dict.fromkeys((pl.Int16, pl.UInt16), 2),
    **dict.fromkeys((pl.Int32, pl.UInt32, pl.Float32, pl.Date, pl.Categorical, pl.Enum), 4),
    **dict.fromkeys((pl.Decimal, pl.Int128), 16),
}
