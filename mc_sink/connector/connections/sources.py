"""Open a connection's source as a frame: files, a query, or a Python function named as `module:function`."""

from __future__ import annotations

import glob
import os
import re
from contextlib import contextmanager
from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from mc_sink.connector.beside import import_beside
from mc_sink.connector.connections.queries import queried, read_database
from mc_sink.exceptions import ConfigurationError
from mc_sink.sink import refuse_own_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

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
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_GOES_WITH = {
    "format": "files",
    "database": "query",
    "uri": "query",
    "uri_env": "query",
    "arguments": "function",
}


def check_source(source: Source, told: str) -> None:
    """Raise `ConfigurationError` for a source that is none, or two; opens nothing."""
    kinds = [name for name in ("files", "query", "function") if getattr(source, name)]
    if len(kinds) != 1:
        raise ConfigurationError(
            f"[source] of {told} has {len(kinds)} of files, query and function: write exactly one."
        )
    for name, kind in _GOES_WITH.items():
        if getattr(source, name) and kind != kinds[0]:
            raise ConfigurationError(f"[source] of {told} has {name}, which goes with {kind}, not with {kinds[0]}.")
    if source.uri_env and not _VARIABLE.fullmatch(source.uri_env):
        raise ConfigurationError(f"source.uri_env of {told} isn't a variable's name: write the name, not the value.")
    if sum(map(bool, (source.database, source.uri, source.uri_env))) > 1:
        raise ConfigurationError(f"[source] of {told} has more than one of database, uri and uri_env.")


def refuse_own_target(source: Source, folder: Path, spec: DeliverySpec) -> None:
    """Raise `ConfigurationError` if the delivery's files would be among those of the source; opens nothing."""
    if source.files:
        files = [source.files] if isinstance(source.files, str) else source.files
        refuse_own_source(spec, files, "source.files", folder)


@contextmanager
def opened(source: Source, folder: Path) -> Iterator[Any]:
    """Give the frame of a source, which lasts as long as the `with`; relative paths begin at `folder`."""
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
    kind = source.format or _format_of(places)
    scan: Any = getattr(pl, f"scan_{kind}")
    if unknown := [name for name in source.options if name not in signature(scan).parameters]:
        raise ConfigurationError(
            f"source.options has {unknown[0]}, which polars.scan_{kind} doesn't know"
            f"{nearest(unknown[0], signature(scan).parameters)}"
        )
    taken = {"glob": False} if "glob" in signature(scan).parameters and not any(map(_URL.match, places)) else {}
    frame: pl.LazyFrame = scan(places, **taken | dict(source.options))
    return frame


def _places(pattern: str, folder: Path) -> list[str]:
    """Give the files that a pattern names, in order; a URL is Polars' to look into."""
    if _URL.match(pattern):
        return [pattern]
    within = glob.escape(str(folder))  # whose own name may have brackets
    found = sorted(glob.glob(os.path.join(within, pattern), recursive=True))  # noqa: PTH118, PTH207  Path has no absolute globs
    if not found:
        raise ConfigurationError(f"0 files match {pattern} in {folder}: correct source.files.")
    return found


def _format_of(places: list[str]) -> str:
    kinds = {_SUFFIXES.get("".join(Path(place).suffixes[-2:])) or _SUFFIXES.get(Path(place).suffix) for place in places}
    if len(kinds) != 1 or (kind := kinds.pop()) is None:
        raise ConfigurationError(
            f"{len(places)} source file(s) are of no one kind by their suffixes: write source.format, one of "
            f"{', '.join(sorted(set(_SUFFIXES.values())))}."
        )
    return kind


def find_named(name: str, folder: Path) -> Any:
    """Return what `module:name` names, in a module beside the connection file, or else in one that is installed."""
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise ConfigurationError(f"{name!r} is no module:function.")
    try:
        found: Any = import_beside(folder, module)
    except ModuleNotFoundError as error:
        if error.name not in {module, module.partition(".")[0]}:
            raise
        raise ConfigurationError(
            f"0 modules are named {module}, which {name} needs: install it, or put it into {folder}."
        ) from None
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ConfigurationError(f"{module} has no {part}{nearest(part, dir(found))}")
        found = getattr(found, part)
    return found


def call_named(name: str, folder: Path, arguments: Mapping[str, Any]) -> Any:
    """Call a function by its name; what it raises arrives as it is."""
    found = find_named(name, folder)
    if not callable(found):
        raise ConfigurationError(f"{name} is a {type(found).__name__}, and no function.")
    return found(**arguments)


def nearest(name: str, names: Iterable[str]) -> str:
    """Say which of the right names is the nearest, as the end of a sentence."""
    near = get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f": did you mean {near[0]}?" if near else "."
