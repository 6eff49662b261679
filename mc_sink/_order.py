"""What the caller asked for, and what it comes to: target, file, run id, format; checked before anything is opened."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar

from mc_sink._plan import ROW_GROUP_SIZE
from mc_sink.changes import compare
from mc_sink.exceptions import ConfigurationError
from mc_sink.formats import Csv, choose_format
from mc_sink.names import Names, parse_template
from mc_sink.partitions import Partitioning, columns_of
from mc_sink.presets import preset_of
from mc_sink.target import Target, check_run_id, new_run_id, parse_target
from mc_sink.validation import load_schema

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Generator, Mapping, Sequence
    from typing import Self

    import polars as pl

    from mc_sink._plan import Frame
    from mc_sink.changes import Comparison
    from mc_sink.formats import Format
    from mc_sink.object_options import ObjectOptions
    from mc_sink.presets import Preset
    from mc_sink.staged import IfExists, ManifestForm, Staged
    from mc_sink.validation import OnInvalid, SchemaLike

FormatName = Literal["csv", "csv.gz", "parquet"]
PresetName = Literal["liveramp", "adobe", "redshift", "snowflake", "bigquery", "athena", "excel"]
ChangesIn = Literal["files", "column"]
ACTION = "action"
DEFAULT_REJECTS = "rejects/"
Call = TypeVar("Call", bound="Callable[..., Any]")


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a delivery writes, and as what; `rejects` is where bad rows go, if they are to go anywhere.

    `again` says that the caller chose the run id, so that there may have been an earlier try of this very run.
    """

    names: Names
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
    again: bool

    def check(self, schema: pl.Schema) -> pl.Schema:
        """Give the columns of the files, and refuse those that their format or their receiver can't take."""
        columns = self.partitioning(schema).file_schema
        self.format.check(columns)
        if self.preset:
            self.preset.check(columns, self.format)
        return columns

    def watch(self, batches: Generator[pl.DataFrame, None, None]) -> Generator[pl.DataFrame, None, None]:
        """Pass batches on, and refuse cells and rows that the receiver can't take; rows of several files come later."""
        if self.preset is None:
            return batches
        on_the_way = [limit for limit in self.preset.limits if not (self.names.several and "rows per" in limit.name)]
        return replace(self.preset, limits=tuple(on_the_way)).watch(batches, self.format)

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
        return self.again or self.names.are_its_own


