"""pandas and PySpark: code that reads the files into a frame. The tests run both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from mc_sink.loading.delivered import backticked, column_list
from mc_sink.loading.sql_types import TEXTS, type_of

if TYPE_CHECKING:
    from mc_sink.loading.delivered import Delivered

_PANDAS_ENCODINGS = {name: name for name in ("utf-8", "utf-16", "windows-1252", "latin-1", "shift_jis")}
_SPARK_ENCODINGS = {
    "utf-8": "UTF-8",
    "utf-16": "UTF-16",
    "windows-1252": "windows-1252",
    "latin-1": "ISO-8859-1",
    "shift_jis": "Shift_JIS",
}
_SPARK_COLUMNS = 20_480
_SIZES = {f"{sign}Int{bits}": f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)}


def pandas_code(load: Delivered) -> str:
    """Return code that reads every file and joins the frames."""
    load.need_folders()
    load.need_urls()
    if not all(map(str.isidentifier, load.table.split("."))):
        raise load.refuse(f"{load.table} is not a name in Python", "Choose another table.")
    read = 'pd.read_parquet(path, dtype_backend="pyarrow")'
    lines = ["import pandas as pd", ""]
    after: list[str] = []
    if load.is_csv:
        read = "pd.read_csv(path, **options)"
        options, after = _pandas_options(load)
        lines += ["options = {", *(f"    {name!r}: {value!r}," for name, value in options.items()), "}"]
    if load.keys:
        read += ".assign(**keys)"
        files: Any = {url: dict(load.files[url] or {}) for url in load.urls}
        lines += ["files = {", *(f"    {url!r}: {keys!r}," for url, keys in files.items()), "}"]
        loop = "for path, keys in files.items()"
        load.note_texts(load.keys, "text")
    else:
        lines += ["files = [", *(f"    {url!r}," for url in load.urls), "]"]
        loop = "for path in files"
    lines.append(f"{load.table} = pd.concat([{read} {loop}], ignore_index=True)")
    return load.statement(*lines, *after, comment="# ", end="")


def _pandas_options(load: Delivered) -> tuple[dict[str, Any], list[str]]:
    """Return the options of `read_csv`, and lines for columns that it doesn't convert by itself."""
    null_value, after = load.option("null_value"), []
    load.note_nulls(is_known=bool(null_value))
    dtypes: dict[str, str] = {}
    texts = []
    for name, dtype in load.columns.items():
        kind, place = "string", f"{load.table}[{name!r}]"
        if load.is_as_text(name):
            texts.append(name)
        elif isinstance(dtype, pl.Date | pl.Datetime):
            utc = ", utc=True" if getattr(dtype, "time_zone", None) else ""
            after.append(f'{place} = pd.to_datetime({place}, format="ISO8601"{utc})')
        elif str(dtype) in _SIZES:
            kind = str(dtype)
        elif dtype.is_float():
            kind = "float64"
            load.note("Nulls of floats are NaN.")
        elif isinstance(dtype, pl.Boolean):
            kind = "boolean"
        elif not isinstance(dtype, pl.String | pl.Categorical):
            texts.append(name)
        dtypes[name] = kind
    load.note_texts(texts, "text")
    options = {
        "sep": load.option("separator"),
        "header": 0 if load.option("include_header") else None,
        "names": list(load.columns),
        "quotechar": load.option("quote_char"),
        "doublequote": not load.option("escape_char"),
        "escapechar": load.option("escape_char"),
        "keep_default_na": False,
        "na_values": [null_value or ""],
        "dtype": dtypes,
        "decimal": "," if load.option("decimal_comma") else ".",
        "encoding": "utf-8-sig" if load.option("include_bom") else load.need_encoding(_PANDAS_ENCODINGS),
        "compression": "gzip" if load.is_gzip else None,
    }
    return {name: value for name, value in options.items() if name != "escapechar" or value}, after


def spark_code(load: Delivered) -> str:
    """Return code that makes the files a temporary view."""
    load.need_no_pattern()
    load.need_folders()
    paths = [url.replace("s3://", "s3a://", 1) if url.startswith("s3://") else url for url in load.urls]
    folder = load.folder.replace("s3://", "s3a://", 1)
    lines = ["(", "    spark.read"]
    options: dict[str, object] = {"basePath": folder} if load.keys else {}
    if load.is_csv:
        kinds = spark_types(load) | {name: type_of(dtype, "spark") for name, dtype in load.keys.items()}
        lines.append(f"    .schema({column_list(kinds, backticked)!r})")
        options |= spark_options(load)
    if options:
        lines.append(f"    .options(**{options!r})")
    lines.append(f"    .{'csv' if load.is_csv else 'parquet'}({paths if load.is_csv else ', '.join(map(repr, paths))})")
    return load.statement(*lines, f"    .createOrReplaceTempView({load.table!r})", ")", comment="# ", end="")


def spark_types(load: Delivered) -> dict[str, str]:
    """Return the types of a CSV's columns in Spark, and note those that stay text."""
    texts = [name for name, dtype in load.columns.items() if load.is_as_text(name) or isinstance(dtype, pl.Time)]
    load.note_texts(texts, "text")
    return {name: TEXTS["spark"] if name in texts else type_of(dtype, "spark") for name, dtype in load.columns.items()}


def spark_options(load: Delivered) -> dict[str, object]:
    """Return the options of Spark's reader of CSV."""
    null_value = load.option("null_value")
    load.note_nulls(is_known=bool(null_value))
    if load.option("line_terminator") == "\r\n":
        load.note("A line end \\r\\n in a cell becomes \\n.")
    options: dict[str, object] = {
        "header": load.option("include_header"),
        "sep": load.option("separator"),
        "quote": load.option("quote_char"),
        "escape": load.option("escape_char") or load.option("quote_char"),
        "multiLine": True,
        "nullValue": null_value or "",
        "encoding": load.need_encoding(_SPARK_ENCODINGS),
        "positiveInf": "inf",
        "negativeInf": "-inf",
        "mode": "FAILFAST",
    }
    return options | ({"maxColumns": len(load.columns)} if len(load.columns) > _SPARK_COLUMNS else {})
