"""Convert any frame, or a source of batches, to a LazyFrame.

Only this file uses `register_io_source`, an unstable function of Polars.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, count
from os import PathLike
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import polars as pl
from polars.io.plugins import register_io_source

from mc_sink._arrow import ArrowImport, arrow_import, is_pandas, pandas_table, reader_of
from mc_sink._nested import dtype_shown
from mc_sink._polars import keeps_errors
from mc_sink._runtime.kept_rows import owned
from mc_sink.exceptions import ConfigurationError, panics_as_query_errors

if TYPE_CHECKING:
    import pyarrow as pa


class ArrowStream(Protocol):
    """Anything that exports an Arrow C stream: a pyarrow Table or RecordBatchReader, a DuckDB relation, pandas."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Export the stream."""


class ArrowDataset(Protocol):
    """A pyarrow Dataset or Scanner."""

    def to_batches(self) -> Iterator[Any]:
        """Read the record batches."""


# None is refused when it comes. It is in the type because `duckdb.sql` is typed as returning it: it does for statements
# without rows.
Frame: TypeAlias = (
    "pl.LazyFrame | pl.DataFrame | "
    "ArrowStream | ArrowDataset | Iterable[pl.DataFrame] | Iterable[pa.RecordBatch] | None"
)  # fmt: skip
Batches = Iterator[pl.DataFrame]
# Libraries whose streams have new buffers for each batch.
_FRESH = {"duckdb", "_duckdb"}
# Measured: with row groups as large as the batches that feed them, Polars' Parquet encoder takes a tenth less time.
ROW_GROUP_SIZE = 100_000


@panics_as_query_errors()
def as_lazyframe(frame: object, schema: pl.Schema | None = None) -> pl.LazyFrame:
    """Convert any frame to a streaming plan. Nothing is read, except the first batch of an iterable.

    Raises `ConfigurationError` for a value that is not a frame, for columns that Polars can't hold, and for a reader or
    iterator that is already consumed. The plan raises it for a batch whose schema differs from that of the first.

    With `schema`, a reader or iterator may have no batch, and other columns than these raise `ConfigurationError`.
    """
    plan = _as_plan(frame, schema)
    if schema is not None and (found := plan.collect_schema()) != schema:
        raise ConfigurationError(
            f"The rows have other columns than the delivery was opened with: {_differences(found, schema)}. Cast or "
            "select them alike."
        )
    return plan


def schema_of(columns: object) -> pl.Schema:
    """Return the columns of a frame, of an Arrow schema, or of a mapping from names to Polars' dtypes."""
    if hasattr(columns, "__arrow_c_schema__") and not isinstance(columns, pl.DataFrame | pl.LazyFrame):
        import pyarrow as pa

        return arrow_import(pa.schema(columns)).dtypes
    try:
        return pl.Schema(columns) if isinstance(columns, Mapping) else as_lazyframe(columns).collect_schema()
    except (TypeError, ConfigurationError) as error:
        raise ConfigurationError(
            f"A {type(columns).__name__} doesn't describe columns. Pass a mapping from names to Polars' dtypes, an "
            "Arrow schema, or a frame with these columns."
        ) from error


def _as_plan(frame: object, schema: pl.Schema | None) -> pl.LazyFrame:
    if isinstance(frame, pl.LazyFrame):
        return frame
    if isinstance(frame, pl.DataFrame):
        return frame.lazy()
    if not isinstance(frame, (str, bytes, dict, type)):
        if is_pandas(frame):
            return _from_arrow(pandas_table(frame), schema)
        if (datasets := sys.modules.get("pyarrow.dataset")) and isinstance(frame, datasets.Dataset | datasets.Scanner):
            scanner: Any = frame.scanner() if hasattr(frame, "scanner") else frame  # read again by each run of the plan
            arrival = arrow_import(scanner.projected_schema)
            return from_batches(lambda: (owned(arrival.frame(batch)) for batch in scanner.to_reader()), arrival.dtypes)
        if hasattr(frame, "__arrow_c_stream__"):
            return _from_arrow(frame, schema)
        if isinstance(frame, Iterable):
            return _from_iterable(frame, schema)
    raise _no_frame(frame, "")


def from_batches(batches: Callable[[], Batches], schema: pl.Schema) -> pl.LazyFrame:
    """Return a plan whose rows come from `batches`, which is called on an engine thread when the plan runs."""

    @keeps_errors
    def source(columns: list[str] | None, predicate: pl.Expr | None, limit: int | None, _size: int | None) -> Batches:
        left = sys.maxsize if limit is None else limit
        with panics_as_query_errors():
            for batch in batches():
                taken = batch.head(left)  # Polars pushes a limit down only from below a filter
                left -= taken.height
                kept = taken if predicate is None else taken.filter(predicate)
                yield kept if columns is None else kept.select(columns)
                if left == 0:
                    return

    return register_io_source(source, schema=schema)


def _from_arrow(frame: Any, schema: pl.Schema | None) -> pl.LazyFrame:
    """Return the plan of an Arrow stream. Rows are copied unless their memory is known not to be reused."""
    import pyarrow as pa

    try:
        reader = reader_of(frame)
    except pa.ArrowException as error:
        raise _no_frame(frame, f" Its stream can't be read as columns ({error}).") from error
    arrival = arrow_import(reader.schema)
    batches: Batches = (arrival.frame(batch) for batch in reader)
    # These never reuse their buffers: all batches are in memory, or each has new ones.
    keeps_rows = isinstance(frame, pa.Table | pa.RecordBatch) or type(frame).__module__.split(".")[0] in _FRESH
    if not keeps_rows:
        batches = map(owned, batches)
    if isinstance(frame, pa.RecordBatchReader) and schema is None:
        batches = _not_consumed(batches, "record batch reader")
    return _once(batches, arrival.dtypes)


