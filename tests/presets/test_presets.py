"""Receiver presets: files are read back in the receivers' dialects, and every limit holds to the last byte."""

from __future__ import annotations

import pickle
from dataclasses import replace
from datetime import UTC, date, datetime
from io import BytesIO
from random import Random
from typing import TYPE_CHECKING, Any, Literal

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

import mc_sink
from mc_sink._display import counted
from mc_sink.exceptions import NOTHING_VISIBLE, ConfigurationError, LimitError
from mc_sink.formats import Csv, OneRun, Parquet
from mc_sink.presets import PRESETS, Limit, Preset, preset_of
from mc_sink.presets.limit import CHARACTERS, DTYPES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mc_sink.formats import Format

EVERY = [(preset, limit) for preset in PRESETS.values() for limit in preset.limits]
IDS = [f"{preset.name}: {limit.name}{''.join(limit.formats[:1])}" for preset, limit in EVERY]
MOMENT = datetime(2026, 11, 22, 10, 15, 30, 123456, tzinfo=UTC)
FRAME = pl.DataFrame(
    {
        "id": pl.int_range(60, eager=True),
        "name": ['a "quoted", text', "", None, "back\\slash", "Zoë | 北京"] * 12,
        "score": [0.1, None, -2.5, 1e300] * 15,
        "is_new": [True, False, None] * 20,
        "born": [date(1969, 12, 31), None] * 30,
        "seen_at": pl.Series([MOMENT, None, MOMENT.replace(microsecond=0)] * 20, dtype=pl.Datetime("us", "UTC")),
    }
)
SQL = {
    "id": "BIGINT",
    "name": "VARCHAR",
    "score": "DOUBLE",
    "is_new": "BOOLEAN",
    "born": "DATE",
    "seen_at": "TIMESTAMPTZ",
}


def query(sql: str) -> Any:
    """Run a query of DuckDB's."""
    found = duckdb.sql(sql)
    assert found is not None
    return found.to_arrow_table()


def by_duckdb(paths: list[str], null: str, line_end: str) -> Any:
    """Read CSV with commas, a header and doubled quotes, as RFC 4180, COPY and spreadsheets have it."""
    return query(
        f"""FROM read_csv({paths}, auto_detect = false, header = true, delim = ',', quote = '"', escape = '"',
        nullstr = '{null}', allow_quoted_nulls = false, new_line = '{line_end}', columns = {SQL})"""
    )


def by_pyarrow(paths: list[str]) -> Any:
    """Read CSV with commas, a header and quotes; an empty field is a null, an empty text stands in quotes."""
    options = pyarrow.csv.ConvertOptions(
        column_types=FRAME.to_arrow().schema, strings_can_be_null=True, quoted_strings_can_be_null=False
    )
    options.null_values = [""]
    return pa.concat_tables([pyarrow.csv.read_csv(path, convert_options=options) for path in paths])


READERS: dict[str, Callable[[list[str]], Any]] = {
    "liveramp": by_pyarrow,
    "adobe": by_pyarrow,
    "redshift": lambda paths: by_duckdb(paths, "\\N", "\\n"),
    "snowflake": lambda paths: by_duckdb(paths, "\\N", "\\n"),
    "bigquery": lambda paths: pa.concat_tables(map(pyarrow.parquet.read_table, paths)),
    "athena": lambda paths: query(f"FROM read_parquet({paths})"),
    "excel": lambda paths: by_duckdb(paths, "", "\\r\\n"),
    "clickhouse": lambda paths: query(f"FROM read_parquet({paths})"),
    "databricks": lambda paths: query(f"FROM read_parquet({paths})"),
    "nielsen": lambda paths: pa.concat_tables(map(pyarrow.parquet.read_table, paths)),
    **dict.fromkeys(("data_360", "marketing_cloud", "google_ads", "amc", "braze", "tealium", "monetate"), by_pyarrow),
    "digital_audience": lambda paths: by_duckdb(paths, "", "\\r\\n"),
}


