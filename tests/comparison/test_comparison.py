"""What differs from the last delivery is what a comparison row by row in plain Python finds, spilled or not."""

from __future__ import annotations

import math
import sys
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from mc_sink import ConfigurationError, UploadError
from mc_sink.comparison import compare
from mc_sink.comparison.buckets import Bounds
from mc_sink.receipt import ACTIONS, Changes
from tests.faults.test_machine import files_of_at_most
from tests.support.dtypes import Map, existing

if TYPE_CHECKING:
    from collections.abc import Iterator

NAN = math.nan
FOLD = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
TINY, SMALL = Bounds(lot=1, pair=1), Bounds(lot=30_000, pair=60_000)
KEYS: list[tuple[pl.DataType, list[Any]]] = [
    (pl.Int64(), [None, 0, 1, -1, 2**60, 7, 8, 9]),
    (pl.String(), [None, "", "a", "b", "a longer text than a view holds", "c", "ß"]),
    (pl.Float64(), [None, NAN, 0.0, -0.0, 1.5, math.inf, 2.5]),
    (pl.Decimal(10, 2), [None, Decimal("1.50"), Decimal("-0.01"), Decimal(3)]),
    (pl.Categorical(), [None, "a", "b", "c", "d"]),
    (pl.Enum(["b", "a"]), [None, "a", "b"]),
    (pl.Boolean(), [None, True, False]),
    (pl.Datetime("us", "Europe/Berlin"), [None, FOLD, FOLD + timedelta(hours=1)]),
    (pl.Binary(), [None, b"", b"\xff"]),
]
VALUES: list[tuple[pl.DataType, list[Any]]] = existing(
    [
        *KEYS,
        (pl.Null(), [None]),
        (pl.Int128(), [None, 2**100, -1]),
        (pl.Float16(), [None, NAN, 0.0, -0.0, 0.5]),
        (pl.Date(), [None, date(2026, 11, 22)]),
        (pl.Time(), [None, time(1, 2, 3)]),
        (pl.Duration("ms"), [None, timedelta(seconds=1)]),
        (pl.List(pl.Float64()), [None, [], [None], [NAN], [0.0], [-0.0], [1.0, 2.0]]),
        (pl.Array(pl.Float32(), 2), [None, [None, None], [NAN, 1.0], [0.0, 1.0], [-0.0, 1.0]]),
        (pl.Struct({"x": pl.Float64(), "y": pl.List(pl.Int8())}), [None, {"x": None, "y": None}, {"x": NAN, "y": [1]}]),
        (pl.List(pl.Struct({"x": pl.String()})), [None, [None], [{"x": None}], [{"x": "a"}], [{"x": "a"}, None]]),
        (Map(pl.String(), pl.Int64()), [None, {}, {"k": 1}, {"k": 2}]),
    ]
)
ODD_NAMES = ["^.*$", "*", "row", "0", "1", "before:0", "bucket", "range", "", "came", "added"]


class Case(NamedTuple):
    """Two sides with the same columns, and what to compare them by."""

    now: pl.DataFrame
    before: pl.DataFrame
    keys: list[str]
    bounds: Bounds
    rows_in_batch: int


