"""Open a connection's source as a frame: files, a query, or a Python function named as `module:function`."""

from __future__ import annotations

import glob
import os
import re
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from mc_sink._display import nearest
from mc_sink.connector.beside import import_beside
from mc_sink.connector.connections.queries import queried, read_database
from mc_sink.exceptions import ConfigurationError
from mc_sink.sink import refuse_own_frames, refuse_own_source

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mc_sink.connector.connections.settings import Source
    from mc_sink.delivery_spec import DeliverySpec

_SUFFIXES = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".arrow": "ipc",
    ".ipc": "ipc",
    ".feather": "ipc",
}
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
KINDS_OF_SOURCE, ADDRESSES = ("files", "query", "function"), ("database", "uri", "uri_env")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
GOES_WITH = {
    "format": "files",
    "database": "query",
    "uri": "query",
    "uri_env": "query",
    "arguments": "function",
}


def check_source(source: Source, label: str) -> None:
    """Raise `ConfigurationError` for a source without rows or with contradictory keys. Opens nothing."""
    kinds = [name for name in KINDS_OF_SOURCE if getattr(source, name)]
    if len(kinds) != 1:
        raise ConfigurationError(
            f"[source] in {label} needs exactly one of files, query and function, and has {', '.join(kinds) or 'none'}."
        )
    for name, kind in GOES_WITH.items():
        if getattr(source, name) and kind != kinds[0]:
            raise ConfigurationError(
                f"[source] in {label} has {name}, which is for {kind} and not for {kinds[0]}. Remove it."
            )
    if source.uri_env and not VARIABLE.fullmatch(source.uri_env):
        raise ConfigurationError(
            f"source.uri_env in {label} is not the name of a variable. Write the name, not the value."
        )
    if sum(bool(getattr(source, name)) for name in ADDRESSES) > 1:
        raise ConfigurationError(
            f"[source] in {label} has more than one of database, uri and uri_env. Leave all but one out."
        )


def refuse_own_target(source: Source, folder: Path, spec: DeliverySpec) -> None:
    """Raise `ConfigurationError` if the delivery's files would be among those of the source; opens nothing.

    Those of `previous` are looked at too, before the source is opened.
    """
    refuse_own_frames(spec, None)
    if source.files:
        files = [source.files] if isinstance(source.files, str) else source.files
        refuse_own_source(spec, files, "source.files", folder)


@contextmanager
def opened(source: Source, folder: Path) -> Iterator[Any]:
    """Yield the frame of a source, which is open within the `with`. Relative paths begin at `folder`."""
    if source.files:
        yield _scan(source, folder)
    elif source.function:
        yield call_named(source.function, folder, source.arguments)
    elif source.uri or source.uri_env:
        yield read_database(source)
    else:
        with queried(source.query or "", source.database, folder) as reader:
            yield reader


def _scan(source: Source, folder: Path) -> pl.LazyFrame:
    patterns = [source.files] if isinstance(source.files, str) else list(source.files or ())
    places = [place for pattern in patterns for place in _places(pattern, folder)]
    kinds = {_SUFFIXES.get("".join(Path(place).suffixes[-2:])) or _SUFFIXES.get(Path(place).suffix) for place in places}
    kind = source.format or (kinds.pop() if len(kinds) == 1 else None)
    if kind is None:
        raise ConfigurationError(
            "The suffixes of the source files don't show one format. Write source.format, one of "
            f"{', '.join(sorted(set(_SUFFIXES.values())))}."
        )
    scan: Any = getattr(pl, f"scan_{kind}")
    if unknown := [name for name in source.options if name not in signature(scan).parameters]:
        raise ConfigurationError(
            f"source.options.{unknown[0]} is not an argument of polars.scan_{kind}."
            f"{nearest(unknown[0], signature(scan).parameters)}"
        )
    as_named = {"glob": False} if "glob" in signature(scan).parameters and not any(map(_URL.match, places)) else {}
    frame: pl.LazyFrame = scan(places, **as_named | dict(source.options))
    return frame


def _places(pattern: str, folder: Path) -> list[str]:
    """Return the files that match a pattern, in order. Polars expands URLs."""
    if _URL.match(pattern):
        return [pattern]
    within = glob.escape(str(folder))  # its name may have brackets
    found = sorted(glob.glob(os.path.join(within, pattern), recursive=True))  # noqa: PTH118, PTH207  Path has no absolute globs
    if not found:
        raise ConfigurationError(f"No file matches {pattern} in {folder}. Correct source.files.")
    return found


def find_named(name: str, folder: Path) -> Any:
    """Return the object `module:name`, from a module beside the connection file or an installed one."""
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise ConfigurationError(f"{name!r} is not of the form module:function.")
    try:
        found: Any = import_beside(folder, module)
    except ModuleNotFoundError as error:
        if error.name not in {module, module.partition(".")[0]}:
            raise
        raise ConfigurationError(
            f"No module is named {module}, which {name} needs. Install it, or put it into {folder}."
        ) from None
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ConfigurationError(f"{module} has no {part}.{nearest(part, dir(found))}")
        found = getattr(found, part)
    return found


def call_named(name: str, folder: Path, arguments: Mapping[str, Any]) -> Any:
    """Return the result of a function by its name. Its exceptions arrive unchanged."""
    found = find_named(name, folder)
    if not callable(found):
        raise ConfigurationError(f"{name} is a {type(found).__name__}, not a function.")
    return found(**arguments)