@pytest.mark.parametrize("preset", [PRESETS[name] for name in READERS], ids=lambda preset: preset.name)
def test_what_a_preset_writes_is_read_back_by_its_receivers_dialect(preset: Preset, tmp_path: Path) -> None:
    """Two files, one at the preset's own cut and one cut by the caller, hold the frame as it was."""
    frame = FRAME
    if preset.name == "google_ads":  # its documented times have no fractions of a second
        frame = FRAME.with_columns(pl.col("seen_at").dt.truncate("1s"))
    preset.check(frame.schema)
    receipt = mc_sink.sink_madconnect(
        preset.watch([frame]), f"{tmp_path}/", format=preset.format, name=preset.file_name, max_rows_per_file=30
    )
    paths = [file.path.removeprefix("file://") for file in receipt.files]
    assert len(paths) == 2
    found = pl.DataFrame(READERS[preset.name](paths)).with_columns(pl.col("seen_at").dt.convert_time_zone("UTC"))
    assert found.equals(frame)


def test_excel_sees_utf8_and_times_without_a_t(tmp_path: Path) -> None:
    """The file begins with the byte order mark, its lines end in CRLF, and formulas are text."""
    frame = pl.DataFrame({"n": ["=1+1"], "at": [MOMENT]})
    mc_sink.sink_madconnect(frame, tmp_path / "x.csv", format=PRESETS["excel"].format)
    assert (tmp_path / "x.csv").read_bytes() == b"\xef\xbb\xbfn,at\r\n'=1+1,2026-11-22 10:15:30.123456+00:00\r\n"


# File names that a receiver takes, and some that it doesn't.
NAMES = {
    "liveramp": (f"20261128T101530Z-4f2a9c_file-part-1.csv {'x' * 250}", f"ü.csv|{'x' * 251}| x.csv"),
    "adobe": (f"20261128T101530Z-4f2a9c.csv {'x' * 255}", f'a:b.csv|a"b.csv|a?|{"x" * 256}'),
    "data_360": ("20261128T101530Z-4f2a9c.csv", "a:b.csv|it's.csv|ü.csv"),
    "google_ads": ("x.csv", "x|x.1"),
    "nielsen": (
        "acme_exposure_1_PAB12_20261122_20261123.parquet acme_dcr-exposure_1_p_0_1-00000.parquet",
        "20261128T101530Z-4f2a9c.parquet|Acme_exposure_1_P_0_1.parquet|acme_exposure_1_P_0_1T.parquet|acme_1.parquet",
    ),
    "tealium": ("store-transactions_2026.11-a.csv", "a b.csv|x.csv.gz|ü.csv|x"),
    "audience_manager": (
        "ftp_dpm_478_1366545717.sync.1.gz ftp_dpm_478_1366545717.sync ftp_dpm_478_567_1366545717.overwrite.gz",
        "20261128T101530Z-4f2a9c.csv|ftp_dpm_478_136654571.sync|ftp_dpm_478_1366545717.csv|ftp_dpm_a_1366545717.sync",
    ),
}


class Orc(Parquet):
    """A format that no receiver takes."""

    @property
    def extension(self) -> str:
        """`.orc`."""
        return ".orc"


def schemas(limit: Limit) -> tuple[list[str], list[str]]:
    """Give headers that are just taken, and headers that are not."""
    if limit.name == "columns":
        most = [f"c{number}" for number in range(limit.number)]
        return most, [*most, "more"]
    return {
        "header length": (["x" * int(limit.value)], ["x" * int(limit.value) + "x"]) if limit.unit else ([], []),
        "header characters": (["Az_09"], ["Az 09 名"]),
        "header prefixes": (["TABLE__TABLE_"], ["_table_1"]),
        "duplicate headers": (["a", "b"], ["a", "B", "b"]),
    }[limit.name]


def values(limit: Limit) -> tuple[list[Any], list[Any]]:
    """Give rows that are just taken, and rows of which the second isn't."""
    n = limit.number if isinstance(limit.value, int) else 0
    if limit.name == "digits of a number":
        return [10**n - 1, 1 - 10**n], [0, -(10**n)]
    if limit.name == "forbidden characters":
        return ["plain"], ["", f"x{CHARACTERS[limit.texts[0]]}"]
    if limit.name == "line ends in a cell":
        return ["x" + "\r\n" * n], ["x", "x" + "\r\n" * n + "\r"]
    letter = "é" if limit.unit == "characters" else "x"
    return [letter * n], ["", letter * n + "x"]


