"""The last delivery, from the caller's side: a frame or local files, as a plan that streams."""

from __future__ import annotations

import glob
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from polars.selectors import by_name

from mc_sink._plan import as_lazyframe
from mc_sink.exceptions import NOTHING_VISIBLE, ConfigurationError
from mc_sink.formats import Csv

if TYPE_CHECKING:
    from mc_sink._plan import Frame

_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://")
_SUFFIXES = (".csv", ".csv.gz", ".parquet", ".arrow", ".ipc", ".feather", ".ndjson", ".jsonl")
# How a file of JSON lines writes what JSON has no type for: Polars' own way.
JSON_LINES = Csv(nested="json")


@dataclass(frozen=True, slots=True, eq=False)
class Previous:
    """The rows of the last delivery; `dialect` where all its columns are text, written in that dialect."""

    frame: pl.LazyFrame
    dialect: Csv | None = None


def open_previous(previous: Frame | str | os.PathLike[str], schema: pl.Schema, dialect: Csv | None) -> Previous:
    """Make a plan of what the caller gave; `dialect` is how its CSV were written, if it is any.

    Raises `ConfigurationError` for a URL, a file that isn't there, and one whose name doesn't say what it is.
    """
    if not isinstance(previous, (str, os.PathLike)):
        return Previous(as_lazyframe(previous))
    path = os.path.expanduser(os.fspath(previous))  # noqa: PTH111  a Path would make one slash of two
    if _URL.match(path):
        raise ConfigurationError(
            f"previous={path!r} is a URL: the last delivery is read from your side, never from the bucket, which this "
            f"library only writes to. Give a frame or a local file. {NOTHING_VISIBLE}"
        )
    return _scan(path, _suffix(path), schema, dialect or Csv())


def _suffix(path: str) -> str:
    try:
        is_there = Path(path).is_file() or bool(glob.glob(path, recursive=True))  # noqa: PTH207  a Path has no pattern with a root
    except (OSError, ValueError):  # nothing can have such a name
        is_there = False
    if not is_there:
        raise ConfigurationError(f"0 files are at previous={path[:200]!r}. {NOTHING_VISIBLE}")
    for suffix in sorted(_SUFFIXES, key=len, reverse=True):
        if path.lower().endswith(suffix):
            return suffix
    raise ConfigurationError(
        f"previous={path!r} doesn't say what it is: let it end in one of {', '.join(_SUFFIXES)} (for the files of a "
        f"folder, give a glob such as 'folder/*.parquet'), or give a frame. {NOTHING_VISIBLE}"
    )


def _scan(path: str, suffix: str, schema: pl.Schema, dialect: Csv) -> Previous:
    pattern = not Path(path).is_file()  # a name may hold brackets that are no pattern
    if suffix == ".parquet":
        return Previous(pl.scan_parquet(path, glob=pattern))
    if suffix in {".arrow", ".ipc", ".feather"}:
        return Previous(pl.scan_ipc(path) if pattern else pl.scan_ipc(path, glob=False))
    if suffix in {".ndjson", ".jsonl"}:
        return Previous(_scan_json_lines(path, schema), JSON_LINES)
    _check_dialect(dialect, schema, path)
    return Previous(_scan_csv(path, schema, dialect, glob=pattern), dialect)


def _scan_csv(path: str, schema: pl.Schema, dialect: Csv, *, glob: bool) -> pl.LazyFrame:
    """Read every cell as the text it is; the casts are ours, so that what can't be cast is counted and not shown."""
    frame = pl.scan_csv(
        path,
        has_header=dialect.include_header,
        separator=dialect.separator,
        quote_char=dialect.quote_char,
        null_values=dialect.null_value or None,
        infer_schema=False,
        raise_if_empty=False,
        glob=glob,
    )
    found = frame.collect_schema().names()
    if dialect.include_header:
        quote = dialect.quote_char
        return frame.rename({name: name.replace(quote * 2, quote) for name in found})  # Polars leaves them doubled
    if not found:
        return pl.LazyFrame(schema=dict.fromkeys(schema, pl.String))
    return frame.rename(dict(zip(found, schema, strict=False)))


def _scan_json_lines(path: str, schema: pl.Schema) -> pl.LazyFrame:
    """Read every value as its text; columns that the first lines don't have are missing.

    Polars writes datetimes without a zone with a space, and those with one with a T.
    """
    found = pl.scan_ndjson(path, infer_schema_length=1_000).collect_schema()
    moments = [name for name in found if isinstance(schema.get(name), pl.Datetime)]
    frame = pl.scan_ndjson(path, schema=dict.fromkeys(found, pl.String))
    return frame.with_columns(_column_named(name).str.replace(" ", "T", literal=True) for name in moments)


def _column_named(name: str) -> pl.Expr:
    """Give the column of that name and no other; `pl.col` takes "*" and "^a$" for patterns."""
    return by_name(name).as_expr()


def _check_dialect(dialect: Csv, schema: pl.Schema, path: str) -> None:
    """Refuse options that change what is written: then a row would never equal itself."""
    told = ""
    if dialect.formulas == "escape" and any(
        isinstance(dtype, (pl.String, pl.Categorical, pl.Enum)) for dtype in schema.values()
    ):
        told = "formulas='escape' changes texts"
    elif dialect.non_finite == "null" and any(dtype.is_float() for dtype in schema.values()):
        told = "non_finite='null' changes numbers"
    if told:
        raise ConfigurationError(
            f"previous={path!r}: {told}, so a row that is written so may differ from itself. Keep the rows of each "
            f"delivery as Parquet, and give those. {NOTHING_VISIBLE}"
        )
