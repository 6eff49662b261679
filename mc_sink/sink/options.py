"""The options of a delivery, listed once with types and defaults, and checked: each alone, then with the others.

`True` is not a number of rows, a set has no order of partition columns, and `"no"` is not False.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from inspect import Parameter, signature
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar

from mc_sink.comparison import compare
from mc_sink.exceptions import AlreadyExistsError, ConfigurationError, TargetError
from mc_sink.formats import Csv
from mc_sink.keys import columns_of
from mc_sink.object_options import ObjectOptions
from mc_sink.platforms import Platform, load, memory_of
from mc_sink.storage import Stores, not_a_file, odd_kind
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from typing import Self

    import polars as pl

    from mc_sink._frames import Frame
    from mc_sink.comparison import Comparison
    from mc_sink.formats import Format
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
Fits = Callable[[Any], bool]
# As many rows, or bytes, as Polars counts in a signed number.
_MOST = 2**63 - 1
# Polars' row groups and batches are counted in 32 bits.
_MOST_IN_A_BATCH = 2**32 - 1
_LONGEST_TOLD = 80
_NEVER_NONE = {"on_invalid", "on_empty", "if_exists", "stale", "changes", "success_marker"}


class Options(TypedDict, total=False):
    """The options of a delivery as a type checker sees them: the fields of `SinkOptions`, which says their defaults."""

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
class SinkOptions:
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
        for field in fields(SinkOptions)
        if field.name != "target"
    ]
    vars(call)["__signature__"] = seen.replace(parameters=known + options)  # where `inspect` and notebooks look first
    return call


def check_types(options: Mapping[str, Any]) -> None:
    """Raise `ConfigurationError` for the first option that has a value of another kind than it takes."""
    for name, value in options.items():
        if name not in _TAKEN or (value is None and name not in _NEVER_NONE):
            continue
        fits, takes = _TAKEN[name]
        if not fits(value):
            raise ConfigurationError(f"{name}={_told(value)} won't do: give {takes}.")


def _told(value: object) -> str:
    """Return a value as an error shows it: short, and nothing of what may hold a secret."""
    is_plain = isinstance(value, str | bool | int | float) and len(repr(value)) <= _LONGEST_TOLD
    return repr(value) if is_plain or value is None else f"a {type(value).__name__}"


def _is_count(value: Any, most: int = _MOST) -> bool:
    """Return whether a value is a whole number that isn't too large; numpy's are, and True, 2.0 and "2" aren't."""
    if isinstance(value, bool):
        return False
    return isinstance(value, Integral) and int(value) <= most


def _are_names(value: Any) -> bool:
    is_list = isinstance(value, Sequence) and not isinstance(value, bytes | bytearray)
    return isinstance(value, str) or (is_list and all(isinstance(name, str) for name in value))


def _one_of(*choices: object) -> tuple[Fits, str]:
    told = [f'"{choice}"' if isinstance(choice, str) else repr(choice) for choice in choices]
    takes = f"{', '.join(told[:-1])} or {told[-1]}"
    return lambda value: value in choices if isinstance(value, str) else any(value is one for one in choices), takes