def kind_of(limit: Limit) -> type[pl.DataType]:
    """Give the dtype of those rows."""
    return (pl.Int64 if limit.number < 19 else pl.Int128) if limit.name == "digits of a number" else pl.String


def format_for(preset: Preset, limit: Limit) -> Format:
    """Give a format that the limit is for."""
    choices = [preset.format, Csv(), Csv(compression="gzip"), Parquet()]
    return next(format for format in choices if limit.holds_for(format))


def alone(preset: Preset, limit: Limit) -> Preset:
    """Give the preset with this limit only, in a format that it is for, and no cutting."""
    return replace(preset, limits=(limit,), format=format_for(preset, limit), max_rows_per_file=None)


def refused(call: Callable[[], object], preset: Preset, limit: Limit) -> str:
    """Give the message of the error, which names the preset, the limit, its number and its page."""
    with pytest.raises(LimitError) as error:
        call()
    assert (error.value.preset, error.value.limit) == (preset.name, limit.name)
    for expected in (limit.shown, limit.name, preset.name, NOTHING_VISIBLE):
        assert expected in str(error.value)
    assert limit.source in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(("preset", "limit"), EVERY, ids=IDS)
def test_every_limit_holds_at_its_number_and_breaks_one_beyond(
    preset: Preset, limit: Limit, caplog: pytest.LogCaptureFixture
) -> None:
    """What is just within a limit passes as it is; one more fails with the limit's name."""
    one = alone(preset, limit)
    if limit.name == "format":
        one.check(FRAME.schema, next(format for format in (Csv(), Parquet()) if format.extension in limit.texts))
        refused(lambda: one.check(FRAME.schema, Orc()), preset, limit)
    elif limit.name == "nested columns":
        one.check(FRAME.schema)
        one.check(pl.Schema({"s": pl.List(pl.Int64)}), Csv(nested="json"))
        assert "1 nested column ('s')" in refused(lambda: one.check(pl.Schema({"s": pl.List(pl.Int64)})), preset, limit)
    elif limit.name == "dtypes":
        check_dtypes(one, limit)
    elif limit.name in {"other files", "file names"}:
        check_names(one, limit)
    elif limit.name == "file size":
        assert one.bytes_per_file(one.format) in {limit.value, preset.max_bytes_per_file}
    elif limit.name in {"rows per file", "fewest rows per file"}:
        check_rows(one, limit)
    elif "header" in limit.name or limit.name == "columns":
        within, beyond = schemas(limit)
        one.check(pl.Schema(dict.fromkeys(within, pl.Int64())))
        refused(lambda: one.check(pl.Schema(dict.fromkeys(beyond, pl.Int64()))), preset, limit)
    else:
        within, beyond = values(limit)
        batch, wrong = (pl.DataFrame({"v": pl.Series(rows, dtype=kind_of(limit))}) for rows in (within, beyond))
        assert next(one.watch([batch])) is batch
        if limit.is_soft:
            check_warning(one, limit, wrong, caplog)
            return
        message = refused(lambda: list(one.watch([batch, wrong])), preset, limit)
        assert message.startswith("1 ")
        assert f"(in row {len(within) + 1}, counted from 0)" in message
        assert "xxx" not in message


def check_dtypes(one: Preset, limit: Limit) -> None:
    """Try each dtype that the limit names, in a column and inside lists, and the one that it is to be cast to."""
    samples = {"Datetime(ns)": pl.Datetime("ns"), **{name: getattr(pl, name)() for name in DTYPES if name.isalnum()}}
    one.check(pl.Schema({"v": pl.String(), "n": pl.Int64(), "t": pl.Datetime("us", "UTC"), "d": pl.Date()}))
    for name in limit.texts:
        for dtype in (samples[name], pl.List(samples[name])):
            schema = pl.Schema({"fine": pl.Int64(), "v": dtype})
            message = refused(lambda: one.check(schema), one, limit)  # noqa: B023
            assert message.startswith("1 column ('v') breaks")
            assert f"Cast {name} to {DTYPES[name]}, or drop" in message


