"""Refuse a delivery into its own source: the next run would read the output of this one.

The file patterns of a connection's source and of `previous=` are known. Those of a LazyFrame are read from its plan if
the plan holds only scans of Polars. They stay unknown for a plan with frames in memory or Python functions.
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

from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mc_sink.delivery_spec import DeliverySpec

_MAGIC = re.compile(r"[*?\[]")
# Serialising a plan with these would copy frames and series in memory, or functions with everything they refer to.
_HEAVY = re.compile(r"\bDF \[|Series|python|PYTHON|OPAQUE")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def refuse_own_source(spec: DeliverySpec, patterns: Iterable[str], source: str, folder: Path | None = None) -> None:
    """Raise `ConfigurationError` if a file of the delivery, or of its rejects, would match one of these patterns.

    `source` names what is read by the patterns. Relative ones begin at `folder`, by default the working directory.
    """
    target = spec.target
    places = [spec.names.pattern if target.is_prefix else target.url, *([spec.rejects[0].url] if spec.rejects else [])]
    for pattern in patterns:
        matching = _expression(pattern, folder or Path.cwd())
        if found := next((place for place in places if matching.fullmatch(_real(place))), None):
            raise ConfigurationError(
                f"{found} would match the files of {source}, {pattern!r}, so the next run would read the output of "
                "this one. Deliver to another folder, or choose a narrower pattern."
            )


def refuse_own_frames(spec: DeliverySpec, frame: object) -> None:
    """Raise `ConfigurationError` if the delivery would write to the files that its frame, or `previous=`, reads."""
    refuse_own_source(spec, _scanned(frame, spec), "the frame")
    before: Any = spec.previous
    patterns = [os.fspath(before)] if isinstance(before, str | os.PathLike) else _scanned(before, spec)
    refuse_own_source(spec, patterns, "previous=")


def _scanned(frame: object, spec: DeliverySpec) -> tuple[str, ...]:
    """Return the local paths and patterns that a LazyFrame scans, as far as its plan shows them. Runs nothing.

    Empty unless the delivery has a local file. The plan may hold secrets, so no error that shows it leaves here.
    """
    local = spec.target.protocol == "file" or (spec.rejects is not None and spec.rejects[0].protocol == "file")
    if not local or not isinstance(frame, pl.LazyFrame):
        return ()
    try:
        shown = frame.explain(optimized=False)
        if " SCAN [" not in f" {shown}" or "://" in shown or _HEAVY.search(shown):
            return ()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Polars deprecates this form, but only this form shows patterns
            return tuple(_paths(json.loads(frame.serialize(format="json"))))
    except Exception:  # noqa: BLE001  an invalid query raises its own error when it runs
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
    """Return an expression for the paths that a pattern finds; for a folder, all paths below it."""
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
    """Return "folder" or "file" for an existing path; None where nothing exists or the path is invalid."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116  a Path would drop empty parts
    except (OSError, ValueError):
        return None
    return "folder" if stat.S_ISDIR(mode) else "file"


def _real(place: str) -> str:
    """Return a path with the symbolic links of its folder resolved; a URL as it is."""
    if _URL.match(place):
        return place
    above, _, name = place.rpartition("/")
    return f"{os.path.realpath(above or '/').rstrip('/')}/{name}"


def _translated(pattern: str) -> str:
    """Return a file pattern as a regular expression: `**` crosses folders, `*` and `?` don't."""
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
