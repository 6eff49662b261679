"""What a caller may ask for, once for all ways in, with its types and its defaults."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar

from mc_sink._order._types import check_types
from mc_sink.changes import compare
from mc_sink.formats import Csv
from mc_sink.partitions import columns_of
from mc_sink.platforms import load, memory_of
from mc_sink.storage import Stores
from mc_sink.target import parse_target

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence
    from typing import Self

    import polars as pl

    from mc_sink._plan import Frame
    from mc_sink.changes import Comparison
    from mc_sink.formats import Format
    from mc_sink.object_options import ObjectOptions
    from mc_sink.platforms import Platform
    from mc_sink.presets import Preset
    from mc_sink.staged import IfExists, OnEmpty, Stale
    from mc_sink.target import Target
    from mc_sink.validation import OnInvalid, SchemaLike

FormatName = Literal["csv", "csv.gz", "parquet"]
PresetName = Literal["liveramp", "adobe", "redshift", "snowflake", "bigquery", "athena", "excel"]
ChangesIn = Literal["files", "column"]
ACTION = "action"
DEFAULT_REJECTS = "rejects/"
Call = TypeVar("Call", bound="Callable[..., Any]")


class Options(TypedDict, total=False):
    """The options of a delivery as a type checker sees them: the fields of `Order`, which says their defaults."""

    format: FormatName | Format | None
    preset: PresetName | Preset | None
    schema: SchemaLike | None
    on_invalid: OnInvalid
    rejects: str | os.PathLike[str] | None
    max_rejects: float | None
    min_rows: int | None
    on_empty: OnEmpty
    if_exists: IfExists
    stale: Stale
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
    platform: str | Platform | None
    object_options: ObjectOptions | None
    storage_options: Mapping[str, Any] | None
    progress: bool | None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Order:
    """What the caller asked for, with the defaults; shows nothing of itself, for it carries credentials."""

    target: str | os.PathLike[str]
    format: FormatName | Format | None = None
    preset: PresetName | Preset | None = None
    schema: SchemaLike | None = None
    on_invalid: OnInvalid = "fail"
    rejects: str | os.PathLike[str] | None = None
    max_rejects: float | None = None
    min_rows: int | None = None
    on_empty: OnEmpty = "deliver"
    if_exists: IfExists = "fail"
    stale: Stale = "fail"
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
    platform: str | Platform | None = None
    object_options: ObjectOptions | None = None
    storage_options: Mapping[str, Any] | None = None
    progress: bool | None = None

    @classmethod
    def of(cls, target: str | os.PathLike[str], options: Options) -> Self:
        """Take the options of a call, and what its platform adds; raises `TypeError` for one that there isn't."""
        known = [field.name for field in fields(cls) if field.name != "target"]
        if unknown := [name for name in options if name not in known]:
            from difflib import get_close_matches

            longer = [name for name in known if name.startswith(unknown[0])]
            near = longer or get_close_matches(unknown[0], known, n=1)
            advice = f" Did you mean {near[0]}=?" if near else ""
            raise TypeError(f"{len(unknown)} option(s) that there aren't: {', '.join(unknown)}.{advice}")
        check_types(options)
        return cls(target=target, **options).on_platform()

    def __repr__(self) -> str:
        return "Order(…)"

    @property
    def rejects_target(self) -> Target:
        """Where bad rows go, if they go anywhere."""
        return parse_target(DEFAULT_REJECTS if self.rejects is None else self.rejects)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that divide the rows into files: the action of a change first, unless it is to be in one file."""
        divides = self.previous is not None and self.changes == "files"
        return ((ACTION,) if divides else ()) + columns_of(self.partition_by)

    def comparison(self, schema: pl.Schema, format: Format) -> Comparison | None:
        """Prepare to compare rows with these columns with the last delivery, where there is one to compare with."""
        if self.previous is None or self.keys is None:
            return None
        dialect = format if isinstance(format, Csv) else None
        return compare(self.previous, schema, keys=self.keys, action=ACTION, dialect=dialect)

    def stores(self) -> Stores:
        """Return the stores of the delivery, which know what is kept with a saved platform."""
        return Stores(self.storage_options, self.object_options, memory_of(self.platform))

    def on_platform(self) -> Self:
        """Take who asks, and what goes with every object, from the platform; the targets must be within its bounds."""
        if self.platform is None:
            return self
        platform = load(self.platform) if isinstance(self.platform, str) else self.platform
        if self.rejects_target.protocol == "s3":
            platform.check_bounds(self.rejects_target)
        options = platform.storage_options_for(parse_target(self.target), self.storage_options)
        return replace(self, storage_options=options, object_options=platform.object_options(self.object_options))


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