def check_warning(one: Preset, limit: Limit, beyond: pl.DataFrame, caplog: pytest.LogCaptureFixture) -> None:
    """Break a limit that the receiver doesn't hold: the run goes on, and warns once."""
    assert list(one.watch([beyond, beyond])) == [beyond, beyond]
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert all(text in record.getMessage() for text in (limit.shown, limit.name, limit.source, "1 row"))


def check_names(one: Preset, limit: Limit) -> None:
    """Try names that the receiver takes, and some that it doesn't; or no other files, and a manifest."""
    if limit.name == "other files":
        one.check_other_files([])
        refused(lambda: one.check_other_files(["the manifest"]), one, limit)
        return
    within, beyond = NAMES[one.name]
    for name in within.split():
        one.check_name(f"s3://bucket/P:p/{name}")
    for name in beyond.split("|"):
        refused(lambda: one.check_name(f"s3://bucket/p/{name}"), one, limit)  # noqa: B023


def check_rows(one: Preset, limit: Limit) -> None:
    """Try the number of rows, one more or less, and cutting that keeps the limit."""

    def rows(number: int) -> list[pl.DataFrame]:
        return [pl.DataFrame({"v": pl.repeat(None, number, dtype=pl.Null, eager=True)})] if number else []

    list(one.watch(rows(limit.number)))
    if limit.name == "rows per file":
        assert refused(lambda: list(one.watch(rows(limit.number + 1))), one, limit).startswith(
            f"{limit.number + 1:,} rows"
        )
        list(replace(one, max_rows_per_file=limit.number).watch(rows(limit.number + 1)))
        refused(
            lambda: list(replace(one, max_rows_per_file=limit.number + 1).watch(rows(limit.number + 1))), one, limit
        )
    else:
        assert refused(lambda: list(one.watch(rows(limit.number - 1))), one, limit).startswith(
            counted(limit.number - 1, "row")
        )
        refused(lambda: list(one.watch(rows(0))), one, limit)
        cut = replace(one, max_rows_per_file=100)
        list(cut.watch(rows(200)))
        list(cut.watch(rows(200 + limit.number)))
        if limit.number > 1:  # or no file is smaller
            assert "24 rows (in the smallest file)" in refused(lambda: list(cut.watch(rows(224))), one, limit)


def test_a_broken_limit_leaves_nothing_visible(tmp_path: Path) -> None:
    """A row of the second batch that is too long ends the run as it stands, and no file is there."""
    preset = PRESETS["liveramp"]
    batches = [pl.DataFrame({"note": ["x"] * 100}), pl.DataFrame({"note": ["y" * 10_001]})]
    with pytest.raises(LimitError, match=r"^1 row \(in row 100, .* 10,000 characters") as error:
        mc_sink.sink_madconnect(preset.watch(batches), f"{tmp_path}/", format=preset.format)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    again = pickle.loads(pickle.dumps(error.value))  # noqa: S301  our own bytes
    assert (again.preset, again.limit, str(again)) == ("liveramp", "row size", str(error.value))


