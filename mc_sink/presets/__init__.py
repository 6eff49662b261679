"""The documented limits, dialects, splitting and names of receivers as plain values, and the checks against them.

    preset = replace(preset_of("excel"), max_rows_per_file=None)    the caller's own arguments override
    preset.check(schema)                                            columns, headers and dtypes, before the run
    batches = preset.watch(batches)                                 cells, rows and their number, on the way

Every number is in docs/receivers.md with the page that documents it. MB and GB are read as 10^6 and 10^9 bytes, the
stricter interpretation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import polars as pl

from mc_sink._display import nearest
from mc_sink.exceptions import ConfigurationError
from mc_sink.formats import Csv, Parquet, options_of
from mc_sink.presets.limit import Excess, Limit, refusal
from mc_sink.presets.limit_checks import check_schema, long_cells, long_numbers, long_rows, many_line_ends

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence

    from mc_sink.formats import Format
    from mc_sink.presets.limit import LimitName
    from mc_sink.staged import StagedFile

    Batches = Generator[pl.DataFrame, None, None]
    Look = Callable[[Limit, Format, pl.DataFrame, int], Excess | None]

__all__ = ["PRESETS", "Limit", "Preset", "preset_of"]

_OF_FILES = {"file size", "rows per file", "fewest rows per file"}
_LOOKS: dict[LimitName, Look] = {
    "cell size": long_cells,
    "line ends in a cell": many_line_ends,
    "digits of a number": long_numbers,
    "row size": long_rows,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """The documented requirements of a receiver: how files are written, split and named, and the limits of the data.

    `format` is the format and dialect. `file_name` is the template for names under a prefix (docs/names.md), None for
    the default. `max_rows_per_file` and `max_bytes_per_file` (as stored, in `format`) are where files are split.
    `manifest` and `success_marker` are as in `sink_madconnect`. `limits` are checked; to leave one out:

        replace(preset, limits=tuple(limit for limit in preset.limits if limit.name != "row size"))
    """

    name: str
    format: Format
    file_name: str | None = None
    max_rows_per_file: int | None = None
    max_bytes_per_file: int | None = None
    manifest: Literal["redshift", True] | None = None
    success_marker: bool = False
    limits: tuple[Limit, ...] = ()

    def bytes_per_file(self, format: Format) -> int | None:
        """Return the stored size at which files of a format are split: `max_bytes_per_file` for the preset's own."""
        if format.extension == self.format.extension:
            return self.max_bytes_per_file
        sizes = [limit.number for limit in self.limits if limit.name == "file size" and limit.holds_for(format)]
        return min(sizes, default=None)

    def lost_in(self, format: object) -> tuple[str, ...]:
        """Return the options of the preset's dialect that the caller's own format leaves out.

        A name such as "csv.gz" changes only the compression. Another kind of file has other options.
        """
        kind: type = type(self.format)
        if not isinstance(format, Csv | Parquet) or not isinstance(format, kind):
            return ()
        ours, usual, given = options_of(self.format), options_of(kind()), options_of(format)
        names = [name for name in ours if not name.startswith("compression")]
        return tuple(f"{n}={ours[n]!r}" for n in names if ours[n] != usual[n] and given[n] != ours[n])

    def check(self, schema: pl.Schema, format: Format | None = None) -> None:
        """Raise `LimitError` for a format, columns, headers or dtypes that the receiver doesn't accept.

        `schema` has the columns of the files: partition columns only if the files keep them.
        """
        check_schema(self.name, self.limits, schema, format or self.format)

    def check_file(self, file: StagedFile, format: Format | None = None) -> None:
        """Raise `LimitError` for a finished, invisible file with too many or too few rows or bytes."""
        for limit in self.limits:
            if limit.name in _OF_FILES and limit.holds_for(format or self.format):
                number, what = (file.num_bytes, "byte") if limit.name == "file size" else (file.num_rows, "row")
                if number < limit.number if limit.name == "fewest rows per file" else number > limit.number:
                    raise refusal(self.name, limit, Excess(number, what, file.path))

    def watch(
        self, batches: Iterable[pl.DataFrame], format: Format | None = None, *, left_out: Sequence[str] = ()
    ) -> Batches:
        """Yield batches unchanged, and raise `LimitError` before the first with a cell or row that is too large.

        `left_out` are columns that the files don't have. The rows of a single file are counted too; `check_file` counts
        those of several files. Only values that a limit needs are computed.
        """
        bound = self.max_rows_per_file
        yield from watched(self.name, self.limits, batches, format or self.format, bound, left_out=left_out)


def watched(  # noqa: PLR0913  the limits, and the facts of the delivery
    preset: str,
    limits: Sequence[Limit],
    batches: Iterable[pl.DataFrame],
    format: Format,
    max_rows: int | None,
    *,
    left_out: Sequence[str] = (),
) -> Iterator[pl.DataFrame]:
    """Yield batches, and raise `LimitError` before one that breaks a limit, or at the end for too few rows."""
    limits = [limit for limit in limits if limit.holds_for(format)]
    looks = [(limit, partial(_LOOKS[limit.name], limit, format)) for limit in limits if limit.name in _LOOKS]
    most = [limit for limit in limits if limit.name == "rows per file" and limit.number < (max_rows or math.inf)]
    num_rows = 0
    for batch in batches:
        seen = pl.DataFrame([column for column in batch.get_columns() if column.name not in left_out])
        for limit, look in looks:
            if (found := look(seen, num_rows)) is not None:
                raise refusal(preset, limit, found)
        num_rows += batch.height
        for limit in most:
            if num_rows > limit.number:
                raise refusal(preset, limit, Excess(num_rows, "row", "or more, for one file"))
        yield batch
    least = (num_rows % max_rows or max_rows) if max_rows and num_rows > max_rows else num_rows
    for limit in limits:
        if limit.name == "fewest rows per file" and least < limit.number:
            raise refusal(preset, limit, Excess(least, "row", "in the smallest file" if least < num_rows else ""))


