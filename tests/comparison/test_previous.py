"""The last delivery comes from the caller's side, as a frame or a file of any kind, and equals what was delivered."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pytest

import mc_sink
from mc_sink import ConfigurationError, Csv, Parquet
from mc_sink.comparison import compare
from mc_sink.receipt import Changes
from tests.support.dtypes import Map, existing_by_name

if TYPE_CHECKING:
    from pathlib import Path

WHEN = datetime(2026, 11, 22, 10, 15, 30, 123456)  # noqa: DTZ001  a clock without a zone
CELLS: dict[str, tuple[pl.DataType, list[Any]]] = existing_by_name(
    {
        "id": (pl.Int64(), [1, 2, -(2**62)]),
        'a "name", quoted': (pl.String(), ["plain", 'a "quoted",\ncell', "007"]),
        "empty": (pl.String(), ["", None, "NULL?"]),
        "float": (pl.Float64(), [0.1, float("nan"), None]),
        "infinite": (pl.Float64(), [float("inf"), -0.0, 1e-300]),
        "small": (pl.Float32(), [0.1, None, 3.4e38]),
        "half": (pl.Float16(), [0.1, None, 65504.0]),
        "decimal": (pl.Decimal(10, 2), [Decimal("1.50"), Decimal("-0.01"), None]),
        "byte": (pl.UInt8(), [0, 255, None]),
        "flag": (pl.Boolean(), [True, False, None]),
        "day": (pl.Date(), [date(2026, 11, 22), None, date(1, 1, 1)]),
        "at": (pl.Time(), [time(10, 15, 30, 5), None, time(0)]),
        "naive": (pl.Datetime("us"), [WHEN, None, WHEN.replace(year=1900)]),
        "fine": (pl.Datetime("ns"), [WHEN, None, WHEN]),
        "utc": (pl.Datetime("ms", "UTC"), [WHEN.replace(microsecond=123_000, tzinfo=UTC), None, None]),
        "berlin": (
            pl.Datetime("us", "Europe/Berlin"),
            [datetime(2026, 10, 25, h, 30, tzinfo=UTC) for h in (0, 1)] + [None],
        ),
        "label": (pl.Categorical(), ["a", None, ""]),
        "choice": (pl.Enum(["b", "a"]), ["a", "b", None]),
        "nothing": (pl.Null(), [None, None, None]),
    }
)
NESTED: dict[str, tuple[pl.DataType, list[Any]]] = existing_by_name(
    {
        "list": (pl.List(pl.Int64()), [[1, None], [], None]),
        "array": (pl.Array(pl.Int8(), 2), [[1, None], [2, 3], None]),
        "struct": (pl.Struct({"x": pl.Int64(), "y": pl.String()}), [{"x": 1, "y": None}, {"x": None, "y": "é"}, None]),
        "map": (Map(pl.String(), pl.Int64()), [{"k": 1}, {}, None]),
    }
)


def frame_of(cells: dict[str, tuple[pl.DataType, list[Any]]]) -> pl.DataFrame:
    """Make a frame of cells."""
    return pl.DataFrame({name: pl.Series(values, dtype=dtype, strict=False) for name, (dtype, values) in cells.items()})


FRAME, WITH_NESTED = frame_of(CELLS), frame_of(CELLS | NESTED)
SIMPLE = pl.DataFrame({"id": [1, 2, 3], "n": [10, 20, 30]})
DIALECTS = [
    Csv(),
    Csv(compression="gzip"),
    Csv(separator=";", quote_char="'", decimal_comma=True, null_value="NULL", line_terminator="\r\n", include_bom=True),
    Csv(include_header=False, boolean_format=("yes", "no"), quote_style="non_numeric"),
    Csv(quote_style="always", null_value="NULL", float_scientific=True),
    Csv(date_format="%d.%m.%Y", time_format="iso", datetime_format="iso"),
    Csv(datetime_format="iso:strict", time_format="%H:%M:%S%.6f"),
]


def counted(previous: Any, now: pl.DataFrame, **options: Any) -> Changes:
    """Compare, and give the counts."""
    comparison = compare(previous, now.schema, **{"keys": "id", **options})
    for _ in comparison.changed([now]):
        pass
    return comparison.counts


UNCHANGED = Changes(added=0, changed=0, removed=0, unchanged=3)


@pytest.mark.parametrize("nested", ["raise", "json"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_csv_that_was_delivered_is_unchanged(tmp_path: Path, dialect: Csv, nested: Any) -> None:
    """In every dialect, which is passed on, with every dtype that a CSV can hold."""
    frame = FRAME if nested == "raise" else WITH_NESTED
    dialect = mc_sink.Csv(**{name: getattr(dialect, name) for name in dialect.__slots__} | {"nested": nested})
    path = tmp_path / f"x{dialect.extension}"
    mc_sink.sink_madconnect(frame, path, format=dialect)
    assert counted(path, frame, dialect=dialect) == UNCHANGED


def test_csv_is_taken_for_our_own_unless_told(tmp_path: Path) -> None:
    """The default dialect is the one that is written by default, gzipped or not."""
    for name in ("x.csv", "x.csv.gz"):
        mc_sink.sink_madconnect(FRAME, tmp_path / name)
        assert counted(str(tmp_path / name), FRAME) == UNCHANGED


def test_parquet_that_was_delivered_is_unchanged(tmp_path: Path) -> None:
    """And so is one with 128-bit integers, which were written as decimals."""
    frame = WITH_NESTED.with_columns(pl.Series("wide", [2**90, -1, None], pl.Int128))
    mc_sink.sink_madconnect(frame, tmp_path / "x.parquet", format=Parquet(int128="decimal", null_dtype="write"))
    assert counted(tmp_path / "x.parquet", frame) == UNCHANGED


@pytest.mark.parametrize("suffix", [".arrow", ".ipc", ".feather"])
def test_arrow_files_are_read(tmp_path: Path, suffix: str) -> None:
    """Under each of the names that they go by."""
    WITH_NESTED.write_ipc(tmp_path / f"x{suffix}")
    assert counted(tmp_path / f"x{suffix}", WITH_NESTED) == UNCHANGED


@pytest.mark.parametrize("suffix", [".ndjson", ".jsonl"])
def test_json_lines_are_read(tmp_path: Path, suffix: str) -> None:
    """As Polars writes them, where floats are finite, which is all that JSON has."""
    frame = WITH_NESTED.drop("float", "infinite")
    frame.write_ndjson(tmp_path / f"x{suffix}")
    assert counted(tmp_path / f"x{suffix}", frame) == UNCHANGED


def test_several_files_are_one_delivery(tmp_path: Path) -> None:
    """A glob finds all files of a run; a name with brackets is a name, if such a file exists."""
    now = pl.DataFrame({"id": range(100), "n": range(100)})
    mc_sink.sink_madconnect(now, f"{tmp_path}/run/", format="csv.gz", max_rows_per_file=30)
    assert counted(f"{tmp_path}/run/*.csv.gz", now).unchanged == 100
    SIMPLE.write_parquet(tmp_path / "x[1].parquet")
    assert counted(tmp_path / "x[1].parquet", SIMPLE) == UNCHANGED


@pytest.mark.parametrize(
    "previous",
    [
        SIMPLE,
        SIMPLE.lazy(),
        SIMPLE.to_arrow(),
        pa.RecordBatchReader.from_stream(SIMPLE.to_arrow()),
        iter([SIMPLE.head(1), SIMPLE.tail(2)]),
        SIMPLE.select("n", "id"),
        SIMPLE.cast({"id": pl.Float64, "n": pl.Int8}),
        SIMPLE.with_columns(pl.col("n").cast(pl.String)),
    ],
)
def test_any_frame_will_do(previous: Any) -> None:
    """In any order of columns, and in dtypes that hold the same values."""
    assert counted(previous, SIMPLE) == UNCHANGED


def test_a_delivery_without_rows(tmp_path: Path) -> None:
    """After it all rows are added, also where its file is empty to the last byte."""
    dialect = Csv(include_header=False)
    mc_sink.sink_madconnect(SIMPLE.clear(), tmp_path / "x.csv", format=dialect)
    for previous in (tmp_path / "x.csv", SIMPLE.clear()):
        assert counted(previous, SIMPLE, dialect=dialect) == Changes(added=3, changed=0, removed=0, unchanged=0)
    assert counted(SIMPLE, SIMPLE.clear()) == Changes(added=0, changed=0, removed=3, unchanged=0)


def refused(*words: str, previous: Any = SIMPLE, now: pl.DataFrame = SIMPLE, **options: Any) -> None:
    """Find that a comparison is refused, in these words, and that nothing became visible."""
    with pytest.raises(ConfigurationError) as raised:
        counted(previous, now, **options)
    for text in (*words, "Nothing became visible."):
        assert text in str(raised.value)


@pytest.mark.parametrize(
    "url", ["s3://bucket/last.parquet", "https://x.test/last.csv", "gs://bucket/p/", "file:///x.csv"]
)
def test_a_url_is_refused(url: str) -> None:
    """The bucket is only written to."""
    refused(url, "never from the bucket", previous=url)


def test_a_file_must_be_there_and_say_what_it_is(tmp_path: Path) -> None:
    """Nothing is guessed from the bytes."""
    refused("No file matches", previous=tmp_path / "missing.csv")
    refused("No file matches", previous=f"{tmp_path}/*.parquet")
    (tmp_path / "x.xlsx").touch()
    refused("x.xlsx", ".csv.gz", previous=tmp_path / "x.xlsx")
    refused("glob", previous=tmp_path)


def test_other_columns_are_refused() -> None:
    """By name, with what to do."""
    other = SIMPLE.rename({"n": "m"})
    refused("1 column missing: ['n']", "1 column not in this run: ['m']", previous=other)
    refused("1 column not in this run: ['action']", previous=SIMPLE.with_columns(action=pl.lit("added")))


def test_values_that_do_not_cast_are_counted(tmp_path: Path) -> None:
    """By column; the values are not shown."""
    now = SIMPLE.cast({"n": pl.Int8})
    refused(
        "2 values of previous=",
        "2 of 'n' (Int64, wanted Int8)",
        previous=SIMPLE.with_columns(n=pl.Series([1, 300, 400])),
        now=now,
    )
    (tmp_path / "x.csv").write_text("id,n\n1,secret\n2,\n3,1.5\n")
    refused("2 of 'n' (text, wanted Int64)", previous=tmp_path / "x.csv")
    with pytest.raises(ConfigurationError) as raised:
        counted(tmp_path / "x.csv", SIMPLE)
    assert "secret" not in str(raised.value)
    refused("1 of 'n'", previous=SIMPLE.with_columns(n=pl.Series([1.0, 2.5, 3.0])))
    refused(
        "1 of 'n'", previous=SIMPLE.with_columns(n=pl.Series([2**60 + 1, 1, 1])), now=SIMPLE.cast({"n": pl.Float64})
    )
    (tmp_path / "d.csv").write_text("id,n\n1,1.505\n2,1.50\n3,\n")
    refused("1 of 'n'", previous=tmp_path / "d.csv", now=SIMPLE.cast({"n": pl.Decimal(10, 2)}))


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (pl.Datetime("us"), pl.Datetime("us", "UTC")),
        (pl.Datetime("us", "UTC"), pl.Datetime("us")),
        (pl.Int64(), pl.Datetime("us")),
        (pl.Int64(), pl.Duration("us")),
        (pl.Int64(), pl.Date()),
        (pl.String(), pl.List(pl.String())),
    ],
)
def test_dtypes_that_could_mean_two_things_are_refused(found: pl.DataType, wanted: pl.DataType) -> None:
    """A naive clock may have run anywhere, and a number may be of any unit."""
    now, before = (SIMPLE.with_columns(pl.lit(None, dtype).alias("n")) for dtype in (wanted, found))
    refused("1 column of previous=", "'n'", str(found), str(wanted), previous=before, now=now)


def test_csv_that_was_changed_in_writing_is_refused(tmp_path: Path) -> None:
    """An escaped text would never equal the row that it came from; nor would NaN that became null."""
    SIMPLE.write_csv(tmp_path / "x.csv")
    text, floats = SIMPLE.cast({"n": pl.String}), SIMPLE.cast({"n": pl.Float64})
    refused("formulas='escape'", previous=tmp_path / "x.csv", now=text, dialect=Csv(formulas="escape"))
    refused("non_finite='null'", previous=tmp_path / "x.csv", now=floats, dialect=Csv(non_finite="null"))
    assert counted(tmp_path / "x.csv", SIMPLE, dialect=Csv(formulas="escape", non_finite="null")) == UNCHANGED


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ([], "empty"),
        (["id", "id"], "twice in keys=: ['id']"),
        ("key", "not in the frame: ['key']"),
        ("list", "'list' (List(Int64))"),
    ],
)
def test_keys_must_tell_rows_apart(keys: Any, message: str) -> None:
    """No key, one twice, one that isn't there, and one that can't be compared are refused beforehand."""
    now = SIMPLE.with_columns(list=pl.lit([1], pl.List(pl.Int64)))
    refused(message, previous=now, now=now, keys=keys)


def test_the_action_needs_a_name_of_its_own() -> None:
    """A column that is there already stays what it is; another name can be given."""
    now = SIMPLE.rename({"n": "action"})
    refused("'action'", previous=now, now=now)
    comparison = compare(now.clear(), now.schema, keys="id", action="what")
    assert pl.concat(comparison.changed([now])).columns == ["what", "id", "action"]


def test_durations_and_binary_have_no_text(tmp_path: Path) -> None:
    """CSV and JSON lines can't hold them, so such a column is refused before the file is read."""
    SIMPLE.write_csv(tmp_path / "x.csv")
    refused("'n' (text, wanted Binary)", previous=tmp_path / "x.csv", now=SIMPLE.with_columns(n=pl.lit(b"")))
    now = SIMPLE.with_columns(n=pl.lit(timedelta(1)))
    refused("wanted Duration", previous=tmp_path / "x.csv", now=now)