@pytest.mark.parametrize(
    "format",
    [
        Csv(),
        Csv(quote_style="always", null_value="\\N", line_terminator="\r\n", separator=";"),
        Csv(
            quote_style="non_numeric", boolean_format=("yes, it is", "no"), datetime_format="%A %d. %B %Y %H:%M:%S%.6f"
        ),
        Csv(formulas="escape", float_scientific=False, compression="gzip", nested="json", include_bom=True),
    ],
    ids=str,
)
@pytest.mark.parametrize("unit", ["bytes", "characters"])
def test_a_row_is_measured_as_it_is_written(format: Csv, unit: Literal["bytes", "characters"]) -> None:
    """Whatever the dialect and the limit, as many rows break it as have lines that are longer."""
    pick = Random(1).choice  # noqa: S311  any rows will do, as long as they are the same ones
    some = [None, "", '"', 'a "b"\n', "é,;", "=1", "plain", "+49 \r\n", "x" * 30]
    columns: dict[str, tuple[list[Any], Any]] = {
        "*": (some, pl.String),
        "label": (some, pl.Categorical),
        "^w.*$": ([None, 0, -(2**63), 2**63 - 1], pl.Int64),
        "float": ([None, 0.1, -1e-300, 1e300], pl.Float64),
        "is_new": ([None, True, False], pl.Boolean),
        "at": ([None, MOMENT.replace(tzinfo=None), datetime.fromtimestamp(-5, UTC).replace(tzinfo=None)], pl.Datetime),
        **({"nested": ([None, [], ['"', "é"]], pl.List(pl.String))} if format.nested == "json" else {}),
    }
    frame = pl.DataFrame({name: pl.Series([pick(of) for _ in range(50)], dtype=d) for name, (of, d) in columns.items()})
    lengths = [line_length(row, format, unit) for row in frame.iter_slices(1)]
    for number in (1, 50, 80, max(lengths) - 1, max(lengths)):
        limit = Limit("row size", number, unit, "https://example.com")
        preset = Preset(name="own", format=format, limits=(limit,))
        if long := sum(length > number for length in lengths):
            assert refused(lambda: list(preset.watch([frame])), preset, limit).startswith(counted(long, "row"))  # noqa: B023
        else:
            assert next(preset.watch([frame])) is frame


def line_length(row: pl.DataFrame, format: Csv, unit: str) -> int:
    """Write one row and measure its line, without its end."""
    file = BytesIO()
    plain = replace(format, include_header=False, include_bom=False, compression="uncompressed")
    plain.write(OneRun(iter([row]), row.schema), file, 1)
    line = file.getvalue().removesuffix(format.line_terminator.encode())
    return len(line) if unit == "bytes" else len(line.decode())


def test_many_numbers_in_a_row_are_measured_together() -> None:
    """Rows of hundreds of numbers, all of them near the limit, are written at once, and the long ones are found."""
    frame = pl.DataFrame({f"n{number}": pl.int_range(1_000, eager=True) / 7 for number in range(560)})
    liveramp = PRESETS["liveramp"]
    (limit,) = (limit for limit in liveramp.limits if limit.name == "row size")
    long = sum(560 * (len(str(row / 7)) + 1) - 1 > limit.number for row in range(1_000))
    assert 0 < long < frame.height
    assert refused(lambda: list(liveramp.watch([frame])), liveramp, limit).startswith(counted(long, "row"))


def test_ones_own_values_replace_the_presets() -> None:
    """A preset without a limit, or with another number, is held to that."""
    excel = PRESETS["excel"]
    frame = pl.DataFrame({"id": [10**15]})
    with pytest.raises(LimitError, match='"digits of a number" of the preset "excel": 15 digits'):
        list(excel.watch([frame]))
    lifted = replace(excel, limits=tuple(limit for limit in excel.limits if limit.name != "digits of a number"))
    assert next(lifted.watch([frame])) is frame
    assert preset_of(lifted) is lifted
    assert preset_of("excel") is excel
    assert preset_of(None) is None
    assert excel.bytes_per_file(Csv()) is None
    assert PRESETS["bigquery"].bytes_per_file(Csv(compression="gzip")) == 4_000_000_000


