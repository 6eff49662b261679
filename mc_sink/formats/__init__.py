"""How a file is encoded: CSV, gzip CSV and Parquet, as values. The only home of isal's gzip and of Polars' sinks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from mc_sink.exceptions import ConfigurationError
from mc_sink.formats._csv import Csv
from mc_sink.formats._format import BinaryFile, Format, Gathers
from mc_sink.formats._parquet import Parquet

__all__ = ["BinaryFile", "Csv", "Format", "Gathers", "Parquet", "choose_format", "options_of"]

BY_NAME: dict[str, Format] = {"csv": Csv(), "csv.gz": Csv(compression="gzip"), "parquet": Parquet()}
BY_SUFFIX = {f".{name}": value for name, value in BY_NAME.items()}
# Suffixes that promise a reader something that none of our formats is.
_OTHERS = (".gz", ".zst", ".bz2", ".zip", ".json", ".ndjson", ".jsonl", ".arrow", ".ipc", ".feather", ".orc", ".avro")
_SHEETS = (".xlsx", ".xls", ".ods")


def options_of(format: Format) -> dict[str, Any]:
    """Give the options of a format as plain values, those of its compression included."""
    value: Any = format
    values = {f.name: getattr(value, f.name) for f in fields(value)} if is_dataclass(value) else {}
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    """Give a value as JSON would read it back."""
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else value


def choose_format(name: str, asked: str | Format | None, default: Format | None = None) -> Format:
    """Choose by what was asked for, else by the suffix of the file's name, else the default; refuse a contradiction.

    `name` is the last part of a file's path, or empty under a prefix. A name without a suffix that is known may carry
    any format: some receivers want none. `default` is plain CSV; its dialect holds wherever no other is asked for.
    """
    default = default or BY_NAME["csv"]
    by_suffix = next((BY_SUFFIX[suffix] for suffix in sorted(BY_SUFFIX) if name.lower().endswith(suffix)), None)
    if asked is None:
        chosen = by_suffix or default
    elif isinstance(asked, str):
        if asked not in BY_NAME:
            raise _no_format(repr(asked))
        chosen = BY_NAME[asked]
    elif not _is_format(asked):
        raise _no_format(asked.__name__ if isinstance(asked, type) else f"a {type(asked).__name__}")
    else:
        chosen = asked
    _refuse_contradiction(name, chosen, by_suffix)
    return default if not _is_format(asked) and chosen.extension == default.extension else chosen


def _is_format(asked: object) -> bool:
    """Whether it is a format's value; a class has the same names, and is none."""
    return isinstance(asked, Format) and not isinstance(asked, type)


def _no_format(asked: str) -> ConfigurationError:
    names = ", ".join(map(repr, BY_NAME))
    return ConfigurationError(f"format={asked} is not one of {names}, Csv(...) or Parquet(...).")


def _refuse_contradiction(name: str, chosen: Format, by_suffix: Format | None) -> None:
    if by_suffix is not None and by_suffix.extension != chosen.extension:
        raise ConfigurationError(
            f"The name {name!r} promises {by_suffix.extension}, but the format writes {chosen.extension}. Change one "
            "(Csv(compression='gzip') writes .csv.gz)."
        )
    if by_suffix is None and name.lower().endswith(_OTHERS + _SHEETS):
        raise ConfigurationError(
            f"The name {name!r} promises what {chosen.extension} is not. Use one of {', '.join(BY_SUFFIX)}."
        )
