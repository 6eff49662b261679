"""Dates and times in CSV: formats keep what there is or are refused, as are years and offsets that no reader reads."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Any

import polars as pl
import pytest

from mc_sink import ConfigurationError, Csv
from tests.support.format_readers import cells, text_of

BERLIN = "Europe/Berlin"


def test_a_time_zone_is_written() -> None:
    """Both hours named half past two, when clocks go back, can be told apart."""
    frame = pl.DataFrame(
        {"when": [datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)]}
    )
    local = frame.with_columns(pl.col("when").dt.convert_time_zone(BERLIN), other=1)
    assert [row[0] for row in cells(Csv(), local)[1:]] == [
        "2026-10-25T02:30:00.000000+0200",
        "2026-10-25T02:30:00.000000+0100",
    ]


def test_a_datetime_format_that_drops_the_zone_is_refused_for_zoned_columns_alone() -> None:
    """Without %z an hour would be ambiguous when clocks go back; a column without a zone has no such hour."""
    dialect = Csv(datetime_format="%Y-%m-%d %H:%M")
    with pytest.raises(ConfigurationError, match=r"'when' \(Datetime"):
        dialect.check(pl.Schema({"when": pl.Datetime("us", BERLIN)}))
    dialect.check(pl.Schema({"when": pl.Datetime("us"), "n": pl.Int64()}))
    Csv(datetime_format="%F %T%:z").check(pl.Schema({"when": pl.Datetime("us", BERLIN), "n": pl.Int64()}))


def test_a_percent_sign_before_a_z_is_no_zone() -> None:
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
    ("options", "told"),
    [
        ({"date_format": "%y-%m-%d"}, "more than one day"),
        ({"date_format": "%Y"}, "more than one day"),
        ({"date_format": "%-d%-m%Y"}, "more than one day"),
        ({"date_format": "a word"}, "more than one day"),
        ({"date_format": "%H"}, "Polars can write"),
        ({"time_format": "%M:%S"}, "more than one hour"),
        ({"time_format": "%I:%M"}, "more than one hour"),
        ({"datetime_format": "%H:%M"}, "more than one day"),
        ({"datetime_format": "%D %T"}, "more than one day"),
        ({"datetime_format": "%Q"}, "Polars can write"),
        ({"datetime_format": "%"}, "Polars can write"),
        ({"datetime_format": ""}, "Polars can write"),
        ({"date_format": 5}, "use text"),
    ],
    ids=str,
)
def test_a_format_in_which_days_or_hours_read_alike_is_refused(options: dict[str, Any], told: str) -> None:
    """Formats are judged by what Polars writes with them, not by their letters."""
    with pytest.raises(ConfigurationError, match=told):
        Csv(**options)


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
    with pytest.raises(
        ConfigurationError, match=r"1 cell\(s\) in a batch hold less than a .*, which .* would drop: 'x'"
    ):
        text_of(Csv(**options), frame_of([value, None, dropped]))


def test_a_format_is_as_fine_as_the_dtype_needs() -> None:
    """Milliseconds are enough for a dtype that has no more, and are refused for one that has."""
    moment = datetime(2026, 11, 22, 10, 15, 30, 123456)  # noqa: DTZ001  a datetime without a zone
    dialect = Csv(datetime_format="%F %T%.3f")
    assert first_cells(dialect, frame_of([moment], pl.Datetime("ms"))) == ["2026-11-22 10:15:30.123"]
    for unit in ("us", "ns"):
        with pytest.raises(ConfigurationError, match="less than a millisecond"):
            text_of(dialect, frame_of([moment], pl.Datetime(unit)))


def test_a_coarse_format_looks_at_the_clock_of_the_zone() -> None:
    """Half past in UTC is a full hour in Kolkata, and is written as one."""
    moment = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
    dialect = Csv(datetime_format="%F %H%z")
    assert first_cells(dialect, frame_of([moment], pl.Datetime("us", "Asia/Kolkata"))) == ["2026-11-22 16+0530"]
    with pytest.raises(ConfigurationError, match="less than a hour"):
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
    """Polars could write `%z` for no such column; it is said before the first byte, with the columns' names."""
    with pytest.raises(ConfigurationError, match=r"1 column.*'naive' \(Datetime.*wants a time zone"):
        Csv(datetime_format="%F %T%z").check(pl.Schema({"naive": pl.Datetime("us"), "zoned": pl.Datetime("us", "UTC")}))


def test_an_abbreviation_is_no_zone() -> None:
    """`%Z` writes CST in Chicago and in Shanghai."""
    with pytest.raises(ConfigurationError, match="'when'"):
        Csv(datetime_format="%F %T %Z").check(pl.Schema({"when": pl.Datetime("us", BERLIN)}))


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
    with pytest.raises(
        ConfigurationError, match=r"1 cell\(s\) in a batch are of a year that isn't from 0 to 9999.*'x'"
    ):
        text_of(Csv(), pl.DataFrame({"x": far.cast(dtype), "y": [1, 2, 3]}))


def test_the_year_is_that_of_the_zone() -> None:
    """A moment that is in 9999 in UTC may be in 10000 in Berlin."""
    last = pl.Series([datetime(9999, 12, 31, 23, 30)], dtype=pl.Datetime("us", "UTC"))  # noqa: DTZ001  made UTC here
    assert first_cells(Csv(), pl.DataFrame({"x": last, "y": [1]})) == ["9999-12-31T23:30:00.000000+0000"]
    with pytest.raises(ConfigurationError, match="0 to 9999"):
        text_of(Csv(), pl.DataFrame({"x": last.dt.convert_time_zone(BERLIN), "y": [1]}))


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_offsets_with_seconds_are_refused(unit: Any) -> None:
    """Berlin was 53 minutes and 28 seconds ahead until 1893; `+0053` would shift the moment."""

    def moments(year: int) -> pl.DataFrame:
        when = pl.Series([datetime(year, 3, 1)], dtype=pl.Datetime(unit)).dt.replace_time_zone(BERLIN)  # noqa: DTZ001  zoned next
        return pl.DataFrame({"x": when, "y": [1]})

    assert first_cells(Csv(), moments(1894))[0].endswith("+0100")
    with pytest.raises(ConfigurationError, match=r"not whole minutes from UTC.*'x'.*Convert them to UTC"):
        text_of(Csv(), moments(1890))
    in_utc = moments(1890).with_columns(pl.col("x").dt.convert_time_zone("UTC"))
    assert first_cells(Csv(), in_utc)[0].startswith("1890-02-28T23:06:32")
