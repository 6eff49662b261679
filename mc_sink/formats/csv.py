"""CSV, plain or gzip-compressed: the dialect as data, and Polars' encoder."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import polars as pl

from mc_sink._polars import Float16
from mc_sink.exceptions import ConfigurationError
from mc_sink.formats.csv_cells import CellCounts, CellRules, look_at, steps_for
from mc_sink.formats.csv_dialect import (
    ISO,
    OPTIONS,
    check_boolean_format,
    check_characters,
    check_formats,
    check_null_value,
    first_cell_end,
    keeps_zones,
    takes_naive,
)
from mc_sink.formats.csv_values import as_json, has_json, starts_like_formula
from mc_sink.formats.format import Gathers, as_io, column_named, refuse_dtypes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from polars.datatypes import DataTypeClass

    from mc_sink.formats.format import BinaryFile, Runs
    from mc_sink.receipt import CountedWarning

QuoteStyle = Literal["necessary", "always", "non_numeric"]
_CHOICES: dict[str, tuple[object, ...]] = {
    "compression": ("uncompressed", "gzip"),
    "quote_style": ("necessary", "always", "non_numeric"),
    "line_terminator": ("\n", "\r\n"),
    "non_finite": ("write", "null", "raise"),
    "formulas": ("allow", "escape", "raise"),
    "nested": ("raise", "json"),
}
_INTEGERS = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.Int128, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64, pl.UInt128)
_NUMBERS = (*_INTEGERS, Float16, pl.Float32, pl.Float64, pl.Decimal)
_LABELS = (pl.Categorical, pl.Enum)
_TAKEN = (*_NUMBERS, *_LABELS, pl.String, pl.Boolean, pl.Date, pl.Time, pl.Datetime, pl.Null)
_GZIP_LEVELS = range(4)
_TRUE_FALSE = ("true", "false")
_BOM = "\ufeff"
# Measured, Polars 2.1.0: lines are made of 8 MiB of rows at a time, but of 256 rows at least, also if they take
# gigabytes, and several times that is on its way. Rows that may come to more than 8 MiB so are of 32 KiB or more.
_LINES_AT_ONCE, _LINES_BYTES = 1_024, 8 * 2**20
DEFAULT_LEVEL = 2
# One thread keeps up with Polars' encoder on the cores that are left; blocks bound what waits for it.
THREADS, BLOCK_SIZE = 1, 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Csv:
    r"""CSV as RFC 4180 has it, UTF-8; the options that Polars' `sink_csv` has too are under its names.

    Whatever is written can be read back as it was; a dialect in which it couldn't is refused, and so is a cell that
    the dialect can't hold. docs/csv.md says how to read it back, option by option.

    `null_value` is what a null is written as: by default nothing, where the empty string is written as `""`. Nulls,
    numbers and dates are never quoted unless `quote_style` is "always", which needs a `null_value` (an empty one if
    nulls and empty strings may be the same). "never" is not offered: it corrupts data.

    `boolean_format` are the texts for true and false. `date_format`, `time_format` and `datetime_format` are Polars'
    (chrono's); "iso" and "iso:strict" are those of `dt.to_string`. What a format would drop (seconds, a time zone) is
    refused where there is any.

    `non_finite` says what becomes of NaN and infinities: "write" writes `NaN`, `inf` and `-inf`, "null" makes them null
    and counts them, "raise" refuses them. `formulas` does so for cells and headers that a spreadsheet would execute:
    "allow" counts them, "escape" changes them by an apostrophe in front and counts them, "raise" refuses them.
    `nested` columns are refused by "raise"; "json" writes them as JSON text.

    `compression="gzip"` writes one gzip member with no name and no time in it, so that equal data gives equal bytes;
    `compression_level` is isal's, 0 to 3 (2 by default).
    """

    separator: str = ","
    include_header: bool = True
    quote_style: QuoteStyle = "necessary"
    quote_char: str = '"'
    null_value: str | None = None
    line_terminator: Literal["\n", "\r\n"] = "\n"
    include_bom: bool = False
    boolean_format: tuple[str, str] = _TRUE_FALSE
    date_format: str | None = None
    time_format: str | None = None
    datetime_format: str | None = None
    float_scientific: bool | None = None
    decimal_comma: bool = False
    non_finite: Literal["write", "null", "raise"] = "write"
    formulas: Literal["allow", "escape", "raise"] = "allow"
    nested: Literal["raise", "json"] = "raise"
    compression: Literal["uncompressed", "gzip"] = "uncompressed"
    compression_level: int | None = None

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if (value := getattr(self, name)) not in choices:
                told = "; anything else corrupts data." if name == "quote_style" else "."
                raise ConfigurationError(f"Csv({name}={value!r}): use {' or '.join(map(repr, choices))}{told}")
        if self.compression_level is not None and not self._level_fits(self.compression_level):
            raise ConfigurationError(
                f"Csv(compression_level={self.compression_level}): gzip takes 0 to 3, plain CSV none."
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

    def gathers(self, row_group_size: int) -> Gathers:  # noqa: ARG002  CSV has no row groups
        """Return the bounds of what Polars' encoder makes lines of at once."""
        return Gathers(_LINES_AT_ONCE, _LINES_BYTES)

    def check(self, schema: pl.Schema) -> None:
        """Refuse dtypes without a text, headers that would be lost, and datetimes that their format can't hold."""
        refuse_dtypes(schema, "CSV", lambda dtype: not self._takes(dtype), self._advice())
        if self.datetime_format is not None:
            self._check_zones(schema, self.datetime_format)
        if len(schema) == 0:
            raise ConfigurationError("The frame has no columns, and CSV can't say how many rows that is.")
        if self.include_header:
            self._check_header(schema)

    def write(
        self,
        frame: pl.LazyFrame,
        file: BinaryFile,
        row_group_size: int,  # noqa: ARG002  CSV has no row groups
        *,
        metadata: Mapping[str, str] | None = None,  # noqa: ARG002  and no place for facts
        runs: Runs | None = None,
    ) -> tuple[CountedWarning, ...]:
        """Have Polars encode the rows, and count what the receiver should be told about."""
        tally = CellCounts()
        with gzip_into(file, self.compression_level) if self.compression == "gzip" else nullcontext(file) as opened:
            self._encode(frame, opened, tally, 0)
            while runs is not None and runs.more:
                self._encode(frame, opened, tally, runs.num_rows)
        return tally.warnings()

    def _encode(self, frame: pl.LazyFrame, file: BinaryFile, tally: CellCounts, num_before: int) -> None:
        """Write the rows of one run, which come after so many others."""
        self._as_text(frame, tally, num_before).sink_csv(
            as_io(file),
            separator=self.separator,
            include_header=self.include_header and not num_before,
            include_bom=self.include_bom and not num_before,
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

    def _as_text(self, frame: pl.LazyFrame, tally: CellCounts, num_before: int) -> pl.LazyFrame:
        """Look at the batches where there is need, and make text of what Polars would write otherwise."""
        schema = frame.collect_schema()
        if self.formulas == "escape":
            labels = [name for name in schema if isinstance(schema[name], _LABELS)]
            frame = frame.with_columns(column_named(name).cast(pl.String) for name in labels)
            schema = frame.collect_schema()
        steps, numbered = steps_for(schema, self._rules(), tally)
        frame = look_at(frame, steps, first_row=num_before if numbered else None)
        if texts := [text for name in schema if (text := self._text_of(name, schema[name])) is not None]:
            frame = frame.with_columns(texts)
        header = self._header(schema, tally) if self.include_header and not num_before else {}
        return frame.rename(header) if header else frame

    def _text_of(self, name: str, dtype: pl.DataType) -> pl.Expr | None:
        """Give the expression that makes text of a column, where Polars' encoder wouldn't make that text."""
        column = column_named(name)
        if isinstance(dtype, pl.Boolean) and self.boolean_format != _TRUE_FALSE:
            true, false = map(pl.lit, self.boolean_format)
            return pl.when(column).then(true).when(~column).then(false).alias(name)
        if dtype.is_nested():
            return as_json(name)
        pattern = self._formats().get(dtype.base_type())
        return column.dt.to_string(pattern) if pattern in ISO else None

    def _header(self, schema: pl.Schema, tally: CellCounts) -> dict[str, str]:
        """Give the header's new names, where formulas are to be escaped, and count those that would be executed."""
        formulas = [name for name in schema if starts_like_formula(name)]
        for name in formulas:
            tally.add("escaped" if self.formulas == "escape" else "formula", name, 1)
        return {name: f"'{name}" for name in formulas} if self.formulas == "escape" else {}

    def _rules(self) -> CellRules:
        return CellRules(
            formulas=self.formulas,
            non_finite=self.non_finite,
            null_value=self.null_value,
            formats=self._formats(),
            shows_nulls=self.quote_style == "always" or bool(self.null_value),
            starts_with_cell=not self.include_header,
        )

    def _formats(self) -> dict[DataTypeClass, str | None]:
        return {kind: getattr(self, option) for kind, option in OPTIONS.items()}

    def _takes(self, dtype: pl.DataType) -> bool:
        return isinstance(dtype, _TAKEN) or (self.nested == "json" and dtype.is_nested() and has_json(dtype, _TAKEN))

    def _advice(self) -> str:
        nested = "" if self.nested == "json" else "Csv(nested='json') writes lists, structs and maps as JSON. "
        return f"{nested}Cast or drop them, or use Parquet."

    def _check_zones(self, schema: pl.Schema, pattern: str) -> None:
        def has(dtype: pl.DataType, *, zone: bool) -> bool:
            return isinstance(dtype, pl.Datetime) and (dtype.time_zone is not None) == zone

        told = f"CSV with datetime_format={pattern!r}"
        if not keeps_zones(pattern):
            advice = "The format has no %z, so an hour would be ambiguous when clocks go back."
            refuse_dtypes(schema, told, lambda dtype: has(dtype, zone=True), advice)
        if not takes_naive(pattern):
            advice = "The format wants a time zone, and they have none: give them one, or leave %z out."
            refuse_dtypes(schema, told, lambda dtype: has(dtype, zone=False), advice)

    def _check_header(self, schema: pl.Schema) -> None:
        names = list(schema)
        if names[0].startswith(_BOM):
            raise ConfigurationError(
                f"1 header, {names[0]!r}, starts with a byte order mark, which readers would drop: rename it."
            )
        ends = self.separator + self.quote_char
        if self.include_bom and first_cell_end(ends, names[0]):  # DuckDB 2.0 doesn't see the quotes behind a mark
            raise ConfigurationError(
                f"1 header, {names[0]!r}, needs quotes behind the file's byte order mark, where not all readers see "
                "them: rename it, or leave include_bom out."
            )
        formulas = [name for name in names if starts_like_formula(name)]
        if self.formulas == "raise" and formulas:
            raise ConfigurationError(
                f"{len(formulas)} header(s) start like a formula, which a spreadsheet would execute: {formulas}. "
                "Rename them, or use Csv(formulas='escape') or Csv(formulas='allow'). Nothing was sent."
            )
        if self.formulas == "escape" and (twice := [name for name in formulas if f"'{name}" in schema]):
            raise ConfigurationError(f"{len(twice)} header(s) would stand twice once escaped: {twice}. Rename them.")

    def _level_fits(self, level: object) -> bool:
        """Whether isal takes the level; 1.0 and True are equal to 1, and no levels."""
        return self.compression == "gzip" and type(level) is int and level in _GZIP_LEVELS

    def _check_dialect(self) -> None:
        """Refuse a dialect in which a cell could be taken for something else."""
        check_characters(self.separator, self.quote_char)
        ends = self.separator + self.quote_char
        check_null_value(self.null_value, ends)
        check_boolean_format(self.boolean_format, self.null_value)
        check_formats(self._formats(), ends)
        if self.decimal_comma and "," in ends:
            raise ConfigurationError("Csv(decimal_comma=True) needs ',' for its numbers: use separator=';'.")
        if self.quote_style == "always" and self.null_value is None:
            raise ConfigurationError(
                "Csv(quote_style='always') writes nulls in quotes, as it does empty strings: give null_value='NULL', "
                "or null_value='' if they may be the same."
            )


@contextmanager
def gzip_into(file: BinaryFile, level: int | None) -> Iterator[BinaryFile]:
    """Give a file whose bytes arrive in `file` compressed; the trailer is written when the block ends."""
    from isal import igzip_threaded

    compressed = igzip_threaded.open(
        file, "wb", compresslevel=DEFAULT_LEVEL if level is None else level, threads=THREADS, block_size=BLOCK_SIZE
    )
    with compressed:
        yield cast("BinaryFile", compressed)