def _from_iterable(frame: Iterable[Any], schema: pl.Schema | None) -> pl.LazyFrame:
    """Return the plan of an iterable. A generator may reuse the memory of a batch for the next, so rows are copied.

    The batches of a list or tuple are all in memory, and are not copied.
    """
    batches: Batches = map(Arrivals().frame, _to_its_end(frame))
    if type(frame) not in {list, tuple}:
        batches = map(owned, batches)
    if schema is not None:
        return _once(batches, schema)
    batches = _not_consumed(batches, "iterable of batches")
    first = next(batches)
    return _once(chain([first], batches), first.schema)


def _to_its_end(frame: Iterable[Any]) -> Iterator[Any]:
    """Yield the items. Raise if other code closed the generator meanwhile, which would look like its end."""
    source = iter(frame)
    for number in count():
        if number and getattr(source, "gi_frame", source) is None:
            raise ConfigurationError(
                f"Other code closed the source after {number:,} {'batch' if number == 1 else 'batches'}, so rows may "
                "be missing. Keep the source open until the delivery has ended."
            )
        try:
            item = next(source)
        except StopIteration:
            return
        yield item


def _no_frame(thing: object, why: str) -> ConfigurationError:
    kind = f"{type(thing).__module__}.{type(thing).__qualname__}".removeprefix("builtins.")
    return ConfigurationError(
        f"A value of type {kind} is not a frame.{why} Pass a Polars frame, an object with __arrow_c_stream__, or an "
        f"iterable of record batches.{_advice(thing)}"
    )


def _advice(thing: object) -> str:
    """Return how to make a frame of a value that is often passed in place of one, after a space."""
    if isinstance(thing, str | PathLike):
        return " For a file, pass polars.scan_csv(…) or polars.scan_parquet(…)."
    if isinstance(thing, pl.Series):
        return " For a Series, pass series.to_frame()."
    if isinstance(thing, Mapping):
        return " For a mapping, pass polars.DataFrame(…) of it."
    if thing is None:
        return " A statement without rows, such as CREATE TABLE, gives None in DuckDB: pass a query."
    return ""


def _not_consumed(batches: Batches, source: str) -> Batches:
    """Read the first batch, and return all batches. Raise without a first batch: the schema would be unknown."""
    first = next(batches, None)
    if first is None:
        raise ConfigurationError(
            f"The {source} has 0 batches: it was consumed before, or is empty. Create it again; to deliver zero rows, "
            "pass a frame with a schema (reader.read_all(), pl.DataFrame(schema=…))."
        )
    return chain([first], batches)


def _once(batches: Batches, schema: pl.Schema) -> pl.LazyFrame:
    """Return a plan of batches that can be read only once. It raises for a batch with another schema."""

    def checked() -> Batches:
        for number, batch in enumerate(batches):
            if batch.schema != schema:
                first = "batch 0" if number else "the run"
                raise ConfigurationError(
                    f"Batch {number} (counted from 0) has another schema than {first}: "
                    f"{_differences(batch.schema, schema)}. Cast them alike."
                )
            yield batch

    return from_batches(checked, schema)


def _differences(found: pl.Schema, expected: pl.Schema) -> str:
    columns = [name for name in {**expected, **found} if found.get(name) != expected.get(name)]
    shown = [[dtype and dtype_shown(dtype) for dtype in (found.get(name), expected.get(name))] for name in columns]
    changes = [
        f"{name!r} is {new}, was {old}{' of other categories' if new == old else ''}"
        for name, (new, old) in zip(columns, shown, strict=True)
    ]
    return ", ".join(changes) or "column order"


class Arrivals:
    """Converts the items of an iterable. The conversion of an Arrow schema is kept until another schema arrives."""

    def __init__(self) -> None:
        self._schema: pa.Schema | None = None
        self._import: ArrowImport | None = None

    def frame(self, item: Any) -> pl.DataFrame:
        """Return an item as a frame. Raises `ConfigurationError` for a value that is not a batch."""
        if isinstance(item, pl.DataFrame):
            return item
        if is_pandas(item):
            item = pandas_table(item)
        elif not (hasattr(item, "__arrow_c_array__") or hasattr(item, "__arrow_c_stream__")):
            raise _no_batch(item, "")
        schema, batches = self._read(item)
        if self._import is None or not schema.equals(self._schema, check_metadata=True):
            self._schema, self._import = schema, arrow_import(schema)
        return self._import.frames(batches)

    def _read(self, item: Any) -> tuple[pa.Schema, list[pa.RecordBatch]]:
        import pyarrow as pa

        try:
            reader = reader_of(item)
        except (pa.ArrowException, TypeError) as error:
            raise _no_batch(item, f" It can't be read as columns ({error}).") from error
        return reader.schema, list(reader)


def _no_batch(item: object, why: str) -> ConfigurationError:
    rows = " For rows as mappings, pass polars.DataFrame(rows)." if isinstance(item, Mapping) else ""
    return ConfigurationError(
        f"A batch is a {type(item).__qualname__}, not a DataFrame or an Arrow record batch.{why}{rows}"
    )
