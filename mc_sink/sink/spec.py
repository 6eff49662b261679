"""Resolve a caller's options into the specification of a delivery, and refuse a delivery into its own source.

    SinkOptions ──► the platform's values ──► the receiver's values ──► checked ──► DeliverySpec

The file patterns of a connection's source and of `previous=` are known. Those of a LazyFrame are read from its plan if
the plan holds only scans of Polars. They stay unknown for a plan with frames in memory or Python functions.
"""

from __future__ import annotations

import json
import os
import re
import stat
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from mc_sink._frames import ROW_GROUP_SIZE
from mc_sink.delivery_spec import DeliverySpec
from mc_sink.exceptions import ConfigurationError
from mc_sink.formats import choose_format
from mc_sink.keys import FileNames, check_run_id, column_names, new_run_id, parse_template
from mc_sink.platforms import load, memory_of
from mc_sink.presets import preset_of
from mc_sink.sink.options import check_combinations, check_place
from mc_sink.target import Target, parse_target
from mc_sink.validation import load_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mc_sink.formats import Format
    from mc_sink.presets import Preset
    from mc_sink.sink.options import SinkOptions
    from mc_sink.validation import SchemaLike

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


def scanned(frame: object, spec: DeliverySpec) -> tuple[str, ...]:
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


def resolve(options: SinkOptions, *, is_new: bool = False) -> DeliverySpec:
    """Resolve options into the specification of a delivery; opens nothing.

    The platform's values and then the preset's are used where the caller gave none. `is_new` states that the run id was
    made for this call, so that no earlier attempt can have used it. Raises `TargetError` and `ConfigurationError`.
    """
    given = _on_platform(options)
    target, preset = parse_target(given.target), preset_of(given.preset)
    check_place(target, given.if_exists)
    chosen = _with_preset(given, preset, target) if preset else given
    check_combinations(chosen, target)
    names, format = _names(chosen, target)
    has_manifest = names.is_numbered if chosen.manifest is None else bool(chosen.manifest)
    spec = DeliverySpec(
        names=names,
        run_id_given=given.run_id is not None and not is_new,
        format=format,
        row_group_size=chosen.row_group_size or ROW_GROUP_SIZE,
        max_rows_per_file=chosen.max_rows_per_file,
        max_bytes_per_file=chosen.max_bytes_per_file,
        partition_by=names.columns,
        # Default: drop key columns for Hive folders (readers restore them), keep them for a custom template.
        include_key=not names.has_folders if chosen.include_key is None else chosen.include_key,
        schema=chosen.schema,
        on_invalid=chosen.on_invalid,
        rejects=_rejects(chosen, names),
        max_rejects=chosen.max_rejects,
        min_rows=chosen.min_rows,
        on_empty=chosen.on_empty,
        if_exists=chosen.if_exists,
        stale=chosen.stale,
        previous=chosen.previous,
        keys=column_names(chosen.keys),
        manifest=names.manifest if has_manifest else None,
        manifest_form="redshift" if chosen.manifest == "redshift" else "mc_sink",
        success_marker=names.success_marker if chosen.success_marker else None,
        preset=preset and replace(preset, max_rows_per_file=chosen.max_rows_per_file),
        lost=preset.lost_in(given.format) if preset else (),
        object_options=chosen.object_options,
        storage_options=chosen.storage_options,
        ways_memory=memory_of(chosen.platform),
        progress=chosen.progress,
    )
    if isinstance(spec.previous, str | os.PathLike):
        refuse_own_source(spec, [os.fspath(spec.previous)], "previous=")
    return spec


def _on_platform(options: SinkOptions) -> SinkOptions:
    """Apply the platform's credentials and object options. Raises if a target is outside its allowed buckets."""
    if options.platform is None:
        return options
    platform = load(options.platform) if isinstance(options.platform, str) else options.platform
    if options.rejects_target.protocol == "s3":
        platform.check_bounds(options.rejects_target)
    storage_options = platform.storage_options_for(parse_target(options.target), options.storage_options)
    object_options = platform.object_options(options.object_options)
    return replace(options, storage_options=storage_options, object_options=object_options)


def _with_preset(options: SinkOptions, preset: Preset, target: Target) -> SinkOptions:
    """Apply the receiver's values where the caller gave none. A single file is neither split nor renamed."""
    files = preset if target.is_prefix else replace(preset, file_name=None, max_rows_per_file=None)
    name = files.file_name if options.name is None else options.name
    end = target.name if name is None else parse_template(name, options.columns).end
    format = choose_format(end, options.format, preset.format, url="" if name else target.url)
    rows = files.max_rows_per_file if options.max_rows_per_file is None else options.max_rows_per_file
    size = preset.bytes_per_file(format) if target.is_prefix else None
    return replace(
        options,
        format=format,
        name=name,
        max_rows_per_file=rows,
        max_bytes_per_file=size if options.max_bytes_per_file is None else options.max_bytes_per_file,
        manifest=preset.manifest if target.is_prefix and options.manifest is None else options.manifest,
        success_marker=options.success_marker or (preset.success_marker and target.is_prefix),
    )


def _names(options: SinkOptions, target: Target) -> tuple[FileNames, Format]:
    """Choose format and names together: a template's end may decide the format, and the format the extension."""
    run_id = new_run_id() if options.run_id is None else check_run_id(options.run_id)
    columns = options.columns
    template = None if options.name is None else parse_template(options.name, columns)
    end, url = (template.end, "") if template else (target.name, target.url)
    format = choose_format(end, options.format, url=url)
    splits = options.max_rows_per_file is not None or options.max_bytes_per_file is not None
    schema = schema_name(options.schema) if template and template.uses("schema") else None
    is_numbered = splits or bool(columns)
    names = FileNames(target, run_id, format.extension, is_numbered, template=template, columns=columns, schema=schema)
    names.check(overwrites=options.if_exists == "overwrite", splits=splits)
    return names, choose_format(names.example, format)


def _rejects(options: SinkOptions, names: FileNames) -> tuple[Target, Format] | None:
    """Choose the file of the rejected rows. Under a prefix it is Parquet, which keeps every column as it is."""
    if options.on_invalid == "fail":
        return None
    target = options.rejects_target
    check_place(target, options.if_exists)
    format = choose_format(target.name, "parquet" if target.is_prefix else None, url=target.url)
    file = target.file(f"{names.run_id}.rejects{format.extension}")
    if names.claims(file.url):
        raise ConfigurationError(
            f"{file.url} can't hold both the rejected and the delivered rows. Choose another target for rejects=."
        )
    return file, format


def schema_name(schema: SchemaLike | None) -> str | None:
    """Return the name of a schema; None without a schema or a name. Reads the file of a YAML schema."""
    given: Any = load_schema(schema) if isinstance(schema, (str, Path)) else schema
    given = given.to_schema() if isinstance(given, type) and hasattr(given, "to_schema") else given
    return getattr(given, "name", None)
