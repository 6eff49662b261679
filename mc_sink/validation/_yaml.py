"""Pandera YAML, read without pandas, and with the metadata of columns, which Pandera's own reader leaves out."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from mc_sink.validation._registered import register

if TYPE_CHECKING:
    from collections.abc import Callable

    from pandera.polars import Column, DataFrameSchema


_READERS: dict[str, Callable[[str], object]] = {
    "date": date.fromisoformat,
    "datetime": datetime.fromisoformat,
    "time": time.fromisoformat,
}


def schema_from_yaml(text: str) -> DataFrameSchema:
    """Return the schema that `text` describes; our own checks can be named in it as well as Pandera's."""
    import yaml
    from pandera.io import polars_io

    read: Any = polars_io  # it has no annotations
    register()
    described = yaml.safe_load(text)
    columns: dict[str, dict[str, Any]] = described.get("columns") or {}
    # Pandera needs pandas to read the bounds of a column with a type: the types are put in afterwards.
    dtypes = {name: column.pop("dtype", None) for name, column in columns.items()}
    schema: DataFrameSchema = read.deserialize_schema(described)
    for name, dtype in dtypes.items():
        _complete(schema.columns[name], dtype, columns[name].get("metadata"))
    return schema


def _complete(column: Column, dtype: str | None, metadata: dict[str, Any] | None) -> None:
    from pandera.io import polars_io

    read: Any = polars_io  # it has no annotations
    column.metadata = metadata
    if dtype is None:
        return
    column.dtype = read._deserialize_dtype(dtype)  # noqa: SLF001  Pandera's own reading of what it wrote
    for check in column.checks:
        check._check_kwargs = {key: _typed(value, dtype) for key, value in check._check_kwargs.items()}  # noqa: SLF001


def _typed(value: Any, dtype: str) -> Any:
    """Return a bound, written as text or nanoseconds, as the type of its column."""
    if isinstance(value, (list, tuple, set, frozenset)):
        return type(value)(_typed(each, dtype) for each in value)
    kind = dtype.partition("(")[0].lower()
    if isinstance(value, str) and kind in _READERS:
        return _READERS[kind](value)
    if isinstance(value, int) and kind in {"duration", "timedelta"}:
        return timedelta(microseconds=value / 1000)
    return value
