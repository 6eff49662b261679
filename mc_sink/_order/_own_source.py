"""A delivery whose files would be among those that it reads: the next run would deliver its own output again.

The patterns of a connection's source and of `previous=` are known. Those of a LazyFrame are read from its plan, where
that holds nothing but Polars' own scans; of a plan with frames in memory or Python in it they stay unknown.
"""

from __future__ import annotations

import json
import os
import re
import stat
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from mc_sink.exceptions import NOTHING_VISIBLE, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mc_sink._order._resolved import Resolved

_MAGIC = re.compile(r"[*?\[]")
# What a plan's serialised form would copy: frames and series in memory, and functions with all that they refer to.
_HEAVY = re.compile(r"\bDF \[|Series|python|PYTHON|OPAQUE")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def refuse_own_source(to: Resolved, patterns: Iterable[str], what: str, folder: Path | None = None) -> None:
    """Raise `ConfigurationError` if a file of the delivery, or of its rejects, would match one of these patterns.

    `what` names what is read by them. Relative ones begin at `folder`, by default the working directory.
    """
    target = to.names.target
    places = [to.names.pattern if target.is_prefix else target.url, *([to.rejects[0].url] if to.rejects else [])]
    for pattern in patterns:
        matching = _expression(pattern, folder or Path.cwd())
        if found := next((place for place in places if matching.fullmatch(_real(place))), None):
            raise ConfigurationError(
                f"{found} would be among the files of {what}, {pattern!r}, and the next run would read what this one "
                f"wrote. Deliver to another folder, or choose a narrower pattern. {NOTHING_VISIBLE}"
            )


def scanned(frame: object, to: Resolved) -> tuple[str, ...]:
    """Return the local paths and patterns that a LazyFrame scans, as far as its plan shows them; runs nothing.

    Only a local target can be among them. The plan may hold secrets, so nothing is raised that would show it.
    """
    local = to.names.target.protocol == "file" or (to.rejects is not None and to.rejects[0].protocol == "file")
    if not local or not isinstance(frame, pl.LazyFrame):
        return ()
    try:
        shown = frame.explain(optimized=False)
        if " SCAN [" not in f" {shown}" or "://" in shown or _HEAVY.search(shown):
            return ()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Polars calls this form deprecated; no other shows patterns
            return tuple(_paths(json.loads(frame.serialize(format="json"))))
    except Exception:  # noqa: BLE001  the query itself raises what is wrong with it, when it runs
        return ()


def _paths(plan: Any) -> Iterator[str]:
    """Yield the paths of all scans in a plan's serialised form."""
    if isinstance(plan, dict):
        sources = plan.get("sources")
        if isinstance(sources, dict) and isinstance(sources.get("Paths"), list):
            found = [path.get("inner") if isinstance(path, dict) else path for path in sources["Paths"]]
            yield from (path for path in found if isinstance(path, str))
        else:
            for inner in plan.values():
                yield from _paths(inner)
    elif isinstance(plan, list):
        for inner in plan:
            yield from _paths(inner)


def _expression(pattern: str, folder: Path) -> re.Pattern[str]:
    """Return what matches the paths that a pattern finds; all that is below, where it names a folder."""
    if url := _URL.match(pattern):
        scheme = url.group(1).lower()
        start, rest = f"{'s3' if scheme == 's3a' else scheme}://", pattern[url.end() :]
        return re.compile(re.escape(start) + _translated(rest + "**" * rest.endswith("/")), re.DOTALL)
    path = Path(pattern).expanduser()
    whole = str(folder / path)
    if _kind(whole) == "folder":
        return re.compile(re.escape(os.path.realpath(whole).rstrip("/")) + "/.*", re.DOTALL)
    if _kind(whole) or not _MAGIC.search(pattern):
        return re.compile(re.escape(_real(whole)))
    parts = path.parts
    plain = next((number for number, part in enumerate(parts) if _MAGIC.search(part)), len(parts))
    start = os.path.realpath(folder.joinpath(*parts[:plain])).rstrip("/")
    return re.compile(f"{re.escape(start)}/{_translated('/'.join(parts[plain:]))}", re.DOTALL)


def _kind(path: str) -> str | None:
    """Return whether a path is a folder or another thing; None where nothing is, or can be."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116  a Path would drop what it takes for an empty part
    except (OSError, ValueError):
        return None
    return "folder" if stat.S_ISDIR(mode) else "file"


def _real(place: str) -> str:
    """Return a path with the links of its folder resolved; a URL as it is."""
    if _URL.match(place):
        return place
    above, _, name = place.rpartition("/")
    return f"{os.path.realpath(above or '/').rstrip('/')}/{name}"


def _translated(pattern: str) -> str:
    """Return a pattern of files as a regular expression: `**` crosses folders, `*` and `?` don't."""
    made, rest = "", pattern
    while rest:
        if rest.startswith("**/"):
            made, rest = made + "(?:.*/)?", rest[3:]
        elif rest.startswith("**"):
            made, rest = made + ".*", rest[2:]
        elif rest[0] in "*?":
            made, rest = made + ("[^/]*" if rest[0] == "*" else "[^/]"), rest[1:]
        elif found := re.match(r"\[([!^]?)(\]?[^\]/]*)\]", rest):
            inner = found.group(2).replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
            made, rest = f"{made}[{'^' if found.group(1) else ''}{inner}]", rest[found.end() :]
        else:
            made, rest = made + re.escape(rest[0]), rest[1:]
    return made
