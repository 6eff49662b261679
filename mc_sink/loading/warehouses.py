"""Redshift, Snowflake, BigQuery, Athena and Databricks: statements that are checked against their documents only."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import polars as pl

from mc_sink.loading.delivered import backslashed, backticked, column_list, doubled, quoted
from mc_sink.loading.python_readers import spark_options, spark_types
from mc_sink.loading.sql_types import TEXTS, type_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mc_sink.loading.delivered import Delivered

_LOST_IN_ATHENA = "A line end in a text ends the row, and a backslash is lost."
_LISTED = 1_000  # Snowflake and Databricks take as many names in FILES
_REDSHIFT_ENCODINGS = {"utf-8": "", "utf-16": "ENCODING AS UTF16LE", "latin-1": "ENCODING AS ISO88591"}
_SNOWFLAKE_ENCODINGS = {
    "utf-8": "UTF8",
    "utf-16": "UTF16",
    "windows-1252": "WINDOWS1252",
    "latin-1": "ISO88591",
    "shift_jis": "SHIFTJIS",
}
_BIGQUERY_ENCODINGS = {"utf-8": "UTF-8", "utf-16": "UTF-16LE", "latin-1": "ISO-8859-1"}


def redshift(load: Delivered) -> str:
    """Return a COPY of the manifest, or of the only file."""
    load.need_s3()
    load.need_columns_in_files()
    if load.content.manifest_form == "redshift" and load.manifest:
        source, reads_manifest = load.manifest, "MANIFEST"
    elif len(load.files) == 1 and not load.has_pattern:
        # COPY reads every object whose key begins with this text.
        source, reads_manifest = load.urls[0], ""
    else:
        raise load.refuse(
            "COPY reads several files by a manifest in its own form, which this delivery doesn't have",
            'Deliver with manifest="redshift", as preset="redshift" does.',
        )
    role = f"IAM_ROLE {quoted(load.access)}" if load.access else "IAM_ROLE default"
    lines = [f"FROM {quoted(source)}", role, reads_manifest]
    if not load.is_csv:
        load.note("COPY fills the table's columns in the order of the files' columns.")
        return load.statement(f"COPY {load.table}", *lines, "FORMAT AS PARQUET")
    columns = ", ".join(map(doubled, load.columns))
    return load.statement(f"COPY {load.table} ({columns})", *lines, *_redshift_csv(load))


def _redshift_csv(load: Delivered) -> list[str]:
    load.need_doubled_quotes()
    null_value, separator, quote = (load.option(name) for name in ("null_value", "separator", "quote_char"))
    load.note_nulls(is_known=bool(null_value))
    load.note_texts(filter(load.is_as_text, load.columns), "VARCHAR")
    moments = [type(dtype) for name, dtype in load.columns.items() if not load.is_as_text(name)]
    return [
        "FORMAT AS CSV",
        f"DELIMITER AS {backslashed(separator)}" if separator != "," else "",
        f"QUOTE AS {quoted(quote)}" if quote != '"' else "",
        "GZIP" if load.is_gzip else "",
        "IGNOREHEADER AS 1" if load.option("include_header") else "",
        # \N is the default, and how a literal would hold its backslash isn't documented.
        "EMPTYASNULL" if not null_value else f"NULL AS {backslashed(null_value)}" if null_value != "\\N" else "",
        "DATEFORMAT AS 'auto'" if pl.Date in moments else "",
        "TIMEFORMAT AS 'auto'" if pl.Datetime in moments else "",
        load.need_encoding(_REDSHIFT_ENCODINGS),
    ]


def snowflake(load: Delivered) -> str:
    """Return a COPY INTO of the files, by their names, or by a pattern where they are many or not known."""
    load.need_cloud()
    load.need_columns_in_files()
    files = _files(load, _regular)
    if load.target.startswith("s3://") and not load.access:
        load.note("Pass access= with the name of a storage integration, unless the bucket is public.")
    integration = f"STORAGE_INTEGRATION = {load.access}" if load.access else ""
    source = [f"COPY INTO {load.table}", f"FROM {backslashed(load.folder)}", integration, files]
    if load.is_csv:
        columns = ", ".join(map(doubled, load.columns))
        source[0] += f" ({columns})"
        return load.statement(*source, f"FILE_FORMAT = (TYPE = CSV {' '.join(_snowflake_csv(load))})")
    return load.statement(
        *source,
        "FILE_FORMAT = (TYPE = PARQUET USE_LOGICAL_TYPE = TRUE)",
        "MATCH_BY_COLUMN_NAME = CASE_INSENSITIVE",
    )


def _files(load: Delivered, as_pattern: Callable[[str], str]) -> str:
    """Return the files of a COPY INTO: their names, or a pattern where they are many or not known."""
    if len(load.files) > _LISTED or load.has_pattern:
        return f"PATTERN = {backslashed(as_pattern(load.pattern))}"
    return f"FILES = ({', '.join(map(backslashed, load.names))})"


def _regular(pattern: str) -> str:
    """Return the regular expression of a pattern of URLs, from any stage on."""
    path = pattern.partition("://")[2].partition("/")[2]
    parts = {"*": "[^/]*", "?": "[0-9]"}
    return ".*" + "".join(parts.get(letter, re.escape(letter)) for letter in path)


def _snowflake_csv(load: Delivered) -> list[str]:
    null_value, escape = load.option("null_value"), load.option("escape_char")
    load.note_nulls(is_known=load.option("quote_style") != "always" or bool(null_value))
    load.note_texts(filter(load.is_as_text, load.columns), "VARCHAR")
    return [
        f"COMPRESSION = {'GZIP' if load.is_gzip else 'NONE'}",
        f"FIELD_DELIMITER = {backslashed(load.option('separator'))}",
        f"FIELD_OPTIONALLY_ENCLOSED_BY = {backslashed(load.option('quote_char'))}",
        f"SKIP_HEADER = {int(load.option('include_header'))}",
        f"ESCAPE = {backslashed(escape) if escape else 'NONE'}",
        "ESCAPE_UNENCLOSED_FIELD = NONE",
        f"NULL_IF = ({backslashed(null_value) if null_value else ''})",
        f"EMPTY_FIELD_AS_NULL = {'FALSE' if null_value else 'TRUE'}",
        "TRIM_SPACE = FALSE",
        f"ENCODING = '{load.need_encoding(_SNOWFLAKE_ENCODINGS)}'",
    ]


def bigquery(load: Delivered) -> str:
    """Return a LOAD DATA of the files."""
    load.need_cloud()
    load.need_folders()
    load.need_urls()
    keys = {name: type_of(dtype, "bigquery") for name, dtype in load.keys.items()}
    uris = ",\n    ".join(map(backslashed, load.urls))
    options = [f"uris = [{uris}]", f"format = '{'CSV' if load.is_csv else 'PARQUET'}'"]
    columns = ""
    if load.is_csv:
        options += _bigquery_csv(load)
        kinds = {
            name: TEXTS["bigquery"] if load.is_as_text(name) else type_of(dtype, "bigquery")
            for name, dtype in load.columns.items()
        }
        columns = f" ({column_list(kinds, backticked)})"
    else:
        options.append("enable_list_inference = TRUE")
    if keys:
        options.append(f"hive_partition_uri_prefix = {backslashed(load.folder.rstrip('/'))}")
    declared = f" ({column_list(keys, backticked)})" if load.is_csv else ""
    if load.target.startswith("s3://") and not load.access:
        load.note("From S3, BigQuery needs a connection: pass access= with its name.")
    return load.statement(
        f"LOAD DATA INTO {load.table}{columns}",
        "FROM FILES (\n  " + ",\n  ".join(options) + ")",
        f"WITH PARTITION COLUMNS{declared}" if keys else "",
        f"WITH CONNECTION `{load.access}`" if load.access else "",
    )


def _bigquery_csv(load: Delivered) -> list[str]:
    load.need_doubled_quotes()
    null_value = load.option("null_value")
    load.note_nulls(is_known=bool(null_value))
    load.note_texts(filter(load.is_as_text, load.columns), "STRING")
    return [
        f"field_delimiter = {backslashed(load.option('separator'))}",
        f"quote = {backslashed(load.option('quote_char'))}",
        f"skip_leading_rows = {int(load.option('include_header'))}",
        f"null_marker = {backslashed(null_value or '')}",
        "allow_quoted_newlines = TRUE",
        "preserve_ascii_control_characters = TRUE",
        f"encoding = '{load.need_encoding(_BIGQUERY_ENCODINGS)}'",
        *(["compression = 'GZIP'"] if load.is_gzip else []),
    ]


def athena(load: Delivered) -> str:
    """Return an external table over the prefix, and the statement that finds its partitions."""
    load.need_s3()
    load.need_folders()
    load.note(f"The table has every file under {load.folder}, also those of other deliveries.")
    kinds, layout, properties = _athena_types(load.columns), ["STORED AS PARQUET"], []
    if load.is_csv:
        load.note("Every column is a string. Cast them in the query.")
        kinds, layout = dict.fromkeys(load.columns, "string"), _athena_csv(load)
        properties = ["'skip.header.line.count'='1'"] if load.option("include_header") else []
    keys = _athena_types(load.keys)
    table = load.statement(
        f"CREATE EXTERNAL TABLE {load.table} ({column_list(kinds, backticked)})",
        f"PARTITIONED BY ({column_list(keys, backticked)})" if keys else "",
        *layout,
        f"LOCATION {quoted(load.folder)}",
        f"TBLPROPERTIES ({', '.join(properties)})" if properties else "",
    )
    return f"{table}\n\nMSCK REPAIR TABLE {load.table};" if keys else table


def _athena_types(columns: Mapping[str, pl.DataType]) -> dict[str, str]:
    """Return the types of Hive; a timestamp has no zone there, and is read in UTC."""
    return {name: type_of(dtype, "spark").replace("_NTZ", "").lower() for name, dtype in columns.items()}


def _athena_csv(load: Delivered) -> list[str]:
    load.need_encoding({"utf-8": "UTF-8"})
    load.note_nulls(is_known=False)
    load.note("A line end in a text ends the row." if load.option("escape_char") else _LOST_IN_ATHENA)
    properties = {
        "separatorChar": load.option("separator"),
        "quoteChar": load.option("quote_char"),
        "escapeChar": load.option("escape_char") or "\\",
    }
    shown = ", ".join(f"'{name}' = {backslashed(value)}" for name, value in properties.items())
    return [
        "ROW FORMAT SERDE 'org.apache.hadoop.hive.serde2.OpenCSVSerde'",
        f"WITH SERDEPROPERTIES ({shown})",
        "STORED AS TEXTFILE",
    ]


def databricks(load: Delivered) -> str:
    """Return a COPY INTO of the files, by their names, or by a pattern where they are many or not known."""
    load.need_cloud()
    load.need_columns_in_files()
    files = _files(load, lambda pattern: pattern.removeprefix(load.folder))
    options, source = "", f"FROM {backslashed(load.folder)}"
    if load.is_csv:
        kinds = spark_types(load)
        given = spark_options(load).items()
        texts = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in given}
        options = (
            f"FORMAT_OPTIONS ({', '.join(f'{quoted(name)} = {backslashed(text)}' for name, text in texts.items())})"
        )
        is_named = load.option("include_header")
        places = {name: backticked(name) if is_named else f"_c{number}" for number, name in enumerate(load.columns)}
        casts = [f"CAST({places[name]} AS {kind}) AS {backticked(name)}" for name, kind in kinds.items()]
        source = f"FROM (SELECT {', '.join(casts)}\n{source})"
    return load.statement(
        f"COPY INTO {load.table}", source, f"FILEFORMAT = {'CSV' if load.is_csv else 'PARQUET'}", files, options
    )
