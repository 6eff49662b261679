"""What waits in memory for its file holds its own rows, and not those that were filtered away from beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest

from mc_sink._runtime.batches import regrouped
from mc_sink._runtime.kept_rows import compact
from mc_sink._runtime.spill import Spill
from mc_sink.comparison.buckets import Bounds, Duplicates, KeyBuckets, numbered
from mc_sink.keys import Partitioning
from mc_sink.writing.partitioned import PartitionBuffer
from mc_sink.writing.splitting import ReplayableRows

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

MOST = 1_000_000
ALL = pl.DataFrame({"0": range(10_000)}).with_columns(k=pl.col("0") % 2, text=pl.format("{}" + "x" * 500, "0"))


def few() -> Generator[pl.DataFrame, None, None]:
    """Yield ten batches, each with a hundredth of its rows left."""
    for _ in range(10):
        yield ALL.with_columns(text=pl.col("text") + "y").filter(pl.col("0") % 100 < 1)


def buffered() -> Iterable[pl.DataFrame]:
    """Buffer them by partition."""
    buffer = PartitionBuffer(Partitioning(("k",), ALL.schema), None)
    list(buffer.fill(few()))
    return [rows for partition in buffer.partitions for rows in buffer.rows(partition)]


def held() -> Iterable[pl.DataFrame]:
    """Hold them for a file that may be encoded again."""
    rows = ReplayableRows(few(), None)
    list(rows.take(10_000))
    return list(rows.take(10_000))


def compared() -> Iterable[pl.DataFrame]:
    """Hold them for the comparison with the last delivery."""
    side = KeyBuckets(numbered(ALL.head(0), 0), Duplicates("this run", ("0",), ("0",)), Bounds())
    side.fill(few())
    return [side.read(())]


@pytest.mark.parametrize("wait", [buffered, held, compared, lambda: regrouped(few(), 5_000)])
def test_what_waits_holds_its_own_rows(wait: Callable[[], Iterable[pl.DataFrame]]) -> None:
    """All of it together takes little more than its rows do, where a batch that was filtered takes all of its own."""
    assert next(few()).to_arrow(compat_level=pl.CompatLevel.newest()).get_total_buffer_size() > MOST
    frames = list(wait())
    assert sum(frame.height for frame in frames) == 1_000
    kept = [frame.to_arrow(compat_level=pl.CompatLevel.newest()).get_total_buffer_size() for frame in frames]
    assert sum(kept) < 3 * MOST


@pytest.mark.parametrize(
    "nested",
    [
        pl.struct("text"),
        pl.concat_list("text"),
        pl.struct(pl.concat_list("text"), pl.col("0")),
        pl.struct(pl.struct("text")),
    ],
)
def test_nested_texts_hold_their_own_rows(nested: pl.Expr) -> None:
    """At any depth: in memory, and in what is parked on the disk."""
    few_rows = ALL.select("0", nested.alias("nested")).filter(pl.col("0") % 100 < 1)
    found = compact(few_rows)
    assert found.equals(few_rows)
    assert found.to_arrow(compat_level=pl.CompatLevel.newest()).get_total_buffer_size() < MOST
    with Spill() as spill:
        slot = spill.append(few_rows)
        assert slot.length < MOST
        assert spill.read(slot).equals(few_rows)


@pytest.mark.parametrize("dtype", [pl.Int128, pl.UInt128, pl.Categorical, pl.List(pl.Int128), pl.Null])
def test_rows_of_any_dtype_are_the_same(dtype: pl.DataType) -> None:
    """Also those that Arrow doesn't have."""
    values = pl.Series("x", [None, None], dtype=dtype).to_frame()
    assert compact(values).equals(values)
    assert compact(values).schema == values.schema
