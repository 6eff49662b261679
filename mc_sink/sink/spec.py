"""Resolve a caller's options into the specification of a delivery.

SinkOptions ──► the platform's values ──► the receiver's values ──► checked ──► DeliverySpec
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mc_sink._frames import ROW_GROUP_SIZE
from mc_sink._lazy import load_part
from mc_sink.delivery_spec import DeliverySpec
from mc_sink.exceptions import AlreadyExistsError, ConfigurationError, TargetError
from mc_sink.formats import Parquet, choose_format
from mc_sink.keys import FileNames, check_run_id, column_names, new_run_id, parse_template
from mc_sink.platforms import load, memory_of
from mc_sink.storage import not_a_file, odd_kind
from mc_sink.target import Target, parse_target
from mc_sink.validation import load_schema

if TYPE_CHECKING:
    from mc_sink.encryption import Cipher
    from mc_sink.formats import Format
    from mc_sink.presets import Preset
    from mc_sink.sink.options import SinkOptions
    from mc_sink.staged import IfExists
    from mc_sink.validation import SchemaLike


def resolve(options: SinkOptions, *, is_new: bool = False, share: int | None = None) -> DeliverySpec:
    """Resolve options into the specification of a delivery; opens nothing.

    The platform's values and then the preset's are used where the caller gave none. `is_new` states that the run id was
    made for this call, so that no earlier attempt can have used it. `share` is the number of one worker's part of it.
    Raises `TargetError` and `ConfigurationError`.
    """
    target = parse_target((given := on_platform(options)).target)
    preset = None if given.preset is None else load_part("presets").preset_of(given.preset)
    cipher: Cipher | None = given.encrypt.cipher() if given.encrypt else None
    chosen = _with_preset(given, preset, target, cipher, is_share=share is not None) if preset else given
    _check_combinations(chosen, target, is_share=share is not None)
    names, format = _names(chosen, target, cipher, share, preset)
    has_manifest = names.is_numbered if chosen.manifest is None else bool(chosen.manifest)
    rejects = _rejects(chosen, names)
    _check_beside(preset, chosen, rejects, target, has_manifest=has_manifest)
    return DeliverySpec(
        names=names,
        run_id_given=given.run_id is not None and not is_new,
        format=format,
        row_group_size=chosen.row_group_size or ROW_GROUP_SIZE,
        max_rows_per_file=chosen.max_rows_per_file,
        max_bytes_per_file=chosen.max_bytes_per_file,
        partition_by=names.columns,
        include_key=not names.has_folders if chosen.include_key is None else chosen.include_key,
        schema=chosen.schema,
        on_invalid=chosen.on_invalid,
        rejects=rejects,
        max_rejects=chosen.max_rejects,
        min_rows=chosen.min_rows,
        on_empty=chosen.on_empty,
        if_exists=chosen.if_exists,
        stale=chosen.stale,
        previous=chosen.previous,
        keys=column_names(chosen.keys),
        action_column=chosen.action,
        manifest=names.manifest if has_manifest else None,
        manifest_form="redshift" if chosen.manifest == "redshift" else "mc_sink",
        success_marker=names.success_marker if chosen.success_marker else None,
        preset=preset and replace(preset, max_rows_per_file=chosen.max_rows_per_file),
        lost=preset.lost_in(given.format) if preset else (),
        cipher=cipher,
        object_options=chosen.object_options,
        storage_options=chosen.storage_options,
        support_memory=memory_of(chosen.platform),
        progress=chosen.progress,
    )


def on_platform(options: SinkOptions) -> SinkOptions:
    """Apply the platform's credentials and object options. Raises if a target is outside its allowed buckets."""
    if options.platform is None:
        return options
    platform = load(options.platform) if isinstance(options.platform, str) else options.platform
    if options.rejects_target.protocol == "s3":
        platform.check_bounds(options.rejects_target)
    storage_options = platform.storage_options_for(parse_target(options.target), options.storage_options)
    object_options = platform.object_options(options.object_options)
    encrypt = platform.encryption(options.encrypt)
    return replace(options, storage_options=storage_options, object_options=object_options, encrypt=encrypt)