_TEXT: tuple[Fits, str] = (lambda value: isinstance(value, str), "text")
_PLACE: tuple[Fits, str] = (lambda value: isinstance(value, str | os.PathLike), "a target: text or a path")
_NAMES: tuple[Fits, str] = (_are_names, "a column's name, or a list of them")
_TAKEN: dict[str, tuple[Fits, str]] = {
    "on_invalid": _one_of("fail", "reject"),
    "rejects": _PLACE,
    "max_rejects": (
        lambda value: isinstance(value, int | float) and not isinstance(value, bool),
        "a count of rows, or a fraction from 0.0 to 1.0",
    ),
    "min_rows": (lambda value: _is_count(value) and value >= 0, "a number of rows, 0 or more"),
    "on_empty": _one_of("deliver", "skip", "fail"),
    "if_exists": _one_of("fail", "overwrite"),
    "name": _TEXT,
    "partition_by": _NAMES,
    "include_key": _one_of(True, False),
    "keys": _NAMES,
    "changes": _one_of("files", "column"),
    "max_rows_per_file": (_is_count, "a number of rows, 1 or more"),
    "max_bytes_per_file": (_is_count, "a number of bytes, 1 or more"),
    "row_group_size": (
        lambda value: _is_count(value, _MOST_IN_A_BATCH),
        f"a number of rows, from 1 to {_MOST_IN_A_BATCH:,}",
    ),
    "manifest": _one_of(True, False, "redshift"),
    "stale": _one_of("fail", "keep"),
    "success_marker": _one_of(True, False),
    "run_id": (lambda value: isinstance(value, str), "text: 1 to 64 of A-Z a-z 0-9 . _ -"),
    "platform": (lambda value: isinstance(value, str | Platform), "a saved platform's name, or a Platform"),
    "object_options": (lambda value: isinstance(value, ObjectOptions), "ObjectOptions(acl=…, tags=…, …)"),
    "storage_options": (lambda value: isinstance(value, Mapping), "a mapping of s3fs' or fsspec's names"),
    "progress": _one_of(True, False),
}


def check_place(target: Target, if_exists: IfExists) -> None:
    """Refuse one local file where something that isn't a regular file is already.

    A symbolic link is a name that is taken, and what it leads to is not replaced either.
    """
    if target.protocol != "file" or target.is_prefix or not (kind := odd_kind(target.path)):
        return
    taken = kind == "a symbolic link" and if_exists == "fail"
    raise (AlreadyExistsError if taken else TargetError)(not_a_file(target.path, kind))


def check_combinations(order: SinkOptions, target: Target) -> None:
    """Raise `ConfigurationError` for what contradicts in an order, or has no meaning."""
    if order.stale == "keep" and order.if_exists != "overwrite":
        raise ConfigurationError(
            'stale="keep" accepts files that a run which replaces another leaves beside its own: it needs '
            'if_exists="overwrite".'
        )
    if order.row_group_size is not None and order.row_group_size < 1:
        raise ConfigurationError(f"row_group_size={order.row_group_size} has no rows in it; give at least 1.")
    _check_changes(order)
    _check_splitting(order, target)
    _check_manifest(order, target)
    if order.rejects is not None and order.on_invalid != "reject":
        raise ConfigurationError('rejects= says where bad rows go: it needs on_invalid="reject".')
    if order.on_invalid == "reject" and order.schema is None:
        raise ConfigurationError('on_invalid="reject" needs a schema= to reject by.')
    if order.object_options is not None and target.protocol != "s3":
        raise ConfigurationError(f"object_options are for S3; {target.url} has no ACLs, tags or storage classes.")
    if order.storage_options and target.protocol == order.rejects_target.protocol == "file":
        raise ConfigurationError(
            f"A local target takes no storage_options, but got {', '.join(order.storage_options)}."
        )


def _check_changes(order: SinkOptions) -> None:
    if (order.previous is None) != (order.keys is None):
        raise ConfigurationError("previous= and keys= go together: the last delivery, and what tells its rows apart.")


def _check_splitting(order: SinkOptions, target: Target) -> None:
    bounds = {"max_rows_per_file": order.max_rows_per_file, "max_bytes_per_file": order.max_bytes_per_file}
    for name, bound in bounds.items():
        if bound is not None and bound < 1:
            raise ConfigurationError(f"{name}={bound} has nothing in it; give at least 1.")
    if order.include_key is not None and not order.columns:
        raise ConfigurationError("include_key= is about the columns of partition_by=, and there are none.")
    several: dict[str, Any] = {
        **bounds,
        'changes="files"': ACTION if ACTION in order.columns else None,
        "partition_by": order.partition_by,
        "success_marker": order.success_marker or None,
    }
    if not target.is_prefix and (asked := [name for name, value in several.items() if value is not None]):
        raise ConfigurationError(
            f"{target.url} is one file, and {asked[0]} may need several: give a prefix, {target.folder.url}"
        )


def _check_manifest(order: SinkOptions, target: Target) -> None:
    if order.manifest == "redshift" and target.protocol != "s3":
        raise ConfigurationError(f'manifest="redshift" lists objects in S3, and {target.url} is none.')
