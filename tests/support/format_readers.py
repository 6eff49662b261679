"""How tests write the formats' files, and read them by three libraries with the options that docs/csv.md states."""

from __future__ import annotations

import csv
import gzip
import io
from dataclasses import replace
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from mc_sink import Csv, Parquet
from mc_sink._runtime.batches import pull
from mc_sink.formats import OneRun
from tests.support.dtypes import Map
from tests.support.versions import POLARS_DECODES_TIMES, PYARROW_READS_NULL_ARRAYS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mc_sink.formats import Format
    from mc_sink.receipt import CountedWarning

ALL_FORMATS: list[Csv | Parquet] = [Csv(), Csv(compression="gzip"), Parquet()]
NAMES = ["csv", "csv.gz", "parquet"]
LARGEST_CELL = 16 * 2**20
FRAME = pl.DataFrame(
    {
        "number": [1, -2, 3],
        "float": [1.5, 1e300, -2.5e-9],
        "text": ["plain", 'a "quoted", cell', ""],
        "nothing": [None, "x", None],
        "day": [date(2026, 11, 22)] * 3,
        "at": [time(10, 15, 30)] * 3,
        "when": [datetime(2026, 11, 22, 10, 15, 30, tzinfo=UTC)] * 3,
    }
)


class Tape:
    """A file that can do no more than a `BinaryFile` promises."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def write(self, data: bytes) -> int:
        """Append bytes."""
        self._bytes += data
        return len(data)

    def flush(self) -> None:
        """Ignore the call: all bytes are kept already."""

    def tell(self) -> int:
        """Count the bytes."""
        return len(self._bytes)

    def getvalue(self) -> bytes:
        """Return all bytes."""
        return bytes(self._bytes)


def written(format: Format, frame: pl.DataFrame, row_group_size: int = 100_000) -> tuple[bytes, list[CountedWarning]]:
    """Return the bytes of a frame in a format, pulled batch by batch, and what was counted on the way."""
    tape = Tape()
    format.check(frame.schema)
    warnings = format.write(OneRun(pull(frame.lazy(), row_group_size), frame.schema), tape, row_group_size)
    return tape.getvalue(), list(warnings)


def encoded(format: Format, frame: pl.DataFrame = FRAME, row_group_size: int = 100_000) -> bytes:
    """Return the bytes of a frame in a format."""
    return written(format, frame, row_group_size)[0]


def text_of(format: Csv, frame: pl.DataFrame = FRAME) -> str:
    """Return the text of a frame in a CSV dialect, decompressed where it has to be."""
    body = encoded(format, frame)
    return (gzip.decompress(body) if format.compression == "gzip" else body).decode()


def cells(format: Csv, frame: pl.DataFrame = FRAME) -> list[list[str]]:
    """Read a frame back with Python's csv module, with the same dialect and nothing more."""
    text = io.StringIO(text_of(format, frame), newline="")
    return list(csv.reader(text, delimiter=format.separator, quotechar=format.quote_char))


def parquet(format: Parquet, frame: pl.DataFrame = FRAME, row_group_size: int = 100_000) -> pq.ParquetFile:
    """Open a frame's Parquet with pyarrow."""
    return pq.ParquetFile(pa.BufferReader(encoded(format, frame, row_group_size)))


# --- CSV, each reader with the dialect and the types; what it can't type arrives as text and is parsed by Polars


def polars_reads(path: Path, schema: pl.Schema, dialect: Csv) -> pl.DataFrame:
    """Read with Polars."""
    types = {name: _typed("polars", dtype, dialect) for name, dtype in schema.items()}
    found = pl.read_csv(
        path,
        has_header=dialect.include_header,
        separator=dialect.separator,
        quote_char=dialect.quote_char,
        null_values=dialect.null_value if dialect.quote_style == "always" else dialect.null_value or None,
        decimal_comma=dialect.decimal_comma,
        infer_schema=False,
        new_columns=list(types),  # Polars leaves the quotes of a header doubled
        schema_overrides=types,
    )
    return _finished(found, schema, dialect)


