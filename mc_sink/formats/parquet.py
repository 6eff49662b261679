"""Parquet, by Polars' encoder, with columns converted that other readers could not read.

- 128-bit integers, which Parquet doesn't have, become Decimal(38, 0) at any depth. Polars would write sixteen bytes,
  which pyarrow refuses and DuckDB reads as bytes.
- Lists of maps are cast to their own dtype. That drops what may be hidden under a null list, at which Polars' writer
  fails ("a missing value to required parquet column 'key'").
- Enums become text. Polars would write all their categories, into the pages and into the Arrow schema in the footer,
  and with them values of rows that were filtered out, rejected, or went to another file. Categoricals inside lists and
  other dtypes become text too: their pages have the categories of what is hidden under a null list. A Categorical
  column is written with its own categories only, and stays one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import polars as pl

from mc_sink._argument_kinds import check_kinds
from mc_sink._frames import from_batches
from mc_sink._nested import inner_dtypes, with_leaves, without_categories
from mc_sink._polars import Map
from mc_sink.exceptions import ConfigurationError, panics_as_query_errors
from mc_sink.formats.format import Gathers, as_io, refuse_dtypes
from mc_sink.formats.parquet_footer import Joined

if TYPE_CHECKING:
    from collections.abc import Mapping

    from polars.datatypes import DataTypeClass

    from mc_sink.formats.format import BinaryFile, Runs
    from mc_sink.receipt import CountedWarning

    AnyType = pl.DataType | DataTypeClass

# A row group ends at this size. Row groups of 100,000 rows reach it from 335 bytes a row on.
_ROW_GROUP_BYTES = 32 * 2**20
ParquetCompression = Literal["zstd", "snappy", "gzip", "brotli", "lz4", "uncompressed"]
_LEVELS = {"zstd": range(1, 23), "gzip": range(10), "brotli": range(12)}
_STATISTICS = ("min", "max", "distinct_count", "null_count")
_TIMES = (pl.Date, pl.Time, pl.Datetime, pl.Duration)
_NUMBERS = (pl.Float16, pl.Float32, pl.Float64, pl.Decimal)
_INTEGERS = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)
_TEXTS = (pl.String, pl.Categorical, pl.Enum, pl.Binary)
_READABLE = (*_INTEGERS, *_NUMBERS, *_TEXTS, *_TIMES, pl.Boolean, pl.Null)
WIDE = (pl.Int128, pl.UInt128)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parquet:
    """Parquet. The options are those of Polars' `sink_parquet`, under its names.

    Arguments:
        compression: The codec.
        compression_level: The codec's level; 1 by default for zstd. Measured, level 3 takes 1.7 times as long for 3 %
            fewer bytes.
        statistics: Whether statistics are written for every column, by which readers skip row groups. A mapping
            switches "min", "max", "distinct_count" and "null_count" one by one.
        data_page_size: In bytes.
        int128: "raise" refuses 128-bit integers, which Parquet doesn't have. "decimal" writes them as decimals of 38
            digits, and raises for a longer one.

    Raises `ConfigurationError`, as does writing with it.
    """

    compression: ParquetCompression = "zstd"
    compression_level: int | None = None
    statistics: bool | Mapping[str, bool] = True
    data_page_size: int | None = None
    int128: Literal["raise", "decimal"] = "raise"

    def __post_init__(self) -> None:
        check_kinds(self)
        if self.compression not in get_args(ParquetCompression):
            codecs = " or ".join(map(repr, get_args(ParquetCompression)))
            raise ConfigurationError(f"Parquet(compression={self.compression!r}) is not supported. Use {codecs}.")
        self._check_level()
        self._check_statistics()
        if self.int128 not in {"raise", "decimal"}:
            raise ConfigurationError(f"Parquet(int128={self.int128!r}) is not supported. Use 'raise' or 'decimal'.")
        size = self.data_page_size
        if size is not None and not (_is_int(size) and 0 < size < 2**63):
            raise ConfigurationError(
                f"Parquet(data_page_size={self.data_page_size!r}) is not a size. Use 1 byte or more."
            )

    def _check_level(self) -> None:
        levels = _LEVELS.get(self.compression, range(0))
        if self.compression_level is not None and not (
            _is_int(self.compression_level) and self.compression_level in levels
        ):
            reason = f"has levels {levels[0]} to {levels[-1]}" if levels else "has no level"
            raise ConfigurationError(
                f"Parquet(compression_level={self.compression_level}) is not possible: {self.compression} {reason}."
            )

    def _check_statistics(self) -> None:
        if isinstance(self.statistics, bool):
            return
        for name, value in dict(self.statistics).items():
            if name not in _STATISTICS or not isinstance(value, bool):
                raise ConfigurationError(
                    f"Parquet(statistics={{{name!r}: {value!r}}}) is not supported. "
                    f"Use True or False for {', '.join(_STATISTICS)}."
                )

    @property
    def extension(self) -> str:
        """`.parquet`, for every compression."""
        return ".parquet"

    @property
    def content_type(self) -> str:
        """`application/vnd.apache.parquet`, as registered with IANA."""
        return "application/vnd.apache.parquet"

    def check(self, schema: pl.Schema) -> None:
        """Raise for columns that other readers can't read, at any depth."""
        advice = "Other readers can't read them. Cast or drop them."
        if self.int128 == "raise" and any(narrowed(dtype) != dtype for dtype in schema.dtypes()):
            advice += " Parquet(int128='decimal') writes 128-bit integers as decimals."
        readable = (*_READABLE, *WIDE) if self.int128 == "decimal" else _READABLE
        refuse_dtypes(schema, "Parquet", lambda dtype: not _is_readable(dtype, readable), advice)
        if len(schema) == 0:
            raise ConfigurationError("The frame has no columns, and a Parquet file needs one. Add a column.")

    def gathers(self, row_group_size: int) -> Gathers:
        """Return the bounds of a row group, which is encoded once all its rows have arrived."""
        return Gathers(row_group_size, _ROW_GROUP_BYTES)

    def write(
        self, runs: Runs, file: BinaryFile, row_group_size: int, *, metadata: Mapping[str, str] | None = None
    ) -> tuple[CountedWarning, ...]:
        """Encode the rows by Polars, in row groups of `row_group_size` rows, and write `metadata` into the footer.

        The last row group of each run may be smaller.
        """
        joined = Joined(file, runs)
        while True:
            self._encode(recast(runs), joined, row_group_size, metadata)
            if not joined.end_run():
                return ()

    @panics_as_query_errors()
    def _encode(
        self, frame: pl.LazyFrame, file: BinaryFile, row_group_size: int, metadata: Mapping[str, str] | None
    ) -> None:
        level = 1 if self.compression == "zstd" and self.compression_level is None else self.compression_level
        frame.sink_parquet(
            as_io(file),
            compression=self.compression,
            compression_level=level,
            statistics=self.statistics if isinstance(self.statistics, bool) else dict(self.statistics),
            row_group_size=row_group_size,
            data_page_size=self.data_page_size,
            metadata=dict(metadata) if metadata else None,
            engine="streaming",
        )


