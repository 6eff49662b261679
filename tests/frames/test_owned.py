"""A source that fills its memory again delivers what it yielded as it was then; a frame given whole isn't copied."""

from __future__ import annotations

import copy
import ctypes
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import mc_sink
from mc_sink._arrow import arrow_import
from mc_sink._frames import as_lazyframe
from mc_sink._runtime.batches import pull
from mc_sink._runtime.kept_rows import owned
from tests.support.arrow_arrays import LEAVES, nested

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HELD = dict(nested(LEAVES))
NUM_BATCHES, HEIGHT = 50, 1_000


def refilled(make: Callable[[np.ndarray], Any]) -> Iterator[Any]:
    """Yield batches of one array, which is filled again before each."""
    buffer = np.zeros(HEIGHT, dtype=np.int64)
    for number in range(NUM_BATCHES):
        buffer[:] = number
        yield make(buffer)


def texts(buffer: np.ndarray) -> pa.RecordBatch:
    """Return texts whose bytes are those of the array: eight digits each."""
    buffer[:] = int.from_bytes(f"{buffer[0]:08}".encode(), "little")
    offsets = pa.py_buffer(np.arange(0, 8 * HEIGHT + 1, 8, dtype=np.int64))
    return pa.record_batch({"a": pa.LargeStringArray.from_buffers(HEIGHT, offsets, pa.py_buffer(buffer))})


def listed(buffer: np.ndarray) -> pa.RecordBatch:
    """Return lists of the array's values, the first of them empty."""
    offsets = pa.array([0, 0, HEIGHT], pa.int64())
    return pa.record_batch({"a": pa.LargeListArray.from_arrays(offsets, pa.array(buffer))})


def reader(buffer: np.ndarray) -> pa.RecordBatch:
    """Return a record batch over the array."""
    return pa.record_batch({"a": pa.array(buffer)})


MADE: dict[str, Callable[[np.ndarray], Any]] = {
    "DataFrame": lambda buffer: pl.DataFrame({"a": buffer}),
    "record batch": reader,
    "table": lambda buffer: pa.table({"a": pa.array(buffer)}),
    "pandas": lambda buffer: pd.DataFrame({"a": buffer}, copy=False),
    "texts": texts,
    "frame of texts": lambda buffer: pl.DataFrame(texts(buffer)),
    "lists": listed,
    "frame of structs": lambda buffer: pl.DataFrame({"a": buffer}).select(pl.struct("a").alias("a")),
}


@pytest.mark.parametrize("format", ["csv", "csv.gz", "parquet"])
@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_a_generator_that_fills_its_memory_again_delivers_what_it_yielded(
    make: Callable[[np.ndarray], Any], format: str, tmp_path: Path
) -> None:
    """Every value that was yielded is in the file, as often as it was yielded."""
    path = tmp_path / f"x.{format}"
    nests = make in (MADE["lists"], MADE["frame of structs"])
    options: Any = {"format": mc_sink.Csv(nested="json")} if nests and format == "csv" else {}
    if nests and format == "csv.gz":
        options = {"format": mc_sink.Csv(nested="json", compression="gzip")}
    mc_sink.sink_madconnect(refilled(make), path, progress=False, **options)
    found = pl.read_parquet(path) if format == "parquet" else pl.read_csv(path)
    values = found["a"] if found["a"].dtype != pl.List else found["a"].explode(empty_as_null=False)
    kept = values.value_counts().filter(pl.col("a").is_not_null())
    assert kept.height - (make is MADE["lists"] and format != "parquet") == NUM_BATCHES