def pyarrow_reads(path: Path, schema: pl.Schema, dialect: Csv) -> pl.DataFrame:
    """Read with pyarrow."""
    names = list(schema) if dialect.include_header else [f"f{n}" for n in range(len(schema))]
    true, false = dialect.boolean_format
    with pa.input_stream(path, compression="detect" if dialect.compression == "gzip" else None) as stream:
        found = pyarrow.csv.read_csv(
            stream,
            read_options=pyarrow.csv.ReadOptions(
                autogenerate_column_names=not dialect.include_header, block_size=LARGEST_CELL * 2
            ),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=dialect.separator, quote_char=dialect.quote_char, newlines_in_values=True
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                null_values=[dialect.null_value or ""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=dialect.quote_style == "always",
                true_values=[true],
                false_values=[false],
                decimal_point="," if dialect.decimal_comma else ".",
                column_types={
                    name: pl.Series([], dtype=_typed("pyarrow", schema[own], dialect)).to_arrow().type
                    for name, own in zip(names, schema, strict=True)
                },
            ),
        )
    assert found.column_names == names
    return _finished(_from_arrow(found), schema, dialect)


def duckdb_reads(path: Path, schema: pl.Schema, dialect: Csv) -> pl.DataFrame:
    """Read with DuckDB."""
    columns = {f"c{n}": _duckdb_type(_typed("duckdb", dtype, dialect)) for n, dtype in enumerate(schema.dtypes())}
    found = _duckdb(path, columns, dialect, header=dialect.include_header)
    if dialect.include_header:
        texts = dict.fromkeys(columns, "VARCHAR")
        header = _duckdb(path, texts, replace(dialect, null_value=None, quote_style="necessary"), header=False).row(0)
        assert [name or "" for name in header] == list(schema)
    return _finished(found, schema, dialect)


def _duckdb(path: Path, columns: dict[str, str], dialect: Csv, *, header: bool) -> pl.DataFrame:
    options = {
        "auto_detect": False,
        "header": header,
        "delim": dialect.separator,
        "quote": dialect.quote_char,
        "escape": dialect.quote_char,
        "nullstr": dialect.null_value or "",
        "allow_quoted_nulls": dialect.quote_style == "always",
        "decimal_separator": "," if dialect.decimal_comma else ".",
        "compression": "gzip" if dialect.compression == "gzip" else "none",
        "new_line": dialect.line_terminator.encode("unicode_escape").decode(),
        "max_line_size": LARGEST_CELL,
        "columns": columns,
    }
    told = ", ".join(f"{name} = {_sql(value)}" for name, value in options.items())
    # Arrow has no 128-bit integers to hand them over in.
    shown = ", ".join(f"{name}::VARCHAR" if "HUGE" in sql_type else name for name, sql_type in columns.items())
    relation = _query(f"SELECT {shown} FROM read_csv({_sql(str(path))}, {told})")  # noqa: S608  our own path
    return pl.DataFrame(relation.to_arrow_table())


def _query(sql: str) -> duckdb.DuckDBPyRelation:
    relation = duckdb.sql(sql)
    assert relation is not None
    return relation


def _sql(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_sql(key)}: {_sql(item)}" for key, item in value.items()) + "}"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value).lower()


def _from_arrow(table: pa.Table) -> pl.DataFrame:
    """Read the columns by their places: Polars makes up a name for an empty one, and ends one at a NUL."""
    return pl.DataFrame(table.rename_columns([f"c{n}" for n in range(table.num_columns)]))


