"""Find and read a schema: a Pandera object, a YAML file, or the name of a shipped schema."""

from __future__ import annotations

import re
from datetime import date, datetime, time
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import polars as pl

from mc_sink.exceptions import ConfigurationError
from mc_sink.validation.pandera_backend import deserialised, register_check

if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.resources.abc import Traversable

    from pandera.polars import DataFrameModel, DataFrameSchema, PolarsData

SchemaLike: TypeAlias = "str | Path | DataFrameSchema | type[DataFrameModel]"
_SUFFIXES = (".yaml", ".yml")
_TIMEOUT = 30  # seconds to fetch a schema from a URL
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
    `http://` or `https://` URL. Raises `ConfigurationError` if it doesn't exist or can't be read.
    """
    text = read_schema(source)
    try:
        schema = schema_from_yaml(text)
    except Exception as error:
        raise ConfigurationError(f"{_shown(source)} is not a Pandera schema for Polars: {error}") from error
    schema.name = schema.name or Path(_shown(source)).stem
    return schema


def resolve_schema(schema: SchemaLike) -> DataFrameSchema:
    """Return the Pandera schema of a name, path or URL, or of a schema or model."""
    if isinstance(schema, (str, Path)):
        return load_schema(schema)
    from pandera.polars import DataFrameModel, DataFrameSchema

    if isinstance(schema, DataFrameSchema):
        return schema
    given: Any = schema  # callers without a type checker pass anything
    if isinstance(given, type) and issubclass(given, DataFrameModel):
        return given.to_schema()
    kind = given if isinstance(given, type) else type(given)
    if kind.__module__.startswith("pandera"):
        raise ConfigurationError(
            f"The schema is for another dataframe library ({kind.__module__}). Build it with `pandera.polars`."
        )
    if any(base.__module__.startswith("pandera") for base in kind.__mro__):
        raise ConfigurationError(
            f"The model {kind.__name__} is for another dataframe library. Derive it from "
            "`pandera.polars.DataFrameModel`."
        )
    raise ConfigurationError(
        f"{kind.__name__} is not a schema. Pass a name, a path, a URL, or a `pandera.polars` schema or model."
    )


def read_schema(source: str | Path) -> str:
    """Return the YAML text of a shipped schema, a file or a URL; raises `ConfigurationError` where it can't be read."""
    if isinstance(source, str) and source in list_schemas():
        return _shipped().joinpath(f"{source}.yaml").read_text(encoding="utf-8")
    if isinstance(source, str) and "://" in source:
        return _fetch(source)
    try:
        path = Path(source).expanduser()
        exists = path.is_file()
    except (OSError, RuntimeError, ValueError):  # a name that is too long, or in the home of an unknown user
        exists = False
    if exists:
        return path.read_text(encoding="utf-8")
    shown = repr(str(source)[:200])
    if str(source).endswith(_SUFFIXES):
        raise ConfigurationError(f"The schema file {shown} doesn't exist. Correct the path.")
    near = get_close_matches(str(source)[:200], list_schemas(), 1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ConfigurationError(
        f"The schema {shown} doesn't exist.{hint} Pass one of {', '.join(list_schemas())}, or the path of a YAML file."
    )


def _fetch(url: str) -> str:
    from http.client import HTTPException
    from urllib.request import urlopen

    if not url.startswith(("http://", "https://", "file://")):
        scheme = url.partition("://")[0]
        raise ConfigurationError(
            f"A schema can't be read from a {scheme}:// URL. Load it yourself and pass the Pandera schema."
        )
    try:
        with urlopen(url, timeout=_TIMEOUT) as reply:  # noqa: S310  the scheme was checked above
            return str(reply.read().decode())
    except (OSError, ValueError, HTTPException) as error:  # its text may repeat the URL
        cause = getattr(error, "reason", None)
        reason = getattr(cause, "strerror", None) or getattr(error, "strerror", None) or type(error).__name__
        reason = f"HTTP {code}" if (code := getattr(error, "code", None)) else reason
    raise ConfigurationError(f"The schema at {_shown(url)} can't be read: {reason}. Check the URL.")


def _shown(source: str | Path) -> str:
    """Return a path or a URL for display, without a part of a URL that may be secret: credentials or a query."""
    text = str(source)
    scheme, separator, rest = text.partition("://")
    if not separator or isinstance(source, Path):
        return text
    plain = re.split("[?#]", rest, maxsplit=1)[0]
    port = plain.partition("/")[0].rpartition(":")[2] if ":" in plain.partition("/")[0] else "0"
    return f"{scheme}://{plain}" if "@" not in rest and port.isdigit() else f"{scheme}://…"


def _shipped() -> Traversable:
    """Return the folder of the schemas: inside the package in a wheel, beside it in a checkout."""
    packaged = files("mc_sink") / "_schemas"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "schemas"


def schema_from_yaml(text: str) -> DataFrameSchema:
    """Return the schema that `text` describes; it may use the checks of this module as well as Pandera's."""
    import yaml

    register()
    return deserialised(yaml.safe_load(text), _READERS)


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


def register() -> None:
    """Register these checks with Pandera as `Check.<name>`."""
    for check in (at_most_column, any_present, all_or_none, allowed_when, json_object):
        register_check(check)
