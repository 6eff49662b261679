"""Any frame → a LazyFrame, at the door; batches → a LazyFrame.

The one home of `register_io_source`, an unstable call of Polars'.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, count
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import polars as pl
from polars.io.plugins import register_io_source

from mc_sink.exceptions import NOTHING_VISIBLE, ConfigurationError, panics_as_query_errors

if TYPE_CHECKING:
    import pyarrow as pa


class ArrowStream(Protocol):
    """Anything that exports an Arrow C stream: a pyarrow Table or RecordBatchReader, a DuckDB relation, pandas."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Export the stream."""


Frame: TypeAlias = "pl.LazyFrame | pl.DataFrame | ArrowStream | Iterable[pl.DataFrame] | Iterable[pa.RecordBatch]"
Batches = Iterator[pl.DataFrame]
# Measured: with row groups as large as the batches that feed them, Polars' Parquet encoder takes a tenth less time.
ROW_GROUP_SIZE = 100_000


def as_lazyframe(frame: object) -> pl.LazyFrame:
    """Turn any frame into a plan that streams; nothing is read but, of an iterable, its first batch.

    Raises `ConfigurationError` for what is no frame, for a reader or iterator that has nothing left, and, once the
    plan runs, for a batch whose schema isn't the first one's.
    """
    if isinstance(frame, pl.LazyFrame):
        return frame
    if isinstance(frame, pl.DataFrame):
        return frame.lazy()
    if not isinstance(frame, (str, bytes, dict, type)):
        if hasattr(frame, "__arrow_c_stream__"):
            return _from_arrow(frame)
        if isinstance(frame, Iterable):
            return _from_iterable(frame)
    raise _no_frame(frame, "")


def from_batches(batches: Callable[[], Batches], schema: pl.Schema) -> pl.LazyFrame:
    """Make a plan whose rows are what `batches` yields when it runs, on an engine thread."""

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


def _from_arrow(frame: Any) -> pl.LazyFrame:
    import pyarrow as pa

    try:
        reader = pa.RecordBatchReader.from_stream(frame)
    except pa.ArrowInvalid as error:
        raise _no_frame(frame, f" Its stream has no columns ({error}).") from error
    schema = _arrow_schema(reader.schema)
    batches: Batches = (pl.DataFrame(batch) for batch in reader)
    if isinstance(frame, pa.RecordBatchReader):
        batches = _not_consumed(batches, "record batch reader")
    return _once(batches, schema)


def _arrow_schema(schema: Any) -> pl.Schema:
    """Give Polars' dtypes for an Arrow schema, or refuse by name what Polars can't hold."""
    twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if twice:
        raise ConfigurationError(f"{len(twice)} column name(s) stand twice: {twice}. Rename them. {NOTHING_VISIBLE}")
    dtypes = {field.name: _dtype(field) for field in schema}
    if unknown := [f"{field.name!r} ({field.type})" for field in schema if dtypes[field.name] is None]:
        raise ConfigurationError(
            f"{len(unknown)} column(s) have a type that Polars can't hold: {', '.join(unknown)}. Cast or drop them. "
            f"{NOTHING_VISIBLE}"
        )
    return pl.Schema({name: dtype for name, dtype in dtypes.items() if dtype is not None})


def _dtype(field: Any) -> pl.DataType | None:
    import pyarrow as pa

    if "interval" in str(field.type):  # at any depth; Polars would panic
        return None
    try:
        return pl.DataFrame(pa.schema([field]).empty_table()).dtypes[0]
    except (pl.exceptions.PolarsError, pa.ArrowNotImplementedError):
        return None


def _from_iterable(frame: Iterable[Any]) -> pl.LazyFrame:
    batches = _not_consumed((_as_batch(item) for item in _to_its_end(frame)), "iterable of batches")
    first = next(batches)
    return _once(chain([first], batches), first.schema)


def _to_its_end(frame: Iterable[Any]) -> Iterator[Any]:
    """Pass items on; a generator that somebody else closed meanwhile would look as if it had come to its end."""
    source = iter(frame)
    for number in count():
        if number and getattr(source, "gi_frame", source) is None:
            raise ConfigurationError(
                f"The source was closed from elsewhere after {number:,} batch(es), and nobody knows what is missing. "
                f"Keep it open until the delivery has ended. {NOTHING_VISIBLE}"
            )
        try:
            item = next(source)
        except StopIteration:
            return
        yield item


def _no_frame(thing: object, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"A {type(thing).__module__}.{type(thing).__qualname__} is no frame.{why} Give a Polars frame, anything with "
        f"__arrow_c_stream__, or an iterable of record batches. {NOTHING_VISIBLE}"
    )


def _not_consumed(batches: Batches, what: str) -> Batches:
    """Pass batches on, reading the first now: one that has none was read before, or can't tell its schema."""
    first = next(batches, None)
    if first is None:
        raise ConfigurationError(
            f"The {what} has 0 batches: it was consumed before, or is empty. Make it anew; to deliver zero rows, "
            f"pass a frame with a schema (reader.read_all(), pl.DataFrame(schema=…)). {NOTHING_VISIBLE}"
        )
    return chain([first], batches)


def _once(batches: Batches, schema: pl.Schema) -> pl.LazyFrame:
    """Make a plan of batches that can be read only once, each held to the schema of the run."""

    def checked() -> Batches:
        for number, batch in enumerate(batches):
            if batch.schema != schema:
                raise ConfigurationError(_changed_schema(number, batch.schema, schema))
            yield batch

    return from_batches(checked, schema)


def _changed_schema(number: int, found: pl.Schema, expected: pl.Schema) -> str:
    columns = [name for name in {**expected, **found} if found.get(name) != expected.get(name)]
    told = ", ".join(f"{name!r} is {found.get(name)}, was {expected.get(name)}" for name in columns) or "column order"
    return (
        f"Batch {number} (counted from 0) has another schema than batch 0: {told}. Cast them alike. {NOTHING_VISIBLE}"
    )


def _as_batch(item: Any) -> pl.DataFrame:
    if isinstance(item, pl.DataFrame):
        return item
    if hasattr(item, "__arrow_c_array__") or hasattr(item, "__arrow_c_stream__"):
        return pl.DataFrame(item)
    raise ConfigurationError(
        f"A batch is a {type(item).__qualname__}, not a DataFrame or an Arrow record batch. {NOTHING_VISIBLE}"
    )