READERS: dict[str, Callable[[Path, pl.Schema, Csv], pl.DataFrame]] = {
    "polars": polars_reads,
    "pyarrow": pyarrow_reads,
    "duckdb": duckdb_reads,
}
_LABELS = (pl.Categorical, pl.Enum)
# What the reader can't type by itself, beside nested columns and those with a format of their own.
_AS_TEXT: dict[str, tuple[type[pl.DataType], ...]] = {
    "polars": (pl.Null, pl.Time, pl.Float16),
    "pyarrow": (pl.Null, pl.Float16, pl.Int128, pl.UInt128, *_LABELS),
    "duckdb": (pl.Null, pl.Float16, *_LABELS),
}
_DUCKDB_TYPES: dict[Any, str] = {
    pl.Int8: "TINYINT",
    pl.Int16: "SMALLINT",
    pl.Int32: "INTEGER",
    pl.Int64: "BIGINT",
    pl.Int128: "HUGEINT",
    pl.UInt8: "UTINYINT",
    pl.UInt16: "USMALLINT",
    pl.UInt32: "UINTEGER",
    pl.UInt64: "UBIGINT",
    pl.UInt128: "UHUGEINT",
    pl.Float32: "FLOAT",
    pl.Float64: "DOUBLE",
    pl.Boolean: "BOOLEAN",
    pl.String: "VARCHAR",
    pl.Date: "DATE",
    pl.Time: "TIME_NS",
}


def _typed(reader: str, dtype: pl.DataType, dialect: Csv) -> pl.DataType:
    """Return the dtype that a reader is asked for: text for what it can't type."""
    own_format = {
        pl.Date: dialect.date_format,
        pl.Time: dialect.time_format,
        pl.Datetime: dialect.datetime_format,
        pl.Boolean: dialect.boolean_format != ("true", "false") and reader != "pyarrow",
    }
    if own_format.get(dtype.base_type()) or dtype.is_nested() or isinstance(dtype, _AS_TEXT[reader]):
        return pl.String()
    return dtype


def asked_type(reader: str, dtype: pl.DataType, dialect: Csv) -> str:
    """Name the type that a reader is asked for, in the reader's own words."""
    asked = _typed(reader, dtype, dialect)
    if asked == pl.String and dtype != pl.String:
        return "text"
    words = {"pyarrow": lambda: str(pl.Series([], dtype=asked).to_arrow().type), "duckdb": lambda: _duckdb_type(asked)}
    return words.get(reader, lambda: str(asked))()


def _duckdb_type(dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.Decimal):
        return f"DECIMAL({dtype.precision}, {dtype.scale})"
    if isinstance(dtype, pl.Datetime) and dtype.time_zone:
        return "TIMESTAMPTZ_NS" if dtype.time_unit == "ns" else "TIMESTAMPTZ"
    if isinstance(dtype, pl.Datetime):
        return "TIMESTAMP_NS" if dtype.time_unit == "ns" else "TIMESTAMP"
    return _DUCKDB_TYPES[dtype.base_type()]


def _finished(found: pl.DataFrame, schema: pl.Schema, dialect: Csv) -> pl.DataFrame:
    """Parse what arrived as text, and give the columns their own names and types."""
    columns = zip(found.get_columns(), schema.items(), strict=True)
    return pl.DataFrame({name: parsed(column.alias(""), dtype, dialect) for column, (name, dtype) in columns})


def parsed(found: pl.Series, dtype: pl.DataType, dialect: Csv) -> pl.Series:
    """Make the dtype of text, by the dialect's rules; what isn't text is cast."""
    parse: Callable[[], pl.Series] | None = {
        pl.Boolean: lambda: found.replace_strict(dialect.boolean_format, [True, False], return_dtype=pl.Boolean),
        pl.Date: lambda: found.str.to_date(_pattern(dialect.date_format, "%F")),
        pl.Time: lambda: found.str.to_time(_pattern(dialect.time_format, "%T%.f")),
        pl.Datetime: lambda: _moments(found, dtype, dialect),
    }.get(dtype.base_type())
    if found.dtype != pl.String or isinstance(dtype, (pl.String, pl.Null)):
        return found.cast(dtype)
    if dtype.is_nested():
        return _cast_column(found.str.json_decode(_with_lists(dtype)), dtype)
    if dtype.is_float() and dialect.decimal_comma:
        return found.str.replace(",", ".", literal=True).cast(dtype)
    return parse() if parse else found.cast(dtype)


