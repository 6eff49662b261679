"""Load statements of services that don't run here: their grammar, what they hold, and what is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import sqlglot
from sqlglot import exp

import mc_sink
from mc_sink import ConfigurationError, Csv
from mc_sink.content import Content
from mc_sink.formats import options_of
from mc_sink.loading import DIALECTS, load_statement
from tests.loading.test_statements_run import FRAME

if TYPE_CHECKING:
    from pathlib import Path

BUCKET = "s3://bucket/it's/"
RUN = "20261122T101530Z-4f2a9c"
SERVICES = ["redshift", "snowflake", "bigquery", "athena", "databricks"]


def loaded(dialect: str, folder: Path, *, access: str | None = None, table: str = "s.t", **options: Any) -> str:
    """Deliver locally, and return the statement for the same files in a bucket."""
    receipt = mc_sink.sink_madconnect(FRAME, f"{folder}/", run_id=RUN, **options)
    assert receipt.content
    content = replace(receipt.content, pattern=receipt.content.pattern.replace(f"{folder}/", BUCKET))
    files = {file.path.replace(f"{folder}/", BUCKET): file.partition for file in receipt.files}
    return load_statement(content, BUCKET, files, receipt.manifest, table, dialect, access)


@pytest.mark.parametrize("format", ["csv", "csv.gz", "parquet"])
@pytest.mark.parametrize(
    ("dialect", "kind"),
    [("redshift", exp.Copy), ("snowflake", exp.Copy), ("databricks", exp.Copy), ("athena", exp.Create)],
)
def test_a_parser_of_the_dialect_reads_the_statement(dialect: str, kind: Any, format: str, tmp_path: Path) -> None:
    """It finds a COPY or a CREATE with the table, and nothing that it doesn't know."""
    text = loaded(dialect, tmp_path, format=format, access="opens_it")
    (parsed,) = sqlglot.parse(text, dialect=dialect)
    assert parsed
    assert type(parsed) is kind
    assert "s.t" in {found.sql() for found in parsed.find_all(exp.Table)}
    assert not parsed.find(exp.Command)


_VALUE = r"(?:'(?:[^'\\]|\\.)*'|\[(?:'(?:[^'\\]|\\.)*',?\s*)+\]|TRUE|\d+)"
_COLUMNS = r"\((?:`\w+` [A-Z0-9]+(?:\(\d+, \d+\))?(?:, )?)+\)"
BIGQUERY = re.compile(
    rf"(?:-- .*\n)*LOAD DATA INTO s\.t(?P<columns> {_COLUMNS})?\n"
    rf"FROM FILES \(\n(?P<options>(?:  \w+ = {_VALUE},?\n?)+)\)"
    rf"(?:\nWITH PARTITION COLUMNS(?P<keys> {_COLUMNS})?)?(?:\nWITH CONNECTION `[\w.-]+`)?;"
)
# The load_option_list of https://docs.cloud.google.com/bigquery/docs/reference/standard-sql/load-statements
BIGQUERY_OPTIONS = set(
    """
    allow_jagged_rows allow_quoted_newlines bigtable_options column_name_character_map compression date_format
    datetime_format decimal_target_types description enable_list_inference enable_logical_types encoding
    enum_as_string expiration_timestamp field_delimiter file_set_spec_type format hive_partition_uri_prefix
    ignore_unknown_values json_extension max_bad_records max_staleness null_marker null_markers
    object_metadata preserve_ascii_control_characters projection_fields quote reference_file_schema_uri
    require_hive_partition_filter sheet_range skip_leading_rows source_column_match time_format time_zone
    timestamp_format uris
    """.split()  # noqa: SIM905  a list of words is read most easily as text
)


@pytest.mark.parametrize("keys", [{}, {"partition_by": "country"}], ids=["one file", "partitions"])
@pytest.mark.parametrize("format", ["csv", "csv.gz", "parquet"])
def test_bigquerys_statement_has_its_documented_parts(format: str, keys: dict[str, str], tmp_path: Path) -> None:
    """No parser has LOAD DATA, so its documented grammar is written down here."""
    text = loaded("bigquery", tmp_path, format=format, access="project.us.opens_it", **keys)
    found = BIGQUERY.fullmatch(text)
    assert found, text
    names = re.findall(r"^  (\w+) = ", found["options"], re.MULTILINE)
    assert set(names) <= BIGQUERY_OPTIONS
    assert ("hive_partition_uri_prefix" in names) == bool(keys)
    assert (found["columns"] is None) == (format == "parquet")


def test_redshift_loads_by_its_manifest(tmp_path: Path) -> None:
    """Several files are listed by a manifest in Redshift's form; without one the statement is refused."""
    files: dict[str, Any] = {"preset": "snowflake", "max_rows_per_file": 1}
    with pytest.raises(ConfigurationError, match=r'manifest in its own form.*manifest="redshift"'):
        loaded("redshift", tmp_path, **files)
    receipt = mc_sink.sink_madconnect(
        FRAME, f"{tmp_path}/", max_rows_per_file=1, format=mc_sink.PRESETS["redshift"].format
    )
    assert receipt.content
    content = replace(receipt.content, manifest_form="redshift")
    listed = f"{BUCKET}_manifests/{RUN}.json"
    text = load_statement(
        content, BUCKET, {BUCKET + "a.csv.gz": None, BUCKET + "b.csv.gz": None}, listed, "t", "redshift"
    )
    columns = ", ".join(f'"{name}"' for name in FRAME.columns)
    assert text == (
        f"COPY t ({columns})\nFROM 's3://bucket/it''s/_manifests/{RUN}.json'\nIAM_ROLE default\nMANIFEST\n"
        "FORMAT AS CSV\nGZIP\nIGNOREHEADER AS 1\nDATEFORMAT AS 'auto'\nTIMEFORMAT AS 'auto';"
    )


