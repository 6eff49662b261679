"""An engine that breaks down: a panic of Polars ends a delivery as a `SinkError`, wherever it happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandera.polars as pa
import polars as pl
import pytest

import mc_sink
from mc_sink._frames import from_batches
from tests.support.command_line import Machine
from tests.support.frames import FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.servers.fault import FaultServer

NUM_ROWS = 30_000
# Where the one value that Polars panics on stands: in the first batch, in the middle, in the last row of all.
PLACES = [0, 15_000, NUM_ROWS - 1]
# A nanosecond epoch among milliseconds: beyond the years that chrono knows.
FAR, NEAR = 1_795_000_000_000_000_000, 1_795_000_000_000


def moments(bad: int | None) -> pl.LazyFrame:
    """Make a plan with a moment in each row, one of them too far off to be written as text."""
    far = pl.lit(value=False) if bad is None else pl.col("id") == bad
    epoch = pl.when(far).then(FAR).otherwise(NEAR)
    frame = pl.LazyFrame({"id": range(NUM_ROWS)}).with_columns(k=pl.col("id") // 7_000)
    return frame.with_columns(seen=epoch.cast(pl.Datetime("ms")))


def as_text(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Write the moments as text, which panics at the far one."""
    return frame.with_columns(pl.col("seen").cast(pl.String))


def in_the_query(bad: int) -> Any:
    """Panic in an expression of the plan."""
    return as_text(moments(bad))


def in_a_source(bad: int) -> Any:
    """Panic in Python code that uses Polars, inside a plan."""
    frame = moments(bad).collect()

    def source() -> Iterator[pl.DataFrame]:
        for rows in frame.iter_slices(5_000):
            yield rows.with_columns(pl.col("seen").cast(pl.String))

    return from_batches(source, as_text(moments(None)).collect_schema())


def in_an_iterable(bad: int) -> Any:
    """Panic in the caller's own generator of batches."""
    return (rows.with_columns(pl.col("seen").cast(pl.String)) for rows in moments(bad).collect().iter_slices(5_000))


def by_another_name(bad: int) -> Any:
    """Panic in another library written in Rust, whose exception is a class of its own."""
    panic = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})

    def source() -> Iterator[pl.DataFrame]:
        for rows in moments(None).collect().iter_slices(5_000):
            if rows["id"][-1] >= bad:
                raise panic("out of range")
            yield rows

    return source()


WAYS: list[Callable[[int], Any]] = [in_the_query, in_a_source, in_an_iterable, by_another_name]
OPTIONS: dict[str, dict[str, Any]] = {
    "one file": {},
    "split by rows": {"max_rows_per_file": 4_000},
    "split by bytes": {"max_bytes_per_file": 200_000},
    "partitions": {"partition_by": "k"},
    "a schema": {"schema": pa.DataFrameSchema({"id": pa.Column(int, pa.Check.ge(0))}, strict=False)},
    "rejects": {
        "schema": pa.DataFrameSchema({"id": pa.Column(int, pa.Check.gt(9))}, strict=False),
        "on_invalid": "reject",
    },
    "uniqueness": {"schema": pa.DataFrameSchema({"id": pa.Column(int, unique=True)}, strict=False)},
    "changes": {"previous": as_text(moments(None)), "keys": "id"},
}


def broken(frame: Any, target: str, **options: Any) -> None:
    """Deliver what breaks the engine, and expect an error that `except Exception` catches, with its cause."""
    with pytest.raises(mc_sink.QueryError, match=r"out[- ]of[- ]range.*Nothing became visible\.") as raised:
        mc_sink.sink_madconnect(frame, target, progress=False, row_group_size=5_000, **options)
    assert isinstance(raised.value, Exception)
    assert type(raised.value.__cause__).__name__ == "PanicException"


