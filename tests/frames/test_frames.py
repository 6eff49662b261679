"""Every kind of frame becomes a plan that streams them, in order, once."""

from __future__ import annotations

import itertools
import resource
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_sink import ConfigurationError
from mc_sink._frames import ROW_GROUP_SIZE, as_lazyframe, from_batches
from mc_sink._runtime.batches import pull

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mc_sink._frames import Batches

ROWS = {"n": [1, 2, 3], "s": ["x", "y", None]}
FRAME = pl.DataFrame(ROWS)
TABLE = pa.table(ROWS)
BATCH = TABLE.to_batches()[0]


def rows_of(frame: Any, row_group_size: int = ROW_GROUP_SIZE) -> pl.DataFrame:
    """Convert a frame to a plan, collect it, and check the schema against the plan's."""
    plan = as_lazyframe(frame)
    schema = plan.collect_schema()
    batches = list(pull(plan, row_group_size))
    assert all(batch.schema == schema for batch in batches)
    return pl.concat(batches) if batches else schema.to_frame()


def counted(seen: list[int], stop: int | None = None) -> Batches:
    """Yield two-row batches, noting each in `seen`; without end where `stop` is None."""
    for number in itertools.count() if stop is None else range(stop):
        seen.append(number)
        yield pl.DataFrame({"n": [number, number], "s": ["x", "y"]})