def plain(value: Any) -> Any:
    """Give a value that is equal to another where a row is to be taken for unchanged."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value + 0.0
    if isinstance(value, datetime):
        return value.astimezone(UTC)  # Python takes both hours for one when clocks go back
    if isinstance(value, dict):
        return tuple((name, plain(item)) for name, item in value.items())
    return tuple(map(plain, value)) if isinstance(value, list) else value


def keyed(frame: pl.DataFrame, keys: list[str]) -> dict[Any, tuple[int, Any]]:
    """Give the number and the values of each row by its key."""
    rows = zip(*(frame.get_column(name).to_list() for name in frame.columns), strict=True)
    places = [frame.columns.index(key) for key in keys]
    plained = [tuple(map(plain, row)) for row in rows]
    return {tuple(row[place] for place in places): (number, row) for number, row in enumerate(plained)}


def expected(case: Case) -> pl.DataFrame:
    """Compare row by row, in plain Python."""
    now, before = keyed(case.now, case.keys), keyed(case.before, case.keys)
    added = [number for key, (number, _) in now.items() if key not in before]
    changed = [number for key, (number, row) in now.items() if key in before and before[key][1] != row]
    removed = [number for key, (number, _) in before.items() if key not in now]
    picked = zip(ACTIONS, (case.now, case.now, case.before), (added, changed, removed), strict=True)
    return pl.concat([named(side[rows], action) for action, side, rows in picked])


def named(frame: pl.DataFrame, action: str) -> pl.DataFrame:
    """Put an action before the columns."""
    actions = pl.Series([action], dtype=pl.String).new_from_index(0, frame.height)
    return pl.DataFrame(dict(zip(["action", *frame.columns], [actions, *frame], strict=True)))


def found(case: Case, **options: Any) -> tuple[pl.DataFrame, Changes]:
    """Compare as a delivery would, in batches."""
    comparison = compare(case.before, case.now.schema, keys=case.keys, bounds=case.bounds, **options)
    batches = comparison.changed(case.now.iter_slices(case.rows_in_batch), case.rows_in_batch)
    return pl.concat([pl.DataFrame(schema=comparison.delivered), *batches]), comparison.counts


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Make two sides that have keys and values in common."""
    kinds = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=2))
    others = draw(st.lists(st.sampled_from(VALUES), max_size=3))
    names = draw(st.permutations(ODD_NAMES))[: len(kinds) + len(others)]
    key = st.tuples(*(st.sampled_from(values) for _, values in kinds))
    value = st.tuples(*(st.sampled_from(values) for _, values in others))
    keys = st.lists(key, max_size=12, unique_by=lambda row: tuple(map(plain, row)))
    schema = dict(zip(names, [dtype for dtype, _ in [*kinds, *others]], strict=True))

    def side() -> pl.DataFrame:
        rows = [(*row, *draw(value)) for row in draw(keys)]
        columns = zip(*rows, strict=True) if rows else ([] for _ in names)
        found = zip(schema.items(), columns, strict=True)
        return pl.DataFrame({name: pl.Series(values, dtype=dtype, strict=False) for (name, dtype), values in found})

    bounds = draw(st.sampled_from([Bounds(), TINY, SMALL]))
    return Case(side(), side(), list(names[: len(kinds)]), bounds, draw(st.sampled_from([1, 3, 100])))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(cases())
def test_it_finds_what_a_comparison_row_by_row_finds(case: Case) -> None:
    """In every dtype, under names like our own, in memory, in buckets, and in buckets split to the last."""
    rows, counts = found(case)
    assert_frame_equal(rows, expected(case), check_exact=True)
    actions = {action: rows.filter(rows["action"] == action).height for action in ACTIONS}
    assert counts == Changes(**actions, unchanged=case.now.height - actions["added"] - actions["changed"])


def numbered(rows: range, *, new: int = 0) -> pl.DataFrame:
    """Make rows of which every tenth differs by `new`."""
    number = pl.Series("id", rows, pl.Int64)
    values = number + (number % 10 == 0).cast(pl.Int64) * new
    return pl.DataFrame([number, values.alias("n"), number.cast(pl.String).alias("text")])


@pytest.fixture
def large() -> Case:
    """Give two sides that take many buckets, in another order each."""
    now, before = numbered(range(2_000), new=1), numbered(range(100, 2_100))
    return Case(
        now.reverse(), before.select("text", "n", "id").sample(fraction=1, shuffle=True, seed=1), ["id"], SMALL, 700
    )


@pytest.mark.parametrize("bounds", [Bounds(), SMALL, Bounds(lot=60_000, pair=6_000)])
def test_the_order_is_that_of_the_rows(large: Case, bounds: Bounds) -> None:
    """However much is held at a time: added and changed as in this run, removed as in the last delivery."""
    case = large._replace(bounds=bounds, before=large.before.select(large.now.columns))
    rows, counts = found(case)
    assert_frame_equal(rows, expected(case))
    assert counts == Changes(added=100, changed=190, removed=100, unchanged=1_710)
    assert str(counts) == "100 added, 190 changed, 100 removed, 1,710 unchanged"


