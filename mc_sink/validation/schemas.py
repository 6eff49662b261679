"""Find and read a schema: a Pandera object, a YAML file, or the name of a shipped or registered schema."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import polars as pl

from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.resources.abc import Traversable

    from pandera.polars import Check, Column, DataFrameModel, DataFrameSchema, PolarsData

SchemaLike: TypeAlias = "str | Path | DataFrameSchema | type[DataFrameModel]"
_SUFFIXES = (".yaml", ".yml")
_TIMEOUT = 30  # seconds for a schema to arrive from a URL
_READERS: dict[str, Callable[[str], object]] = {
    "date": date.fromisoformat,
    "datetime": datetime.fromisoformat,
    "time": time.fromisoformat,
}


def list_schemas() -> list[str]:
    """Return the names of the schemas that ship with this library, in alphabetical order."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _shipped().iterdir() if entry.name.endswith(".yaml"))


def load_schema(source: str | Path) -> DataFrameSchema:
    """Return the Pandera schema that `source` names.

    `source` is the name of a shipped schema (`list_schemas()`), the path of a Pandera YAML file, or its `file://`,
    `http://` or `https://` URL. Raises `ConfigurationError` where there is none or it can't be read.
    """
    text = _read(source)
    try:
        schema = schema_from_yaml(text)
    except Exception as error:
        raise ConfigurationError(f"{source} is not a Pandera schema for Polars: {error}") from error
    schema.name = schema.name or Path(str(source)).stem
    return schema


def resolve_schema(schema: SchemaLike) -> DataFrameSchema:
    """Return the Pandera schema that the caller meant: by name, path or URL, a schema, or a model."""
    if isinstance(schema, (str, Path)):
        return load_schema(schema)
    from pandera.polars import DataFrameModel, DataFrameSchema

    if isinstance(schema, DataFrameSchema):
        return schema
    given: Any = schema  # what the types promise is checked here
    if isinstance(given, type) and issubclass(given, DataFrameModel):
        return given.to_schema()
    raise ConfigurationError(_not_a_schema(given))


def _not_a_schema(schema: Any) -> str:
    kind = schema if isinstance(schema, type) else type(schema)
    if kind.__module__.startswith("pandera"):
        return (
            f"The schema is one of Pandera's for another library ({kind.__module__}): build it with `pandera.polars`."
        )
    if any(base.__module__.startswith("pandera") for base in kind.__mro__):
        return f"The model {kind.__name__} is made for another library: derive it from `pandera.polars.DataFrameModel`."
    return f"A schema is a name, a path, a URL, or a `pandera.polars` schema or model, not {kind.__name__}."


def _read(source: str | Path) -> str:
    if isinstance(source, str) and source in list_schemas():
        return _shipped().joinpath(f"{source}.yaml").read_text(encoding="utf-8")
    if isinstance(source, str) and "://" in source:
        return _fetch(source)
    try:
        path = Path(source).expanduser()
        is_there = path.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # too long for a name, or of a home that is not there
        raise ConfigurationError(_unknown(source)) from error
    if not is_there:
        raise ConfigurationError(_unknown(source))
    return path.read_text(encoding="utf-8")


def _unknown(source: str | Path) -> str:
    told = repr(str(source)[:200])
    if str(source).endswith(_SUFFIXES):
        return f"There is no schema file {told}."
    return f"There is no schema {told}: give one of {', '.join(list_schemas())}, or the path of a YAML file."


def _fetch(url: str) -> str:
    from urllib.request import urlopen

    if not url.startswith(("http://", "https://", "file://")):
        scheme = url.partition("://")[0]
        raise ConfigurationError(
            f"A schema can't be read from {scheme}:// : load it yourself and pass the Pandera schema."
        )
    try:
        with urlopen(url, timeout=_TIMEOUT) as reply:  # noqa: S310  the scheme was checked above
            return str(reply.read().decode())
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"The schema at {url} can't be read: {error}") from error


def _shipped() -> Traversable:
    """Return where the schemas lie: inside the package in a wheel, beside it in a checkout."""
    packaged = files("mc_sink") / "_schemas"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "schemas"


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


def at_most_column(data: PolarsData, column: str, limit: str) -> pl.LazyFrame:
    """Pass a row whose `column` is at most its `limit`."""
    return data.lazyframe.select(pl.col(column) <= pl.col(limit))


def any_present(data: PolarsData, columns: list[str]) -> pl.LazyFrame:
    """Pass a row that has a value in at least one of `columns`."""
    return data.lazyframe.select(pl.any_horizontal(pl.col(columns).is_not_null()))


def all_or_none(data: PolarsData, columns: list[str]) -> pl.LazyFrame:
    """Pass a row that has a value in each of `columns`, or in none of them."""
    return data.lazyframe.select(
        pl.all_horizontal(pl.col(columns).is_null()) | pl.all_horizontal(pl.col(columns).is_not_null())
    )


def allowed_when(data: PolarsData, column: str, allowed: list[Any], when: str, equals: list[Any]) -> pl.LazyFrame:
    """Pass a row whose `column` is one of `allowed`, or whose `when` is none of `equals`."""
    return data.lazyframe.select(pl.col(column).is_in(allowed) | ~pl.col(when).is_in(equals))


def json_object(data: PolarsData) -> pl.LazyFrame:
    """Pass a text that is one JSON object."""
    parsed = pl.col(data.key).str.json_path_match("$")
    return data.lazyframe.select(parsed.is_not_null() & pl.col(data.key).str.starts_with("{"))


_CHECKS = (at_most_column, any_present, all_or_none, allowed_when, json_object)


def register() -> None:
    """Make the checks known to Pandera as `Check.<name>`; its own way of registering works for pandas only."""
    from pandera.polars import Check

    for check in _CHECKS:
        Check.REGISTERED_CUSTOM_CHECKS.setdefault(check.__name__, _named(check))


def _named(function: Callable[..., pl.LazyFrame]) -> Callable[..., Check]:
    from pandera.polars import Check

    def build(**statistics: Any) -> Check:
        given = ", ".join(f"{name}={value!r}" for name, value in statistics.items())
        return Check(function, name=function.__name__, error=f"{function.__name__}({given})", **statistics)

    return build
