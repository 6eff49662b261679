"""The options of a delivery: one list with names, types, defaults and accepted values, and the checks on them.

An option is added here, once. `Options` repeats the names and types for type checkers, and a test compares the two.
The keys of a connection file are made from this list.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from inspect import Parameter, signature
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, cast, get_args

from mc_sink._hints import DELIVERY, hint
from mc_sink._lazy import type_adapter
from mc_sink.encryption import Age, Pgp, PublicKeys
from mc_sink.exceptions import ConfigurationError
from mc_sink.keys import column_names
from mc_sink.object_options import ObjectOptions
from mc_sink.platforms import Platform
from mc_sink.staged import IfExists, OnEmpty, Stale
from mc_sink.target import parse_target
from mc_sink.validation import OnInvalid

if TYPE_CHECKING:
    from typing import Self

    from mc_sink._frames import Frame
    from mc_sink.formats import Format
    from mc_sink.presets import Preset
    from mc_sink.target import Target
    from mc_sink.validation import SchemaLike

FormatName = Literal["csv", "csv.gz", "parquet"]
PresetName = Literal["liveramp", "adobe", "redshift", "snowflake", "bigquery", "athena", "excel"]
ChangesIn = Literal["files", "column"]
Manifest = bool | Literal["redshift"] | None
ACTION = "action"
DEFAULT_REJECTS = "rejects/"
Call = TypeVar("Call", bound="Callable[..., Any]")
# Polars counts rows and bytes in a signed 64-bit number, and the rows of a batch in an unsigned 32-bit number.
_MAX_COUNT, _MAX_BATCH = 2**63 - 1, 2**32 - 1
_MAX_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Kind:
    """The values that an option accepts: a check, the words for an error message, and the type in a connection file.

    `in_file` is None where a connection file doesn't have the option, because it belongs to a single run. An option
    without `accepts` is checked by the module that reads its value. `read` returns an accepted value as it is used.
    """

    in_file: Any
    accepts: Callable[[Any], bool] | None = None
    words: str = ""
    read: Callable[[Any], Any] | None = None


def _is_count(value: object, least: int | None = None, most: int = _MAX_COUNT) -> bool:
    """Return whether a value is a whole number in range. NumPy's integers are; True, 2.0 and "2" are not."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        return False
    return int(value) <= most and (least is None or int(value) >= least)


def _are_names(value: object) -> bool:
    """Return whether a value is a column name or an ordered list of them; a set has no order."""
    is_list = isinstance(value, Sequence) and not isinstance(value, bytes | bytearray)
    return isinstance(value, str) or (is_list and all(isinstance(name, str) for name in cast("Sequence[Any]", value)))


def _kind(
    in_file: Any,
    accepts: Callable[[Any], bool] | None = None,
    words: str = "",
    read: Callable[[Any], Any] | None = None,
) -> dict[str, Kind]:
    """Return the metadata of an option's field."""
    return {"kind": Kind(in_file, accepts, words, read)}


def _num_bytes(value: object) -> object:
    """Return a size with a unit, such as "256MB" or "1 GiB", as bytes; any other value stays as it is."""
    if not isinstance(value, str) or not value[-1:].isalpha():
        return value
    from pydantic import ByteSize, ValidationError

    try:
        return int(type_adapter(ByteSize).validate_python(value))
    except ValidationError:
        return value


def _one_of(in_file: Any, *values: object) -> dict[str, Kind]:
    """Return the kind of an option with a few accepted values: those of the `Literal`, or the ones that are listed."""
    listed = values or get_args(in_file)
    shown = [f'"{value}"' if isinstance(value, str) else repr(value) for value in listed]

    def accepts(value: object) -> bool:
        return value in listed if isinstance(value, str) else any(value is one for one in listed)

    return _kind(in_file, accepts, f"{', '.join(shown[:-1])} or {shown[-1]}")


def _instance(types: Any, words: str, in_file: Any) -> dict[str, Kind]:
    return _kind(in_file, lambda value: isinstance(value, types), words)


