"""Dates and datetimes in CSV: put together from tables, they are the texts that Polars' encoder writes."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

import polars as pl
import pytest

from mc_sink import Csv
from mc_sink.formats.csv_moments import MANY, MomentTexts
from tests.support.format_readers import encoded

if TYPE_CHECKING:
    from polars._typing import TimeUnit

# Seconds since 1970: the years 0 to 9999, one day, a few hours around 1970, and what a nanosecond column can hold.
RANGES = {
    "all years": (-62_167_219_200, 253_402_300_799),
    "a day": (1_700_000_000, 1_700_000_000 + 86_400),
    "before and after 1970": (-9_000, 9_000),
}
NANOSECOND_YEARS = (-9_000_000_000, 9_000_000_000)
PER_SECOND: dict[TimeUnit, int] = {"ms": 10**3, "us": 10**6, "ns": 10**9}
# Clocks in Berlin have changed in this range, and India's offset has minutes.
ZONES = (None, "UTC", "Europe/Berlin", "Asia/Kolkata", "America/New_York")
STANDARD_TIME = (100_000_000, 4_000_000_000)


def by_polars(values: pl.Series) -> str:
    """Return what Polars' own encoder writes, with a colon in an offset from UTC."""
    text = values.to_frame("x").write_csv(include_header=False)
    return re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", text, flags=re.MULTILINE) if has_zone(values.dtype) else text


def has_zone(dtype: pl.DataType) -> bool:
    """Whether values of a dtype are written with an offset from UTC."""
    return isinstance(dtype, pl.Datetime) and dtype.time_zone is not None


def by_tables(values: pl.Series) -> str:
    """Return what Polars' encoder writes for our texts, which are the same when the same days come again."""
    texts = MomentTexts()
    first, second, third = (texts.text(values) for _ in range(3))
    assert first.equals(second, null_equal=True)
    assert first.equals(third, null_equal=True)
    return by_polars(first)


def moments(unit: TimeUnit, zone: str | None, bounds: tuple[int, int], *, whole: bool, number: int) -> pl.Series:
    """Make random datetimes within bounds in seconds, both of them included, and nulls."""
    per_second, (first, last) = PER_SECOND[unit], bounds
    if unit == "ns":
        first, last = max(first, NANOSECOND_YEARS[0]), min(last, NANOSECOND_YEARS[1])
    if zone is not None:
        first, last = max(first, STANDARD_TIME[0]), max(min(last, STANDARD_TIME[1]), STANDARD_TIME[0] + 1)
    drawn = random.Random(7)  # noqa: S311  the same rows in every run
    seconds = [first, last, *(drawn.randint(first, last) for _ in range(number))]
    fractions = [
        0,
        0 if whole else per_second - 1,
        *(0 if whole else drawn.randrange(per_second) for _ in range(number)),
    ]
    made = [second * per_second + fraction for second, fraction in zip(seconds, fractions, strict=True)]
    values = pl.Series([None, *made, None], dtype=pl.Int64).cast(pl.Datetime(unit))
    return values if zone is None else values.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)


@pytest.mark.parametrize("number", [100, 2 * MANY])
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("bounds", RANGES.values(), ids=RANGES)
@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("unit", PER_SECOND)
def test_datetimes_are_written_as_by_polars(
    unit: TimeUnit, zone: str | None, bounds: tuple[int, int], number: int, *, whole: bool
) -> None:
    """In every unit, zone and range, in few rows and in many, with nulls and as slices."""
    values = moments(unit, zone, bounds, whole=whole, number=number)
    assert by_tables(values) == by_polars(values)
    assert by_tables(values[7:-3]) == by_polars(values[7:-3])


@pytest.mark.parametrize("zone", [None, "UTC"])
@pytest.mark.parametrize("unit", PER_SECOND)
def test_days_may_come_in_any_order(unit: TimeUnit, zone: str | None) -> None:
    """A column's table is for the days of one batch: the next has other days, more of them, fractions, or none."""
    day = 86_400
    spans = [(0, 1), (0, 1), (0, 1), (1, 2), (0, 2), (0, 2), (0, 2), (0, 3), (0, 3), (-1, 0), (-1, 0), (-1, 1), (-1, 1)]
    batches = [
        moments(unit, zone, (STANDARD_TIME[0] + first * day, STANDARD_TIME[0] + last * day), whole=whole, number=MANY)
        for first, last in spans
        for whole in (True, True, False)
    ]
    texts = MomentTexts()
    for values in batches:
        assert by_polars(texts.text(values)) == by_polars(values)


def test_columns_have_tables_of_their_own() -> None:
    """More columns than may have a table, of other days each, batch after batch."""
    columns = [moments("us", None, (n * 86_400, (n + 1) * 86_400 - 1), whole=True, number=MANY) for n in range(4)]
    frame = pl.DataFrame({f"x{n}": values for n, values in enumerate(columns)})
    batches = pl.concat([frame] * 200)
    assert encoded(Csv(), batches).decode() == batches.write_csv()


@pytest.mark.parametrize("bounds", [(-719_528, 2_932_896), (20_000, 20_400)])
@pytest.mark.parametrize("number", [100, 2 * MANY])
def test_dates_are_written_as_by_polars(bounds: tuple[int, int], number: int) -> None:
    """From the year 0 to 9999, and within a year."""
    drawn = random.Random(7)  # noqa: S311  the same rows in every run
    days = [*bounds, None, *(drawn.randint(*bounds) for _ in range(number))]
    values = pl.Series(days, dtype=pl.Int32).cast(pl.Date)
    assert by_tables(values) == by_polars(values)


@pytest.mark.parametrize("dtype", [pl.Date(), pl.Datetime("us"), pl.Datetime("ns", "Europe/Berlin")])
@pytest.mark.parametrize("number", [0, 1, 2 * MANY])
def test_nulls_alone_stay_nulls(dtype: pl.DataType, number: int) -> None:
    """A column without a value, and one without a row, keep their length."""
    values = pl.Series([None] * number, dtype=dtype)
    assert MomentTexts().text(values).to_list() == [None] * number


def test_a_column_keeps_its_odd_name() -> None:
    """A name that Polars would take for a pattern is a name."""
    values = moments("us", "UTC", RANGES["a day"], whole=False, number=2 * MANY)
    for name in ("*", "^x$", ""):
        frame = values.to_frame(name).with_columns(n=pl.lit(1))
        assert encoded(Csv(), frame).decode() == frame.write_csv().replace("+0000", "+00:00")


@pytest.mark.parametrize(
    ("options", "written"),
    [
        ({"quote_style": "non_numeric"}, '"1970-01-02","1970-01-01T00:00:00.000001"'),
        ({"quote_style": "always", "null_value": "NULL"}, '"1970-01-02","1970-01-01T00:00:00.000001"'),
        ({"date_format": "%d.%m.%Y"}, "02.01.1970,1970-01-01T00:00:00.000001"),
        ({"datetime_format": "iso:strict"}, "1970-01-02,1970-01-01T00:00:00.000001"),
    ],
)
def test_what_an_option_asks_for_goes_first(options: dict[str, str], written: str) -> None:
    """Formats and quotes of one's own are as before, in many rows too."""
    frame = pl.select(day=pl.lit(1).cast(pl.Date), at=pl.lit(1).cast(pl.Datetime("us")))
    lines = encoded(Csv(include_header=False, **options), pl.concat([frame] * 2 * MANY)).decode().splitlines()  # type: ignore[arg-type]
    assert lines == [written] * 2 * MANY