def _clear_name(name: str, cipher: Cipher | None) -> str:
    """Return a file's name without the suffix of the encryption; raise for a name that lacks it."""
    if cipher is None or not name:
        return name
    if not name.endswith(cipher.suffix):
        raise ConfigurationError(
            f"The name {name!r} doesn't end in {cipher.suffix}, as encrypted files do. Use {name + cipher.suffix!r}."
        )
    return name.removesuffix(cipher.suffix)


def _with_preset(
    options: SinkOptions, preset: Preset, target: Target, cipher: Cipher | None, *, is_share: bool
) -> SinkOptions:
    """Apply the receiver's values where the caller gave none. A single file is neither split nor renamed."""
    files = preset if target.is_prefix else replace(preset, file_name=None, max_rows_per_file=None)
    name = files.file_name if options.name is None else options.name
    end = target.name if name is None else parse_template(name, options.columns).end
    format = choose_format(_clear_name(end, cipher), options.format, preset.dialects, url="" if name else target.url)
    rows = files.max_rows_per_file if options.max_rows_per_file is None else options.max_rows_per_file
    size = preset.bytes_per_file(format) if target.is_prefix else None
    # A share has to have a manifest: the check on files beside the data refuses it where the receiver would take it.
    manifest = False if preset.takes_every_file and not is_share else preset.manifest
    return replace(
        options,
        format=format,
        name=name,
        max_rows_per_file=rows,
        max_bytes_per_file=size if options.max_bytes_per_file is None else options.max_bytes_per_file,
        manifest=manifest if target.is_prefix and options.manifest is None else options.manifest,
        success_marker=options.success_marker or (preset.success_marker and target.is_prefix),
    )


def _names(
    options: SinkOptions, target: Target, cipher: Cipher | None, share: int | None, preset: Preset | None
) -> tuple[FileNames, Format]:
    """Choose format and names together: a template's end may decide the format, and the format the extension."""
    run_id = new_run_id() if options.run_id is None else check_run_id(options.run_id)
    columns = options.columns
    template = None if options.name is None else parse_template(options.name, columns)
    end, url = (template.end, "") if template else (target.name, target.url)
    format = choose_format(_clear_name(end, cipher), options.format, url=url)
    extension = format.extension + (cipher.suffix if cipher else "")
    splits = options.max_rows_per_file is not None or options.max_bytes_per_file is not None
    schema = schema_name(options.schema) if template and template.uses("schema") else None
    is_numbered = splits or bool(columns) or share is not None
    names = FileNames(target, run_id, extension, is_numbered, template, columns, schema, share)
    names.check(overwrites=options.if_exists == "overwrite", splits=splits)
    example = _clear_name(names.example, cipher)
    format = choose_format(example, format)
    if preset:
        preset.check_name(example, format)
    return names, format


def _rejects(options: SinkOptions, names: FileNames) -> tuple[Target, Format] | None:
    """Choose the file of the rejected rows. Under a prefix it is Parquet, which keeps every column as it is."""
    if options.on_invalid == "fail":
        return None
    target = options.rejects_target
    _check_place(target, options.if_exists)
    format = choose_format(target.name, "parquet" if target.is_prefix else None, url=target.url)
    if isinstance(format, Parquet):  # rejected rows are kept as they are
        format = replace(format, null_dtype="write")
    number = "" if names.share is None else f"-{names.share:05d}"
    file = target.file(f"{names.run_id}.rejects{number}{format.extension}")
    if names.claims(file.url):
        raise ConfigurationError(
            f"{file.url} can't hold both the rejected and the delivered rows. Choose another target for rejects=."
        )
    return file, format


def _check_beside(
    preset: Preset | None,
    options: SinkOptions,
    rejects: tuple[Target, Format] | None,
    target: Target,
    *,
    has_manifest: bool,
) -> None:
    """Raise `LimitError` for files besides the data under a prefix from which the receiver takes every file."""
    files = {
        "the manifest": has_manifest,
        "the success marker": options.success_marker,
        "the rejected rows": rejects is not None and rejects[0].url.startswith(target.url),
    }
    if preset and target.is_prefix:
        preset.check_other_files([name for name, is_written in files.items() if is_written])


def _check_place(target: Target, if_exists: IfExists) -> None:
    """Raise if a local target is one file, and something that isn't a regular file is already there.

    A symbolic link counts as an existing object, and the file that it points to is not replaced either.
    """
    if target.protocol != "file" or target.is_prefix or not (kind := odd_kind(target.path)):
        return
    exists = kind == "a symbolic link" and if_exists == "fail"
    raise (AlreadyExistsError if exists else TargetError)(not_a_file(target.path, kind))


