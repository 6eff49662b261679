"""The formats CSV, gzip CSV and Parquet as values. Only this folder uses isal's gzip and Polars' file sinks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

from mc_sink._hints import hint
from mc_sink.exceptions import ConfigurationError
from mc_sink.formats.column_naming import headers_of, names_in_files
from mc_sink.formats.csv import Csv
from mc_sink.formats.csv_values import as_json
from mc_sink.formats.format import Format, Gathers, OneRun
from mc_sink.formats.parquet import Parquet

__all__ = [
    "Csv",
    "Format",
    "Gathers",
    "OneRun",
    "Parquet",
    "as_json",
    "choose_format",
    "has_suffix",
    "headers_of",
    "names_in_files",
    "options_of",
]

BY_NAME: dict[str, Format] = {"csv": Csv(), "csv.gz": Csv(compression="gzip"), "parquet": Parquet()}
_FORMAT_NAMES = dict.fromkeys(("gzip", "gz", "csv_gz", "csv.gzip"), "Did you mean 'csv.gz'?")
BY_SUFFIX = {f".{name}": value for name, value in BY_NAME.items()}
_SUFFIXES = f"{', '.join([*BY_SUFFIX][:-1])} or {[*BY_SUFFIX][-1]}"
# Suffixes of other formats.
_COMPRESSED = (".gz", ".gzip", ".zst", ".zstd", ".bz2", ".xz", ".lz4", ".br", ".snappy", ".zip", ".7z", ".tar", ".tgz")
_TEXTS = (".json", ".ndjson", ".jsonl", ".xml", ".html", ".yaml", ".yml")
_BINARY = (".arrow", ".arrows", ".ipc", ".feather", ".orc", ".avro", ".db", ".sqlite", ".sqlite3", ".duckdb")
_SHEETS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
_ENCRYPTED = (".pgp", ".gpg", ".asc", ".age")
_OTHERS = (*_COMPRESSED, *_ENCRYPTED, *_TEXTS, *_BINARY, *_SHEETS)
# Other suffixes of the supported formats: accepted where the format is given, but never used to choose one.
_ALIASES = {".csv.gzip": ".csv.gz", ".pq": ".parquet", ".parq": ".parquet"}


def options_of(format: Format) -> dict[str, Any]:
    """Return the options of a format as values that JSON can hold."""
    value: Any = format
    values = {f.name: getattr(value, f.name) for f in fields(value)} if is_dataclass(value) else {}
    return {
        name: list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value
        for name, value in values.items()
    }


def has_suffix(name: str) -> bool:
    """Return True if a name ends in a suffix of one of the supported formats."""
    return _by_suffix(name) is not None


def choose_format(name: str, asked: str | Format | None, defaults: Sequence[Format] = (), *, url: str = "") -> Format:
    """Return the format that was asked for, else that of the file name's suffix, else the default.

    `name` is the last part of a file's path, or empty under a prefix. `url` is the target's, for messages. Raises
    `ConfigurationError` where the name contradicts the format, and for a name without a known suffix if no format was
    asked for: it may be meant as a prefix. With a format, such a name is accepted, because some receivers want it.

    `defaults` are plain CSV, or a receiver's dialects, its usual one first. Where a format's name or a suffix chooses
    another kind of file, the dialect of that kind is used. Where it chooses another compression, the other options stay
    those of the dialect. A `Csv` or `Parquet` value is used unchanged.
    """
    defaults = defaults or (BY_NAME["csv"],)
    by_suffix = _by_suffix(name)
    if isinstance(asked, Format) and not isinstance(asked, type):  # the class has the same attributes as its values
        _refuse_contradiction(name, asked, by_suffix)
        return asked
    if asked is None:
        if name and by_suffix is None:
            raise _without_suffix(name, url)
        chosen = by_suffix or defaults[0]
    elif isinstance(asked, str) and asked in BY_NAME:
        chosen = BY_NAME[asked]
    else:
        shown = repr(asked) if isinstance(asked, str) else getattr(asked, "__name__", f"a {type(asked).__name__}")
        names = ", ".join(map(repr, BY_NAME))
        meant = hint(asked, _FORMAT_NAMES, BY_NAME) if isinstance(asked, str) else ""
        raise ConfigurationError(
            f"format={shown} is not supported.{meant} Use one of {names}, Csv(...) or Parquet(...)."
        )
    _refuse_contradiction(name, chosen, by_suffix)
    for dialect in defaults:
        if chosen.extension == dialect.extension:
            return dialect
    for dialect in defaults:
        if isinstance(chosen, Csv) and isinstance(dialect, Csv):
            return replace(dialect, compression=chosen.compression, compression_level=None)
    return chosen


def _by_suffix(name: str) -> Format | None:
    return next((BY_SUFFIX[suffix] for suffix in sorted(BY_SUFFIX) if name.lower().endswith(suffix)), None)


def _alias(name: str) -> str | None:
    return next((suffix for alias, suffix in _ALIASES.items() if name.lower().endswith(alias)), None)


def _without_suffix(name: str, url: str) -> ConfigurationError:
    """Return the error for a name that doesn't show its format, and may have been meant as a prefix."""
    near = _alias(name)
    if near is None and name.lower().endswith(_OTHERS):
        return _other_suffix(name, "mc_sink writes only CSV and Parquet")
    hint = f" Did you mean {near}?" if near else ""
    if url and "." not in name:
        hint = f" For a prefix, which gets a new object each run, write {url}/."
    return ConfigurationError(
        f"The name {name!r} doesn't show which format the file has.{hint} End it in {_SUFFIXES}, or pass format=."
    )


def _other_suffix(name: str, reason: str) -> ConfigurationError:
    return ConfigurationError(f"The name {name!r} has the suffix of another format: {reason}. End it in {_SUFFIXES}.")


def _refuse_contradiction(name: str, chosen: Format, by_suffix: Format | None) -> None:
    if by_suffix is not None and by_suffix.extension != chosen.extension:
        raise ConfigurationError(
            f"The name {name!r} ends in {by_suffix.extension}, but the format writes {chosen.extension}. Change one "
            "of them (Csv(compression='gzip') writes .csv.gz)."
        )
    alias = _alias(name)
    is_odd = alias != chosen.extension if alias else name.lower().endswith(_OTHERS)
    if by_suffix is None and is_odd and not (chosen.extension == ".csv.gz" and _is_gzip(name)):
        raise _other_suffix(name, f"this delivery writes {chosen.extension}")


def _is_gzip(name: str) -> bool:
    """Return whether a name is that of a gzip file with a suffix of no other format before it, as in "x.sync.gz"."""
    stem, _, end = name.lower().rpartition(".")
    return end == "gz" and "." in stem and not stem.endswith((*BY_SUFFIX, *_ALIASES, *_OTHERS))
