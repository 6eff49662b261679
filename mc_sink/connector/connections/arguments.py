"""Convert a connection into the arguments of `sink_madconnect` and `preview`."""

from __future__ import annotations

from dataclasses import fields
from inspect import signature
from typing import TYPE_CHECKING, Any

from mc_sink.connector.connections.sources import find_named, nearest_name
from mc_sink.exceptions import ConfigurationError
from mc_sink.formats import Csv, Parquet
from mc_sink.object_options import ObjectOptions
from mc_sink.sink import DEFAULT_REJECTS
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from mc_sink.connector.connections.connection_file import Connection

# The arguments of one run, which a connection file does not have.
GIVEN_BY_RUN = frozenset({"frame", "run_id", "progress"})
# The parts of a file that are not options of a delivery.
_AROUND = {"source", "schedule", "hooks", "guard"}
_FORMATS: dict[str, Callable[..., Any]] = {"csv": Csv, "parquet": Parquet}
_YAML = (".yaml", ".yml")


def arguments_for(sink: Callable[..., Any], connection: Connection) -> dict[str, Any]:
    """Return the options in a connection as arguments of `sink`, without those that the file leaves out.

    Raises `ConfigurationError` for keys that `sink` has no argument for, and for contradictory options.
    """
    settings, folder = connection.settings, connection.folder
    options = {one.name: getattr(settings, one.name) for one in fields(settings) if one.name not in _AROUND}
    options["min_rows"] = settings.min_rows if settings.guard.min_rows is None else settings.guard.min_rows
    given = {name: value for name, value in options.items() if value not in (None, {})}
    if unknown := sorted(set(given) - set(signature(sink).parameters)):
        raise ConfigurationError(
            f"{connection.name} has keys that this version of mc_sink doesn't know: {', '.join(unknown)}. Remove them, "
            "or install a newer version."
        )
    if settings.on_invalid == "reject":  # a default in the working directory would differ from start to start
        given.setdefault("rejects", DEFAULT_REJECTS)
    return {name: _CONVERTED[name](value, folder) if name in _CONVERTED else value for name, value in given.items()}


def target_of(value: str, folder: Path) -> str:
    """Return a target as the file has it; a relative path begins at the file's folder."""
    found = parse_target(value, folder)
    return found.url if found.protocol == "file" else value


def _schema(value: str, folder: Path) -> Any:
    if "://" in value:
        return value
    if value.endswith(_YAML):
        return folder / value
    return find_named(value, folder) if ":" in value else value


def _previous(value: str, folder: Path) -> str:
    """Return the last delivery as the file has it; a relative path begins at the file's folder."""
    return value if "://" in value else str(folder / value)


def _format(value: str | Mapping[str, Any], _folder: Path) -> Any:
    if isinstance(value, str):
        return value
    options = dict(value)
    kind = options.pop("type", None)
    if kind not in _FORMATS:
        raise ConfigurationError(f"[format] needs a type, one of {', '.join(_FORMATS)}.")
    return _made(_FORMATS[kind], options, "format")


def _object_options(value: Mapping[str, Any], _folder: Path) -> ObjectOptions:
    made: ObjectOptions = _made(ObjectOptions, value, "object_options")
    return made


def _made(kind: Callable[..., Any], options: Mapping[str, Any], place: str) -> Any:
    """Create a value from a table of the file with the same names."""
    names = signature(kind).parameters
    if unknown := [name for name in options if name not in names]:
        raise ConfigurationError(f"{place}.{unknown[0]} is an unknown key.{nearest_name(unknown[0], names)}")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in options.items()})


_CONVERTED: dict[str, Callable[[Any, Any], Any]] = {
    "target": target_of,
    "rejects": target_of,
    "previous": _previous,
    "schema": _schema,
    "format": _format,
    "object_options": _object_options,
}