def test_snowflake_keeps_nulls_backslashes_and_empty_texts(tmp_path: Path) -> None:
    """The statement for its preset has every option of docs/receivers.md, and the files by name."""
    text = loaded("snowflake", tmp_path, preset="snowflake", access="opens_it")
    for part in (
        "FROM 's3://bucket/it\\'s/'",
        "STORAGE_INTEGRATION = opens_it",
        f"FILES = ('{RUN}-00000.csv.gz')",
        "SKIP_HEADER = 1",
        "FIELD_OPTIONALLY_ENCLOSED_BY = '\"'",
        "ESCAPE = NONE",
        "ESCAPE_UNENCLOSED_FIELD = NONE",
        "NULL_IF = ('\\\\N')",
        "EMPTY_FIELD_AS_NULL = FALSE",
    ):
        assert part in text
    assert "--" not in text
    assert "USE_LOGICAL_TYPE = TRUE" in loaded("snowflake", tmp_path / "p", format="parquet")


@pytest.mark.parametrize("dialect", ["redshift", "snowflake", "databricks"])
def test_columns_of_folders_only_are_refused_where_they_are_not_read(dialect: str, tmp_path: Path) -> None:
    """The table would lack a column, or have it empty."""
    with pytest.raises(ConfigurationError, match=r"1 partition column from the names of folders.*include_key=True"):
        loaded(dialect, tmp_path, partition_by="country")


@pytest.mark.parametrize("dialect", SERVICES)
def test_the_preset_decides_the_dialect(dialect: str, tmp_path: Path) -> None:
    """A delivery by a receiver's preset has that receiver's statement."""
    if dialect in mc_sink.PRESETS:
        options: dict[str, Any] = {"preset": dialect, "format": "parquet"}
        frame = FRAME.drop("clock", "small")
        receipt = mc_sink.sink_madconnect(frame, f"{tmp_path}/", manifest=False, **options)
        assert receipt.content
        one = {f"{BUCKET}a.parquet": None}
        by_preset = load_statement(receipt.content, BUCKET, one, None, "t")
        assert by_preset == load_statement(receipt.content, BUCKET, one, None, "t", dialect)


@pytest.mark.parametrize("dialect", ["redshift", "athena", "snowflake", "bigquery", "databricks"])
def test_files_on_a_disk_are_refused(dialect: str, tmp_path: Path) -> None:
    """A service can't read them."""
    receipt = mc_sink.sink_madconnect(FRAME, f"{tmp_path}/x.csv")
    with pytest.raises(ConfigurationError, match=r"it loads from .*, and the files are at .*Deliver to "):
        receipt.load_statement("t", dialect)


@pytest.mark.parametrize(
    ("table", "is_name"),
    [("t", True), ("a.b.c", True), ('"My Table"', True), ("`p-1.d`.t", True), ("é", True)]
    + [(wrong, False) for wrong in ("", "t; DROP TABLE x", "t t", 'a"b', "t\n", "--", "a..b", "1", "t(", '"a')],
)
def test_a_table_is_a_name_and_nothing_else(table: str, is_name: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """A text that would end the statement, or begin another one, is refused."""
    receipt = mc_sink.sink_madconnect(FRAME, f"{tmp_path}/x.csv")
    if is_name:
        assert f"CREATE TABLE {table} AS" in receipt.load_statement(table, "duckdb")
    else:
        with pytest.raises(ConfigurationError, match="not the name of a table"):
            receipt.load_statement(table, "duckdb")


def test_an_unknown_dialect_is_an_error_with_the_nearest(tmp_path: Path) -> None:
    """So is a delivery without a preset, and one whose preset has no statement."""
    receipt = mc_sink.sink_madconnect(FRAME, f"{tmp_path}/x.csv")
    with pytest.raises(ConfigurationError, match=r"dialect='duckbd' has no load statement.*Did you mean 'duckdb'"):
        receipt.load_statement("t", "duckbd")
    with pytest.raises(ConfigurationError, match="A delivery by no preset has no load statement"):
        receipt.load_statement("t")
    excel = mc_sink.sink_madconnect(FRAME, f"{tmp_path}/y.csv", preset="excel")
    with pytest.raises(ConfigurationError, match=f"The preset 'excel' has .*{', '.join(DIALECTS)}"):
        excel.load_statement("t")


def test_a_receipt_of_an_earlier_version_says_so(tmp_path: Path) -> None:
    """Its record lacks the dialect of the files, which is never guessed."""
    receipt = replace(mc_sink.sink_madconnect(FRAME, f"{tmp_path}/x.csv"), content=None)
    with pytest.raises(ConfigurationError, match="doesn't have the dialect of its files"):
        receipt.load_statement("t", "duckdb")


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
def test_quotes_in_names_stay_inside_their_quotes(dialect: str) -> None:
    """A column, a separator or a null text can't end a literal or an identifier."""
    names = {"it's": "String", 'a"b': "Int64", "back`tick": "Float64"}
    options = {
        "separator": "'" if dialect in {"redshift", "snowflake"} else ";",
        "quote_char": '"',
        "null_value": "it's",
    }
    defaults = {name: value for name, value in _options().items() if name not in options}
    content = Content("csv", defaults | options, names, None, pattern=f"{BUCKET}a.csv")
    text = load_statement(content, BUCKET, {f"{BUCKET}a.csv": None}, None, "t", dialect)
    if dialect in {"spark", "pandas"}:
        compile(text, "<statement>", "exec")
    elif dialect != "bigquery":
        (parsed,) = sqlglot.parse(text, dialect=dialect)
        assert parsed is not None


def _options() -> dict[str, Any]:
    return options_of(Csv())
