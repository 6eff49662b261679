"""Convert Arrow data and pandas frames to Polars frames, or refuse by name what Polars can't hold.

Polars' import of Arrow data panics over many types, and reads some wrongly without an error: decimal32 and decimal64
(as other numbers), a struct with a field twice (one of the two), a name with NUL (cut off there). So nothing reaches it
but the types listed here. What Polars lacks is cast to what it has; every other type is refused before a row is read.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import polars as pl
from polars.exceptions import PanicException, PolarsError

from mc_sink._polars import HAS_MAP
from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import pyarrow as pa

MAX_DIGITS = 38
_OFFSET = re.compile(r"(UTC|GMT)?[+-]\d{1,2}(:?\d\d){0,2}|Z")
_EXTENSION = b"ARROW:extension:name"


@dataclass(frozen=True, slots=True, eq=False)
class ArrowImport:
    """How record batches of one Arrow schema become frames of `dtypes`.

    `arrow` is the Arrow schema that Polars is given. `rewritten` are the columns with fixed-size lists, which Polars
    can't import when they are sliced and hold a null.
    """

    arrow: pa.Schema
    dtypes: pl.Schema
    rewritten: tuple[int, ...]

    def frame(self, batch: pa.RecordBatch) -> pl.DataFrame:
        """Return the rows of a batch without copying them; `ConfigurationError` names the columns that fail."""
        import pyarrow as pa

        pairs = zip(batch.columns, self.arrow, strict=True)
        columns = [values if values.type == field.type else values.cast(field.type) for values, field in pairs]
        for number in self.rewritten:
            columns[number] = _rewritten(columns[number])
        ready = pa.RecordBatch.from_arrays(columns, schema=self.arrow)
        try:
            return pl.DataFrame(ready)
        except (PolarsError, PanicException) as error:
            failing = [field for field in ready.schema if not _imports(ready.select([field.name]))]
            raise _unheld([(field.name, str(field.type)) for field in failing or ready.schema]) from error

    def frames(self, batches: Iterable[pa.RecordBatch]) -> pl.DataFrame:
        """Return the rows of several batches as one frame."""
        frames = [self.frame(batch) for batch in batches]
        return pl.concat(frames, rechunk=False) if frames else self.dtypes.to_frame()


def arrow_import(schema: pa.Schema) -> ArrowImport:
    """Decide how data of an Arrow schema is imported, without reading any; refuse by name what Polars can't hold."""
    import pyarrow as pa

    refuse_twins(schema.names)
    fields, refused = [], []
    for field in schema:
        try:
            held = _held(field)
            if held.type != field.type:
                pa.nulls(0, field.type).cast(held.type)
        except (_UnheldError, pa.ArrowException) as error:
            reason = f": {error}" if isinstance(error, _UnheldError) else ""
            refused.append((field.name, f"{field.type}{reason}"))
        else:
            fields.append(held)
    if not refused and not _imports(empty_batch(pa.schema(fields))):
        refused = [(field.name, str(field.type)) for field in fields if not _imports(empty_batch(pa.schema([field])))]
    if refused:
        raise _unheld(refused)
    arrow = pa.schema(fields)
    rewritten = tuple(number for number, field in enumerate(arrow) if _has(field.type, pa.types.is_fixed_size_list))
    return ArrowImport(arrow, pl.DataFrame(empty_batch(arrow)).schema, rewritten)


def reader_of(data: Any) -> pa.RecordBatchReader:
    """Return a reader of what exports Arrow data; `pyarrow.ArrowException` for what has no columns.

    pyarrow's own data don't pass the C interface, which would cut names at a NUL.
    """
    import pyarrow as pa

    if isinstance(data, pa.RecordBatchReader):
        return data
    if isinstance(data, pa.Table):
        return data.to_reader()
    if isinstance(data, pa.RecordBatch):
        return pa.RecordBatchReader.from_batches(data.schema, [data])
    if hasattr(data, "__arrow_c_stream__"):
        return pa.RecordBatchReader.from_stream(data)
    return reader_of(pa.record_batch(data))