def nothing_at(folder: Path) -> bool:
    """Return whether no file is under a folder, not even a hidden one."""
    return not [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("bad", PLACES)
@pytest.mark.parametrize("way", WAYS)
def test_a_panic_is_an_error(tmp_path: Path, way: Callable[[int], Any], bad: int) -> None:
    """Before the first batch, in the middle or in the last row; in the query, in a source, in another library."""
    broken(way(bad), f"{tmp_path}/out/", format="csv")
    assert nothing_at(tmp_path)


@pytest.mark.parametrize("bad", PLACES)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_panic_is_an_error_with_any_options(tmp_path: Path, options: dict[str, Any], bad: int) -> None:
    """Under splits, partitions, validation, rejects, uniqueness and changes."""
    more = {"rejects": f"{tmp_path}/rejects/"} if "on_invalid" in options else {}
    broken(in_the_query(bad), f"{tmp_path}/out/", format="parquet", **options, **more)
    assert nothing_at(tmp_path)


@pytest.mark.parametrize("bad", PLACES)
@pytest.mark.parametrize("format", FORMATS)
def test_a_panic_shows_nothing_in_a_bucket(server: FaultServer, format: str, bad: int) -> None:
    """Parts are up by then in each format, and none of them stays."""
    target = f"s3://{server.bucket}/p/"
    broken(in_the_query(bad), target, format=format, storage_options=server.storage_options)
    assert not server.listing(server.bucket)
    assert not server.pending_uploads(server.bucket)


@pytest.mark.parametrize("format", FORMATS)
def test_a_panic_of_the_encoder_is_an_error(tmp_path: Path, format: str) -> None:
    """What the query can hold, and the format's own text can't."""
    frame, target = moments(15_000), f"{tmp_path}/out/x.{format}"
    chosen = mc_sink.Csv(datetime_format="%Y-%m-%d %H:%M:%S") if format == "csv" else None
    if format == "parquet":
        assert mc_sink.sink_madconnect(frame, target, progress=False).num_rows == NUM_ROWS
        return
    with pytest.raises(mc_sink.SinkError):
        mc_sink.sink_madconnect(frame, target, format=chosen, progress=False)
    assert nothing_at(tmp_path)


@pytest.mark.parametrize("bad", PLACES)
def test_a_panic_in_a_coerced_column_is_an_error(tmp_path: Path, bad: int) -> None:
    """The schema's own cast breaks the engine."""
    schema = pa.DataFrameSchema({"seen": pa.Column(str, coerce=True)}, strict=False)
    broken(moments(bad), f"{tmp_path}/out/", schema=schema, format="parquet")
    assert nothing_at(tmp_path)


@pytest.mark.parametrize("bad", PLACES)
def test_a_panic_in_the_last_delivery_is_an_error(tmp_path: Path, bad: int) -> None:
    """Rows of `previous` that don't come would be called added."""
    now = as_text(moments(None))
    broken(now, f"{tmp_path}/out/", previous=in_the_query(bad), keys="id", format="csv")
    assert nothing_at(tmp_path)


def test_a_panic_while_staging_is_an_error(tmp_path: Path) -> None:
    """Workers see the same error as a whole delivery."""
    with pytest.raises(mc_sink.QueryError):
        mc_sink.stage(in_the_query(15_000), f"{tmp_path}/out/", progress=False)
    assert nothing_at(tmp_path)


def test_a_damaged_file_is_an_error_of_the_command(tmp_path: Path) -> None:
    """The command ends with 1 and delivers nothing, where an engine that breaks down looked like the end of rows."""
    damaged = tmp_path / "damaged.parquet"
    frame = pl.DataFrame({"n": range(60_000), "s": [f"v{n % 97}" for n in range(60_000)]})
    frame.with_columns(l=pl.concat_list("n", "n")).write_parquet(damaged, row_group_size=10_000)
    data = bytearray(damaged.read_bytes())
    for place in range(len(data) // 2, len(data) // 2 + 4_000):
        data[place] = 0xFF
    damaged.write_bytes(data)
    machine = Machine(tmp_path, tmp_path / "state")
    ended = machine.mc_sink("send", damaged, f"{tmp_path}/out/", "--format", "parquet", code=1)
    assert "delivered" not in ended.out
    assert not (tmp_path / "out").exists() or nothing_at(tmp_path / "out")


def test_a_panic_is_an_error_of_the_command(tmp_path: Path) -> None:
    """A source of a connection that breaks the engine ends with 1 and one message, without a traceback."""
    (tmp_path / "rows.py").write_text(
        "import polars as pl\n\n"
        "def far():\n"
        "    far = pl.when(pl.col('id') == 20_000).then(1_795_000_000_000_000_000).otherwise(0)\n"
        "    seen = far.cast(pl.Datetime('ms')).cast(pl.String)\n"
        "    return pl.LazyFrame({'id': range(30_000)}).select(seen=seen)\n"
    )
    (tmp_path / "c.toml").write_text('target = "./out/"\n[source]\nfunction = "rows:far"\n')
    ended = Machine(tmp_path, tmp_path / "state").mc_sink("run", tmp_path / "c.toml", code=1)
    assert "QueryError" in ended.err
    assert "Traceback" not in ended.err
    assert not list(tmp_path.rglob("*.csv"))
