"""Read a preset from a TOML file: the fields of `Preset`, with a table for each format and limit."""

from __future__ import annotations

import tomllib
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mc_sink._display import nearest
from mc_sink.exceptions import ConfigurationError
from mc_sink.formats import Csv, Parquet
from mc_sink.presets.limit import Limit
from mc_sink.presets.preset import Preset

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

_FORMATS: dict[object, Callable[..., Any]] = {"csv": Csv, "parquet": Parquet}
# The plain values of a preset: the types that they may have, and the words for a message.
_PLAIN: dict[str, tuple[tuple[type, ...], str]] = {
    "name": ((str,), "text"),
    "file_name": ((str,), "text"),
    "max_rows_per_file": ((int,), "a number of rows, 1 or more"),
    "max_bytes_per_file": ((int,), "a number of bytes, 1 or more"),
    "manifest": ((bool, str), 'true or "redshift"'),
    "success_marker": ((bool,), "true or false"),
}


def read_preset(path: str | os.PathLike[str]) -> Preset:
    """Read the preset in a TOML file. Raises `ConfigurationError` for a file that isn't one."""
    file = Path(path).expanduser()
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8-sig"))
        return _preset(table)
    except OSError as error:
        raise ConfigurationError(f"Cannot read the preset {file}: {error.strerror}. Correct the path.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"The preset {file} is not TOML: {error}. Correct the file.") from error
    except ConfigurationError as error:
        raise ConfigurationError(f"Cannot use the preset {file}: {error.args[0]}") from error


def _preset(table: dict[str, Any]) -> Preset:
    _refuse_unknown(table, Preset, "the preset")
    if missing := [name for name in ("name", "format") if name not in table]:
        raise ConfigurationError(f"{missing[0]} is missing. Add it.")
    for name, (kinds, words) in _PLAIN.items():
        value = table.get(name)
        is_number = kinds == (int,)
        if value is not None and (type(value) not in kinds or (is_number and value < 1)):
            raise ConfigurationError(f"{name} = {value!r} is not possible. Give {words}.")
    if table.get("manifest") not in {None, True, "redshift"}:
        raise ConfigurationError(f"manifest = {table['manifest']!r} is not possible. Give {_PLAIN['manifest'][1]}.")
    values = {name: value for name, value in table.items() if name in _PLAIN}
    return Preset(
        **values,
        format=_format(table["format"], "[format]"),
        other_formats=tuple(_format(one, "[[other_formats]]") for one in _tables(table, "other_formats")),
        limits=tuple(_made(Limit, one, "[[limits]]") for one in _tables(table, "limits")),
    )


def _format(table: object, place: str) -> Any:
    options = dict(table) if isinstance(table, dict) else {}
    kind = options.pop("type", None)
    if kind not in _FORMATS:
        raise ConfigurationError(f"{place} needs a type, one of {', '.join(map(str, _FORMATS))}.")
    return _made(_FORMATS[kind], options, place)


def _tables(table: dict[str, Any], name: str) -> list[Any]:
    found = table.get(name, [])
    if not (isinstance(found, list) and all(isinstance(one, dict) for one in found)):
        raise ConfigurationError(f"{name} is not a list of tables. Write each as [[{name}]].")
    return found


def _made(kind: Callable[..., Any], options: dict[str, Any], place: str) -> Any:
    """Create a value from a table with the same names."""
    _refuse_unknown(options, kind, place)
    try:
        return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in options.items()})
    except TypeError as error:  # an argument that is missing
        raise ConfigurationError(f"{place} is not complete: {error}. Complete it.") from error


def _refuse_unknown(table: dict[str, Any], kind: Callable[..., Any], place: str) -> None:
    names = signature(kind).parameters
    if unknown := [name for name in table if name not in names]:
        advice = nearest(unknown[0], names) or f" Use one of {', '.join(names)}."
        raise ConfigurationError(f"{unknown[0]} is an unknown key of {place}.{advice}")