def refuse_twins(names: Sequence[str]) -> None:
    """Raise `ConfigurationError` for a name that stands twice: a file with it can't be read by column name."""
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        one = len(twice) == 1
        stands = "1 column name stands" if one else f"{len(twice)} column names stand"
        raise ConfigurationError(f"{stands} twice: {twice}. Rename {'it' if one else 'them'}.")


def is_pandas(frame: object) -> bool:
    """Return whether `frame` is a pandas DataFrame, without importing pandas."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(frame, pandas.DataFrame)


def pandas_table(frame: Any) -> pa.Table:
    """Return a pandas frame as an Arrow table: its columns, and after them the levels of its index that have a name.

    An index without a name never becomes a column.
    """
    import pyarrow as pa

    levels = [(number, str(name)) for number, name in enumerate(frame.index.names) if name is not None]
    named = [*map(str, frame.columns), *(name for _, name in levels)]
    if twice := sorted({name for _, name in levels if named.count(name) > 1}):
        raise ConfigurationError(
            f"An index level of the pandas frame has the name of another column: {twice}. Rename it, or drop it with "
            f"reset_index(drop=True)."
        )
    refuse_twins(named)
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
        for number, name in levels:
            table = table.append_column(name, pa.array(frame.index.get_level_values(number)))
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        columns = [(str(name), frame.iloc[:, number]) for number, name in enumerate(frame.columns)]
        columns += [(name, frame.index.get_level_values(number)) for number, name in levels]
        bad = [_described(name, "") for name, values in columns if not _converts(values)]
        if not bad:
            raise
        raise ConfigurationError(  # without its cause, whose text holds a value of a cell
            f"Arrow can't hold {_count(bad)} of the pandas frame: {', '.join(bad)}. The values are of several types, "
            f"or of a type that Arrow lacks. Convert with astype(), or drop."
        ) from None
    return table


def _converts(values: Any) -> bool:
    import pyarrow as pa

    try:
        pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return False
    return True


class _UnheldError(Exception):
    """Why Polars can't hold an Arrow type."""


def _held(field: pa.Field) -> pa.Field:
    """Return the field as Polars can hold it, or raise `_UnheldError`."""
    import pyarrow as pa

    if "\x00" in field.name:
        raise _UnheldError("a name with NUL, which Arrow's C interface cuts off there")
    held = _held_type(field.type)
    is_extension = isinstance(field.type, pa.BaseExtensionType) or _EXTENSION in (field.metadata or {})
    if is_extension and _has(held, pa.types.is_dictionary):
        raise _UnheldError("an extension type over a dictionary")
    if is_extension and held != field.type:
        raise _UnheldError("an extension type over a type that would have to be cast")
    return field.with_type(held)