def _check_combinations(options: SinkOptions, target: Target, *, is_share: bool) -> None:
    """Raise `ConfigurationError` for options that contradict each other, or have no effect on this target."""
    _check_place(target, options.if_exists)
    if is_share:
        _check_shared(options, target)
    if options.stale == "keep" and options.if_exists != "overwrite":
        raise ConfigurationError(
            'stale="keep" accepts files that a replaced run left beside the new ones. Add if_exists="overwrite".'
        )
    if options.row_group_size is not None and options.row_group_size < 1:
        raise ConfigurationError(f"row_group_size={options.row_group_size} is too small. Give at least 1 row.")
    if (options.previous is None) != (options.keys is None):
        raise ConfigurationError(
            "previous= and keys= go together. Give both: the last delivery, and the columns that identify its rows."
        )
    _check_splitting(options, target)
    if options.manifest == "redshift" and target.protocol != "s3":
        raise ConfigurationError(
            f'manifest="redshift" lists objects in S3, and {target.url} is not in S3. Use manifest=True.'
        )
    if options.rejects is not None and options.on_invalid != "reject":
        raise ConfigurationError('rejects= is the target of invalid rows. Add on_invalid="reject", or leave it out.')
    if options.on_invalid == "reject" and options.schema is None:
        raise ConfigurationError('on_invalid="reject" needs a schema to validate rows with. Add schema=.')
    if options.object_options is not None and target.protocol != "s3":
        raise ConfigurationError(
            f"object_options are for S3, and {target.url} has no ACLs, tags or storage classes. Leave them out."
        )
    if options.storage_options and target.protocol == options.rejects_target.protocol == "file":
        raise ConfigurationError(
            f"A local target takes no storage_options, but {', '.join(options.storage_options)} was given. "
            "Leave storage_options out."
        )


def _check_shared(options: SinkOptions, target: Target) -> None:
    """Raise `ConfigurationError` for options that shares can't have: what only all rows together can show."""
    if options.previous is not None:
        raise ConfigurationError(
            "previous= compares all rows with the last delivery, and each share has only some of them. Compare in the "
            "engine and deliver the changes, or deliver all rows by sink_madconnect."
        )
    if options.manifest is False:
        raise ConfigurationError(
            "manifest=False can't be used with shares: the manifest is what completes them. Leave it out."
        )
    for place, name in [(target, "target"), *([(options.rejects_target, "rejects=")] if options.rejects else [])]:
        if not place.is_prefix:
            raise ConfigurationError(
                f"{place.url} is a single file, and each share has files of its own. Give a prefix as {name}: "
                f"{place.folder.url}"
            )


def _check_splitting(options: SinkOptions, target: Target) -> None:
    if options.action_column is not None and options.previous is None:
        raise ConfigurationError("action_column= names the column of what changed. Add previous=, or leave it out.")
    bounds = {"max_rows_per_file": options.max_rows_per_file, "max_bytes_per_file": options.max_bytes_per_file}
    for name, bound in bounds.items():
        if bound is not None and bound < 1:
            raise ConfigurationError(f"{name}={bound} is too small. Give at least 1.")
    if options.include_key is not None and not options.columns:
        raise ConfigurationError("include_key= is about partition columns. Add partition_by=, or leave it out.")
    several: dict[str, Any] = {
        **bounds,
        'changes="files"': options.action if options.action in options.columns else None,
        "partition_by": options.partition_by,
        "success_marker": options.success_marker or None,
    }
    if not target.is_prefix and (given := [name for name, value in several.items() if value is not None]):
        raise ConfigurationError(
            f"{target.url} is a single file, and {given[0]} may need several. Give a prefix: {target.folder.url}"
        )


def schema_name(schema: SchemaLike | None) -> str | None:
    """Return the name of a schema; None without a schema or a name. Reads the file of a YAML schema."""
    given: Any = load_schema(schema) if isinstance(schema, (str, Path)) else schema
    given = given.to_schema() if isinstance(given, type) and hasattr(given, "to_schema") else given
    return getattr(given, "name", None)