def test_each_batch_has_one_action_and_all_but_the_last_are_full(large: Case) -> None:
    """So the action can be what files are parted by, and rows that were spilled look no different."""
    comparison = compare(large.before, large.now.schema, keys="id", bounds=SMALL)
    batches = list(comparison.changed(large.now.iter_slices(700), 80))
    assert [(batch["action"].unique().item(), batch.height) for batch in batches] == [
        ("added", 80),
        ("added", 20),
        ("changed", 80),
        ("changed", 80),
        ("changed", 30),
        ("removed", 80),
        ("removed", 20),
    ]


def test_nothing_changed(large: Case) -> None:
    """A run like the last one delivers no rows, in the columns that it would have delivered."""
    rows, counts = found(large._replace(now=numbered(range(100, 2_100))))
    assert rows.schema == {"action": pl.String, "id": pl.Int64, "n": pl.Int64, "text": pl.String}
    assert (rows.height, counts.num_rows, counts.unchanged) == (0, 0, 2_000)


@pytest.mark.parametrize("side", ["now", "before"])
@pytest.mark.parametrize("bounds", [Bounds(), SMALL, TINY])
def test_duplicates_are_refused(large: Case, side: str, bounds: Bounds) -> None:
    """All are counted before the first row comes out, and named by their numbers, never by their keys."""
    few = large._replace(bounds=bounds, now=large.now.head(60), before=large.now.head(60))
    twice = pl.concat([few.now, few.now.head(3), few.now.head(3).tail(1)])
    with pytest.raises(ConfigurationError) as raised:
        found(few._replace(now=twice) if side == "now" else few._replace(before=twice))
    label = "this run" if side == "now" else "previous="
    if bounds is not TINY:
        assert f"7 rows of {label} share their key with another (rows 0, 1, 2, 60, 61, …)" in str(raised.value)
    assert all(word in str(raised.value) for word in (label, "'id'", "keys=", "Nothing became visible"))
    assert "1,999" not in str(raised.value)
    assert "1999" not in str(raised.value)


def test_one_key_over_and_over_is_refused_without_reading_it_all(large: Case) -> None:
    """It can't be split, and what is held stays within the bounds."""
    same = large.now.with_columns(id=pl.lit(1, pl.Int64))
    with pytest.raises(ConfigurationError, match=r"^At least \d{1,2},?\d{0,3} rows of this run share"):
        found(large._replace(now=same, bounds=Bounds(lot=10_000, pair=15_000)))


def test_counts_are_not_known_beforehand(large: Case) -> None:
    """Asking for them too early is an error, not a zero."""
    with pytest.raises(ValueError, match="Nothing was compared"):
        _ = compare(large.before, large.now.schema, keys="id").counts


def parked(folder: Path) -> list[str]:
    """Give the files of a folder that this program has open."""
    opened = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [path for path in opened if path.startswith(str(folder))]


@pytest.mark.skipif(sys.platform != "linux", reason="open files are listed on Linux")
def test_closing_midway_gives_the_disk_back(large: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is parked has no name, and is gone with the generator."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    comparison = compare(large.before, large.now.schema, keys="id", bounds=SMALL)
    batches = comparison.changed(large.now.iter_slices(700), 50)
    next(batches)
    assert len(parked(tmp_path)) > 1
    assert all(path.endswith("(deleted)") for path in parked(tmp_path))
    assert list(tmp_path.iterdir()) == []
    batches.close()
    assert parked(tmp_path) == []


def test_what_a_source_raises_arrives_as_it_is(large: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the disk is given back."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def failing() -> Iterator[pl.DataFrame]:
        yield large.now
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(compare(large.before, large.now.schema, keys="id", bounds=SMALL).changed(failing()))
    assert sys.platform != "linux" or parked(tmp_path) == []


def test_a_disk_that_is_full_is_an_upload_error(large: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the folder and TMPDIR, and says that nothing became visible."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with files_of_at_most(50_000), pytest.raises(UploadError) as raised:
        found(large)
    assert all(word in str(raised.value) for word in (str(tmp_path), "TMPDIR", "too large", "Nothing became visible"))
    assert list(tmp_path.iterdir()) == []
