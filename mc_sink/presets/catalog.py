"""The presets that come with the package. Every number is in docs/receivers.md with the page that documents it.

MB and GB are read as 10^6 and 10^9 bytes, the stricter interpretation.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from mc_sink.formats import Csv, Parquet
from mc_sink.presets.limit import Limit
from mc_sink.presets.platform_catalog import PLATFORMS
from mc_sink.presets.preset import Preset

if TYPE_CHECKING:
    from collections.abc import Mapping

MB, GB = 10**6, 10**9
_CSV, _PARQUET = (".csv", ".csv.gz"), (".parquet",)
# Parquet types that a receiver's documents don't have. Some readers refuse them, others read other values.
_UNSIGNED = "UInt8 UInt16 UInt32 UInt64"
_UNREADABLE = "Time Datetime(ns) Float16 Duration Null"

_LIVERAMP = "https://docs.liveramp.com/connect/en/product-limits-and-guidelines.html"
_LIVERAMP_COLUMNS = "https://docs.liveramp.com/safe-haven/en/formatting-column-based-files.html"
_LIVERAMP_FORMATS = "https://docs.liveramp.com/connect/en/formatting-file-data.html"
_LIVERAMP_NAMES = "https://docs.liveramp.com/safe-haven/en/naming-files-for-uploading.html"
_ADOBE_TYPES = "https://experienceleague.adobe.com/en/docs/experience-platform/xdm/schema/field-constraints"
_ADOBE_SOURCES = "https://experienceleague.adobe.com/en/docs/experience-platform/sources/troubleshooting"
_ADOBE_NAMES = "https://experienceleague.adobe.com/en/docs/experience-platform/sources/connectors/cloud-storage/s3"
_ADOBE_FORMATS = (
    "https://experienceleague.adobe.com/en/docs/experience-platform/sources/ui-tutorials/dataflow/cloud-storage"
)
_ADOBE_GUARDRAILS = "https://experienceleague.adobe.com/docs/experience-platform/ingestion/guardrails.html"
_REDSHIFT = "https://docs.aws.amazon.com/redshift/latest/dg/"
_SNOWFLAKE = "https://docs.snowflake.com/en/"
_BIGQUERY = "https://docs.cloud.google.com/bigquery/"
_ATHENA = "https://docs.aws.amazon.com/athena/latest/ug/"
_EXCEL = (
    "https://support.microsoft.com/en-us/office/excel-specifications-and-limits-1672b34d-7043-467e-8e27-269d656771c3"
)

LIVERAMP = Preset(
    name="liveramp",
    format=Csv(datetime_format="iso:strict"),
    file_name="{run_id}_file-part-{part}{ext}",
    max_rows_per_file=500_000_000,
    max_bytes_per_file=50 * GB,
    limits=(
        Limit("format", ".csv .csv.gz", "", _LIVERAMP_FORMATS),
        Limit("header length", 128, "characters", _LIVERAMP_COLUMNS),
        Limit("header characters", "[A-Za-z0-9_]+", "", _LIVERAMP_COLUMNS),
        Limit("row size", 10_000, "characters", _LIVERAMP, _CSV),
        Limit("rows per file", 500_000_000, "rows", _LIVERAMP),
        Limit("fewest rows per file", 25, "rows", _LIVERAMP),
        Limit("file size", 50 * GB, "bytes, not compressed", _LIVERAMP, (".csv",)),
        Limit("file names", "[!-~][ -~]{0,249}", "", _LIVERAMP_NAMES),
        Limit("other files", 0, "files", _LIVERAMP_NAMES),
    ),
)
ADOBE = Preset(
    name="adobe",
    format=Csv(datetime_format="iso:strict"),
    other_formats=(Parquet(compression="snappy"),),
    limits=(
        Limit("format", ".csv .csv.gz .parquet", "", _ADOBE_FORMATS),
        Limit("columns", 10_000, "columns, nested ones included", _ADOBE_GUARDRAILS),
        Limit("nested columns", 0, "columns", _ADOBE_SOURCES, _CSV),
        Limit("dtypes", f"{_UNREADABLE} {_UNSIGNED}", "", _ADOBE_TYPES, _PARQUET),
        Limit("row size", 100_000, "bytes", _ADOBE_GUARDRAILS, is_soft=True),
        Limit("row size", 1 * MB, "bytes", _ADOBE_GUARDRAILS),
        Limit("file names", r'[^"\\/:|<>*?]{1,255}', "", _ADOBE_NAMES),
        Limit("other files", 0, "files", _ADOBE_GUARDRAILS),
    ),
)
REDSHIFT = Preset(
    name="redshift",
    format=Csv(compression="gzip", null_value="\\N", time_format="%H:%M:%S%.6f", datetime_format="iso"),
    other_formats=(Parquet(compression="snappy"),),
    max_bytes_per_file=1 * GB,
    manifest="redshift",
    limits=(
        Limit("columns", 1_600, "columns", f"{_REDSHIFT}r_CREATE_TABLE_usage.html"),
        Limit("header length", 127, "bytes", f"{_REDSHIFT}r_names.html"),
        Limit("duplicate headers", 0, "headers", f"{_REDSHIFT}r_names.html"),
        Limit("dtypes", "Datetime(ns)", "", f"{_REDSHIFT}r_Datetime_types.html", _CSV),
        Limit("dtypes", f"{_UNREADABLE} {_UNSIGNED}", "", f"{_REDSHIFT}c_Supported_data_types.html", _PARQUET),
        Limit("digits of a number", 38, "digits", f"{_REDSHIFT}r_Numeric_types201.html"),
        Limit("forbidden characters", "NUL", "", f"{_REDSHIFT}copy-parameters-data-conversion.html", _CSV),
        Limit("cell size", 65_535, "bytes", f"{_REDSHIFT}r_Character_types.html"),
        Limit("row size", 4 * MB, "bytes", f"{_REDSHIFT}copy-parameters-data-source.html"),
        Limit(
            "file size",
            1 * GB,
            "bytes, compressed",
            f"{_REDSHIFT}c_best-practices-use-multiple-files.html",
            (".csv.gz", ".parquet"),
        ),
    ),
)
SNOWFLAKE = Preset(
    name="snowflake",
    format=Csv(compression="gzip", null_value="\\N", datetime_format="iso"),
    other_formats=(Parquet(compression="snappy"),),
    max_bytes_per_file=250 * MB,
    limits=(
        Limit("header length", 255, "characters", f"{_SNOWFLAKE}sql-reference/identifiers-syntax.html"),
        Limit("duplicate headers", 0, "headers", f"{_SNOWFLAKE}sql-reference/identifiers-syntax.html"),
        Limit(
            "dtypes",
            f"{_UNREADABLE} UInt64",
            "",
            f"{_SNOWFLAKE}sql-reference/intro-summary-data-types.html",
            _PARQUET,
        ),
        Limit("digits of a number", 38, "digits", f"{_SNOWFLAKE}sql-reference/data-types-numeric.html"),
        Limit("cell size", 16_777_216, "bytes", f"{_SNOWFLAKE}sql-reference/data-types-text.html"),
        Limit(
            "file size",
            250 * MB,
            "bytes, compressed",
            f"{_SNOWFLAKE}user-guide/data-load-considerations-prepare.html",
            (".csv.gz", ".parquet"),
        ),
    ),
)
BIGQUERY = Preset(
    name="bigquery",
    format=Parquet(compression="snappy"),
    other_formats=(Csv(null_value="\\N", time_format="%H:%M:%S%.6f", datetime_format="iso"),),
    limits=(
        Limit("columns", 10_000, "columns, nested ones included", f"{_BIGQUERY}quotas#load_jobs"),
        Limit("nested columns", 0, "columns", f"{_BIGQUERY}docs/loading-data-cloud-storage-csv", _CSV),
        Limit("header length", 300, "characters", f"{_BIGQUERY}docs/schemas#column_names"),
        Limit("header characters", "[A-Za-z_][A-Za-z0-9_]*", "", f"{_BIGQUERY}docs/schemas#column_names"),
        Limit(
            "header prefixes",
            "_TABLE_ _FILE_ _PARTITION _ROW_TIMESTAMP __ROOT__ _COLIDENTIFIER",
            "",
            f"{_BIGQUERY}docs/schemas#column_names",
        ),
        Limit("duplicate headers", 0, "headers", f"{_BIGQUERY}docs/schemas#column_names"),
        Limit("dtypes", "Datetime(ns)", "", f"{_BIGQUERY}docs/loading-data-cloud-storage-csv#data_types", _CSV),
        Limit(
            "dtypes",
            f"{_UNREADABLE} UInt64",
            "",
            f"{_BIGQUERY}docs/loading-data-cloud-storage-parquet#type_conversions",
            _PARQUET,
        ),
        Limit("forbidden characters", "NUL", "", f"{_BIGQUERY}docs/reference/rest/v2/tables#csvoptions", _CSV),
        Limit("cell size", 100 * MB, "bytes", f"{_BIGQUERY}quotas#load_jobs", _CSV),
        Limit("row size", 100 * MB, "bytes", f"{_BIGQUERY}quotas#load_jobs", _CSV),
        Limit("file size", 4 * GB, "bytes, compressed", f"{_BIGQUERY}quotas#load_jobs", (".csv.gz",)),
        Limit("file size", 5_000 * GB, "bytes, not compressed", f"{_BIGQUERY}quotas#load_jobs", (".csv",)),
    ),
)
ATHENA = Preset(
    name="athena",
    format=Parquet(compression="snappy"),
    other_formats=(Csv(datetime_format="iso"),),
    limits=(
        Limit("header length", 255, "characters", f"{_ATHENA}tables-databases-columns-names.html"),
        Limit("header characters", "[A-Za-z0-9_]+", "", f"{_ATHENA}tables-databases-columns-names.html"),
        Limit("duplicate headers", 0, "headers", f"{_ATHENA}tables-databases-columns-names.html"),
        Limit("dtypes", "Datetime(ns)", "", f"{_ATHENA}data-types.html", _CSV),
        Limit("dtypes", f"{_UNREADABLE} {_UNSIGNED}", "", f"{_ATHENA}data-types.html", _PARQUET),
        Limit("digits of a number", 38, "digits", f"{_ATHENA}data-types.html"),
        Limit("line ends in a cell", 0, "line ends", f"{_ATHENA}csv-serde.html", _CSV),
        Limit("forbidden characters", "backslash", "", f"{_ATHENA}csv-serde.html", _CSV),
        Limit("row size", 32 * MB, "bytes", f"{_ATHENA}other-notable-limitations.html"),
    ),
)
EXCEL = Preset(
    name="excel",
    format=Csv(include_bom=True, line_terminator="\r\n", datetime_format="iso", formulas="escape"),
    max_rows_per_file=1_048_575,
    limits=(
        Limit("format", ".csv .csv.gz", "", _EXCEL),
        Limit("columns", 16_384, "columns", _EXCEL),
        Limit("cell size", 32_767, "characters", _EXCEL),
        Limit("line ends in a cell", 253, "line ends", _EXCEL),
        Limit("digits of a number", 15, "digits", _EXCEL),
        Limit("rows per file", 1_048_575, "rows below the header", _EXCEL),
    ),
)
PRESETS: Mapping[str, Preset] = MappingProxyType(
    {preset.name: preset for preset in (LIVERAMP, ADOBE, REDSHIFT, SNOWFLAKE, BIGQUERY, ATHENA, EXCEL, *PLATFORMS)}
)
