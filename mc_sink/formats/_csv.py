"""CSV, plain and gzipped: the dialect as data, and Polars' own encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import polars as pl

from mc_sink.exceptions import NOTHING_VISIBLE, ConfigurationError
from mc_sink.formats._dialect import check_characters, check_formats, check_null_value, keeps_zones
from mc_sink.formats._format import as_io, refuse_dtypes
from mc_sink.formats._gzip import gzip_into

if TYPE_CHECKING:
    from mc_sink.formats._format import BinaryFile

QuoteStyle = Literal["necessary", "always", "non_numeric"]
_REFUSED = (pl.Duration, pl.Binary, pl.List, pl.Array, pl.Struct, pl.Map, pl.Object)
_GZIP_LEVELS = range(4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Csv:
    r"""CSV as RFC 4180 has it, UTF-8; the options are those of Polars' `sink_csv`, under its names.

    `compression="gzip"` writes one gzip member with no name and no time in it, so that equal data gives equal bytes;
    `compression_level` is isal's, 0 to 3 (2 by default). The quote style "never" is not offered: it corrupts data.
    `null_value` is what a null is written as; by default nothing, where the empty string is written as `""`. Numbers,
    dates and nulls are never quoted unless the quote style is "always", so nothing in them may end a cell.
    """

    separator: str = ","
    include_header: bool = True
    quote_style: QuoteStyle = "necessary"
    quote_char: str = '"'
    null_value: str | None = None
    line_terminator: Literal["\n", "\r\n"] = "\n"
    include_bom: bool = False
    date_format: str | None = None
    time_format: str | None = None
    datetime_format: str | None = None
    float_scientific: bool | None = None
    decimal_comma: bool = False
    compression: Literal["uncompressed", "gzip"] = "uncompressed"
    compression_level: int | None = None

    def __post_init__(self) -> None:
        if self.compression not in {"uncompressed", "gzip"}:
            raise ConfigurationError(f"Csv(compression={self.compression!r}): use 'uncompressed' or 'gzip'.")
        if self.compression_level is not None and not self._level_fits(self.compression_level):
            raise ConfigurationError(
                f"Csv(compression_level={self.compression_level}): gzip takes 0 to 3, plain CSV none."
            )
        if self.quote_style not in {"necessary", "always", "non_numeric"}:
            raise ConfigurationError(
                f"Csv(quote_style={self.quote_style!r}): use 'necessary', 'always' or 'non_numeric'; "
                "anything else can't be read back."
            )
        self._check_dialect()

    @property
    def extension(self) -> str:
        """`.csv` or `.csv.gz`."""
        return ".csv.gz" if self.compression == "gzip" else ".csv"

    @property
    def content_type(self) -> str:
        """`text/csv` (RFC 7111) or `application/gzip` (RFC 6713)."""
        return "application/gzip" if self.compression == "gzip" else "text/csv"

    def check(self, schema: pl.Schema) -> None:
        """Refuse nested columns, binary ones and durations, and time zones that the format would drop."""
        refuse_dtypes(schema, "CSV", lambda dtype: isinstance(dtype, _REFUSED), "Cast or drop them, or use Parquet.")
        if self.datetime_format is not None and not keeps_zones(self.datetime_format):
            refuse_dtypes(
                schema,
                f"CSV with datetime_format={self.datetime_format!r}",
                lambda dtype: isinstance(dtype, pl.Datetime) and dtype.time_zone is not None,
                "The format has no %z, so an hour would be ambiguous when clocks go back.",
            )
        if len(schema) == 0:
            raise ConfigurationError("The frame has no columns, and CSV can't say how many rows that is.")

    def write(self, frame: pl.LazyFrame, file: BinaryFile, row_group_size: int) -> None:  # noqa: ARG002
        """Have Polars encode the rows; CSV has no row groups."""
        if self.compression == "gzip":
            with gzip_into(file, self.compression_level) as compressed:
                self._encode(frame, compressed)
        else:
            self._encode(frame, file)

    def _encode(self, frame: pl.LazyFrame, file: BinaryFile) -> None:
        if not self._shows_nulls and len(frame.collect_schema()) == 1:
            frame = frame.map_batches(_refuse_blank_lines, streamable=True)
        frame.sink_csv(
            as_io(file),
            separator=self.separator,
            include_header=self.include_header,
            include_bom=self.include_bom,
            quote_style=self.quote_style,
            quote_char=self.quote_char,
            null_value=self.null_value,
            line_terminator=self.line_terminator,
            date_format=self.date_format,
            time_format=self.time_format,
            datetime_format=self.datetime_format,
            float_scientific=self.float_scientific,
            decimal_comma=self.decimal_comma,
            engine="streaming",
        )

    @property
    def _shows_nulls(self) -> bool:
        """Whether a row that is one null is more than a blank line (measured: as `""` where all cells are quoted)."""
        return self.quote_style == "always" or bool(self.null_value and self.null_value.strip())

    def _level_fits(self, level: object) -> bool:
        """Whether isal takes the level; 1.0 and True are equal to 1, and no levels."""
        return self.compression == "gzip" and type(level) is int and level in _GZIP_LEVELS

    def _check_dialect(self) -> None:
        """Refuse a dialect in which a cell could be taken for something else."""
        check_characters(self.separator, self.quote_char)
        ends = self.separator + self.quote_char
        check_null_value(self.null_value, ends)
        check_formats(self.date_format, self.time_format, self.datetime_format, ends)
        if self.decimal_comma and "," in ends:
            raise ConfigurationError("Csv(decimal_comma=True) needs ',' for its numbers: use separator=';'.")
        if self.line_terminator not in {"\n", "\r\n"}:
            raise ConfigurationError(f"Csv(line_terminator={self.line_terminator!r}): use '\\n' or '\\r\\n'.")


def _refuse_blank_lines(batch: pl.DataFrame) -> pl.DataFrame:
    """Refuse a null in the only column, as soon as there is one."""
    (column,) = batch.get_columns()
    if nulls := column.null_count():
        raise ConfigurationError(
            f"{nulls:,} null(s) in a batch of {column.name!r}, the only column: each would be a blank line, which "
            'readers skip. Use Csv(quote_style="always"), or Csv(null_value="NULL"), or add a column. '
            f"{NOTHING_VISIBLE}"
        )
    return batch