def _held_type(dtype: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    if isinstance(dtype, pa.BaseExtensionType):
        if _held_type(dtype.storage_type) != dtype.storage_type:
            raise _UnheldError("an extension type over a type that would have to be cast")
        return dtype
    if pa.types.is_fixed_size_list(dtype) and not dtype.list_size:
        raise _UnheldError("a fixed-size list of no values")
    nested = next((held for check, held in _nested() if check(dtype)), None)
    if nested:
        return nested(dtype)
    if pa.types.is_decimal(dtype):
        return _decimal(dtype)
    if pa.types.is_timestamp(dtype):
        return _timestamp(dtype)
    if pa.types.is_fixed_size_binary(dtype):
        return dtype if dtype.byte_width else pa.binary()
    if not any(check(dtype) for check in _leaves()):
        raise _UnheldError("a type that Polars lacks")
    return dtype


@cache
def _leaves() -> tuple[Callable[[pa.DataType], bool], ...]:
    """Return the checks for types that Polars imports as they are; tests import each of them, whole and sliced."""
    from pyarrow import types as t

    numbers = (t.is_null, t.is_boolean, t.is_integer, t.is_floating)
    texts = (t.is_string, t.is_large_string, t.is_string_view, t.is_binary, t.is_large_binary, t.is_binary_view)
    return (*numbers, *texts, t.is_date, t.is_time, t.is_duration)


@cache
def _nested() -> tuple[tuple[Callable[[pa.DataType], bool], Callable[[Any], pa.DataType]], ...]:
    import pyarrow as pa
    from pyarrow import types as t

    return (
        (t.is_list, lambda dtype: pa.list_(_held(dtype.value_field))),
        (t.is_large_list, lambda dtype: pa.large_list(_held(dtype.value_field))),
        (t.is_fixed_size_list, lambda dtype: pa.list_(_held(dtype.value_field), dtype.list_size)),
        (t.is_struct, _struct),
        (t.is_map, _map),
        (t.is_dictionary, _dictionary),
    )


def _struct(dtype: Any) -> pa.DataType:
    import pyarrow as pa

    fields = [dtype.field(number) for number in range(dtype.num_fields)]
    names = [field.name for field in fields]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise _UnheldError(f"a struct with the field {twice[0]!r} twice")
    return pa.struct([_held(field) for field in fields])


def _map(dtype: Any) -> pa.DataType:
    """Return the map, or a list of its entries for a Polars without maps, which would take a null for an empty one."""
    import pyarrow as pa

    key, value = _held(dtype.key_field), _held(dtype.item_field)
    if HAS_MAP:
        return pa.map_(key, value, dtype.keys_sorted)
    return pa.list_(pa.struct([key.with_name("key"), value.with_name("value")]))


def _dictionary(dtype: Any) -> pa.DataType:
    """Return the dictionary, or the type of its values where those have to be cast."""
    held = _held_type(dtype.value_type)
    if held != dtype.value_type and held.num_fields:
        raise _UnheldError("a dictionary of nested values that would have to be cast")
    return dtype if held == dtype.value_type else held


def _decimal(dtype: Any) -> pa.DataType:
    """Return decimal128, the one decimal that Polars imports; its scale is from 0 to its precision."""
    import pyarrow as pa

    scale = max(dtype.scale, 0)
    precision = max(dtype.precision - min(dtype.scale, 0), scale)
    if precision > MAX_DIGITS:
        raise _UnheldError(f"a decimal of more than {MAX_DIGITS} digits")
    return pa.decimal128(precision, scale)


def _timestamp(dtype: Any) -> pa.DataType:
    """Return the timestamp in a zone that Polars knows: UTC for an offset that it lacks, which keeps the moments."""
    import pyarrow as pa

    if not dtype.tz or _imports(pa.record_batch([pa.nulls(0, dtype)], names=["moment"])):
        return dtype
    if not _OFFSET.fullmatch(dtype.tz):
        raise _UnheldError("an unknown time zone")
    return pa.timestamp(dtype.unit, "UTC")


def _has(dtype: pa.DataType, check: Callable[[pa.DataType], bool]) -> bool:
    """Return whether a type, or one that it is made of at any depth, passes a check."""
    import pyarrow as pa

    if isinstance(dtype, pa.BaseExtensionType):
        return _has(dtype.storage_type, check)
    return check(dtype) or any(_has(dtype.field(number).type, check) for number in range(dtype.num_fields))


def _rewritten(values: pa.Array) -> pa.Array:
    """Return the values in buffers that begin with the first of them and end with the last."""
    import pyarrow as pa

    batch, sink = pa.record_batch([values], names=["values"]), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return pa.ipc.open_stream(sink.getvalue()).read_next_batch().column(0)


def empty_batch(schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch without rows; `schema.empty_table()` fails for extension types inside others."""
    import pyarrow as pa

    return pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)


def _imports(data: pa.RecordBatch) -> bool:
    """Return whether Polars imports the data without an error or a panic."""
    try:
        pl.DataFrame(data)
    except (PolarsError, PanicException):
        return False
    return True


def _unheld(columns: list[tuple[str, str]]) -> ConfigurationError:
    named = ", ".join(_described(name, dtype) for name, dtype in columns)
    return ConfigurationError(
        f"Polars can't hold {_count(columns)}: {named}. Cast or drop {'it' if len(columns) == 1 else 'them'}."
    )


def _described(name: str, dtype: str) -> str:
    """Return a column with its type as text, in which control characters are escaped."""
    text = f"{name!r} ({dtype})" if dtype else repr(name)
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


def _count(columns: Sequence[object]) -> str:
    return "1 column" if len(columns) == 1 else f"{len(columns)} columns"