class Options(TypedDict, total=False):
    """The options of a delivery as a type checker sees them: the fields of `Order`, which says their defaults."""

    format: FormatName | Format | None
    preset: PresetName | Preset | None
    schema: SchemaLike | None
    on_invalid: OnInvalid
    rejects: str | os.PathLike[str] | None
    max_rejects: float | None
    if_exists: IfExists
    name: str | None
    partition_by: str | Sequence[str] | None
    include_key: bool | None
    previous: Frame | str | os.PathLike[str] | None
    keys: str | Sequence[str] | None
    changes: ChangesIn
    max_rows_per_file: int | None
    max_bytes_per_file: int | None
    row_group_size: int | None
    manifest: bool | Literal["redshift"] | None
    success_marker: bool
    run_id: str | None
    object_options: ObjectOptions | None
    storage_options: Mapping[str, Any] | None
    progress: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the caller asked for, with the defaults; shows nothing of itself, for it carries credentials."""

    target: str | os.PathLike[str]
    format: FormatName | Format | None = None
    preset: PresetName | Preset | None = None
    schema: SchemaLike | None = None
    on_invalid: OnInvalid = "fail"
    rejects: str | os.PathLike[str] | None = None
    max_rejects: float | None = None
    if_exists: IfExists = "fail"
    name: str | None = None
    partition_by: str | Sequence[str] | None = None
    include_key: bool | None = None
    previous: Frame | str | os.PathLike[str] | None = None
    keys: str | Sequence[str] | None = None
    changes: ChangesIn = "files"
    max_rows_per_file: int | None = None
    max_bytes_per_file: int | None = None
    row_group_size: int | None = None
    manifest: bool | Literal["redshift"] | None = None
    success_marker: bool = False
    run_id: str | None = None
    object_options: ObjectOptions | None = None
    storage_options: Mapping[str, Any] | None = None
    progress: bool | None = None

    @classmethod
    def of(cls, target: str | os.PathLike[str], options: Options) -> Self:
        """Take the options of a call; raises `TypeError` for one that there isn't, as Python does."""
        known = [field.name for field in fields(cls) if field.name != "target"]
        if unknown := [name for name in options if name not in known]:
            near = get_close_matches(unknown[0], known, n=1)
            advice = f" Did you mean {near[0]}=?" if near else ""
            raise TypeError(f"{len(unknown)} option(s) that there aren't: {', '.join(unknown)}.{advice}")
        return cls(target=target, **options)

    def __repr__(self) -> str:
        return "Order(…)"

    def resolve(self) -> Resolved:
        """Give what the order comes to, or raise what contradicts in it; opens nothing."""
        target, preset = parse_target(self.target), preset_of(self.preset)
        return (self.filled(preset, target) if preset else self).resolved(target, preset)

    def filled(self, preset: Preset, target: Target) -> Self:
        """Take the receiver's values wherever the caller gave none; a single file is neither cut nor named."""
        files = preset if target.is_prefix else replace(preset, file_name=None, max_rows_per_file=None)
        name = files.file_name if self.name is None else self.name
        end = target.name if name is None else parse_template(name, self._columns).literal_end
        format = choose_format(end, self.format, preset.format)
        rows = files.max_rows_per_file if self.max_rows_per_file is None else self.max_rows_per_file
        size = preset.bytes_per_file(format) if target.is_prefix else None
        return replace(
            self,
            format=format,
            name=name,
            max_rows_per_file=rows,
            max_bytes_per_file=size if self.max_bytes_per_file is None else self.max_bytes_per_file,
            manifest=preset.manifest if target.is_prefix and self.manifest is None else self.manifest,
            success_marker=self.success_marker or (preset.success_marker and target.is_prefix),
        )

    def resolved(self, target: Target, preset: Preset | None) -> Resolved:
        """Give what the order comes to once the receiver's values are in it."""
        self._check(target)
        names, format = self._names(target)
        return Resolved(
            names,
            format,
            self.row_group_size or ROW_GROUP_SIZE,
            self.max_rows_per_file,
            self.max_bytes_per_file,
            names.columns,
            include_key=self._keeps_key(names),
            rejects=self._rejects(names),
            manifest=names.manifest if (names.several if self.manifest is None else self.manifest) else None,
            manifest_form="redshift" if self.manifest == "redshift" else "mc_sink",
            success_marker=names.success_marker if self.success_marker else None,
            preset=preset and replace(preset, max_rows_per_file=self.max_rows_per_file),
            again=self.run_id is not None,
        )

    def _names(self, target: Target) -> tuple[Names, Format]:
        """Choose format and names together: a template's end may say the one, and the format the other."""
        run_id = new_run_id() if self.run_id is None else check_run_id(self.run_id)
        columns = self._columns
        template = None if self.name is None else parse_template(self.name, columns)
        format = choose_format(template.literal_end if template else target.name, self.format)
        rolls = self.max_rows_per_file is not None or self.max_bytes_per_file is not None
        schema = schema_name(self.schema) if template and template.uses("schema") else None
        several = rolls or bool(columns)
        names = Names(target, run_id, format.extension, several, template=template, columns=columns, schema=schema)
        names.check(overwrites=self.if_exists == "overwrite", rolls=rolls)
        return names, choose_format(names.example, format)

    @property
    def _columns(self) -> tuple[str, ...]:
        """The columns that divide the rows into files: the action of a change first, unless it is to be in one file."""
        divides = self.previous is not None and self.changes == "files"
        return ((ACTION,) if divides else ()) + columns_of(self.partition_by)

    def comparison(self, schema: pl.Schema, format: Format) -> Comparison | None:
        """Prepare to compare rows with these columns with the last delivery, where there is one to compare with."""
        if self.previous is None or self.keys is None:
            return None
        dialect = format if isinstance(format, Csv) else None
        return compare(self.previous, schema, keys=self.keys, action=ACTION, dialect=dialect)

    def _keeps_key(self, names: Names) -> bool:
        """By default, no where Hive's folders are read back as columns; nobody reads a template's names so."""
        if self.include_key is None:
            return bool(names.template and names.template.columns)
        return self.include_key

    def _rejects(self, names: Names) -> tuple[Target, Format] | None:
        """Choose the rejects' file; under a prefix it is Parquet, which carries every column as it is."""
        if self.on_invalid == "fail":
            return None
        target = parse_target(DEFAULT_REJECTS if self.rejects is None else self.rejects)
        format = choose_format(target.name, "parquet" if target.is_prefix else None)
        file = target.file(f"{names.run_id}.rejects{format.extension}")
        if names.claims(file.url):
            raise ConfigurationError(f"{file.url} is to hold both the rejects and the delivery: choose other rejects=…")
        return file, format

    def _check(self, target: Target) -> None:
        if self.if_exists not in {"fail", "overwrite"}:
            raise ConfigurationError(f'if_exists={self.if_exists!r} is neither "fail" nor "overwrite".')
        if self.row_group_size is not None and self.row_group_size < 1:
            raise ConfigurationError(f"row_group_size={self.row_group_size} has no rows in it; give at least 1.")
        self._check_changes()
        self._check_splitting(target)
        self._check_manifest(target)
        if self.rejects is not None and self.on_invalid != "reject":
            raise ConfigurationError('rejects= says where bad rows go: it needs on_invalid="reject".')
        if self.on_invalid == "reject" and self.schema is None:
            raise ConfigurationError('on_invalid="reject" needs a schema= to reject by.')
        if self.object_options is not None and target.protocol != "s3":
            raise ConfigurationError(f"object_options are for S3; {target.url} has no ACLs, tags or storage classes.")
        if self.storage_options and target.protocol == "file" and self.rejects is None:
            raise ConfigurationError(
                f"A local target takes no storage_options, but got {', '.join(self.storage_options)}."
            )

    def _check_changes(self) -> None:
        if (self.previous is None) != (self.keys is None):
            raise ConfigurationError(
                "previous= and keys= go together: the last delivery, and what tells its rows apart."
            )
        if self.changes not in {"files", "column"}:
            raise ConfigurationError(f'changes={self.changes!r} is neither "files" nor "column".')

    def _check_splitting(self, target: Target) -> None:
        bounds = {"max_rows_per_file": self.max_rows_per_file, "max_bytes_per_file": self.max_bytes_per_file}
        for name, bound in bounds.items():
            if bound is not None and bound < 1:
                raise ConfigurationError(f"{name}={bound} has nothing in it; give at least 1.")
        if self.include_key is not None and not self._columns:
            raise ConfigurationError("include_key= is about the columns of partition_by=, and there are none.")
        several: dict[str, Any] = {
            **bounds,
            'changes="files"': ACTION if ACTION in self._columns else None,
            "partition_by": self.partition_by,
            "success_marker": self.success_marker or None,
        }
        if not target.is_prefix and (asked := [name for name, value in several.items() if value is not None]):
            raise ConfigurationError(
                f"{target.url} is one file, and {asked[0]} may need several: give a prefix, {target.folder.url}"
            )

    def _check_manifest(self, target: Target) -> None:
        if self.manifest not in {None, True, False, "redshift"}:
            raise ConfigurationError(f'manifest={self.manifest!r} is neither True, False, None nor "redshift".')
        if self.manifest == "redshift" and target.protocol != "s3":
            raise ConfigurationError(f'manifest="redshift" lists objects in S3, and {target.url} is none.')


def schema_name(schema: SchemaLike | None) -> str | None:
    """Give the name of a schema; None where there is no schema, or none with a name. Reads a YAML schema's file."""
    given: Any = load_schema(schema) if isinstance(schema, (str, Path)) else schema
    given = given.to_schema() if isinstance(given, type) and hasattr(given, "to_schema") else given
    return getattr(given, "name", None)


def takes_options(call: Call) -> Call:
    """Show the options of a call by their names, types and defaults, where a person looks at its signature."""
    seen = signature(call)
    known = [parameter for parameter in seen.parameters.values() if parameter.kind is not Parameter.VAR_KEYWORD]
    options = [
        Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type)
        for field in fields(Order)
        if field.name != "target"
    ]
    vars(call)["__signature__"] = seen.replace(parameters=known + options)  # where `inspect` and notebooks look first
    return call