def test_a_reader_over_such_a_generator_delivers_what_it_yielded(tmp_path: Path) -> None:
    """Nothing shows that a reader is made of one, nor that a capsule is."""
    schema = pa.schema({"a": pa.int64()})
    mc_sink.sink_madconnect(
        pa.RecordBatchReader.from_batches(schema, refilled(reader)), tmp_path / "x.parquet", progress=False
    )
    assert pl.read_parquet(tmp_path / "x.parquet")["a"].n_unique() == NUM_BATCHES

    class Capsule:
        def __arrow_c_stream__(self, requested_schema: object = None) -> Any:
            made = pa.RecordBatchReader.from_batches(schema, refilled(reader))
            return made.__arrow_c_stream__(requested_schema)

    mc_sink.sink_madconnect(Capsule(), tmp_path / "y.parquet", progress=False)
    assert pl.read_parquet(tmp_path / "y.parquet")["a"].n_unique() == NUM_BATCHES


@pytest.mark.parametrize("values", HELD.values(), ids=HELD)
def test_a_copy_shares_no_memory(values: pa.Array) -> None:
    """Overwriting every buffer that the rows came in changes nothing of their copy, whatever the dtype."""
    for start in range(3):
        sink = pa.BufferOutputStream()
        whole = pa.record_batch([values], names=["c"])
        with pa.ipc.new_stream(sink, whole.schema) as writer:
            writer.write_batch(whole)
        memory = pa.py_buffer(bytearray(sink.getvalue().to_pybytes()))
        batch = pa.ipc.open_stream(memory).read_next_batch().slice(start)
        frame = arrow_import(batch.schema).frame(batch)
        copied = owned(frame)
        before = copy.deepcopy(copied["c"].to_list())
        assert (copied.schema, before) == (frame.schema, frame["c"].to_list())
        for buffer in batch.column(0).buffers():
            if buffer is not None and buffer.size:
                ctypes.memset(buffer.address, 1, buffer.size)
        assert copied["c"].to_list() == before


@pytest.mark.parametrize(
    "values",
    [
        pl.Series("c", [2**100, None], dtype=pl.Int128),
        pl.Series("c", ["x", None], dtype=pl.Enum(["x", "y"])),
        pl.Series("c", [{"a": "x", "b": 1}], dtype=pl.Struct({"a": pl.String, "b": pl.Int128})),
        pl.Series("c", [{"a": "x", "b": "y"}], dtype=pl.Struct({"a": pl.String, "b": pl.Enum(["y", "z"])})),
        pl.Series("c", [{"a\x00b": "x"}]),
        pl.Series("c", [object()], dtype=pl.Object),
        pl.Series("^c*$", ["x", "y"]),
        pl.Series("c", [], dtype=pl.String),
    ],
    ids=lambda values: str(values.dtype).encode("unicode_escape").decode(),
)
def test_a_copy_has_name_dtype_and_values(values: pl.Series) -> None:
    """Also of dtypes that Arrow lacks."""
    copied = owned(values.to_frame())
    assert copied.schema == values.to_frame().schema
    assert copied.to_series().to_list() == values.to_list()


@pytest.mark.parametrize(
    "make", [lambda frame: frame, pl.DataFrame.to_arrow, lambda frame: [frame], pl.DataFrame.to_pandas]
)
def test_what_is_given_whole_is_not_copied(
    make: Callable[[pl.DataFrame], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame, a table or a list of them is all there, and costs no copy."""
    monkeypatch.setattr("mc_sink._runtime.kept_rows.owned", lambda _: pytest.fail("copied"))
    assert sum(batch.height for batch in pull(as_lazyframe(make(pl.DataFrame({"n": [1, 2, 3]}))), 10)) == 3


def test_a_copy_of_slices_takes_as_long_as_their_rows() -> None:
    """Slices of one large frame of nested texts are copied without the rest of it: measured, 100 ms for 80 MB."""
    rows = pl.DataFrame({"n": range(400_000)}).select(
        listed=pl.concat_list(
            pl.format("a text that is longer than a view {}", "n"), pl.format("another such text {}", "n")
        )
    )
    began = time.process_time()
    for part in rows.iter_slices(2_000):
        owned(part)
    assert time.process_time() - began < 10
