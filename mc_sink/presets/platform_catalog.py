"""The presets of advertising and marketing platforms, and of ClickHouse and Databricks.

docs/receivers.md has every number with the page that documents it, and what no page was found for.
"""

from __future__ import annotations

from mc_sink.formats import Csv, Parquet
from mc_sink.presets.limit import Limit
from mc_sink.presets.preset import Preset

MB, GB = 10**6, 10**9
_UNREADABLE = "Time Datetime(ns) Float16 Duration Null"
_CLICKHOUSE = "https://clickhouse.com/docs/interfaces/formats/"
_DATABRICKS = "https://docs.databricks.com/aws/en/sql/language-manual/sql-ref-datatypes"
_DATABRICKS_NAMES = "https://docs.databricks.com/aws/en/sql/language-manual/sql-ref-names"
_DATA_360 = "https://help.salesforce.com/s/articleView?id=data.c360_a_supported_file_formats.htm&language=en_US&type=5"
_MARKETING_CLOUD = "https://help.salesforce.com/apex/HTViewHelpDoc?id=mktg.mc_es_import_file_requirements.htm"
_GOOGLE = "https://support.google.com/google-ads-data-manager/answer/14184381"
_GOOGLE_FILES = "https://support.google.com/google-ads-data-manager/answer/14605515"
_NIELSEN = "https://engineeringportal.nielsen.com/w/index.php?title=Digital_Measurement_SEI_Data_Delivery_Specification"
_BRAZE = "https://www.braze.com/docs/user_guide/data/unification/cloud_ingestion/file_storage_integrations"
_AAM = (
    "https://experienceleague.adobe.com/en/docs/audience-manager/user-guide/implementation-integration-guides/"
    "sending-audience-data/batch-data-transfer-process/"
)
_TEALIUM = "https://docs.tealium.com/server-side/data-sources/file-import/prepare-a-csv-file"
_MONETATE = "https://docs.monetate.com/docs/customer-dataset-upload-requirements"
_DIGITAL_AUDIENCE = "https://doc.digitalaudience.io/product-docs/documentation/crm-onboarding/1.-prepare-csv-file"