def _is_int(value: object) -> bool:
    """Return True for a whole number; False for True and 1.0, which are equal to one."""
    return type(value) is int


def _is_readable(dtype: pl.DataType | DataTypeClass, readable: tuple[type[pl.DataType], ...]) -> bool:
    if isinstance(dtype, pl.BaseExtension):  # written as its storage, with its name in the metadata
        storage = dtype.ext_storage()  # over a dtype with categories, all categories would be written
        return without_categories(pl.List(storage)) == pl.List(storage) and _is_readable(storage, _READABLE)
    if dtype.is_nested():  # Polars can't write a struct without fields
        inner = inner_dtypes(dtype)
        return bool(inner) and all(_is_readable(each, readable) for each in inner)
    return dtype.base_type() in readable


def narrowed(dtype: AnyType) -> AnyType:
    """Return the dtype with decimals in place of 128-bit integers."""
    return with_leaves(dtype, lambda leaf, _nested: pl.Decimal(38, 0) if leaf in WIDE else leaf)


def recast(runs: Runs) -> pl.LazyFrame:
    """Return the plan of the next run, with columns cast that need it.

    It raises `ConfigurationError` for an integer of more than 38 digits.
    """
    casts: dict[str, Any] = {
        name: to
        for name, dtype in runs.schema.items()
        if (to := without_categories(narrowed(dtype))) != dtype or _lists_maps(dtype)
    }

    # Text of a category never fails, and Polars 1's strict cast takes a null among arrays of arrays for a failure.
    strict = {name: without_categories(runs.schema[name]) != to for name, to in casts.items()}

    def cast(batch: pl.DataFrame) -> pl.DataFrame:
        try:
            return batch.with_columns(
                [batch.get_column(name).cast(dtype, strict=strict[name]) for name, dtype in casts.items()]
            )
        except pl.exceptions.InvalidOperationError as error:
            raise ConfigurationError(
                f"A batch can't be written as Parquet: integers in {', '.join(map(repr, casts))} have more than 38 "
                "digits, the most that a decimal has. Cast them to text, or use CSV."
            ) from error

    return from_batches(lambda: map(cast, runs.pull()) if casts else runs.pull(), pl.Schema({**runs.schema, **casts}))


def _lists_maps(dtype: AnyType, *, listed: bool = False) -> bool:
    """Return True if a map is inside a list, at any depth."""
    if isinstance(dtype, (pl.List, pl.Array)):
        return _lists_maps(dtype.inner, listed=True)
    if isinstance(dtype, pl.Struct):
        return any(_lists_maps(field.dtype, listed=listed) for field in dtype.fields)
    return isinstance(dtype, Map) and (listed or _lists_maps(dtype.value))
