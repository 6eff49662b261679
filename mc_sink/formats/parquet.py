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

from collections import Counter
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

import polars as pl

from mc_sink._argument_kinds import check_kinds
from mc_sink._frames import from_batches
from mc_sink._hints import PARQUET, hints_fields
from mc_sink._nested import inner_dtypes, leaf_dtypes, with_leaves, without_categories
from mc_sink._polars import Map
from mc_sink.exceptions import ConfigurationError, panics_as_query_errors
from mc_sink.formats.column_naming import NAMINGS, ColumnNames, check_naming, file_names
from mc_sink.formats.csv_cells import CellCounts, apply_steps
from mc_sink.formats.format import Gathers, Renamed, as_io, refuse_dtypes
from mc_sink.formats.parquet_cells import ParquetRules, arrow_schema, check_columns
from mc_sink.formats.parquet_footer import Amendments, Joined

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from polars.datatypes import DataTypeClass

    from mc_sink.formats.csv_cells import Step
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
_READABLE = (*_INTEGERS, *_NUMBERS, *_TEXTS, *_TIMES, pl.Boolean)
# Options that list columns.
_LISTS = ("required", "sorted_by", "without_statistics")
_CHOICES: dict[str, tuple[str, ...]] = {
    "compression": get_args(ParquetCompression),
    "int128": ("raise", "decimal"),
    "non_finite": ("write", "null", "raise"),
    "null_dtype": ("raise", "write"),
}
_NULL_ADVICE = (
    "A column without values has no type there, so the files of other days can't be read together with it. Cast it "
    "to its dtype on other days, or give a schema= that does."
)
WIDE = (pl.Int128, pl.UInt128)


@hints_fields(PARQUET)
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
        non_finite: "write" writes NaN and infinities. A column of a file with NaN then has no least and greatest value
            in its statistics, because readers would miss rows by them. "null" writes and counts nulls, "raise" refuses.
        null_dtype: "raise" refuses columns of the dtype Null, which has no type in Parquet: once another day's file has
            values, readers can't read the two together. "write" writes them.
        required: Columns that are written as REQUIRED. A null in them is refused.
        column_names: The names of the columns in the file. "as_is" are the frame's, "snake" writes `Seen At` as
            `seen_at`; or a mapping of names. Names that would be equal are refused.
        without_statistics: Columns without statistics, such as long texts, whose least and greatest value would be in
            the footer. Polars' encoder has no other option for single columns.
        sorted_by: Columns by which the rows are sorted, ascending, which each row group then states. Rows in another
            order, and nulls, are refused.

    Raises `ConfigurationError`, as does writing with it.
    """

    compression: ParquetCompression = "zstd"
    compression_level: int | None = None
    statistics: bool | Mapping[str, bool] = True
    data_page_size: int | None = None
    int128: Literal["raise", "decimal"] = "raise"
    non_finite: Literal["write", "null", "raise"] = "write"
    null_dtype: Literal["raise", "write"] = "raise"
    required: str | Sequence[str] = ()
    sorted_by: str | Sequence[str] = ()
    without_statistics: str | Sequence[str] = ()
    column_names: ColumnNames = "as_is"

    def __post_init__(self) -> None:
        check_kinds(self, *(field.name for field in fields(self) if field.name != "column_names"))
        check_naming(self.column_names, "Parquet", NAMINGS[:2])
        for name, choices in _CHOICES.items():
            if (value := getattr(self, name)) not in choices:
                shown = " or ".join(map(repr, choices))
                raise ConfigurationError(f"Parquet({name}={value!r}) is not supported. Use {shown}.")
        self._check_level()
        self._check_statistics()
        for name in _LISTS:
            given = getattr(self, name)
            object.__setattr__(self, name, columns := (given,) if isinstance(given, str) else tuple(given))
            if twice := [column for column, times in Counter(columns).items() if times > 1]:
                raise ConfigurationError(f"Parquet({name}=) names {twice[0]!r} twice. Leave one out.")
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
        readable = (*_READABLE, pl.Null, *(WIDE if self.int128 == "decimal" else ()))
        if self.null_dtype == "raise":
            refuse_dtypes(schema, "Parquet", _has_null, _NULL_ADVICE)
        refuse_dtypes(schema, "Parquet", lambda dtype: not _is_readable(dtype, readable), advice)
        if len(schema) == 0:
            raise ConfigurationError("The frame has no columns, and a Parquet file needs one. Add a column.")
        file_names(schema, self.column_names)
        check_columns(schema, {name: getattr(self, name) for name in _LISTS}, sets_null=self.non_finite == "null")

    def gathers(self, row_group_size: int) -> Gathers:
        """Return the bounds of a row group, which is encoded once all its rows have arrived."""
        return Gathers(row_group_size, _ROW_GROUP_BYTES)

    def write(
        self, runs: Runs, file: BinaryFile, row_group_size: int, *, metadata: Mapping[str, str] | None = None
    ) -> tuple[CountedWarning, ...]:
        """Encode the rows by Polars, in row groups of `row_group_size` rows, and write `metadata` into the footer.

        The last row group of each run may be smaller.
        """
        names = file_names(runs.schema, self.column_names)
        if list(names) != list(names.values()):
            runs = Renamed(runs, names)
        required, sorted_by, without = (tuple(names[name] for name in getattr(self, option)) for option in _LISTS)
        counts, amendments = CellCounts(), Amendments(sorted_by=sorted_by, without_statistics=frozenset(without))
        keeps_bounds = self.statistics if isinstance(self.statistics, bool) else any(self.statistics.values())
        rules = ParquetRules(self.non_finite, required, sorted_by, keeps_bounds=keeps_bounds)
        joined, steps = Joined(file, runs, amendments), rules.steps(runs.schema, counts, amendments)
        while True:
            self._encode(recast(runs, steps), joined, row_group_size, metadata, required)
            if not joined.end_run():
                return counts.warnings()

    @panics_as_query_errors()
    def _encode(
        self,
        frame: pl.LazyFrame,
        file: BinaryFile,
        row_group_size: int,
        metadata: Mapping[str, str] | None,
        required: Sequence[str],
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
            arrow_schema=arrow_schema(frame.collect_schema(), required) if required else None,
            engine="streaming",
        )


def _has_null(dtype: pl.DataType) -> bool:
    return any(isinstance(leaf, pl.Null) for leaf in leaf_dtypes(dtype))


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


def recast(runs: Runs, steps: Sequence[Step] = ()) -> pl.LazyFrame:
    """Return the plan of the next run: its batches through the steps, and with columns cast that need it.

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

    def batches() -> Iterator[pl.DataFrame]:
        given = apply_steps(runs.pull(), steps, first_row=runs.num_rows) if steps else runs.pull()
        return map(cast, given) if casts else given

    return from_batches(batches, pl.Schema({**runs.schema, **casts}))


def _lists_maps(dtype: AnyType, *, listed: bool = False) -> bool:
    """Return True if a map is inside a list, at any depth."""
    if isinstance(dtype, (pl.List, pl.Array)):
        return _lists_maps(dtype.inner, listed=True)
    if isinstance(dtype, pl.Struct):
        return any(_lists_maps(field.dtype, listed=listed) for field in dtype.fields)
    return isinstance(dtype, Map) and (listed or _lists_maps(dtype.value))
