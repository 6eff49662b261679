"""A source → a frame: files by glob, a query, or a function; what is read is read lazily wherever it can be."""

from __future__ import annotations

import glob
import os
import re
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from mc_sink._order import refuse_own_source, resolve
from mc_sink.connections._database import read_database
from mc_sink.connections._duckdb import queried
from mc_sink.connections._named import call_named, nearest
from mc_sink.exceptions import NOTHING_VISIBLE, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mc_sink._order import Order
    from mc_sink.connections._settings import Source

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
            f"[source] of {told} has {len(kinds)} of files, query and function: write exactly one. {NOTHING_VISIBLE}"
        )
    for name, kind in _GOES_WITH.items():
        if getattr(source, name) and kind != kinds[0]:
            raise ConfigurationError(
                f"[source] of {told} has {name}, which goes with {kind}, not with {kinds[0]}. {NOTHING_VISIBLE}"
            )
    if source.uri_env and not _VARIABLE.fullmatch(source.uri_env):
        raise ConfigurationError(
            f"source.uri_env of {told} isn't a variable's name: write the name, not the value. {NOTHING_VISIBLE}"
        )
    if sum(map(bool, (source.database, source.uri, source.uri_env))) > 1:
        raise ConfigurationError(
            f"[source] of {told} has more than one of database, uri and uri_env. {NOTHING_VISIBLE}"
        )


def refuse_own_target(source: Source, folder: Path, order: Order) -> None:
    """Raise `ConfigurationError` if the delivery's files would be among those of the source; opens nothing."""
    if source.files:
        files = [source.files] if isinstance(source.files, str) else source.files
        refuse_own_source(resolve(order), files, "source.files", folder)


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
            f"{nearest(unknown[0], signature(scan).parameters)} {NOTHING_VISIBLE}"
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
        raise ConfigurationError(f"0 files match {pattern} in {folder}: correct source.files. {NOTHING_VISIBLE}")
    return found


def _format_of(places: list[str]) -> str:
    kinds = {_SUFFIXES.get("".join(Path(place).suffixes[-2:])) or _SUFFIXES.get(Path(place).suffix) for place in places}
    if len(kinds) != 1 or (kind := kinds.pop()) is None:
        raise ConfigurationError(
            f"{len(places)} source file(s) are of no one kind by their suffixes: write source.format, one of "
            f"{', '.join(sorted(set(_SUFFIXES.values())))}. {NOTHING_VISIBLE}"
        )
    return kind
