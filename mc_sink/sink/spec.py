"""A delivery as it will be done: options resolved before anything is opened, and a delivery into its source refused.

options ──► order, on its platform ──► the receiver's values where there are none ──► checked ──► resolved

The patterns of a connection's source and of `previous=` are known. Those of a LazyFrame are read from its plan, where
that holds nothing but Polars' own scans; of a plan with frames in memory or Python in it they stay unknown.
"""

from __future__ import annotations

import json
import os
import re
import stat
import warnings
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from mc_sink._frames import ROW_GROUP_SIZE
from mc_sink.exceptions import ConfigurationError
from mc_sink.formats import choose_format
from mc_sink.keys import FileNames, Partitioning, check_run_id, new_run_id, parse_template
from mc_sink.presets import preset_of
from mc_sink.sink.options import check_combinations, check_place
from mc_sink.target import Target, parse_target
from mc_sink.validation import load_schema

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from mc_sink.formats import Format
    from mc_sink.presets import Preset
    from mc_sink.sink.options import SinkOptions
    from mc_sink.staged import ManifestForm, OnEmpty, Staged
    from mc_sink.validation import SchemaLike

_MAGIC = re.compile(r"[*?\[]")
# What a plan's serialised form would copy: frames and series in memory, and functions with all that they refer to.
_HEAVY = re.compile(r"\bDF \[|Series|python|PYTHON|OPAQUE")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


@dataclass(frozen=True, slots=True, eq=False)
class DeliverySpec:
    """What a delivery writes, and as what; `rejects` is where bad rows go, if they are to go anywhere.

    `run_id_given` says that the caller chose the run id, so that there may have been an earlier try of this very run.
    `lost` are the options of the preset's dialect that the caller's own format leaves out.
    """

    names: FileNames
    format: Format
    row_group_size: int
    max_rows_per_file: int | None
    max_bytes_per_file: int | None
    partition_by: tuple[str, ...]
    include_key: bool
    rejects: tuple[Target, Format] | None
    manifest: Target | None
    manifest_form: ManifestForm
    success_marker: Target | None
    preset: Preset | None
    run_id_given: bool
    on_empty: OnEmpty
    lost: tuple[str, ...] = ()

    def check(self, schema: pl.Schema) -> pl.Schema:
        """Give the columns of the files, and refuse those that their format or their receiver can't take."""
        columns = self.partitioning(schema).file_schema
        self.format.check(columns)
        if self.preset:
            self.preset.check(columns, self.format)
        return columns

    def watch(self, batches: Generator[pl.DataFrame, None, None]) -> Generator[pl.DataFrame, None, None]:
        """Pass batches on, and refuse cells and rows that the receiver can't take; rows of several files come later."""
        with closing(batches):  # also while somebody holds on to what was raised
            yield from self._watched(batches, self.preset) if self.preset else batches

    def _watched(self, batches: Iterable[pl.DataFrame], preset: Preset) -> Iterator[pl.DataFrame]:
        later = {"fewest rows per file"} if self.on_empty == "skip" else set()  # no file may be what comes
        if self.names.is_numbered:
            later = {"rows per file", "fewest rows per file"}
        on_the_way = [limit for limit in preset.limits if limit.name not in later]
        left_out = () if self.include_key else self.partition_by
        return replace(preset, limits=tuple(on_the_way)).watch(batches, self.format, left_out=left_out)

    def check_files(self, staged: Staged) -> None:
        """Refuse finished files that the receiver can't take."""
        if self.preset:
            for file in staged.files:
                self.preset.check_file(file, self.format)

    def partitioning(self, schema: pl.Schema) -> Partitioning:
        """Say how rows with these columns are divided; raises `ConfigurationError` where they can't be."""
        return Partitioning(self.partition_by, schema, self.include_key)

    @property
    def repeatable(self) -> bool:
        """Whether a file that is found at its key, with the same bytes, must be this run's own."""
        return self.run_id_given or self.names.are_its_own


def refuse_own_source(to: DeliverySpec, patterns: Iterable[str], what: str, folder: Path | None = None) -> None:
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
                f"wrote. Deliver to another folder, or choose a narrower pattern."
            )


def scanned(frame: object, to: DeliverySpec) -> tuple[str, ...]:
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