_FLAG = _one_of(bool, True, False)
_NAMES = _kind(str | list[str], _are_names, "a column's name, or a list of names")
_MAX_ROWS = _kind(int, _is_count, "a number of rows, 1 or more")
_MAX_BYTES = _kind(
    int | str,
    lambda value: _is_count(_num_bytes(value)),
    'a number of bytes, 1 or more, or a size such as "256MB" (of 1,000,000 bytes) or "256MiB" (of 1,048,576)',
    _num_bytes,
)


class Options(TypedDict, total=False):
    """The options of a delivery for type checkers: the fields of `SinkOptions` without the target."""

    format: FormatName | Format | None
    preset: PresetName | str | os.PathLike[str] | Preset | None
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
    action_column: str | None
    max_rows_per_file: int | None
    max_bytes_per_file: int | str | None
    row_group_size: int | None
    manifest: Manifest
    success_marker: bool
    run_id: str | None
    platform: str | Platform | None
    encrypt: Pgp | Age | None
    object_options: ObjectOptions | None
    storage_options: Mapping[str, Any] | None
    progress: bool | None


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class SinkOptions:
    """The options of one delivery as its caller wrote them, each with its default and the values that it accepts."""

    target: str | os.PathLike[str]
    format: FormatName | Format | None = field(default=None, metadata=_kind(str | Mapping[str, Any]))
    preset: PresetName | str | os.PathLike[str] | Preset | None = field(default=None, metadata=_kind(str))
    schema: SchemaLike | None = field(default=None, metadata=_kind(str))
    on_invalid: OnInvalid = field(default="fail", metadata=_one_of(OnInvalid))
    rejects: str | os.PathLike[str] | None = field(
        default=None, metadata=_instance(str | os.PathLike, "a target: text or a path", str)
    )
    max_rejects: float | None = field(
        default=None,
        metadata=_kind(
            int | float,
            lambda value: isinstance(value, int | float) and not isinstance(value, bool),
            "a count of rows, or a fraction from 0.0 to 1.0",
        ),
    )
    min_rows: int | None = field(
        default=None, metadata=_kind(int, lambda value: _is_count(value, 0), "a number of rows, 0 or more")
    )
    on_empty: OnEmpty = field(default="deliver", metadata=_one_of(OnEmpty))
    if_exists: IfExists = field(default="fail", metadata=_one_of(IfExists))
    stale: Stale = field(default="fail", metadata=_one_of(Stale))
    name: str | None = field(default=None, metadata=_instance(str, "text", str))
    partition_by: str | Sequence[str] | None = field(default=None, metadata=_NAMES)
    include_key: bool | None = field(default=None, metadata=_FLAG)
    previous: Frame | str | os.PathLike[str] | None = field(default=None, metadata=_kind(str))
    keys: str | Sequence[str] | None = field(default=None, metadata=_NAMES)
    changes: ChangesIn = field(default="files", metadata=_one_of(ChangesIn))
    action_column: str | None = field(
        default=None, metadata=_kind(str, lambda value: isinstance(value, str) and value != "", "a column's name")
    )
    max_rows_per_file: int | None = field(default=None, metadata=_MAX_ROWS)
    max_bytes_per_file: int | None = field(default=None, metadata=_MAX_BYTES)
    row_group_size: int | None = field(
        default=None,
        metadata=_kind(
            int, lambda value: _is_count(value, most=_MAX_BATCH), f"a number of rows, from 1 to {_MAX_BATCH:,}"
        ),
    )
    manifest: Manifest = field(default=None, metadata=_one_of(bool | Literal["redshift"], True, False, "redshift"))
    success_marker: bool = field(default=False, metadata=_FLAG)
    run_id: str | None = field(default=None, metadata=_instance(str, "text: 1 to 64 of A-Z a-z 0-9 . _ -", None))
    platform: str | Platform | None = field(
        default=None, metadata=_instance(str | Platform, "a saved platform's name, or a Platform", str)
    )
    encrypt: Pgp | Age | None = field(
        default=None,
        metadata=_instance(Pgp | Age | PublicKeys, "Pgp(recipients=[…]) or Age(recipients=[…])", Mapping[str, Any]),
    )
    object_options: ObjectOptions | None = field(
        default=None, metadata=_instance(ObjectOptions, "ObjectOptions(acl=…, tags=…, …)", Mapping[str, Any])
    )
    storage_options: Mapping[str, Any] | None = field(
        default=None, metadata=_instance(Mapping, "a mapping with names of s3fs or fsspec", Mapping[str, Any])
    )
    progress: bool | None = field(default=None, metadata=_one_of(None, True, False))

    @classmethod
    def of(cls, call: str, target: str | os.PathLike[str], options: Options) -> Self:
        """Read the options of a call to the function named `call`.

        Raises `TypeError` for an unknown option, and `ConfigurationError` for a value that an option doesn't accept.
        """
        if unknown := next((name for name in options if name not in KINDS), None):
            raise TypeError(f"{call}() got an unexpected option {unknown!r}.{hint(unknown, DELIVERY, KINDS)}")
        check_values(options)
        given: dict[str, Any] = {**options}
        given |= {name: read(given[name]) for name in given if (read := KINDS[name].read)}
        return cls(target=target, **given)

    def __repr__(self) -> str:
        return "SinkOptions(…)"  # the values may be credentials and cells

    @property
    def rejects_target(self) -> Target:
        """The target of the rejected rows, which is used only if `on_invalid` is "reject"."""
        return parse_target(DEFAULT_REJECTS if self.rejects is None else self.rejects)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that divide the rows into files: the action of a change first, unless it is a column."""
        divides = self.previous is not None and self.changes == "files"
        return ((self.action,) if divides else ()) + column_names(self.partition_by)

    @property
    def action(self) -> str:
        """The name of the column, or of the folders, that have the action of each row with `previous`."""
        return ACTION if self.action_column is None else self.action_column


DEFAULTS: dict[str, Any] = {one.name: one.default for one in fields(SinkOptions) if one.name != "target"}
KINDS: dict[str, Kind] = {one.name: one.metadata["kind"] for one in fields(SinkOptions) if one.name != "target"}


def takes_options(call: Call) -> Call:
    """List the options of a call by their names, types and defaults in its signature, for `help` and notebooks."""
    seen = signature(call)
    known = [parameter for parameter in seen.parameters.values() if parameter.kind is not Parameter.VAR_KEYWORD]
    options = [
        Parameter(one.name, Parameter.KEYWORD_ONLY, default=one.default, annotation=one.type)
        for one in fields(SinkOptions)
        if one.name in KINDS
    ]
    vars(call)["__signature__"] = seen.replace(parameters=known + options)  # `inspect` and notebooks look here first
    return call


def _names_fields(name: str, value: object) -> bool:
    """Return True for a mapping in place of `ObjectOptions`, with names of its fields."""
    known = {one.name for one in fields(ObjectOptions)}
    return name == "object_options" and isinstance(value, Mapping) and len(value) > 0 and known.issuperset(value)


def check_values(options: Mapping[str, Any]) -> None:
    """Raise `ConfigurationError` for the first option with a value that it doesn't accept."""
    for name, value in options.items():
        kind = KINDS[name]
        if kind.accepts is None or (value is None and DEFAULTS[name] is None):
            continue
        if not kind.accepts(value):
            # Of other values only the type is shown: they may hold secrets.
            is_plain = isinstance(value, str | bool | int | float | None) and len(repr(value)) <= _MAX_SHOWN
            shown = repr(value) if is_plain else f"a {type(value).__name__}"
            words = (
                f"ObjectOptions({', '.join(f'{key}=…' for key in value)})" if _names_fields(name, value) else kind.words
            )
            raise ConfigurationError(f"Cannot use {name}={shown}. Give {words}.")
