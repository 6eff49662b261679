"""How a file is encoded: CSV, gzip CSV and Parquet, as values. The only home of isal's gzip and of Polars' sinks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from mc_sink.exceptions import ConfigurationError
from mc_sink.formats.csv import Csv
from mc_sink.formats.format import Format, Gathers
from mc_sink.formats.parquet import Parquet, without_categories

__all__ = ["Csv", "Format", "Gathers", "Parquet", "choose_format", "has_suffix", "options_of", "without_categories"]

BY_NAME: dict[str, Format] = {"csv": Csv(), "csv.gz": Csv(compression="gzip"), "parquet": Parquet()}
BY_SUFFIX = {f".{name}": value for name, value in BY_NAME.items()}
# Suffixes that promise a reader something that none of our formats is.
_COMPRESSED = (".gz", ".gzip", ".zst", ".zstd", ".bz2", ".xz", ".lz4", ".br", ".snappy", ".zip", ".7z", ".tar", ".tgz")
_TEXTS = (".json", ".ndjson", ".jsonl", ".xml", ".html", ".yaml", ".yml")
_BINARY = (".arrow", ".arrows", ".ipc", ".feather", ".orc", ".avro", ".db", ".sqlite", ".sqlite3", ".duckdb")
_SHEETS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
_OTHERS = (*_COMPRESSED, *_TEXTS, *_BINARY, *_SHEETS)
# Suffixes that promise one of ours in other letters: taken where the format is asked for, and never chosen by.
_ALIASES = {".csv.gzip": ".csv.gz", ".pq": ".parquet", ".parq": ".parquet"}


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


def has_suffix(name: str) -> bool:
    """Return whether a name ends in a suffix that says which of our formats the file has."""
    return _by_suffix(name) is not None


def choose_format(name: str, asked: str | Format | None, default: Format | None = None, *, url: str = "") -> Format:
    """Choose by what was asked for, else by the suffix of the file's name, else the default; refuse a contradiction.

    `name` is the last part of a file's path, or empty under a prefix. A name without a suffix that is known may carry
    any format, as some receivers want it, where one is asked for; without, it is refused, because it may be a prefix
    (`url`, the target's) or promise something else.

    `default` is plain CSV, or a receiver's. Its dialect holds wherever a name or a suffix changes only the compression;
    a format's value that was asked for is taken as it is.
    """
    default = default or BY_NAME["csv"]
    by_suffix = _by_suffix(name)
    if asked is None:
        if name and by_suffix is None:
            raise _says_no_format(name, url)
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
    return chosen if _is_format(asked) else _in_dialect(chosen, default)


def _by_suffix(name: str) -> Format | None:
    return next((BY_SUFFIX[suffix] for suffix in sorted(BY_SUFFIX) if name.lower().endswith(suffix)), None)


def _in_dialect(chosen: Format, default: Format) -> Format:
    """Return the format that a name or suffix chose, written as the default is: only its compression may differ."""
    if chosen.extension == default.extension:
        return default
    if isinstance(chosen, Csv) and isinstance(default, Csv):
        return replace(default, compression=chosen.compression, compression_level=None)
    return chosen


def _says_no_format(name: str, url: str) -> ConfigurationError:
    """Explain that a name doesn't say its format, and that it may have been meant as a prefix."""
    near = next((suffix for alias, suffix in _ALIASES.items() if name.lower().endswith(alias)), None)
    if near is None and name.lower().endswith(_OTHERS):
        return _promises(name, "mc_sink writes only CSV and Parquet")
    meant = f" Did you mean {near}?" if near else ""
    if url and "." not in name:
        meant = f" For a prefix, which gets a new object each run, write {url}/."
    return ConfigurationError(
        f"The name {name!r} doesn't say which format it has.{meant} End it in {_listed()}, or give format=."
    )


def _promises(name: str, but: str) -> ConfigurationError:
    return ConfigurationError(f"The name {name!r} promises another format, and {but}. End it in {_listed()}.")


def _listed() -> str:
    *first, last = BY_SUFFIX
    return f"{', '.join(first)} or {last}"


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
    alias = next((suffix for end, suffix in _ALIASES.items() if name.lower().endswith(end)), None)
    if by_suffix is None and (alias != chosen.extension if alias else name.lower().endswith(_OTHERS)):
        raise _promises(name, f"this one writes {chosen.extension}")
