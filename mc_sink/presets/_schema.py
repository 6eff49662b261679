"""What can be told from the schema alone: the format, the columns, their headers and their dtypes."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import polars as pl

from mc_sink.formats import Csv
from mc_sink.presets._limit import Found, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mc_sink.formats import Format
    from mc_sink.presets._limit import Limit, LimitName

    Check = Callable[[Limit, pl.Schema, Format], Found | None]

_TOLD = 5
_HEADERS = {"header length", "header characters", "header prefixes", "duplicate headers"}


def check_schema(preset: str, limits: Sequence[Limit], schema: pl.Schema, format: Format) -> None:
    """Raise `LimitError` for the first limit that the schema or the format breaks."""
    for limit in limits:
        check = _CHECKS.get(limit.name)
        if check is None or not limit.holds_for(format) or (limit.name in _HEADERS and not _has_header(format)):
            continue
        if (found := check(limit, schema, format)) is not None:
            raise refusal(preset, limit, found)


def _has_header(format: Format) -> bool:
    return format.include_header if isinstance(format, Csv) else True


def _format(limit: Limit, _: pl.Schema, format: Format) -> Found | None:
    return None if format.extension in limit.texts else Found(1, "format", format.extension)


def _columns(limit: Limit, schema: pl.Schema, _: Format) -> Found | None:
    nested = "nested" in limit.unit
    number = sum(1 + (_fields(dtype) if nested else 0) for dtype in schema.dtypes())
    return Found(number, "columns") if number > limit.number else None


def _fields(dtype: pl.DataType) -> int:
    """Count the fields inside a dtype, at any depth."""
    if isinstance(dtype, (pl.List, pl.Array)):
        return _fields(dtype.inner) if isinstance(dtype.inner, pl.DataType) else 0
    if isinstance(dtype, pl.Struct):
        return sum(1 + (_fields(field.dtype) if isinstance(field.dtype, pl.DataType) else 0) for field in dtype.fields)
    return 0


def _nested(limit: Limit, schema: pl.Schema, format: Format) -> Found | None:
    if isinstance(format, Csv) and format.nested == "json":  # they are texts in the file
        return None
    names = [name for name, dtype in schema.items() if dtype.is_nested()]
    return _found(names, "nested column(s)") if len(names) > limit.number else None


def _header_length(limit: Limit, schema: pl.Schema, _: Format) -> Found | None:
    def length(name: str) -> int:
        return len(name.encode()) if limit.unit.startswith("bytes") else len(name)

    return _found([name for name in schema if length(name) > limit.number], "header(s)")


def _header_characters(limit: Limit, schema: pl.Schema, _: Format) -> Found | None:
    return _found([name for name in schema if not re.fullmatch(str(limit.value), name)], "header(s)")


def _header_prefixes(limit: Limit, schema: pl.Schema, _: Format) -> Found | None:
    prefixes = tuple(prefix.lower() for prefix in limit.texts)
    return _found([name for name in schema if name.lower().startswith(prefixes)], "header(s)")


def _duplicates(limit: Limit, schema: pl.Schema, _: Format) -> Found | None:
    seen = Counter(map(str.lower, schema))
    names = [name for name in schema if seen[name.lower()] > 1]
    return _found(names, "header(s)") if len(names) > limit.number else None


def _found(names: Sequence[str], what: str) -> Found | None:
    """Name the first few; a header is shown up to its fiftieth character."""
    shown = [repr(name if len(name) <= 50 else f"{name[:50]}…") for name in names[:_TOLD]]  # noqa: PLR2004  see above
    more = [f"{len(names) - _TOLD:,} more"] if len(names) > _TOLD else []
    return Found(len(names), what, ", ".join([*shown, *more])) if names else None


_CHECKS: dict[LimitName, Check] = {
    "format": _format,
    "columns": _columns,
    "nested columns": _nested,
    "header length": _header_length,
    "header characters": _header_characters,
    "header prefixes": _header_prefixes,
    "duplicate headers": _duplicates,
}
