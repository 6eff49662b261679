"""pandas frames: a named index is a column, an unnamed one isn't, for every place of the frame and all of its rows."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pandas as pd
import polars as pl
import pytest

from mc_sink import ConfigurationError
from mc_sink._frames import as_lazyframe
from mc_sink._runtime.batches import pull

if TYPE_CHECKING:
    from collections.abc import Callable

WAYS: dict[str, Callable[[pd.DataFrame], Any]] = {
    "frame": lambda frame: frame,
    "list": lambda frame: [frame],
    "generator": lambda frame: (part for part in (frame.iloc[:1], frame.iloc[1:])),
}
ALL_WAYS = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
ROWS = pd.DataFrame({"user": ["a", "b", "c", "d"], "n": [1, 2, 3, 4]})
LEVELS: Any = [[1, 2, 3, 4], list("wxyz")]


def rows_of(frame: Any) -> pl.DataFrame:
    """Return the rows that a frame delivers."""
    return pl.concat(list(pull(as_lazyframe(frame), 100)))


UNNAMED = {
    "regular": pd.RangeIndex(4),
    "of steps": pd.RangeIndex(0, 8, 2),
    "of a filter": pd.Index([0, 1, 3, 4]),
    "of texts": pd.Index(list("wxyz")),
    "of moments": pd.date_range("2026-01-01", periods=4),
    "of two levels": pd.MultiIndex.from_arrays(LEVELS),
}
NAMED = {
    "regular": pd.RangeIndex(4, name="key"),
    "of a filter": pd.Index([0, 1, 3, 4], name="key"),
    "of texts": pd.Index(list("wxyz"), name="key"),
    "of moments": pd.date_range("2026-01-01", periods=4, name="key"),
    "of categories": pd.CategoricalIndex(list("wxyz"), name="key"),
    "of two levels": pd.MultiIndex.from_arrays(LEVELS, names=["key", "more"]),
    "of one named level": pd.MultiIndex.from_arrays(LEVELS, names=[None, "key"]),
    "named by a number": pd.Index([5, 6, 7, 8], name=0),
}


@pytest.mark.parametrize("index", UNNAMED.values(), ids=UNNAMED)
@ALL_WAYS
def test_an_index_without_a_name_is_no_column(way: Any, index: pd.Index) -> None:
    """Whether a filter left gaps in it or not."""
    assert rows_of(way(ROWS.set_axis(index))).to_dict(as_series=False) == ROWS.to_dict("list")


@pytest.mark.parametrize("index", NAMED.values(), ids=NAMED)
@ALL_WAYS
def test_an_index_with_a_name_is_a_column(way: Any, index: pd.Index) -> None:
    """Of several levels each that has one, after the columns; a regular index as any other."""
    found = rows_of(way(ROWS.set_axis(index)))
    names: list[Any] = [name for name in index.names if name is not None]
    assert found.columns == ["user", "n", *map(str, names)]
    for name in names:
        assert found[str(name)].to_list() == index.get_level_values(name).tolist()


def test_what_read_csv_reads_in_parts_has_the_columns_of_the_whole() -> None:
    """The index counts on from part to part, and isn't a column; one that was asked for is."""
    text = "key,user\n1,a\n2,b\n3,c\n"
    assert rows_of(pd.read_csv(io.StringIO(text), chunksize=2)).columns == ["key", "user"]
    found = rows_of(pd.read_csv(io.StringIO(text), chunksize=2, index_col="key"))
    assert found.to_dict(as_series=False) == {"user": ["a", "b", "c"], "key": [1, 2, 3]}


def test_whether_a_filter_leaves_gaps_changes_no_column() -> None:
    """The columns are those of the frame on any day."""
    for kept in ([True, True, True, False], [True, False, True, True]):
        assert rows_of(ROWS[kept]).columns == rows_of([ROWS[kept]]).columns == ["user", "n"]


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (ROWS.set_axis(pd.Index([1, 2, 3, 4], name="n")), r"index .* name of another column: \['n'\].*reset_index"),
        (ROWS.set_axis(pd.MultiIndex.from_arrays(LEVELS, names=["k", "k"])), r"name of another column: \['k'\]"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), r"1 column name stands twice: \['a'\]"),
        (pd.DataFrame([[1, 2]], columns=[1, "1"]), r"1 column name stands twice: \['1'\]"),
        (
            pd.DataFrame({"n": [1, 2, 3], "mixed": ["hidden", 7, "x"]}),
            r"1 column of the pandas frame: 'mixed'\. .*astype",
        ),
        (pd.DataFrame({"n": [1]}).assign(c=1j), r"1 column of the pandas frame: 'c'\."),
    ],
    ids=["column", "level", "columns", "number and text", "mixed", "complex"],
)
@ALL_WAYS
def test_what_has_no_columns_of_its_own_is_refused_by_name(way: Any, frame: pd.DataFrame, expected: str) -> None:
    """The error names the columns, and no value of a cell, nor does what caused it."""
    with pytest.raises(ConfigurationError, match=expected) as raised:
        rows_of(way(frame))
    assert raised.value.__cause__ is None
    assert "hidden" not in str(raised.value)
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


@pytest.mark.parametrize("offset", ["+05:30", "+05:45", "-03:30", "-05:00", "Z"])
def test_moments_with_an_offset_are_the_same_moments(offset: str) -> None:
    """`to_datetime` of ISO texts from India, Nepal and Newfoundland."""
    text = f"2026-01-01T10:00:00{offset}"
    frame = pd.DataFrame({"seen": pd.to_datetime([text])})
    assert rows_of(frame)["seen"].to_list() == [pd.Timestamp(text).to_pydatetime()]