FRAMES: dict[str, Callable[[], Any]] = {
    "LazyFrame": FRAME.lazy,
    "DataFrame": FRAME.clone,
    "Table": lambda: TABLE,
    "RecordBatch": lambda: BATCH,
    "RecordBatchReader": TABLE.to_reader,
    "pandas": lambda: pd.DataFrame(ROWS),
    "DuckDB": lambda: duckdb.sql("FROM (VALUES (1::BIGINT, 'x'), (2, 'y'), (3, NULL)) AS rows(n, s) ORDER BY n"),
    "list of DataFrames": lambda: [FRAME.head(1), FRAME.slice(1)],
    "tuple of record batches": lambda: (BATCH.slice(0, 2), BATCH.slice(2)),
    "generator of DataFrames": lambda: (FRAME.slice(i, 1) for i in range(3)),
    "generator of record batches": lambda: (BATCH.slice(i, 1) for i in range(3)),
    "list of tables": lambda: [TABLE.slice(0, 1), TABLE.slice(1)],
    "mixed list": lambda: [FRAME.head(1), BATCH.slice(1)],
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_every_kind_of_frame_gives_its_rows(frame: Callable[[], Any]) -> None:
    """Rows, order, names and dtypes are the same for every kind of frame."""
    assert rows_of(frame()).equals(FRAME)


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_every_kind_of_frame_may_have_no_rows(frame: Callable[[], Any]) -> None:
    """With every row filtered away the schema is still that of the frame."""
    plan = as_lazyframe(frame()).filter(pl.col("n") > 3)
    assert list(itertools.chain.from_iterable(batch.rows() for batch in pull(plan, ROW_GROUP_SIZE))) == []
    assert plan.collect_schema() == FRAME.schema


@pytest.mark.parametrize(
    "empty",
    [
        FRAME.clear(),
        FRAME.clear().lazy(),
        TABLE.slice(0, 0),
        BATCH.slice(0, 0),
        pa.RecordBatchReader.from_batches(BATCH.schema, [BATCH.slice(0, 0)]),
        pd.DataFrame({"n": pd.Series(dtype="int64"), "s": pd.Series(dtype="str")}),
        [FRAME.clear()],
    ],
    ids=lambda frame: type(frame).__name__,
)
def test_a_frame_without_rows_has_its_schema(empty: Any) -> None:
    """Zero rows are a delivery too: the columns are known."""
    assert rows_of(empty).equals(FRAME.clear())


def test_empty_batches_among_others_are_no_end() -> None:
    """A batch without rows in mid-stream is passed over."""
    assert rows_of([FRAME.clear(), FRAME.head(2), FRAME.clear(), FRAME.slice(2), FRAME.clear()]).equals(FRAME)


@pytest.mark.parametrize(
    ("thing", "expected"),
    [
        (None, "NoneType is not a frame"),
        (7, "int is not a frame"),
        ("rows.csv", r"str is not a frame.*polars\.scan_csv"),
        (Path("rows.parquet"), r"Path is not a frame.*polars\.scan_parquet"),
        (b"rows", "bytes is not a frame"),
        (ROWS, "dict is not a frame"),
        ([ROWS], "A batch is a dict"),
        ([FRAME.lazy()], "A batch is a LazyFrame"),
        ([[1, 2]], "A batch is a list"),
        (["rows.csv"], "A batch is a str"),
        ([FRAME, None], "A batch is a NoneType"),
        (pa.array([1, 2]), "is"),
        (pa.chunked_array([[1, 2]]), "ChunkedArray"),
        (pl.Series("n", [1, 2]), "Series"),
        (pl.DataFrame, "type is not a frame"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
def test_what_is_no_frame_is_refused(thing: Any, expected: str) -> None:
    """Anything else gets an error that names its type and says what would do."""
    with pytest.raises(ConfigurationError, match=expected):
        rows_of(thing)


# --- Streams that can be read once


def consumed_reader() -> pa.RecordBatchReader:
    """Return a reader that other code has read."""
    reader = TABLE.to_reader()
    reader.read_all()
    return reader


def consumed_generator() -> Iterator[pl.DataFrame]:
    """Return a generator that other code has run."""
    generator = (FRAME for _ in range(2))
    list(generator)
    return generator


@pytest.mark.parametrize(
    "frame",
    [
        consumed_reader(),
        consumed_generator(),
        iter([]),
        [],
        pa.RecordBatchReader.from_batches(BATCH.schema, []),
    ],
    ids=["consumed reader", "consumed generator", "iterator", "list", "reader"],
)
def test_a_stream_without_batches_is_refused_at_the_door(frame: Any) -> None:
    """A reader or iterator with nothing in it was consumed before: that is an error, not a delivery of zero rows."""
    with pytest.raises(ConfigurationError, match=r"0 batches: it was consumed before.*Nothing became visible"):
        as_lazyframe(frame)


def test_a_stream_that_was_begun_gives_the_rest() -> None:
    """Rows that other code took before are not delivered, and nothing pretends that they are."""
    reader = pa.RecordBatchReader.from_batches(BATCH.schema, [BATCH.slice(0, 1), BATCH.slice(1)])
    reader.read_next_batch()
    assert rows_of(reader).equals(FRAME.slice(1))


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (FRAME.with_columns(pl.col("n").cast(pl.Float64)), "'n' is Float64, was Int64"),
        (FRAME.rename({"s": "t"}), "'s' is None, was String, 't' is String, was None"),
        (FRAME.select("s", "n"), "column order"),
        (FRAME.drop("s"), "'s' is None, was String"),
        (FRAME.with_columns(extra=1), "'extra' is Int32, was None"),
        (BATCH.cast(pa.schema([("n", pa.int32()), ("s", pa.string())])), "'n' is Int32, was Int64"),
    ],
    ids=["dtype", "name", "order", "missing", "extra", "arrow"],
)
def test_a_schema_that_changes_in_mid_stream_is_an_error(second: Any, expected: str) -> None:
    """The error says which batch, which column, what it is and what it was."""
    with pytest.raises(ConfigurationError, match=rf"Batch 2 \(counted from 0\).*{expected}.*Nothing became visible"):
        rows_of(batch for batch in (FRAME, FRAME, second))


@pytest.mark.parametrize("error", [KeyError("k"), OSError("o"), ZeroDivisionError(), MemoryError()])
def test_what_a_source_raises_arrives_as_itself(error: Exception) -> None:
    """Neither the type nor the object is changed on the way through the engine."""

    def batches() -> Batches:
        yield FRAME
        raise error

    with pytest.raises(type(error)) as raised:
        rows_of(batches())
    assert raised.value is error


def test_an_error_in_the_first_batch_is_raised_at_the_door() -> None:
    """A source that fails at once fails before anything is planned, with its own exception."""
    with pytest.raises(ZeroDivisionError):
        as_lazyframe(pl.DataFrame({"n": [1 // (number - 1)]}) for number in (1, 2))


# --- Laziness


def test_the_door_reads_one_batch_of_an_iterator() -> None:
    """To know its schema, one batch is read; the second waits for the run."""
    seen: list[int] = []
    as_lazyframe(counted(seen))
    assert seen == [0]


def test_the_door_reads_nothing_of_a_lazyframe_or_a_table() -> None:
    """A plan is not run, and is handed on as the object that it is."""
    plan = FRAME.lazy().map_batches(lambda _: pytest.fail("the plan was run"), schema=FRAME.schema)
    assert as_lazyframe(plan) is plan


def test_an_endless_stream_streams() -> None:
    """The engine waits for its consumer: after three batches an endless source has been asked for a bounded number."""
    seen: list[int] = []
    batches = pull(as_lazyframe(counted(seen)), 2)
    taken = [next(batches)["n"][0] for _ in range(3)]
    assert taken == [0, 1, 2]
    assert len(seen) < 1_000


def test_a_source_rests_once_no_reader_pulls() -> None:
    """Dropping the batches ends the engine, and with it the source."""
    seen: list[int] = []
    batches = pull(as_lazyframe(counted(seen)), 2)
    next(batches)
    del batches
    stopped_at = -1
    for _ in range(100):
        if stopped_at == len(seen):
            break
        stopped_at = len(seen)
        threading.Event().wait(0.05)
    assert stopped_at == len(seen)


def peak_memory() -> int:
    """Return the most bytes that this interpreter has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def test_a_stream_of_a_gibibyte_takes_a_fraction_of_it() -> None:
    """Rows that were pulled are let go: memory grows by less than a quarter of what passed."""
    batch = pl.DataFrame({"n": pl.int_range(1_000_000, eager=True)})
    before = peak_memory()
    passed = sum(pulled.height * 8 for pulled in pull(as_lazyframe(batch + 0 for _ in range(128)), 100_000))
    assert passed == 1_024_000_000
    assert peak_memory() - before < passed / 4


def test_batches_have_the_rows_of_a_row_group() -> None:
    """`row_group_size` is the height of every batch but the last."""
    heights = [batch.height for batch in pull(pl.LazyFrame({"n": range(1_000)}), 300)]
    assert heights == [300, 300, 300, 100]


# --- Order


@given(heights=st.lists(st.integers(0, 50), min_size=1, max_size=20), size=st.sampled_from([1, 7, 1_000]))
def test_order_is_kept(heights: list[int], size: int) -> None:
    """Whatever the batches' heights, rows leave in the order in which they came, none lost and none twice."""
    ends = list(itertools.accumulate(heights))
    whole = pl.DataFrame({"n": range(ends[-1])}, schema={"n": pl.Int64})
    parts = [whole.slice(end - height, height) for end, height in zip(ends, heights, strict=True)]
    assert rows_of(parts, size)["n"].to_list() == list(range(ends[-1]))


def test_order_is_kept_through_a_query() -> None:
    """A query that filters and computes on many threads gives rows in their order."""
    plan = pl.LazyFrame({"n": range(500_000)}).filter(pl.col("n") % 3 == 0).with_columns(h=pl.col("n").hash())
    batches = pl.concat(list(pull(plan, 10_000)))
    assert batches["n"].to_list() == list(range(0, 500_000, 3))


# --- What a query asks of a source


def source(seen: list[int], stop: int = 4) -> pl.LazyFrame:
    """Make a plan of two-row batches that notes what was read."""
    return from_batches(lambda: counted(seen, stop), pl.Schema({"n": pl.Int64, "s": pl.String}))


def test_columns_and_a_predicate_are_answered_together() -> None:
    """A filter on a column that isn't selected still picks the right rows."""
    assert source([]).filter(pl.col("s") == "y").select("n").collect().rows() == [(0,), (1,), (2,), (3,)]


def test_columns_come_in_the_order_asked_for() -> None:
    """A selection may turn columns round or leave them all out."""
    assert source([]).select("s", "n").collect().rows()[0] == ("x", 0)
    assert source([]).select(pl.len()).collect().item() == 8


def test_a_limit_is_kept_and_ends_the_source() -> None:
    """The first rows are taken, and batches behind them are never made."""
    seen: list[int] = []
    assert source(seen, 1_000).head(3).collect().rows() == [(0, "x"), (0, "y"), (1, "x")]
    assert len(seen) < 100


def test_a_limit_counts_rows_that_pass_the_predicate() -> None:
    """Rows filtered away don't use up the limit."""
    assert source([]).filter(pl.col("s") == "y").head(3).collect()["n"].to_list() == [0, 1, 2]


def test_a_limit_that_comes_before_a_predicate_is_kept_first() -> None:
    """Of the first three rows those that pass are given, and not the first three that pass."""
    assert source([]).head(3).filter(pl.col("s") == "y").collect()["n"].to_list() == [0]


@given(offset=st.integers(0, 9), length=st.integers(0, 9))
def test_any_slice_is_what_a_frame_would_give(offset: int, length: int) -> None:
    """Slices that the engine pushes into the source select the same rows as on a frame in memory."""
    whole = pl.concat(counted([], 4))
    assert source([]).slice(offset, length).collect().equals(whole.slice(offset, length))
    picked = pl.col("s") == "y"
    assert source([]).filter(picked).slice(offset, length).collect().equals(whole.filter(picked).slice(offset, length))


def test_a_plan_of_repeatable_batches_runs_again() -> None:
    """`from_batches` calls its source again for every run."""
    plan = source([])
    assert plan.collect().equals(plan.collect())


# --- Dtypes


STRINGS = [pa.string(), pa.large_string(), pa.string_view()]
BINARIES = [pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(1)]


@pytest.mark.parametrize("dtype", STRINGS + BINARIES, ids=str)
def test_every_layout_of_text_and_bytes_is_taken(dtype: pa.DataType) -> None:
    """Offsets of 32 or 64 bits, views and fixed sizes are String and Binary."""
    values = ["x", None] if dtype in STRINGS else [b"x", None]
    assert rows_of(pa.table({"v": pa.array(values, dtype)}))["v"].to_list() == values


def test_layouts_may_differ_from_batch_to_batch() -> None:
    """Text stays text when the next batch lays it out otherwise."""
    batches = [pa.record_batch({"v": pa.array(["x"], dtype)}) for dtype in STRINGS]
    assert rows_of(batches)["v"].to_list() == ["x"] * 3


def dictionary(values: list[str]) -> pa.RecordBatch:
    """Return a record batch whose dictionary holds its own values alone."""
    return pa.record_batch({"c": pa.array(values).dictionary_encode()})


CATEGORIES: dict[str, Callable[[], Any]] = {
    "dictionary batches": lambda: [dictionary(["a", "b"]), dictionary(["c", "a"])],
    "dictionary table": lambda: pa.Table.from_batches([dictionary(["a", "b"]), dictionary(["c", "a"])]),
    "categorical frames": lambda: [
        pl.DataFrame({"c": pl.Series(values, dtype=pl.Categorical)}) for values in (["a", "b"], ["c", "a"])
    ],
    "pandas": lambda: pd.DataFrame({"c": pd.Categorical(["a", "b", "c", "a"], categories=["c", "b", "a"])}),
    "enum": lambda: pl.DataFrame({"c": pl.Series(["a", "b", "c", "a"], dtype=pl.Enum(["c", "b", "a"]))}),
}


@pytest.mark.parametrize("frame", CATEGORIES.values(), ids=CATEGORIES)
def test_categories_that_differ_per_batch_keep_their_values(frame: Callable[[], Any]) -> None:
    """Codes of one batch are never read with the categories of another."""
    assert rows_of(frame())["c"].cast(pl.String).to_list() == ["a", "b", "c", "a"]


def test_enums_with_other_categories_are_another_schema() -> None:
    """An Enum's categories are its dtype, so others in mid-stream are refused, naming the column."""
    frames = [pl.DataFrame({"c": pl.Series(["a"], dtype=pl.Enum(kinds))}) for kinds in (["a"], ["a", "b"])]
    with pytest.raises(ConfigurationError, match=r"Batch 1.*'c' is Enum"):
        rows_of(frames)


def test_a_dtype_that_polars_cannot_hold_is_refused_by_name() -> None:
    """An Arrow type without a Polars dtype ends in an error that names the column, and in no panic of the engine."""
    months = pa.array([(1, 2, 3)], pa.month_day_nano_interval())
    with pytest.raises(ConfigurationError, match="'every'"):
        as_lazyframe(pa.table({"every": months}))


def test_two_columns_of_one_name_are_refused() -> None:
    """Arrow allows a name twice; a file that says so can't be read by column name."""
    with pytest.raises(ConfigurationError, match="'n'"):
        as_lazyframe(pa.table([[1], [2]], names=["n", "n"]))


# --- pandas


def test_a_pandas_frame_that_was_filtered_delivers_no_index() -> None:
    """Row labels that pandas made up, gaps included, don't become a column for the receiver."""
    frame = pd.DataFrame(ROWS)
    assert rows_of(frame[frame["n"] > 1]).equals(FRAME.slice(1))
    assert rows_of(frame.sample(frac=1, random_state=1).reset_index(drop=True)).columns == FRAME.columns


def test_a_named_pandas_index_is_a_column() -> None:
    """An index with a name holds data, and none of it is lost."""
    assert rows_of(pd.DataFrame(ROWS).set_index("s")).select("n", "s").equals(FRAME)


def test_numbered_pandas_columns_get_text_for_names() -> None:
    """Columns that are numbers in pandas are named by those numbers."""
    assert rows_of(pd.DataFrame([[1, 2]])).columns == ["0", "1"]