MB, GB = 10**6, 10**9
_CSV = (".csv", ".csv.gz")

_LIVERAMP = "https://docs.liveramp.com/connect/en/product-limits-and-guidelines.html"
_LIVERAMP_COLUMNS = "https://docs.liveramp.com/safe-haven/en/formatting-column-based-files.html"
_ADOBE_SOURCES = "https://experienceleague.adobe.com/en/docs/experience-platform/sources/troubleshooting"
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
        Limit("header length", 128, "characters", _LIVERAMP_COLUMNS),
        Limit("header characters", "[A-Za-z0-9_]+", "", _LIVERAMP_COLUMNS),
        Limit("row size", 10_000, "characters", _LIVERAMP, _CSV),
        Limit("rows per file", 500_000_000, "rows", _LIVERAMP),
        Limit("fewest rows per file", 25, "rows", _LIVERAMP),
        Limit("file size", 50 * GB, "bytes, not compressed", _LIVERAMP, (".csv",)),
    ),
)
ADOBE = Preset(
    name="adobe",
    format=Csv(datetime_format="iso:strict"),
    limits=(
        Limit("format", ".csv .csv.gz .parquet", "", _ADOBE_FORMATS),
        Limit("columns", 10_000, "columns, nested ones included", _ADOBE_GUARDRAILS),
        Limit("nested columns", 0, "columns", _ADOBE_SOURCES, _CSV),
        Limit("row size", 100_000, "bytes", _ADOBE_GUARDRAILS),
    ),
)
REDSHIFT = Preset(
    name="redshift",
    format=Csv(compression="gzip", null_value="\\N", datetime_format="iso"),
    max_bytes_per_file=1 * GB,
    manifest="redshift",
    limits=(
        Limit("columns", 1_600, "columns", f"{_REDSHIFT}r_CREATE_TABLE_usage.html"),
        Limit("header length", 127, "bytes", f"{_REDSHIFT}r_names.html"),
        Limit("duplicate headers", 0, "headers", f"{_REDSHIFT}r_names.html"),
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
    max_bytes_per_file=250 * MB,
    limits=(
        Limit("header length", 255, "characters", f"{_SNOWFLAKE}sql-reference/identifiers-syntax.html"),
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
        Limit("cell size", 100 * MB, "bytes", f"{_BIGQUERY}quotas#load_jobs", _CSV),
        Limit("row size", 100 * MB, "bytes", f"{_BIGQUERY}quotas#load_jobs", _CSV),
        Limit("file size", 4 * GB, "bytes, compressed", f"{_BIGQUERY}quotas#load_jobs", (".csv.gz",)),
        Limit("file size", 5_000 * GB, "bytes, not compressed", f"{_BIGQUERY}quotas#load_jobs", (".csv",)),
    ),
)
ATHENA = Preset(
    name="athena",
    format=Parquet(compression="snappy"),
    limits=(
        Limit("header characters", "[A-Za-z0-9_]+", "", f"{_ATHENA}tables-databases-columns-names.html"),
        Limit("duplicate headers", 0, "headers", f"{_ATHENA}tables-databases-columns-names.html"),
        Limit("line ends in a cell", 0, "line ends", f"{_ATHENA}csv-serde.html", _CSV),
        Limit("row size", 32 * MB, "bytes", f"{_ATHENA}other-notable-limitations.html"),
    ),
)
EXCEL = Preset(
    name="excel",
    format=Csv(include_bom=True, line_terminator="\r\n", datetime_format="iso", formulas="escape"),
    max_rows_per_file=1_048_575,
    limits=(
        Limit("columns", 16_384, "columns", _EXCEL),
        Limit("cell size", 32_767, "characters", _EXCEL),
        Limit("line ends in a cell", 253, "line ends", _EXCEL),
        Limit("digits of a number", 15, "digits", _EXCEL),
        Limit("rows per file", 1_048_575, "rows below the header", _EXCEL),
    ),
)
PRESETS: Mapping[str, Preset] = MappingProxyType(
    {preset.name: preset for preset in (LIVERAMP, ADOBE, REDSHIFT, SNOWFLAKE, BIGQUERY, ATHENA, EXCEL)}
)


def preset_of(asked: object) -> Preset | None:
    """Return a preset by its name, or the caller's own. Raises `ConfigurationError` for any other value but None."""
    if asked is None or isinstance(asked, Preset):
        return asked
    if isinstance(asked, str) and asked in PRESETS:
        return PRESETS[asked]
    shown = repr(asked) if isinstance(asked, str) else f"a {type(asked).__name__}"
    meant = nearest(asked, PRESETS) if isinstance(asked, str) else ""
    raise ConfigurationError(
        f"Cannot use preset={shown}. Give one of {', '.join(map(repr, PRESETS))}, or a Preset(...).{meant}"
    )
