"""Pulling: batches bounded in rows and bytes, cut by the rows alone, and an end that the engine itself reported."""

from __future__ import annotations

import gc
import threading
import time
from contextlib import closing
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.io.plugins import register_io_source

from mc_sink._frames import from_batches
from mc_sink._runtime import batches as _batches
from mc_sink._runtime.batches import BATCH_BYTES, count_rows, known_num_rows, pull
from mc_sink.exceptions import QueryError
from tests.support.frames import numbers
from tests.support.versions import POLARS_COUNTS_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PAIR = pl.Struct([pl.Field("*", pl.Binary), pl.Field("^b.*$", pl.Int8)])
WIDE = pl.Schema({"n": pl.Int64(), "text": pl.String(), "list": pl.List(pl.String), "pair": PAIR})


def cuts(pieces: list[pl.DataFrame], schema: pl.Schema, max_rows: int) -> list[int]:
    """Return the heights of the batches that pieces are pulled as."""
    return [batch.height for batch in pull(from_batches(lambda: iter(pieces), schema), max_rows)]


def wide(widths: list[int]) -> pl.DataFrame:
    """Make rows of given widths in bytes, the bytes in a text, a list or a struct by turns."""
    rows = [
        (
            n,
            "x" * width if n % 3 == 0 else None,
            ["y" * (width // 2), None, "y" * (width - width // 2)] if n % 3 == 1 else None,
            {"*": b"z" * width, "^b.*$": None} if n % 3 == 2 else None,
        )
        for n, width in enumerate(widths)
    ]
    return pl.DataFrame(rows, schema=WIDE, orient="row")


def greedy(widths: list[int], max_rows: int, max_bytes: int) -> list[int]:
    """Cut as the documentation says it, row by row."""
    heights, num_bytes = [0], 0
    for width in widths:
        if heights[-1] and (heights[-1] == max_rows or num_bytes + width + 9 > max_bytes):
            heights.append(0)
            num_bytes = 0
        heights[-1] += 1
        num_bytes += width + 9
    return [height for height in heights if height]


@settings(max_examples=60, deadline=None)
@given(
    widths=st.lists(st.integers(0, 400), min_size=1, max_size=60),
    ends=st.lists(st.integers(0, 60), max_size=6),
    max_rows=st.integers(1, 40),
)
def test_batches_are_cut_by_the_rows_alone(widths: list[int], ends: list[int], max_rows: int) -> None:
    """However the engine hands its rows over, each batch is the longest run of rows that both bounds allow."""
    rows, bounds = wide(widths), sorted({0, len(widths), *(end for end in ends if end < len(widths))})
    pieces = [rows[first:last] for first, last in pairwise(bounds)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_batches, "BATCH_BYTES", 1_000)
        found = cuts(pieces, rows.schema, max_rows)
        assert found == cuts([rows], rows.schema, max_rows) == greedy(widths, max_rows, 1_000)


def test_a_text_that_is_stored_once_counts_in_every_row() -> None:
    """Rows that share a value in memory are as wide as they will be in the file."""
    shared = pl.DataFrame({"n": range(1_000)}).with_columns(text=pl.lit("x" * (BATCH_BYTES // 8)))
    assert max(cuts([shared], shared.schema, 100_000)) == 7


def test_rows_of_numbers_are_bounded_in_bytes_too() -> None:
    """Many columns make wide rows without any text."""
    columns = pl.DataFrame({f"c{n}": pl.Series([0.0] * 3_000) for n in range(4_000)})
    assert cuts([columns], columns.schema, 100_000) == [524] * 5 + [380]


def test_many_small_pieces_become_one() -> None:
    """A batch of a thousand pieces would be a thousand times as slow to work on."""
    rows = numbers(3_000)
    batches = list(pull(from_batches(lambda: iter(rows.iter_slices(3)), rows.schema), 2_000))
    assert [batch.height for batch in batches] == [2_000, 1_000]
    assert all(batch.n_chunks() < 5 for batch in batches)
    assert pl.concat(batches).equals(rows)


def test_rows_keep_their_order_and_their_values(tmp_path: Path) -> None:
    """What a scan of files yields is what the files hold."""
    numbers(250_000).write_parquet(tmp_path / "a.parquet", row_group_size=30_000)
    batches = list(pull(pl.scan_parquet(tmp_path / "*.parquet"), 40_000))
    assert [batch.height for batch in batches] == [40_000] * 6 + [10_000]
    assert pl.concat(batches).equals(numbers(250_000))


def test_the_engine_waits_until_it_is_pulled_from() -> None:
    """A plan whose batches are not pulled runs only a few batches ahead."""
    made: list[int] = []

    def source() -> Iterator[pl.DataFrame]:
        for n in range(1_000):
            made.append(n)
            yield numbers(1_000)

    with closing(pull(from_batches(source, numbers(1).schema), 1_000)) as batches:
        next(batches)
        time.sleep(0.5)
        assert len(made) < 100


@pytest.mark.parametrize("how", ["closed", "dropped"])
def test_an_early_end_stops_the_engine(how: str) -> None:
    """Neither a thread nor the query goes on after its batches were let go."""
    made: list[int] = []

    def source() -> Iterator[pl.DataFrame]:
        for n in range(100_000):
            made.append(n)
            yield numbers(1_000)

    before = threading.active_count()
    batches = pull(from_batches(source, numbers(1).schema), 1_000)
    next(batches)
    if how == "closed":
        batches.close()
    del batches
    gc.collect()
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before
    ended = len(made)
    time.sleep(0.2)
    assert len(made) == ended


def test_an_exception_of_the_source_arrives_as_itself() -> None:
    """With its type and the rows before it."""

    class SourceError(Exception):
        pass

    def source() -> Iterator[pl.DataFrame]:
        yield numbers(10)
        raise SourceError("gone")

    got: list[pl.DataFrame] = []
    with pytest.raises(SourceError, match="gone"):
        got.extend(pull(from_batches(source, numbers(1).schema), 5))
    assert sum(batch.height for batch in got) <= 10


def test_a_scan_that_loses_rows_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number in the Parquet footers is compared with the rows that came, as a second proof."""
    for n in range(3):
        numbers(1_000).write_parquet(tmp_path / f"{n}.parquet")
    plan = pl.scan_parquet(tmp_path / "*.parquet")
    if POLARS_COUNTS_COLUMNS:
        plan = plan.with_columns(more=pl.col("id") + 1).select("more")
    assert sum(batch.height for batch in pull(plan, 700)) == 3_000
    sink_batches, passed = pl.LazyFrame.sink_batches, iter([True, False])

    def losing(frame: pl.LazyFrame, function: Callable[[pl.DataFrame], bool | None], **options: Any) -> None:
        sink_batches(frame, lambda rows: function(rows) if next(passed, True) else None, **options)

    monkeypatch.setattr(pl.LazyFrame, "sink_batches", losing)
    with pytest.raises(QueryError, match=r"after 2,[05]00 rows, and its source holds 3,000"):
        list(pull(plan, 700))


@pytest.mark.parametrize(
    ("plan", "expected"),
    {
        "a scan": (lambda scan: scan, 1_000),
        "with more columns": (lambda scan: scan.with_columns(x=pl.lit(1)), 1_000 if POLARS_COUNTS_COLUMNS else None),
        "some columns": (lambda scan: scan.select("id"), 1_000 if POLARS_COUNTS_COLUMNS else None),
        "a filter": (lambda scan: scan.filter(pl.col("id") > 5), None),
        "a head": (lambda scan: scan.head(5), None),
        "a group-by": (lambda scan: scan.group_by("id").len(), None),
        "an explosion": (
            lambda scan: scan.with_columns(pl.col("id").repeat_by(2)).explode("id", empty_as_null=False),
            None,
        ),
        "a union": (lambda scan: pl.concat([scan, scan]), None),
        "a frame": (lambda _: numbers(7).lazy(), 7),
        "a frame, filtered": (lambda _: numbers(7).lazy().filter(pl.col("id") > 3), None),
        "a source in Python": (lambda _: register_io_source(lambda *_: iter(()), schema=numbers(1).schema), None),
    }.values(),
)
def test_rows_are_counted_beforehand_only_where_it_is_certain(
    tmp_path: Path, plan: Callable[[pl.LazyFrame], pl.LazyFrame], expected: int | None
) -> None:
    """Neither a filter nor an aggregation lets a plan be counted from its source."""
    numbers(1_000).write_parquet(tmp_path / "a.parquet")
    assert count_rows(plan(pl.scan_parquet(tmp_path / "a.parquet"))) == expected


def test_frames_in_memory_know_their_number_of_rows() -> None:
    """So that it can be compared at the end."""
    table = numbers(5).to_arrow()
    known: list[object] = [numbers(5), table, table.to_batches()[0], [numbers(2), table], [], table.to_pandas()]
    assert [known_num_rows(frame) for frame in known] == [5, 5, 5, 7, 0, 5]
    unknown: list[object] = [table.to_reader(), iter([table]), [iter([])], "x", 7]
    assert [known_num_rows(frame) for frame in unknown] == [None] * 5
    assert known_num_rows(pa.table({})) == 0
