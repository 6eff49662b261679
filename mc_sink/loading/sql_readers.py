"""DuckDB and ClickHouse: statements that read the files where they are. The tests run both."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import polars as pl

from mc_sink.loading.delivered import HIVE_NULL, backslashed, backticked, column_list, quoted
from mc_sink.loading.sql_types import TEXTS, type_of

if TYPE_CHECKING:
    from mc_sink.loading.delivered import Delivered

_LARGEST_LINE = 2**25  # DuckDB gets memory for several of them, for each file; longer lines are an error
_DUCKDB_ENCODINGS = {"utf-8": "utf-8", "utf-16": "utf-16", "latin-1": "latin-1"}


def duckdb(load: Delivered) -> str:
    """Return a CREATE TABLE that reads the files."""
    load.need_no_pattern()
    load.need_folders()
    keys = {name: type_of(dtype, "duckdb") for name, dtype in load.keys.items()}
    options = _duckdb_csv(load) if load.is_csv else {}
    options["hive_partitioning"] = str(bool(keys)).lower()  # by default DuckDB decides by the names of the folders
    if keys:
        options["hive_types"] = _duckdb_map(keys)
    text = "".join(f",\n    {name} = {value}" for name, value in options.items())
    urls = ",\n     ".join(map(quoted, load.urls))
    function = "read_csv" if load.is_csv else "read_parquet"
    return load.statement(f"CREATE TABLE {load.table} AS", f"FROM {function}(\n    [{urls}]{text})")


def _duckdb_csv(load: Delivered) -> dict[str, str]:
    kinds = _csv_types(load, "duckdb")
    null_value = load.option("null_value")
    load.note_nulls(is_known=load.option("quote_style") != "always" or bool(null_value))
    return {
        "auto_detect": "false",
        "header": str(load.option("include_header")).lower(),
        "delim": quoted(load.option("separator")),
        "quote": quoted(load.option("quote_char")),
        "escape": quoted(load.option("escape_char") or load.option("quote_char")),
        "nullstr": quoted(null_value or ""),
        "allow_quoted_nulls": str(load.option("quote_style") == "always").lower(),
        "compression": quoted("gzip" if load.is_gzip else "none"),
        "encoding": quoted(load.need_encoding(_DUCKDB_ENCODINGS)),
        "new_line": quoted("\\r\\n" if load.option("line_terminator") == "\r\n" else "\\n"),
        "max_line_size": str(_LARGEST_LINE),
        "columns": _duckdb_map(kinds),
    }


def _duckdb_map(kinds: dict[str, str]) -> str:
    return "{" + ", ".join(f"{quoted(name)}: {quoted(kind)}" for name, kind in kinds.items()) + "}"


def _csv_types(load: Delivered, dialect: str) -> dict[str, str]:
    """Return the types of a CSV's columns, and note those that stay text."""
    texts = {name: dtype for name, dtype in load.columns.items() if load.is_as_text(name)}
    if dialect == "clickhouse":  # its types of a time of day are new, and experimental
        texts |= {name: dtype for name, dtype in load.columns.items() if isinstance(dtype, pl.Time)}
    load.note_texts(texts, "text")
    return {name: TEXTS[dialect] if name in texts else type_of(dtype, dialect) for name, dtype in load.columns.items()}


def clickhouse(load: Delivered) -> str:
    """Return an INSERT that reads the files by the table function `s3`, or by `file` where they are local."""
    load.need_no_pattern()
    load.need_folders()
    # ClickHouse's own reading of folders leaves %2F and Hive's null as they are, and overrides columns of the files.
    settings = {"use_hive_partitioning": "0"}
    kinds: dict[str, str] = {}
    every = "*"
    if load.is_csv:
        settings |= _clickhouse_settings(load)
        kinds = {name: f"Nullable({kind})" for name, kind in _csv_types(load, "clickhouse").items()}
        if load.option("quote_style") == "non_numeric":  # measured: Bool is read without quotes only
            flags = [name for name, kind in kinds.items() if kind == "Nullable(Bool)"]
            every = _clickhouse_columns(flags)
            kinds |= dict.fromkeys(flags, "Nullable(String)")
    elif times := [name for name, dtype in load.columns.items() if isinstance(dtype, pl.Time)]:
        load.note(f"A time of day is read as one of 1970-01-01: {', '.join(map(repr, times))}.")
    form = "Parquet" if not load.is_csv else "CSVWithNames" if load.option("include_header") else "CSV"
    arguments = [_clickhouse_url(load), quoted(form)]
    if kinds:
        arguments += [backslashed(column_list(kinds, backticked)), quoted("gzip" if load.is_gzip else "none")]
    columns = ", ".join([every, *(_clickhouse_key(load, name) for name in load.keys)])
    function = "s3" if load.target.startswith("s3://") else "file"
    return load.statement(
        f"INSERT INTO {load.table} ({', '.join(map(backticked, [*load.columns, *load.keys]))})",
        f"SELECT {columns}",
        f"FROM {function}({', '.join(arguments)})",
        f"SETTINGS {', '.join(f'{name} = {value}' for name, value in settings.items())}",
    )


def _clickhouse_columns(flags: list[str]) -> str:
    """Return what to select from a file that has some columns of booleans in quotes."""
    casts = ", ".join(f"CAST({backticked(name)} AS Nullable(Bool)) AS {backticked(name)}" for name in flags)
    return f"* REPLACE ({casts})" if flags else "*"


def _clickhouse_key(load: Delivered, name: str) -> str:
    """Return the expression for a partition column: the text of its folder, decoded and converted."""
    dtype = load.keys[name]
    folder = backslashed(f"/{re.escape(load.key_folders[name])}=([^/]*)/")
    text = f"nullIf(decodeURLComponent(extract(_path, {folder})), '{HIVE_NULL}')"
    kind = type_of(dtype, "clickhouse")
    if isinstance(dtype, pl.Datetime):
        text = f"parseDateTime64BestEffort({text}, {kind.partition('(')[2]}"
    return f"CAST({text} AS Nullable({kind})) AS {backticked(name)}"


def _clickhouse_url(load: Delivered) -> str:
    urls = load.urls
    names = [url.removeprefix(load.folder) for url in urls]
    if len(urls) == 1:
        return backslashed(urls[0])
    # Braces list alternatives. A name with a comma would be two of them.
    listed = f"{load.folder}{{{','.join(names)}}}"
    return backslashed(load.pattern if any("," in name for name in names) else listed)


def _clickhouse_settings(load: Delivered) -> dict[str, str]:
    load.need_quote()
    load.need_doubled_quotes()
    load.need_encoding({"utf-8": "UTF-8"})
    null_value, quote_style = load.option("null_value"), load.option("quote_style")
    if load.option("separator") in {"\t", " "}:
        raise load.refuse("it refuses a tab or a blank as the separator of a CSV", "Deliver with another separator.")
    if quote_style == "always":
        raise load.refuse(
            "it reads a null in quotes as a text", "Deliver with quote_style='non_numeric', null_value='\\N'."
        )
    load.note_nulls(is_known=bool(null_value))
    return {
        "format_csv_delimiter": backslashed(load.option("separator")),
        "format_csv_null_representation": backslashed(null_value or ""),
        "format_csv_allow_single_quotes": "0",
        "input_format_csv_trim_whitespaces": "0",
        "input_format_csv_empty_as_default": "0",
        "input_format_null_as_default": "0",
        "input_format_csv_use_best_effort_in_schema_inference": "0",
        "date_time_input_format": "'best_effort'",
    }