def _filled(order: SinkOptions, preset: Preset, target: Target) -> SinkOptions:
    """Take the receiver's values wherever the caller gave none; a single file is neither cut nor named."""
    files = preset if target.is_prefix else replace(preset, file_name=None, max_rows_per_file=None)
    name = files.file_name if order.name is None else order.name
    end = target.name if name is None else parse_template(name, order.columns).end
    format = choose_format(end, order.format, preset.format, url="" if name else target.url)
    rows = files.max_rows_per_file if order.max_rows_per_file is None else order.max_rows_per_file
    size = preset.bytes_per_file(format) if target.is_prefix else None
    return replace(
        order,
        format=format,
        name=name,
        max_rows_per_file=rows,
        max_bytes_per_file=size if order.max_bytes_per_file is None else order.max_bytes_per_file,
        manifest=preset.manifest if target.is_prefix and order.manifest is None else order.manifest,
        success_marker=order.success_marker or (preset.success_marker and target.is_prefix),
    )


def resolve(order: SinkOptions) -> DeliverySpec:
    """Give what an order comes to, or raise what contradicts in it; opens nothing."""
    target, preset = parse_target(order.target), preset_of(order.preset)
    check_place(target, order.if_exists)
    lost = preset.lost_in(order.format) if preset else ()
    if preset:
        order = _filled(order, preset, target)
    check_combinations(order, target)
    names, format = _names(order, target)
    to = DeliverySpec(
        names,
        format,
        order.row_group_size or ROW_GROUP_SIZE,
        order.max_rows_per_file,
        order.max_bytes_per_file,
        names.columns,
        include_key=_keeps_key(order, names),
        rejects=_rejects(order, names),
        manifest=names.manifest if (names.is_numbered if order.manifest is None else order.manifest) else None,
        manifest_form="redshift" if order.manifest == "redshift" else "mc_sink",
        success_marker=names.success_marker if order.success_marker else None,
        preset=preset and replace(preset, max_rows_per_file=order.max_rows_per_file),
        run_id_given=order.run_id is not None,
        on_empty=order.on_empty,
        lost=lost,
    )
    if isinstance(order.previous, str | os.PathLike):
        refuse_own_source(to, [os.fspath(order.previous)], "previous=")
    return to


def _names(order: SinkOptions, target: Target) -> tuple[FileNames, Format]:
    """Choose format and names together: a template's end may say the one, and the format the other."""
    run_id = new_run_id() if order.run_id is None else check_run_id(order.run_id)
    columns = order.columns
    template = None if order.name is None else parse_template(order.name, columns)
    end, url = (template.end, "") if template else (target.name, target.url)
    format = choose_format(end, order.format, url=url)
    rolls = order.max_rows_per_file is not None or order.max_bytes_per_file is not None
    schema = schema_name(order.schema) if template and template.uses("schema") else None
    several = rolls or bool(columns)
    names = FileNames(target, run_id, format.extension, several, template=template, columns=columns, schema=schema)
    names.check(overwrites=order.if_exists == "overwrite", rolls=rolls)
    return names, choose_format(names.example, format)


def _keeps_key(order: SinkOptions, names: FileNames) -> bool:
    """By default, no where Hive's folders are read back as columns; nobody reads a template's names so."""
    if order.include_key is None:
        return bool(names.template and names.template.columns)
    return order.include_key


def _rejects(order: SinkOptions, names: FileNames) -> tuple[Target, Format] | None:
    """Choose the rejects' file; under a prefix it is Parquet, which carries every column as it is."""
    if order.on_invalid == "fail":
        return None
    target = order.rejects_target
    check_place(target, order.if_exists)
    format = choose_format(target.name, "parquet" if target.is_prefix else None, url=target.url)
    file = target.file(f"{names.run_id}.rejects{format.extension}")
    if names.claims(file.url):
        raise ConfigurationError(f"{file.url} is to hold both the rejects and the delivery: choose other rejects=…")
    return file, format


def schema_name(schema: SchemaLike | None) -> str | None:
    """Give the name of a schema; None where there is no schema, or none with a name. Reads a YAML schema's file."""
    given: Any = load_schema(schema) if isinstance(schema, (str, Path)) else schema
    given = given.to_schema() if isinstance(given, type) and hasattr(given, "to_schema") else given
    return getattr(given, "name", None)
