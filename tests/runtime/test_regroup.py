"""Regrouping: where batches end depends on the rows alone, and what waits keeps little more alive than itself."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mc_sink._runtime.batches import Regroup, most_bytes, regrouped
from tests.support.dtypes import Map, existing_by_name

MOST = 32 * 2**20
LABELS = pl.Enum(["a" * 30, "b"])
# The values of a column with what each takes in bytes; a null of a fixed width takes that width.
COLUMNS: dict[str, tuple[Any, list[Any], list[int]]] = existing_by_name(
    {
        "text": (pl.String, ["ab", None, "é"], [2, 0, 2]),
        "binary": (pl.Binary, [b"abc", None, b""], [3, 0, 0]),
        "integer": (pl.Int16, [1, None, 2], [2, 2, 2]),
        "wide integer": (pl.Int128, [1, None, 2], [16, 16, 16]),
        "boolean": (pl.Boolean, [True, None, False], [0, 0, 0]),
        "null": (pl.Null, [None, None, None], [0, 0, 0]),
        "enum": (LABELS, ["a" * 30, None, "b"], [30, 0, 1]),
        "category": (pl.Categorical, ["a" * 30, None, "b"], [30, 0, 1]),
        "list": (pl.List(pl.String), [["ab", None, "c"], None, []], [3, 0, 0]),
        "lists of lists": (pl.List(pl.List(pl.Int64)), [[[1, 2], [], None, [3]], [[]], None], [24, 0, 0]),
        "list of labels": (pl.List(LABELS), [["a" * 30, "b"], None, ["b"]], [31, 0, 1]),
        "array": (pl.Array(pl.String, 2), [["ab", "c"], ["", None], ["d", "e"]], [3, 0, 2]),
        "struct": (pl.Struct({"*": pl.String, "^a$": pl.Int8}), [{"*": "ab", "^a$": 1}, None, {"*": "c"}], [3, 1, 2]),
        "map": (Map(pl.String, pl.Binary), [{"k": b"abc", "l": None}, None, {}], [5, 0, 0]),
    }
)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_value_of_any_dtype_is_weighed(name: str) -> None:
    """A batch ends where the next value would be too much: one value more than fits, or exactly as many as fit."""
    dtype, values, sizes = COLUMNS[name]
    rows = pl.DataFrame({"^*$": pl.Series(values, dtype=dtype)})
    assert most_bytes(rows) >= sum(sizes)
    for bound in range(sum(sizes) + 2):
        batches = list(regrouped([rows], 100, bound))
        assert [batch.height for batch in batches] == greedy(sizes, 100, bound)
        assert pl.concat(batches).equals(rows)


def greedy(sizes: list[int], num_rows: int, num_bytes: int) -> list[int]:
    """Cut as the documentation says it, row by row."""
    heights, held = [0], 0
    for size in sizes:
        if heights[-1] and (heights[-1] == num_rows or held + size > num_bytes):
            heights.append(0)
            held = 0
        heights[-1] += 1
        held += size
    return heights


@settings(max_examples=100, deadline=None)
@given(
    choices=st.lists(st.integers(0, 2), min_size=1, max_size=50),
    ends=st.lists(st.integers(0, 50), max_size=8),
    num_rows=st.integers(1, 20),
    num_bytes=st.integers(0, 600),
)
def test_batches_do_not_depend_on_how_rows_came(
    choices: list[int], ends: list[int], num_rows: int, num_bytes: int
) -> None:
    """Rows of all dtypes at once, in any slices, end up in the same batches."""
    columns = [
        pl.Series(name, [values[choice] for choice in choices], dtype) for name, (dtype, values, _) in COLUMNS.items()
    ]
    rows = pl.DataFrame(columns)
    bounds = sorted({0, rows.height, *(end for end in ends if end < rows.height)})
    batches = list(regrouped((rows[first:last] for first, last in pairwise(bounds)), num_rows, num_bytes))
    sizes = [sum(sizes[choice] for _, _, sizes in COLUMNS.values()) for choice in choices]
    assert [batch.height for batch in batches] == greedy(sizes, num_rows, num_bytes)
    assert pl.concat(batches).equals(rows)


def test_a_batch_before_the_last_one_is_full_in_rows_or_bytes() -> None:
    """What an encoder relies on: after a batch that `add` yields with fewer rows, more rows follow."""
    rows = pl.DataFrame({"text": ["x" * 10] * 7})
    regroup = Regroup(5, 30)
    assert [batch.height for batch in regroup.add(rows[:3])] == []
    assert [batch.height for batch in regroup.add(rows[3:])] == [3, 3]
    assert [batch.height for batch in regroup.rest()] == [1]
    assert list(regroup.rest()) == []


def test_rows_that_were_filtered_keep_no_others_alive() -> None:
    """Each of 30 batches of 16 MiB leaves one row, which holds on to its whole batch until it is copied."""
    regroup, size, live = Regroup(100_000, MOST), 2**20, 0
    for number in range(30):
        wide = pl.DataFrame({"id": range(16), "text": [f"{number:04}{digit:02}" * (size // 6) for digit in range(16)]})
        assert list(regroup.add(wide.filter(pl.col("id") == number % 16))) == []
        live = max(live, sum(kept(frame) for frame in regroup._waiting))  # noqa: SLF001  what waits
    assert live < 6 * MOST


def kept(frame: pl.DataFrame) -> int:
    """Return the bytes of the buffers that a frame holds on to."""
    return int(frame.to_arrow(compat_level=pl.CompatLevel.newest()).get_total_buffer_size())
