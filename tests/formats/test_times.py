"""Dates and times in CSV: formats that lose digits are refused, as are years and offsets that readers can't read."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from typing import Any

import polars as pl
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from mc_sink import ConfigurationError, Csv
from mc_sink.formats.csv_dialect import OPTIONS, STEPS, finest, takes_naive
from tests.support.format_readers import cells, text_of

BERLIN = "Europe/Berlin"


def test_a_time_zone_is_written() -> None:
    """When clocks go back, both hours called half past two are written differently."""
    frame = pl.DataFrame(
        {"when": [datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)]}
    )
    local = frame.with_columns(pl.col("when").dt.convert_time_zone(BERLIN), other=1)
    assert [row[0] for row in cells(Csv(), local)[1:]] == [
        "2026-10-25T02:30:00.000000+02:00",
        "2026-10-25T02:30:00.000000+01:00",
    ]


def test_a_datetime_format_that_drops_the_zone_is_refused_for_zoned_columns_alone() -> None:
    """Without %z an hour would be ambiguous when clocks go back; a column without a zone has no such hour."""
    dialect = Csv(datetime_format="%Y-%m-%d %H:%M")
    with pytest.raises(ConfigurationError, match=r"'when' \(Datetime"):
        dialect.check(pl.Schema({"when": pl.Datetime("us", BERLIN)}))
    dialect.check(pl.Schema({"when": pl.Datetime("us"), "n": pl.Int64()}))
    Csv(datetime_format="%F %T%:z").check(pl.Schema({"when": pl.Datetime("us", BERLIN), "n": pl.Int64()}))


def test_an_escaped_percent_sign_before_a_z_is_not_a_zone() -> None:
    """`%%z` writes "%z" as text, which drops the zone like any other format without one."""
    with pytest.raises(ConfigurationError, match=r"'when' \(Datetime"):
        Csv(datetime_format="%F %T%%z").check(pl.Schema({"when": pl.Datetime("us", BERLIN)}))


def frame_of(values: list[Any], dtype: Any = None) -> pl.DataFrame:
    """Make a column of values beside one that is never empty."""
    return pl.DataFrame({"x": pl.Series(values, dtype=dtype), "y": [1] * len(values)})


def first_cells(dialect: Csv, frame: pl.DataFrame) -> list[str]:
    """Give the cells of the first column."""
    return [row[0] for row in cells(dialect, frame)[1:]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"date_format": "%y-%m-%d"}, "%y, which date_format doesn't support. Use %Y."),
        ({"date_format": "%e.%m.%Y"}, "%e, which date_format doesn't support. Use %d or %-d."),
        (
            {"date_format": "%G-W%V-%u"},
            "%G, which date_format doesn't support. Use one of the specifiers that docs/csv.md",
        ),
        ({"date_format": "%0d.%m.%Y"}, "%0d, which date_format doesn't support"),
        ({"date_format": "%Y"}, "more than one day: a day needs %Y, %m and %d, or %F"),
        ({"date_format": "%m/%d"}, "more than one day"),
        ({"date_format": "%A %d %B"}, "more than one day"),
        ({"date_format": "%-d%-m%Y"}, "writes %-d, which has no fixed width, directly before another number"),
        ({"date_format": "%Y.%-j1"}, "writes %-j, which has no fixed width"),
        ({"date_format": "a word"}, "more than one day"),
        ({"date_format": "%%Y-%%m-%%d"}, "more than one day"),
        ({"date_format": "%H"}, "%H, which date_format doesn't support"),
        ({"time_format": "%F"}, "%F, which time_format doesn't support"),
        ({"time_format": "%T%z"}, "%z, which time_format doesn't support"),
        ({"time_format": "%M:%S"}, "more than one hour"),
        ({"time_format": "%I:%M"}, "more than one hour: an hour needs %H, or %I and %p"),
        ({"time_format": "%-H%M"}, "writes %-H, which has no fixed width"),
        ({"time_format": "%T%.f0"}, "writes %.f, which has no fixed width"),
        ({"datetime_format": "%H:%M"}, "more than one day"),
        ({"datetime_format": "%D %T"}, "%D, which datetime_format doesn't support. Use %m/%d/%Y."),
        ({"datetime_format": "%F %T %Z"}, "%Z, which datetime_format doesn't support. Use %z."),
        ({"datetime_format": "%s%3f"}, "writes %s, which has no fixed width"),
        ({"datetime_format": "%Q"}, "%Q, which datetime_format doesn't support"),
        ({"datetime_format": "%F %T%"}, "%, which datetime_format doesn't support"),
        ({"datetime_format": "%"}, "%, which datetime_format doesn't support"),
        ({"datetime_format": ""}, "more than one day"),
        ({"date_format": "%F%%", "separator": "%"}, "writes '%', and dates are written without quotes"),
        ({"date_format": "%F\n"}, "and dates are written without quotes"),
        ({"date_format": 5}, "is not a text"),
    ],
    ids=str,
)
def test_a_format_that_could_lose_something_is_refused(options: dict[str, Any], message: str) -> None:
    """A format with an unsupported specifier, or in which two days or hours read alike, is refused at once."""
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        Csv(**options)


DAYS = st.sampled_from(["F", "Y m d", "Y -m -d", "Y B -d", "Y b d", "Y j", "Y -j"]).map(str.split)
CLOCKS = st.sampled_from(["H", "-H", "I p", "-I P", "R", "T", "H M S", "-H -M -S .f", "T 3f", "T .f", "T f"]).map(
    str.split
)
OTHERS = st.lists(
    st.sampled_from([*"YmbdjaAFHIpMSTRfszyDeGZ+", "-m", "-H", ".f", ".3f", "6f", ":z", "_d", "0m"]), max_size=3
)
SEPARATORS = st.sampled_from(["", "", " ", "-", ".", "/", "T", " o'clock ", "0", "%%"])
BASES = {pl.Date: DAYS, pl.Time: CLOCKS, pl.Datetime: st.tuples(DAYS, CLOCKS).map(lambda both: both[0] + both[1])}


@st.composite
def patterns(draw: st.DrawFn, kind: Any) -> str:
    """Draw a format that keeps days or hours, with other specifiers between, in any order."""
    names = draw(st.permutations(draw(BASES[kind]) + draw(OTHERS)))
    return "".join(f"%{name}{draw(SEPARATORS)}" for name in names)


def samples(kind: Any, step: int) -> pl.Series:
    """Return whole steps that careless formats confuse: mornings and evenings, 1 11 and 11 1, 1926 and 2026."""
    days = pl.Series([date(y, m, d) for y in (26, 1926, 2026) for m in (1, 2, 11, 12) for d in (1, 2, 11, 12, 21)])
    if kind == pl.Date:
        return days
    clocks = [
        hour * STEPS["hour"] + n * step for hour in (0, 1, 11, 12, 13, 23) for n in (0, 1, 9, 10, 11, 30, 100, 110)
    ]
    clocks = sorted({clock for clock in clocks if step < STEPS["day"] and clock < STEPS["day"]} | {0})
    if kind == pl.Time:
        return pl.Series(clocks).cast(pl.Time)
    midnights = days.filter(days.dt.year() > 1900).cast(pl.Datetime("ns")).to_physical()
    return pl.Series([midnight + clock for midnight in midnights for clock in clocks]).cast(pl.Datetime("ns"))


@pytest.mark.parametrize("kind", BASES, ids=str)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_supported_format_never_writes_two_values_alike(kind: Any, data: st.DataObject) -> None:
    """A format is accepted or refused by its specifiers; here Polars writes samples with each accepted one."""
    pattern = data.draw(patterns(kind))
    options: dict[str, Any] = {OPTIONS[kind]: pattern}
    try:
        dialect = Csv(separator="|", **options)
    except ConfigurationError:
        return
    values = samples(kind, STEPS[finest(kind, pattern)])
    if kind == pl.Datetime and not takes_naive(pattern):
        values = values.dt.replace_time_zone("UTC")
    written = first_cells(dialect, pl.DataFrame({"x": values, "y": 1}))
    assert len(set(written)) == len(values)
    event("accepted")


ACCEPTED = [
    (
        "date_format",
        ["%d.%m.%Y", "%-d.%-m.%Y", "%Y%m%d", "%d-%b-%Y", "%A, %d. %B %Y", "%Y-%j", "%m/%d/%Y", "%F 100 %%"],
    ),
    ("time_format", ["%R", "%-I:%M:%S %p", "%H%M%S%6f", "%T%.f", "%H.%M.%S%.9f"]),
    ("datetime_format", ["%d/%m/%Y %R", "%a, %d %b %Y %T", "%Y-%jT%T%.3f", "%F%%%T"]),
]


@pytest.mark.parametrize(
    ("option", "pattern"), [(option, pattern) for option, all_of in ACCEPTED for pattern in all_of]
)
def test_common_formats_are_supported(option: str, pattern: str) -> None:
    """The formats that receivers ask for are written, and Polars reads them back with the same format."""
    moment = pl.Series([datetime(2026, 11, 2, 17, 5), datetime(1926, 1, 31)], dtype=pl.Datetime("us"))  # noqa: DTZ001  naive
    kind: Any = next(dtype for dtype, name in OPTIONS.items() if name == option)
    options: dict[str, Any] = {option: pattern}
    values = moment.dt.time() if kind == pl.Time else moment.cast(kind)
    if kind == pl.Datetime and finest(pl.Datetime, pattern) == "day":
        values = values.dt.truncate("1d")
    texts = pl.Series(first_cells(Csv(separator=";", **options), frame_of(values.to_list(), values.dtype)))
    assert texts.str.strptime(kind, pattern).to_list() == values.to_list()


@pytest.mark.parametrize(
    ("options", "value", "kept", "dropped"),
    [
        ({"time_format": "%H:%M"}, time(10, 15), "10:15", time(10, 15, 0, 1)),
        ({"time_format": "%H"}, time(23), "23", time(23, 1)),
        ({"time_format": "%I:%M %p"}, time(22, 15), "10:15 PM", time(22, 15, 1)),
        ({"time_format": "%T%.3f"}, time(1, 2, 3, 4000), "01:02:03.004", time(1, 2, 3, 4001)),
        ({"datetime_format": "%F"}, datetime(2026, 11, 22), "2026-11-22", datetime(2026, 11, 22, 1)),  # noqa: DTZ001  naive
        ({"datetime_format": "%d.%m.%Y %H:%M"}, datetime(1926, 1, 2, 3, 4), "02.01.1926 03:04", datetime(1926, 1, 2, 3, 4, 5)),  # noqa: DTZ001, E501  the same
        ({"datetime_format": "%s"}, datetime(1969, 12, 31, 23, 59, 59), "-1", datetime(1969, 12, 31, 23, 59, 58, 1)),  # noqa: DTZ001  the same
    ],
    ids=str,
)  # fmt: skip
def test_what_a_format_would_drop_is_refused_where_there_is_any(
    options: dict[str, Any], value: Any, kept: str, dropped: Any
) -> None:
    """A format may be coarse as long as the values are; nulls are never in the way."""
    assert first_cells(Csv(**options), frame_of([value, None])) == [kept, ""]
    with pytest.raises(ConfigurationError, match=r"1 cell is not in whole [a-z]+s, and .* would drop the rest, in 'x'"):
        text_of(Csv(**options), frame_of([value, None, dropped]))


def test_a_format_is_as_fine_as_the_dtype_needs() -> None:
    """Milliseconds are enough for a dtype that has no more, and are refused for one that has."""
    moment = datetime(2026, 11, 22, 10, 15, 30, 123456)  # noqa: DTZ001  a datetime without a zone
    dialect = Csv(datetime_format="%F %T%.3f")
    assert first_cells(dialect, frame_of([moment], pl.Datetime("ms"))) == ["2026-11-22 10:15:30.123"]
    for unit in ("us", "ns"):
        with pytest.raises(ConfigurationError, match="not in whole milliseconds"):
            text_of(dialect, frame_of([moment], pl.Datetime(unit)))


def test_a_coarse_format_looks_at_the_clock_of_the_zone() -> None:
    """Half past in UTC is a full hour in Kolkata, and is written as one."""
    moment = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
    dialect = Csv(datetime_format="%F %H%z")
    assert first_cells(dialect, frame_of([moment], pl.Datetime("us", "Asia/Kolkata"))) == ["2026-11-22 16+0530"]
    with pytest.raises(ConfigurationError, match="not in whole hours"):
        text_of(dialect, frame_of([moment], pl.Datetime("us", "UTC")))


def test_iso_is_a_format_and_not_a_word() -> None:
    """The names that `dt.to_string` knows give what it gives, for zoned columns and others in one frame."""
    frame = pl.DataFrame({"naive": [datetime(2026, 1, 2, 3, 4, 5)], "day": [date(2026, 1, 2)], "at": [time(3, 4)]})  # noqa: DTZ001  one of each
    frame = frame.with_columns(zoned=pl.col("naive").dt.replace_time_zone(BERLIN), **{"*": pl.col("naive")})
    strict = Csv(datetime_format="iso:strict", date_format="iso:strict", time_format="iso:strict")
    naive = "2026-01-02 03:04:05.000000"
    assert cells(Csv(datetime_format="iso", date_format="iso", time_format="iso"), frame)[1] == [
        *[naive, "2026-01-02", "03:04:00", f"{naive}+01:00", naive],
    ]
    assert [cell.replace("T", " ") for cell in cells(strict, frame)[1]] == [
        *[naive, "2026-01-02", "03:04:00", f"{naive}+01:00", naive],
    ]


def test_a_format_that_wants_a_zone_is_refused_for_columns_without_one() -> None:
    """Polars can't write `%z` for such a column: it is refused before the first byte, with the columns' names."""
    with pytest.raises(ConfigurationError, match=r"1 column.*'naive' \(Datetime.*no time zone"):
        Csv(datetime_format="%F %T%z").check(pl.Schema({"naive": pl.Datetime("us"), "zoned": pl.Datetime("us", "UTC")}))


YEARS = [(-719_528, "0000-01-01"), (2_932_896, "9999-12-31")]


@pytest.mark.parametrize(("day", "text"), YEARS)
def test_years_of_four_digits_are_written(day: int, text: str) -> None:
    """The first and the last day that readers can read are written, as dates and as datetimes."""
    days = pl.DataFrame({"x": pl.Series([day, None], dtype=pl.Int32).cast(pl.Date), "y": [1, 2]})
    assert first_cells(Csv(), days) == [text, ""]
    moments = days.with_columns(pl.col("x").cast(pl.Datetime("us")), z=pl.col("x").cast(pl.Datetime("ms", "UTC")))
    assert [cell[:10] for cell in first_cells(Csv(), moments)] == [text, ""]


@pytest.mark.parametrize("day", [-719_529, 2_932_897, -(2**31), 2**31 - 1])
@pytest.mark.parametrize(
    "dtype",
    [pl.Date(), pl.Datetime("us"), pl.Datetime("ms"), pl.Datetime("ms", BERLIN), pl.Datetime("us", "UTC")],
    ids=str,
)
def test_other_years_are_refused(day: int, dtype: pl.DataType) -> None:
    """Polars would write a sign, which pyarrow and DuckDB can't read."""
    far = pl.Series([0, day, None]).cast(pl.Int32)
    if isinstance(dtype, pl.Datetime):
        limit = {"us": 9 * 10**18 // 86_400_000_000, "ms": 2**31}[dtype.time_unit]
        far = far.cast(pl.Int64).clip(-limit, limit) * (86_400_000 if dtype.time_unit == "ms" else 86_400_000_000)
    with pytest.raises(ConfigurationError, match=r"1 cell has a year outside 0 to 9999.*'x'"):
        text_of(Csv(), pl.DataFrame({"x": far.cast(dtype), "y": [1, 2, 3]}))


def test_the_year_is_that_of_the_zone() -> None:
    """A moment that is in 9999 in UTC may be in 10000 in Berlin."""
    last = pl.Series([datetime(9999, 12, 31, 23, 30)], dtype=pl.Datetime("us", "UTC"))  # noqa: DTZ001  made UTC here
    assert first_cells(Csv(), pl.DataFrame({"x": last, "y": [1]})) == ["9999-12-31T23:30:00.000000+00:00"]
    with pytest.raises(ConfigurationError, match="0 to 9999"):
        text_of(Csv(), pl.DataFrame({"x": last.dt.convert_time_zone(BERLIN), "y": [1]}))


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_offsets_with_seconds_are_refused(unit: Any) -> None:
    """Berlin was 53 minutes and 28 seconds ahead until 1893; `+0053` would shift the moment."""

    def moments(year: int) -> pl.DataFrame:
        when = pl.Series([datetime(year, 3, 1)], dtype=pl.Datetime(unit)).dt.replace_time_zone(BERLIN)  # noqa: DTZ001  zoned next
        return pl.DataFrame({"x": when, "y": [1]})

    assert first_cells(Csv(), moments(1894))[0].endswith("+01:00")
    with pytest.raises(ConfigurationError, match=r"offset from UTC that isn't whole minutes.*'x'.*Convert them to UTC"):
        text_of(Csv(), moments(1890))
    in_utc = moments(1890).with_columns(pl.col("x").dt.convert_time_zone("UTC"))
    assert first_cells(Csv(), in_utc)[0].startswith("1890-02-28T23:06:32")
