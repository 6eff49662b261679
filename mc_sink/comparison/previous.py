"""Open the previous delivery and convert it to the columns and dtypes of this run, without loss."""

from __future__ import annotations

import glob
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from polars.selectors import by_name

from mc_sink._display import counted
from mc_sink._frames import as_lazyframe
from mc_sink._polars import Map
from mc_sink.exceptions import ConfigurationError
from mc_sink.formats import Csv

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mc_sink._frames import Frame

_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://")
_SUFFIXES = (".csv", ".csv.gz", ".parquet", ".arrow", ".ipc", ".feather", ".ndjson", ".jsonl")
# How a file of JSON lines writes what JSON has no type for: Polars' own way.
JSON_LINES = Csv(nested="json")
_CAST, _CAME = "cast", "came"
_DATE, _TIME = "%F", "%T%.f"
_PARSED = (pl.Boolean, pl.Date, pl.Time, pl.Datetime, pl.Decimal)
_NEVER_TEXT = (pl.Binary, pl.Duration)
_MOST_DIGITS = 38


@dataclass(frozen=True, slots=True, eq=False)
class Previous:
    """The rows of the last delivery. `dialect` is set where all columns are text, written in that dialect."""

    frame: pl.LazyFrame
    dialect: Csv | None = None


def open_previous(previous: Frame | str | os.PathLike[str], schema: pl.Schema, dialect: Csv | None) -> Previous:
    """Open the last delivery as a plan; `dialect` is that of its CSV files, if it has any.

    Raises `ConfigurationError` for a URL, for a missing file, and for a name without a known suffix.
    """
    if not isinstance(previous, (str, os.PathLike)):
        return Previous(as_lazyframe(previous))
    path = os.path.expanduser(os.fspath(previous))  # noqa: PTH111  a Path would make one slash of two
    if _URL.match(path):
        raise ConfigurationError(
            f"previous={path!r} is a URL: the last delivery is read from local files, never from the bucket, "
            f"which this library only writes to. Pass a frame or a local file."
        )
    suffix, pattern = _suffix(path), not Path(path).is_file()  # a file's name may have brackets
    if suffix == ".parquet":
        return Previous(pl.scan_parquet(path, glob=pattern))
    if suffix in {".arrow", ".ipc", ".feather"}:
        return Previous(pl.scan_ipc(path) if pattern else pl.scan_ipc(path, glob=False))
    if suffix in {".ndjson", ".jsonl"}:
        # Every value as text; columns that the first lines don't have are missing. Polars writes datetimes without a
        # zone with a space, and those with one with a T.
        found = pl.scan_ndjson(path, infer_schema_length=1_000).collect_schema()
        moments = [name for name in found if isinstance(schema.get(name), pl.Datetime)]
        frame = pl.scan_ndjson(path, schema=dict.fromkeys(found, pl.String))
        texts = (by_name(name).as_expr().str.replace(" ", "T", literal=True) for name in moments)
        return Previous(frame.with_columns(texts), JSON_LINES)
    dialect = dialect or Csv()
    _check_dialect(dialect, schema, path)
    return Previous(_scan_csv(path, schema, dialect, glob=pattern), dialect)


def _suffix(path: str) -> str:
    try:
        exists = Path(path).is_file() or bool(glob.glob(path, recursive=True))  # noqa: PTH207  a Path has no pattern with a root
    except (OSError, ValueError):  # nothing can have such a name
        exists = False
    if not exists:
        raise ConfigurationError(f"No file matches previous={path[:200]!r}. Correct the path or the pattern.")
    for suffix in sorted(_SUFFIXES, key=len, reverse=True):
        if path.lower().endswith(suffix):
            return suffix
    raise ConfigurationError(
        f"previous={path!r} has no known suffix. Use one of {', '.join(_SUFFIXES)} (for the files of a "
        f"folder, pass a glob such as 'folder/*.parquet'), or pass a frame."
    )


def _scan_csv(path: str, schema: pl.Schema, dialect: Csv, *, glob: bool) -> pl.LazyFrame:
    """Scan every cell as text. We cast it ourselves, so that values that can't be cast are counted and not shown."""
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


def _check_dialect(dialect: Csv, schema: pl.Schema, path: str) -> None:
    """Refuse options that change values when they are written: a row would never equal itself."""
    change = ""
    if dialect.encoding != "utf-8":
        raise ConfigurationError(
            f"Cannot compare with {path}: a CSV in {dialect.encoding} isn't read here. Pass the last delivery as a "
            "frame, or keep it as Parquet."
        )
    if dialect.formulas == "escape" and any(
        isinstance(dtype, (pl.String, pl.Categorical, pl.Enum)) for dtype in schema.values()
    ):
        change = "formulas='escape' changes texts"
    elif dialect.non_finite == "null" and any(dtype.is_float() for dtype in schema.values()):
        change = "non_finite='null' changes numbers"
    if change:
        raise ConfigurationError(
            f"previous={path!r} can't be compared: {change}, so a row may differ from itself once it is written. Keep "
            f"the rows of each delivery as Parquet, and pass those."
        )


