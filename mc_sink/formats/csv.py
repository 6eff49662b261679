"""CSV, plain or gzip-compressed: the dialect as a value, encoded by Polars."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Literal

import polars as pl

from mc_sink._argument_kinds import check_kinds
from mc_sink._frames import from_batches
from mc_sink._hints import CSV, hints_fields
from mc_sink.exceptions import ConfigurationError, panics_as_query_errors
from mc_sink.formats.column_naming import NAMINGS, ColumnNames, check_header, check_naming, file_names
from mc_sink.formats.csv_cells import CellCounts, CellRules, apply_steps
from mc_sink.formats.csv_dialect import (
    ISO,
    OPTIONS,
    check_boolean_format,
    check_characters,
    check_formats,
    check_null_value,
    keeps_zones,
    takes_naive,
)
from mc_sink.formats.csv_encoding import CODECS, UTF8, Encoder, is_encodable, refuse_names
from mc_sink.formats.csv_moments import MomentTexts, has_moments
from mc_sink.formats.csv_values import as_json, has_json, quoted_text, starts_like_formula
from mc_sink.formats.format import Gathers, as_io, column_named, refuse_dtypes
from mc_sink.formats.gzip import gzip_into

if TYPE_CHECKING:
    from collections.abc import Mapping

    from polars.datatypes import DataTypeClass

    from mc_sink._frames import Batches
    from mc_sink.formats.format import BinaryFile, Runs
    from mc_sink.receipt import CountedWarning

QuoteStyle = Literal["necessary", "always", "non_numeric"]
_CHOICES: dict[str, tuple[object, ...]] = {
    "compression": ("uncompressed", "gzip"),
    "encoding": tuple(CODECS),
    "quote_style": ("necessary", "always", "non_numeric"),
    "line_terminator": ("\n", "\r\n"),
    "non_finite": ("write", "null", "raise"),
    "formulas": ("allow", "escape", "raise"),
    "nested": ("raise", "json"),
}
_INTEGERS = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.Int128, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64, pl.UInt128)
_NUMBERS = (*_INTEGERS, pl.Float16, pl.Float32, pl.Float64, pl.Decimal)
_LABELS = (pl.Categorical, pl.Enum)
_QUOTED = (pl.String, *_LABELS)
_TAKEN = (*_NUMBERS, *_LABELS, pl.String, pl.Boolean, pl.Date, pl.Time, pl.Datetime, pl.Null)
_CHARSETS = {"latin-1": "iso-8859-1"}
_GZIP_LEVELS = range(4)
_TRUE_FALSE = ("true", "false")
_BOM = "\ufeff"
# Measured with Polars 2.1.0: the encoder formats 8 MiB of rows at a time, but at least 256 rows, even if they take
# gigabytes, and holds several such pieces. So only rows of 32 KiB or more can exceed 8 MiB.
_LINES_AT_ONCE, _LINES_BYTES = 1_024, 8 * 2**20
# The engine looks about eight batches ahead, and formats each of them whole. Measured on 4 M rows of the `audience`
# schema: batches of 100,000 rows peak at 640 MB, pieces of 10,000 rows of them at 534 MB, in the same time.
_PIECE_ROWS = 10_000


_FLAGS = ("include_header", "include_bom", "float_scientific", "decimal_comma")


@hints_fields(CSV)
@dataclass(frozen=True, slots=True, kw_only=True)
class Csv:
    r"""CSV as in RFC 4180, by default in UTF-8. Options that Polars' `sink_csv` also has keep their names there.

    Every cell can be read back unchanged. A dialect that would lose something is refused here, and a cell that the
    dialect can't hold is refused when it is written. docs/csv.md shows how to read each option back.

    Arguments:
        separator, quote_char: One ASCII character each.
        escape_char: A character that is written before a quote character, and before itself, within quotes; None
            doubles the quote character, as RFC 4180 does. It needs quote_style="necessary".
        column_names: The headers. "as_is" are the frame's names, "snake" writes `Seen At` as `seen_at`, "repeated"
            writes `Email` and `Email.1` as two columns `Email`; or a mapping of names. Headers that would be equal
            otherwise are refused.
        include_header: Whether the first line names the columns.
        quote_style: "necessary"; "non_numeric" for all texts, dates and booleans; or "always". Nulls and numbers are
            quoted only by "always", which needs a `null_value`. "never" is not offered, because it corrupts data.
        null_value: The text of a null. By default a null is empty, and the empty string is written as `""`. An empty
            `null_value` states that nulls and empty strings may read alike.
        line_terminator: "\n" or "\r\n".
        include_bom: Whether the file starts with UTF-8's byte order mark.
        encoding: "utf-8", "utf-16" (little-endian, after its byte order mark), "windows-1252", "latin-1" or
            "shift_jis". A text that can't be read back from it is refused with its row.
        boolean_format: The texts of true and false.
        date_format, time_format, datetime_format: A format of the specifiers in docs/csv.md, or "iso" or "iso:strict"
            as in `dt.to_string`. A value with digits that the format would drop (seconds, a time zone) is refused.
        float_scientific: True always writes an exponent, False never; None writes one from 1e+16 on and
            below 0.00001.
        decimal_comma: Whether floats and decimals have a comma; needs another separator.
        non_finite: "write" writes `NaN`, `inf` and `-inf`, "null" writes and counts nulls, "raise" refuses them.
        formulas: For cells and headers that a spreadsheet would execute: "allow" counts them, "escape" counts them and
            puts an apostrophe before them, which changes the data, "raise" refuses them.
        nested: "raise" refuses nested columns, "json" writes them as JSON text.
        compression: "uncompressed", or "gzip" for one gzip member without a name or a time, so that equal data gives
            equal bytes.
        compression_level: isal's level for gzip, 0 to 3; 1 by default.

    Raises `ConfigurationError`, as does writing with it.
    """

    separator: str = ","
    include_header: bool = True
    quote_style: QuoteStyle = "necessary"
    quote_char: str = '"'
    escape_char: str | None = None
    column_names: ColumnNames = "as_is"
    null_value: str | None = None
    line_terminator: Literal["\n", "\r\n"] = "\n"
    include_bom: bool = False
    encoding: Literal["utf-8", "utf-16", "windows-1252", "latin-1", "shift_jis"] = "utf-8"
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
        check_kinds(self, *_FLAGS)
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if not isinstance(value, str) or value not in choices:
                is_never = name == "quote_style" and isinstance(value, str) and value == "never"
                reason = "corrupts data" if is_never else "is not supported"
                raise ConfigurationError(f"Csv({name}={value!r}) {reason}. Use {' or '.join(map(repr, choices))}.")
        level = self.compression_level
        fits = type(level) is int and level in _GZIP_LEVELS  # 1.0 and True are equal to 1, but isal refuses them
        if level is not None and not (fits and self.compression == "gzip"):
            raise ConfigurationError(
                f"Csv(compression_level={level}) is not possible: gzip has levels 0 to 3, plain CSV has none."
            )
        self._check_dialect()

    def _check_dialect(self) -> None:
        """Raise for a dialect in which one cell could be read as another."""
        check_characters(self.separator, self.quote_char, self.escape_char)
        check_naming(self.column_names, "Csv", NAMINGS)
        check_null_value(self.null_value, self._ends)
        check_boolean_format(self.boolean_format, self.null_value)
        check_formats(self._formats, self._ends)
        if self.decimal_comma and "," in self._ends:
            raise ConfigurationError("Csv(decimal_comma=True) needs ',' for its numbers. Use separator=';'.")
        if self.encoding != UTF8:
            self._check_encoding()
        if self.escape_char and self.quote_style != "necessary":
            raise ConfigurationError(
                f"Csv(escape_char={self.escape_char!r}) needs quote_style='necessary'. Leave one of them out."
            )
        if self.quote_style == "always" and self.null_value is None:
            raise ConfigurationError(
                "Csv(quote_style='always') would write nulls in quotes, like empty strings. Pass null_value='NULL', or "
                "null_value='' if nulls and empty strings may read alike."
            )

    def _check_encoding(self) -> None:
        if self.include_bom:
            raise ConfigurationError(
                f"Csv(include_bom=True) is for UTF-8 only: {self.encoding} has "
                f"{'its own' if self.encoding == 'utf-16' else 'none'}. Leave it out."
            )
        options = {name: getattr(self, name) for name in ("null_value", *OPTIONS.values())}
        options |= {f"boolean_format[{number}]": text for number, text in enumerate(self.boolean_format)}
        for name, text in options.items():
            if text and not is_encodable(text, self.encoding):
                raise ConfigurationError(
                    f"Csv({name}={text!r}) can't be written as {self.encoding}, which doesn't have all of its "
                    "characters. Use another text."
                )

    @property
    def _ends(self) -> str:
        """The characters that can't be in a cell without quotes."""
        return self.separator + self.quote_char + (self.escape_char or "")

    @property
    def extension(self) -> str:
        """`.csv` or `.csv.gz`."""
        return ".csv.gz" if self.compression == "gzip" else ".csv"

    @property
    def content_type(self) -> str:
        """`text/csv` (RFC 7111, UTF-8 unless it names another charset) or `application/gzip` (RFC 6713)."""
        if self.compression == "gzip":
            return "application/gzip"
        return (
            "text/csv" if self.encoding == UTF8 else f"text/csv; charset={_CHARSETS.get(self.encoding, self.encoding)}"
        )

    def gathers(self, row_group_size: int) -> Gathers:  # noqa: ARG002  CSV has no row groups
        """Return the bounds of what Polars' encoder formats at once."""
        return Gathers(_LINES_AT_ONCE, _LINES_BYTES)

    def check(self, schema: pl.Schema) -> None:
        """Raise for dtypes without a text, headers that would be lost, and datetimes that their format can't hold."""
        advice = "" if self.nested == "json" else "Csv(nested='json') writes lists, structs and maps as JSON. "
        advice += "Cast or drop them, or use Parquet."
        refuse_dtypes(schema, "CSV", lambda dtype: not self._has_text(dtype), advice)
        if self.datetime_format is not None:
            self._check_zones(schema, self.datetime_format)
        if len(schema) == 0:
            raise ConfigurationError("The frame has no columns, and CSV can't hold rows without one. Add a column.")
        if self.encoding != UTF8:
            refuse_names(schema, self.encoding, include_header=self.include_header)
        if self.include_header:
            names = list(file_names(schema, self.column_names).values())
            check_header(names, self._ends, self.formulas, include_bom=self.include_bom)

    def write(
        self,
        runs: Runs,
        file: BinaryFile,
        row_group_size: int,  # noqa: ARG002  CSV has no row groups
        *,
        metadata: Mapping[str, str] | None = None,  # noqa: ARG002  CSV has no metadata
    ) -> tuple[CountedWarning, ...]:
        """Encode the rows by Polars, and count the cells that the receiver should know of."""
        counts = CellCounts()
        header = self._header(runs.schema, counts) if self.include_header else b""
        with gzip_into(file, self.compression_level) if self.compression == "gzip" else nullcontext(file) as opened:
            text = opened if self.encoding == UTF8 else Encoder(opened, self.encoding)
            if start := _BOM.encode() * self.include_bom + header:
                text.write(start)
            self._encode(runs, text, counts)
            while runs.more:
                self._encode(runs, text, counts)
        return counts.warnings()

    @panics_as_query_errors()
    def _encode(self, runs: Runs, file: BinaryFile, counts: CellCounts) -> None:
        """Write the rows of the next run."""
        self._sink(self._as_text(runs, counts), file)

    def _sink(self, frame: pl.LazyFrame, file: BinaryFile) -> None:
        if self.escape_char:
            texts = [name for name, dtype in frame.collect_schema().items() if isinstance(dtype, _QUOTED)]
            frame = frame.with_columns(
                quoted_text(name, self.separator, self.quote_char, self.escape_char) for name in texts
            )
        frame.sink_csv(
            as_io(file),
            separator=self.separator,
            include_header=False,
            quote_style="never" if self.escape_char else self.quote_style,
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

    def _as_text(self, runs: Runs, counts: CellCounts) -> pl.LazyFrame:
        """Return the plan of the next run with its cells checked, and with text where Polars would write another."""
        escaped, num_before = self.formulas == "escape", runs.num_rows
        labels = [name for name in runs.schema if escaped and isinstance(runs.schema[name], _LABELS)]
        schema = pl.Schema({**runs.schema, **dict.fromkeys(labels, pl.String())})
        moments = [name for name, dtype in schema.items() if self._quickens(dtype)]
        rules = CellRules(
            formulas=self.formulas,
            non_finite=self.non_finite,
            null_value=self.null_value,
            formats=self._formats,
            shows_nulls=self.quote_style == "always" or bool(self.null_value),
            starts_with_cell=not self.include_header,
            encoding=self.encoding,
        )
        steps, numbered = rules.steps(schema, counts)
        if labels:
            steps.insert(0, lambda batch, _: batch.with_columns(column_named(name).cast(pl.String) for name in labels))
        first_row = num_before if numbered else None
        written = MomentTexts()

        def pieces() -> Batches:
            for batch in apply_steps(runs.pull(), steps, first_row=first_row):
                texts = [written.text(batch.get_column(name)) for name in moments]
                yield from batch.with_columns(texts).iter_slices(_PIECE_ROWS)

        schema = pl.Schema({**schema, **dict.fromkeys(moments, pl.String())})
        frame = from_batches(pieces, schema)
        texts = [text for name in schema if (text := self._text_of(name, schema[name])) is not None]
        return frame.with_columns(texts) if texts else frame

    def _header(self, schema: pl.Schema, counts: CellCounts) -> bytes:
        """Return the line that names the columns, and count the names that a spreadsheet would execute."""
        is_escaped, names = self.formulas == "escape", list(file_names(schema, self.column_names).values())
        for name in filter(starts_like_formula, names):
            counts.add("escaped" if is_escaped else "formula", name, 1)
        cells = [f"'{name}" if is_escaped and starts_like_formula(name) else name for name in names]
        file = BytesIO()
        self._sink(pl.LazyFrame({str(number): [cell] for number, cell in enumerate(cells)}), file)
        return file.getvalue()

    def _text_of(self, name: str, dtype: pl.DataType) -> pl.Expr | None:
        """Return the expression for a column's text, or None where Polars' encoder writes the right one."""
        column = column_named(name)
        if isinstance(dtype, pl.Boolean) and self.boolean_format != _TRUE_FALSE:
            true, false = map(pl.lit, self.boolean_format)
            return pl.when(column).then(true).when(~column).then(false).alias(name)
        if dtype.is_nested():
            return as_json(name, dtype)
        pattern = self._formats.get(dtype.base_type())
        return column.dt.to_string(pattern) if pattern in ISO else None

    def _quickens(self, dtype: pl.DataType) -> bool:
        """Return True where our own text is faster than that of Polars' encoder, or has another offset from UTC."""
        if not has_moments(dtype) or self._formats[dtype.base_type()] is not None:
            return False
        return self.quote_style == "necessary" or getattr(dtype, "time_zone", None) is not None

    @property
    def _formats(self) -> dict[DataTypeClass, str | None]:
        return {kind: getattr(self, option) for kind, option in OPTIONS.items()}

    def _has_text(self, dtype: pl.DataType) -> bool:
        return isinstance(dtype, _TAKEN) or (self.nested == "json" and dtype.is_nested() and has_json(dtype, _TAKEN))

    def _check_zones(self, schema: pl.Schema, pattern: str) -> None:
        def has(dtype: pl.DataType, *, zone: bool) -> bool:
            return isinstance(dtype, pl.Datetime) and (dtype.time_zone is not None) == zone

        format_name = f"CSV with datetime_format={pattern!r}"
        if not keeps_zones(pattern):
            advice = "Without %z in the format, an hour is ambiguous when clocks go back. Add %z."
            refuse_dtypes(schema, format_name, lambda dtype: has(dtype, zone=True), advice)
        if not takes_naive(pattern):
            advice = "They have no time zone, and the format has %z. Give them a time zone, or leave %z out."
            refuse_dtypes(schema, format_name, lambda dtype: has(dtype, zone=False), advice)
