"""Schemas at the door: whatever names one becomes a Pandera schema for Polars."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from mc_sink.exceptions import ConfigurationError
from mc_sink.validation._yaml import schema_from_yaml

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from pandera.polars import DataFrameModel, DataFrameSchema

SchemaLike: TypeAlias = "str | Path | DataFrameSchema | type[DataFrameModel]"
_SUFFIXES = (".yaml", ".yml")
_TIMEOUT = 30  # seconds for a schema to arrive from a URL


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


def resolve(schema: SchemaLike) -> DataFrameSchema:
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