def test_digits_of_decimals_and_floats_are_counted_without_the_zeros_at_both_ends() -> None:
    """A number that Excel would round is refused in each dtype; a rounded one passes."""
    excel = PRESETS["excel"]
    cases: list[tuple[pl.Series, int]] = [
        (pl.Series(["12345678901234567.89"]).cast(pl.Decimal(38, 2)), 1),
        (pl.Series(["0.0000123456789012345", "-1234567890.12345"]).cast(pl.Decimal(38, 19)), 0),
        (pl.Series(["123456789012345.1"]).cast(pl.Decimal(16, 1)), 1),
        (pl.Series([1e300, -0.1, 2.5e-9, float("nan"), float("inf"), 123456789012345e20, None]), 0),
        (pl.Series([0.1 + 0.2, 1 / 3, -1234567890.12345678, 5e-324]), 3),
        (pl.Series([1 / 3], dtype=pl.Float32), 0),
    ]
    for values, number in cases:
        if number:
            with pytest.raises(LimitError, match=rf'^{number} numbers? of column \'v\' .* "digits of a number"'):
                list(excel.watch([values.to_frame("v")]))
        else:
            list(excel.watch([values.to_frame("v")]))
    pick = Random(1).uniform  # noqa: S311  any numbers will do
    drawn = pl.DataFrame({"v": [pick(-1, 1) * 10.0**power for power in range(-300, 300)] * 10})
    list(excel.watch([drawn.with_columns(pl.col("v").round_sig_figs(15))]))


def test_a_dialect_with_a_forbidden_character_is_refused() -> None:
    """Athena's reader takes a backslash for an escape, also in the text of a null."""
    with pytest.raises(LimitError, match=r"^1 option of the CSV \(null_value\) breaks .forbidden characters"):
        PRESETS["athena"].check(FRAME.schema, Csv(null_value="\\N"))


def test_a_forbidden_character_that_the_dialect_escapes_is_taken(tmp_path: Path) -> None:
    """A backslash for Athena's reader: the message says how, and the load statement declares it."""
    frame, place = pl.DataFrame({"s": ["C:\\new", 'x\\"']}), f"{tmp_path}/"
    with pytest.raises(LimitError, match=r"give a format=Csv\(escape_char="):
        mc_sink.sink_madconnect(frame, place, preset="athena", format="csv")
    dialect = Csv(escape_char="\\", datetime_format="iso")
    receipt = mc_sink.sink_madconnect(frame, place, preset="athena", format=dialect)
    with open(receipt.files[0].path, "rb") as file:  # noqa: PTH123  a path as a receipt has it
        assert file.read() == b's\n"C:\\\\new"\n"x\\\\\\""\n'
    other = Csv(escape_char="~", null_value="N")
    with pytest.raises(LimitError, match="forbidden characters"):
        mc_sink.sink_madconnect(frame, place, preset="athena", format=other)


def test_names_in_folders_are_columns_of_the_receiver(tmp_path: Path) -> None:
    """They differ from those in the files not only in case, and have no other characters either."""
    for frame, limit in [
        (pl.DataFrame({"Day": [1], "day": [2]}), "duplicate headers"),
        (pl.DataFrame({"a-b": [1], "Day": [2]}), "header characters"),
    ]:
        with pytest.raises(LimitError, match=limit):
            mc_sink.sink_madconnect(frame, f"{tmp_path}/", preset="athena", partition_by=frame.columns[0])
    mc_sink.sink_madconnect(pl.DataFrame({"Day": [1], "n": [2]}), f"{tmp_path}/", preset="athena", partition_by="Day")


def test_headers_of_a_csv_without_a_header_are_nobodys_concern() -> None:
    """The same columns that are refused with a header pass without one, but not in too great a number."""
    schema = pl.Schema({"no good name": pl.Int64()})
    with pytest.raises(LimitError, match=r"^1 header \('no good name'\)"):
        PRESETS["liveramp"].check(schema)
    PRESETS["liveramp"].check(schema, Csv(include_header=False))


@pytest.mark.parametrize(
    ("asked", "expected"), [("redshfit", "Did you mean 'redshift'"), ("s3", "or a Preset"), (3, "a int")]
)
def test_a_name_that_is_none_is_refused(asked: object, expected: str) -> None:
    """The message has all names and the nearest; a limit with an unknown name is refused as well."""
    with pytest.raises(ConfigurationError, match=expected):
        preset_of(asked)


def test_a_limit_that_is_none_is_refused() -> None:
    """Neither an unknown name nor a text for a number gets as far as a delivery."""
    wrong: list[tuple[Any, Any]] = [("colour", 3), ("columns", "3"), ("format", 3), ("file names", "(")]
    for name, value in wrong:
        with pytest.raises(ConfigurationError, match=name):
            Limit(name, value, "", "")