def _with_lists(dtype: Any) -> Any:
    """Return the dtype with lists for arrays, which Polars doesn't decode from JSON, nor an older one times."""
    if dtype == pl.Time and not POLARS_DECODES_TIMES:
        return pl.String()
    if isinstance(dtype, (pl.List, pl.Array)):
        return pl.List(_with_lists(dtype.inner))
    if isinstance(dtype, pl.Struct):
        return pl.Struct({field.name: _with_lists(field.dtype) for field in dtype.fields})
    return Map(dtype.key, _with_lists(dtype.value)) if isinstance(dtype, Map) else dtype


def _moments(found: pl.Series, dtype: Any, dialect: Csv) -> pl.Series:
    pattern = _pattern(dialect.datetime_format, "%FT%T%.f" + "%z" * (dtype.time_zone is not None))
    moments = found.str.to_datetime(pattern, time_unit=dtype.time_unit, time_zone=dtype.time_zone and "UTC")
    return moments.dt.convert_time_zone(dtype.time_zone) if dtype.time_zone else moments


def _pattern(pattern: str | None, default: str) -> str:
    return {None: default, "iso:strict": default, "iso": default.replace("T%T", " %T")}.get(pattern, str(pattern))


# --- Parquet, which says its types itself; DuckDB has others for a few


def _parquet_polars(path: Path, _schema: pl.Schema) -> pl.DataFrame:
    return pl.read_parquet(path)


def _parquet_pyarrow(path: Path, schema: pl.Schema) -> pl.DataFrame:
    try:
        found = pq.read_table(path)
    except pa.ArrowInvalid as error:
        if PYARROW_READS_NULL_ARRAYS or "Expected all lists to be of size" not in str(error):
            raise
        return _parquet_duckdb(path, schema)
    return _cast(_from_arrow(found), schema)  # Polars can't tell an Enum's dictionary from others


def _parquet_duckdb(path: Path, schema: pl.Schema) -> pl.DataFrame:
    found = _from_arrow(_query(f"FROM read_parquet({_sql(str(path))})").to_arrow_table())
    return _cast(found, schema)  # DuckDB gives names that differ only in case a number


def _cast(found: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    columns = zip(found.get_columns(), schema.items(), strict=True)
    return pl.DataFrame({name: _cast_column(values, dtype) for values, (name, dtype) in columns})


def _cast_column(values: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Cast, by way of Python if arrays are in it: Polars can't cast a null list to an array of arrays."""
    return pl.Series(values.to_list(), dtype=dtype) if "Array" in str(dtype) else values.cast(dtype)


PARQUET_READERS: dict[str, Callable[[Path, pl.Schema], pl.DataFrame]] = {
    "polars": _parquet_polars,
    "pyarrow": _parquet_pyarrow,
    "duckdb": _parquet_duckdb,
}


def without_categories(dtype: Any, *, nested: bool = False) -> Any:
    """Return what a Parquet file has for a dtype: text for an Enum, and for a Categorical inside another dtype."""
    if isinstance(dtype, pl.Enum) or (nested and isinstance(dtype, pl.Categorical)):
        return pl.String()
    if isinstance(dtype, pl.List):
        return pl.List(without_categories(dtype.inner, nested=True))
    if isinstance(dtype, pl.Array):
        return pl.Array(without_categories(dtype.inner, nested=True), dtype.size)
    if isinstance(dtype, pl.Struct):
        return pl.Struct({field.name: without_categories(field.dtype, nested=True) for field in dtype.fields})
    if isinstance(dtype, Map):
        return Map(without_categories(dtype.key, nested=True), without_categories(dtype.value, nested=True))
    return dtype


def in_parquet(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame as a Parquet file has it."""
    columns = {values.name: values.alias("") for values in frame.get_columns()}
    return pl.DataFrame({name: values.cast(without_categories(values.dtype)) for name, values in columns.items()})


def found_type(reader: str, path: Path) -> str:
    """Name the type that a reader finds in a Parquet file's only column, in the reader's own words."""
    if reader == "duckdb":
        return str(_query(f"FROM read_parquet({_sql(str(path))})").types[0])
    if reader == "polars":
        return str(pl.read_parquet(path).dtypes[0])
    schema = pq.read_table(path).schema if PYARROW_READS_NULL_ARRAYS else pq.read_schema(path)
    return str(schema.types[0])