@dataclass(slots=True)
class Recast:
    """Casts batches with the columns `found` to the columns `wanted`, which are renamed to their positions.

    `dialect` is set for files of text, where every column is found as text. `lost` counts, by column, the values that
    can't be cast without loss.
    """

    found: pl.Schema
    wanted: pl.Schema
    dialect: Csv | None
    lost: dict[str, int] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        missing = [name for name in self.wanted if name not in self.found]
        more = [name for name in self.found if name not in self.wanted]
        if missing or more:
            parts = [f"{counted(len(missing), 'column')} missing: {missing}"] * bool(missing)
            parts += [f"{counted(len(more), 'column')} not in this run: {more}"] * bool(more)
            raise ConfigurationError(
                f"previous= has other columns than this run: {'; '.join(parts)}. Pass the whole rows of the last "
                f"delivery (not only its changes), and add or drop columns there."
            )
        self._check_dtypes()

    def batches(self, batches: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Yield the batches cast; at their end raise `ConfigurationError` if values were lost."""
        for batch in batches:
            yield self._batch(batch)
        if self.lost:
            columns = ", ".join(f"{count:,} of {name!r} ({self._dtypes(name)})" for name, count in self.lost.items())
            total = sum(self.lost.values())
            raise ConfigurationError(
                f"{total:,} {'value' if total == 1 else 'values'} of previous= can't be cast to this run's dtypes: "
                f"{columns}. Cast them in previous=, or give this run's columns wider dtypes."
            )

    def _batch(self, batch: pl.DataFrame) -> pl.DataFrame:
        columns = (self._column(batch.get_column(name).alias(_CAME), name) for name in self.wanted)
        return pl.DataFrame([values.alias(str(place)) for place, values in enumerate(columns)])

    def _column(self, values: pl.Series, name: str) -> pl.Series:
        wanted = self.wanted[name]
        if values.dtype == wanted:
            return values
        came, text = pl.col(_CAME), self.dialect is not None or values.dtype == pl.String
        cast = parsed(came, wanted, self.dialect) if self.dialect else came.cast(wanted, strict=False)
        back = pl.col(_CAST).is_null() if text else pl.col(_CAST).cast(values.dtype, strict=False).ne_missing(came)
        result = values.to_frame().with_columns(cast.alias(_CAST))
        if lost := int(result.select((came.is_not_null() & back).sum()).item()):
            self.lost[name] = self.lost.get(name, 0) + lost
        return result.get_column(_CAST)

    def _check_dtypes(self) -> None:
        wrong = [
            f"{name!r} ({self._dtypes(name)})" for name, wanted in self.wanted.items() if not self._casts(name, wanted)
        ]
        if wrong:
            raise ConfigurationError(
                f"{counted(len(wrong), 'column')} of previous= may have another meaning than in this run: "
                f"{', '.join(wrong)}. Cast them in previous=, or keep the last delivery as Parquet."
            )

    def _casts(self, name: str, wanted: pl.DataType) -> bool:
        found = self.found[name]
        if found in (wanted, pl.Null):
            return True
        if self.dialect is not None:
            return has_text(wanted)
        zones = [dtype.time_zone is None for dtype in (found, wanted) if isinstance(dtype, pl.Datetime)]
        if len(set(zones)) > 1:
            return False  # the zone of a naive clock is not known
        # A number can be seconds or nanoseconds, and text can be in any format.
        return found.is_temporal() == wanted.is_temporal() and not (found == pl.String and wanted.is_nested())

    def _dtypes(self, name: str) -> str:
        found = "text" if self.dialect is not None else str(self.found[name])
        return f"{found}, wanted {self.wanted[name]}"


def has_text(dtype: pl.DataType) -> bool:
    """Return whether the formats write values of the dtype as text."""
    return not isinstance(dtype, _NEVER_TEXT)


def parsed(text: pl.Expr, dtype: pl.DataType, dialect: Csv) -> pl.Expr:
    """Parse text as a dtype; text that isn't a value of it becomes null."""
    if isinstance(dtype, pl.Boolean):
        true, false = map(pl.lit, dialect.boolean_format)
        return pl.when(text == true).then(statement=True).when(text == false).then(statement=False)
    if isinstance(dtype, pl.Date):
        return text.str.to_date(_pattern(dialect.date_format, _DATE), strict=False)
    if isinstance(dtype, pl.Time):
        return text.str.to_time(_pattern(dialect.time_format, _TIME), strict=False)
    if isinstance(dtype, pl.Datetime):
        zoned = dtype.time_zone is not None
        default = f"{_DATE}T{_TIME}" + "%z" * zoned
        pattern = _pattern(dialect.datetime_format, default, iso=default.replace("T", " ", 1))
        moments = text.str.to_datetime(
            pattern, time_unit=dtype.time_unit, time_zone="UTC" if zoned else None, strict=False, ambiguous="null"
        )
        return moments.dt.convert_time_zone(dtype.time_zone) if dtype.time_zone is not None else moments
    if dtype.is_nested():
        return text.str.json_decode(_with_lists(dtype)).cast(dtype)
    point = text.str.replace(",", ".", literal=True) if dialect.decimal_comma and dtype.is_numeric() else text
    values = point.cast(dtype, strict=False)
    if isinstance(dtype, pl.Decimal):  # null for more digits than the dtype has: a plain cast would round
        scale = _MOST_DIGITS - ((dtype.precision or _MOST_DIGITS) - dtype.scale)
        exact = point.cast(pl.Decimal(_MOST_DIGITS, scale), strict=False)
        values = pl.when(exact.is_null() | (exact == values)).then(values)
    return values


def _pattern(pattern: str | None, default: str, *, iso: str | None = None) -> str:
    """Return the pattern that Polars wrote with; "iso" differs from the default for datetimes, by a space."""
    return {None: default, "iso:strict": default, "iso": iso or default}.get(pattern) or str(pattern)


def _with_lists(dtype: Any) -> Any:
    """Return the dtype with lists for arrays, which Polars doesn't decode from JSON."""
    if isinstance(dtype, (pl.List, pl.Array)):
        return pl.List(_with_lists(dtype.inner))
    if isinstance(dtype, pl.Struct):
        return pl.Struct({field.name: _with_lists(field.dtype) for field in dtype.fields})
    return Map(dtype.key, _with_lists(dtype.value)) if isinstance(dtype, Map) else dtype
