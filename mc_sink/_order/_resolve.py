"""An order → what it comes to; checked before anything is opened."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mc_sink._order._checks import check, check_place
from mc_sink._order._own_source import refuse_own_source
from mc_sink._order._resolved import Resolved
from mc_sink._plan import ROW_GROUP_SIZE
from mc_sink.exceptions import ConfigurationError
from mc_sink.formats import choose_format
from mc_sink.names import Names, parse_template
from mc_sink.presets import preset_of
from mc_sink.target import Target, check_run_id, new_run_id, parse_target
from mc_sink.validation import load_schema

if TYPE_CHECKING:
    from mc_sink._order._options import Order
    from mc_sink.formats import Format
    from mc_sink.presets import Preset
    from mc_sink.validation import SchemaLike


def _filled(order: Order, preset: Preset, target: Target) -> Order:
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


def resolve(order: Order) -> Resolved:
    """Give what an order comes to, or raise what contradicts in it; opens nothing."""
    target, preset = parse_target(order.target), preset_of(order.preset)
    check_place(target, order.if_exists)
    lost = preset.lost_in(order.format) if preset else ()
    if preset:
        order = _filled(order, preset, target)
    check(order, target)
    names, format = _names(order, target)
    to = Resolved(
        names,
        format,
        order.row_group_size or ROW_GROUP_SIZE,
        order.max_rows_per_file,
        order.max_bytes_per_file,
        names.columns,
        include_key=_keeps_key(order, names),
        rejects=_rejects(order, names),
        manifest=names.manifest if (names.several if order.manifest is None else order.manifest) else None,
        manifest_form="redshift" if order.manifest == "redshift" else "mc_sink",
        success_marker=names.success_marker if order.success_marker else None,
        preset=preset and replace(preset, max_rows_per_file=order.max_rows_per_file),
        again=order.run_id is not None,
        on_empty=order.on_empty,
        lost=lost,
    )
    if isinstance(order.previous, str | os.PathLike):
        refuse_own_source(to, [os.fspath(order.previous)], "previous=")
    return to


def _names(order: Order, target: Target) -> tuple[Names, Format]:
    """Choose format and names together: a template's end may say the one, and the format the other."""
    run_id = new_run_id() if order.run_id is None else check_run_id(order.run_id)
    columns = order.columns
    template = None if order.name is None else parse_template(order.name, columns)
    end, url = (template.end, "") if template else (target.name, target.url)
    format = choose_format(end, order.format, url=url)
    rolls = order.max_rows_per_file is not None or order.max_bytes_per_file is not None
    schema = schema_name(order.schema) if template and template.uses("schema") else None
    several = rolls or bool(columns)
    names = Names(target, run_id, format.extension, several, template=template, columns=columns, schema=schema)
    names.check(overwrites=order.if_exists == "overwrite", rolls=rolls)
    return names, choose_format(names.example, format)


def _keeps_key(order: Order, names: Names) -> bool:
    """By default, no where Hive's folders are read back as columns; nobody reads a template's names so."""
    if order.include_key is None:
        return bool(names.template and names.template.columns)
    return order.include_key


def _rejects(order: Order, names: Names) -> tuple[Target, Format] | None:
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