CLICKHOUSE = Preset(
    name="clickhouse",
    format=Parquet(compression="snappy"),
    # Measured: blanks at the ends of a text without quotes are cut off, and a null in quotes is a text.
    other_formats=(Csv(quote_style="non_numeric", null_value="\\N", datetime_format="iso"),),
    limits=(
        Limit("dtypes", "Time Float16 Duration Null", "", f"{_CLICKHOUSE}Parquet", (".parquet",)),
        # Measured: Bool is read without quotes only, which texts need.
        Limit("dtypes", "Boolean", "", f"{_CLICKHOUSE}CSV", (".csv", ".csv.gz")),
    ),
)
DATABRICKS = Preset(
    name="databricks",
    format=Parquet(compression="snappy"),
    other_formats=(Csv(null_value="\\N", datetime_format="iso"),),
    limits=(
        Limit("header length", 255, "characters", _DATABRICKS_NAMES),
        Limit("duplicate headers", 0, "headers", _DATABRICKS_NAMES),
        Limit("dtypes", _UNREADABLE, "", _DATABRICKS, (".parquet",)),
        Limit("digits of a number", 38, "digits", _DATABRICKS),
    ),
)
DATA_360 = Preset(
    name="data_360",
    format=Csv(datetime_format="iso:strict"),
    other_formats=(Parquet(compression="snappy"),),
    limits=(
        Limit("line ends in a cell", 0, "line ends", _DATA_360, (".csv", ".csv.gz")),
        Limit("file names", "[ -&(-9;-~]+", "", _DATA_360),
    ),
)
MARKETING_CLOUD = Preset(
    name="marketing_cloud",
    format=Csv(datetime_format="iso"),
    limits=(Limit("format", ".csv .csv.gz", "", _MARKETING_CLOUD),),
)
GOOGLE_ADS = Preset(
    name="google_ads",
    format=Csv(datetime_format="%Y-%m-%dT%H:%M:%S%:z", column_names="repeated"),
    limits=(
        Limit("format", ".csv", "", _GOOGLE_FILES),
        Limit("file names", r".+\.[A-Za-z]+", "", _GOOGLE),
    ),
)
AMC = Preset(name="amc", format=Csv(datetime_format="iso:strict"), other_formats=(Parquet(compression="snappy"),))
NIELSEN = Preset(
    name="nielsen",
    format=Parquet(compression="snappy"),
    limits=(
        Limit("format", ".parquet", "", _NIELSEN),
        Limit("file names", r"([^A-Z_]+_){3}[^_]+_[^A-Z_]+_[^A-Z]+\.parquet", "", _NIELSEN),
        Limit("other files", 0, "files", _NIELSEN),
    ),
)
BRAZE = Preset(
    name="braze",
    format=Csv(datetime_format="iso:strict", nested="json"),
    other_formats=(Parquet(compression="snappy"),),
    limits=(Limit("other files", 0, "files", _BRAZE),),
)
TEALIUM = Preset(
    name="tealium",
    format=Csv(datetime_format="iso:strict", nested="json"),
    max_rows_per_file=100_000,
    max_bytes_per_file=50 * MB,
    limits=(
        Limit("format", ".csv", "", _TEALIUM),
        Limit("header characters", r"[^#^\s]+", "", _TEALIUM),
        Limit("rows per file", 100_000, "rows", _TEALIUM),
        Limit("file size", 50 * MB, "bytes, not compressed", _TEALIUM),
        Limit("file names", r"[A-Za-z0-9_.-]+\.csv", "", _TEALIUM),
    ),
)
MONETATE = Preset(
    name="monetate",
    format=Csv(datetime_format="iso:strict"),
    max_rows_per_file=100_000_000,
    limits=(
        Limit("format", ".csv .csv.gz", "", _MONETATE),
        Limit("columns", 30, "columns", _MONETATE),
        Limit("header characters", "[ -~\u00a0-\u00ff]+", "", _MONETATE),
        Limit("rows per file", 100_000_000, "rows", _MONETATE),
        Limit("file size", 10 * GB, "bytes, not compressed", _MONETATE, (".csv",)),
    ),
)
DIGITAL_AUDIENCE = Preset(
    name="digital_audience",
    format=Csv(line_terminator="\r\n", datetime_format="iso:strict"),
    limits=(
        Limit("format", ".csv .csv.gz", "", _DIGITAL_AUDIENCE),
        Limit("fewest rows per file", 1, "rows", _DIGITAL_AUDIENCE),
    ),
)
AAM = Preset(
    name="audience_manager",
    format=Csv(separator="\t", include_header=False),
    limits=(
        Limit("format", ".csv .csv.gz", "", f"{_AAM}inbound-file-compression"),
        Limit("columns", 2, "columns", f"{_AAM}inbound-file-contents"),
        # A line has no quotes around a field, so that no field can hold what divides fields and lines.
        Limit(
            "forbidden characters",
            "tab line-feed carriage-return quote",
            "",
            f"{_AAM}inbound-file-contents",
        ),
        Limit("fewest rows per file", 1, "rows", f"{_AAM}inbound-s3-filenames"),
        Limit("file size", 5 * GB, "bytes, not compressed", f"{_AAM}inbound-s3-filenames", (".csv",)),
        Limit("file size", 1 * GB, "bytes, compressed", f"{_AAM}inbound-file-compression", (".csv.gz",)),
        Limit(
            "file names",
            r"ftp_dpm_[0-9]+(_[0-9]+)?_[0-9]{10}[.](sync|overwrite)([.][0-9]+)?([.]gz)?",
            "",
            f"{_AAM}inbound-s3-filenames",
        ),
        Limit("other files", 0, "files", f"{_AAM}inbound-s3-filenames"),
    ),
)
PLATFORMS = (
    CLICKHOUSE,
    DATABRICKS,
    DATA_360,
    MARKETING_CLOUD,
    GOOGLE_ADS,
    AMC,
    NIELSEN,
    BRAZE,
    TEALIUM,
    MONETATE,
    DIGITAL_AUDIENCE,
    AAM,
)
