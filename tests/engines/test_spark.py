"""Spark delivers one run from its tasks: `sink_madconnect(df, …)`, `df.write`, and each batch of a stream."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandera.polars as pa
import polars as pl
import pytest

import mc_sink
import mc_sink.testing
from mc_sink import ConfigurationError, UploadError, ValidationError
from tests.servers.fault import FaultServer
from tests.servers.faults import FOREVER, Status
from tests.support.canary import KEY, SECRET, found_in
from tests.support.frames import read_back
from tests.support.small_deliveries import MANIFEST, RUN, data_files, seen
from tests.support.spark_deliveries import (
    CANARIES,
    MANY,
    ROWS,
    deliver,
    ids_of_csv,
    made,
    options_for,
    slow,
    stage_workers,
    until_parts_are_up,
)
from tests.support.spark_sessions import CREDENTIALS, failing, noting_attempts, spark_session

if TYPE_CHECKING:
    from collections.abc import Iterator

errors = pytest.importorskip("pyspark.errors", reason="make test-engines installs Spark")
Py4JJavaError = pytest.importorskip("py4j.protocol").Py4JJavaError

SMALL = pa.DataFrameSchema({"id": pa.Column(pl.Int64, pa.Check.lt(1_990))}, strict=False, name="small")
ONCE = pa.DataFrameSchema({"id": pa.Column(pl.Int64, unique=True)}, strict=False, name="once")
YAML = "schema_type: polars_dataframe\napi: polars\nname: ids\ncolumns:\n  id:\n    dtype: Int64\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the session's state and events."""
    return tmp_path_factory.mktemp("spark")


@pytest.fixture(scope="module")
def session(folder: Path) -> Iterator[Any]:
    """Yield a session with two tasks at a time, and four attempts at each."""
    with spark_session("local[2,4]", folder) as made:
        yield made


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """Yield a server whose key is a canary, and that lets uploads be listed."""
    with FaultServer(CANARIES) as made:
        yield made


@pytest.fixture(autouse=True)
def one_state_folder(folder: Path, state_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the state folder that Spark's processes have, instead of one for each test."""
    del state_folder
    shutil.rmtree(folder / "state", ignore_errors=True)
    monkeypatch.setenv("MC_SINK_STATE_DIR", str(folder / "state"))


def save(server: FaultServer, frame: Any, mode: str = "append", **how: str) -> None:
    """Deliver a DataFrame to the server in Spark's own words."""
    from mc_sink.engines.spark import MadConnect

    frame.sparkSession.dataSource.register(MadConnect)
    given = {"format": "parquet", "run_id": RUN, "credentials": CREDENTIALS}
    given |= {"storage_options": json.dumps(options_for(server))} | how
    frame.write.format("madconnect").options(**given).mode(mode).save(server.writer.target("p/"))


def outcome(run_id: str = RUN) -> mc_sink.Receipt:
    """Return the receipt of `df.write`, or raise its error."""
    from mc_sink.engines import spark

    return spark.outcome(run_id)


def delivered(server: FaultServer, folder: Path) -> pl.DataFrame:
    """Read all files back, in order."""
    keys = data_files(server)
    return pl.concat(read_back(server.read(server.bucket, key), "parquet", folder) for key in keys)


def left(server: FaultServer) -> tuple[Any, Any]:
    """Return what is visible, and what is pending."""
    return seen(server), server.pending_uploads(server.bucket)


def test_each_partition_is_a_share(session: Any, server: FaultServer, tmp_path: Path) -> None:
    """All rows, in order, with instants in UTC, under one manifest. The same run in other partitions is done."""
    receipt = deliver(server, made(session))
    assert (receipt.num_rows, receipt.num_files, server.pending_uploads(server.bucket)) == (ROWS, 4, [])
    found = delivered(server, tmp_path)
    assert found["id"].to_list() == list(range(ROWS))
    assert found.schema["at"] == pl.Datetime("us", "UTC")
    assert found["at"].dt.epoch("s").equals(found["id"].alias("at"))
    assert json.loads(server.read(server.bucket, MANIFEST))["num_shares"] == 4
    before = seen(server)
    with pytest.raises(mc_sink.AlreadyDelivered):
        deliver(server, made(session, number=3))
    assert seen(server) == before


SHAPES: dict[str, tuple[str, int, int]] = {
    "two partitions are empty": ("id >= 2000", 2_000, 2),
    "all are empty": ("id < 0", 0, 1),
    "nearly all rows in one": ("id >= 2990 or id % 1000 = 0", 1_013, 4),
}


@pytest.mark.parametrize(("kept", "rows", "files"), SHAPES.values(), ids=SHAPES)
def test_partitions_of_any_size(session: Any, server: FaultServer, kept: str, rows: int, files: int) -> None:
    """A partition without rows has no file, and a run without rows has one with a header."""
    receipt = deliver(server, made(session).where(kept))
    assert (receipt.num_rows, receipt.num_files, server.pending_uploads(server.bucket)) == (rows, files, [])
    assert len(data_files(server)) == files


def test_invalid_rows_are_one_report_without_a_retry(session: Any, server: FaultServer, tmp_path: Path) -> None:
    """Of all partitions, with our type; each task runs once, and nothing is left."""
    frame = made(session)
    with pytest.raises(ValidationError, match="3 shares failed 1 check of schema 'small'") as raised:
        deliver(server, frame.mapInArrow(noting_attempts(tmp_path), frame.schema), schema=SMALL)
    assert raised.value.checks is not None
    assert raised.value.checks["failures"].sum() == 2_010
    assert sorted(one.name for one in tmp_path.iterdir()) == ["0-0", "1-0", "2-0", "3-0"]
    assert left(server) == ({}, [])


def test_a_key_is_unique_over_all_partitions(session: Any, server: FaultServer, tmp_path: Path) -> None:
    """Rows are shuffled by key, so that duplicates of two partitions are found."""
    receipt = deliver(server, made(session), schema=ONCE)
    assert (receipt.num_rows, receipt.validated) == (ROWS, True)
    assert delivered(server, tmp_path)["id"].sort().to_list() == list(range(ROWS))
    with pytest.raises(ValidationError, match="of schema 'once'") as raised:
        deliver(server, made(session).union(made(session, 10, 1)), schema=ONCE, run_id="r-2")
    assert raised.value.checks is not None
    assert raised.value.checks["failures"].sum() == 20
    assert server.pending_uploads(server.bucket) == []


def test_a_task_that_fails_once_is_repeated(session: Any, server: FaultServer, tmp_path: Path) -> None:
    """Every row is there once. The truncated share was dropped, and its upload is aborted."""
    frame = made(session)
    receipt = deliver(server, frame.mapInArrow(failing(2, times=1), frame.schema))
    assert (receipt.num_rows, receipt.num_files) == (ROWS, 4)
    assert delivered(server, tmp_path)["id"].to_list() == list(range(ROWS))
    assert server.pending_uploads(server.bucket) == []


def test_a_store_that_fails_once_is_asked_again(session: Any, server: FaultServer, tmp_path: Path) -> None:
    """`UploadError` is raised in the task, which Spark repeats."""
    server.fault("Create", Status(400, "SomethingElse"), n=2)
    assert deliver(server, made(session)).num_rows == ROWS
    assert delivered(server, tmp_path)["id"].to_list() == list(range(ROWS))
    assert server.pending_uploads(server.bucket) == []


def test_a_source_that_fails_leaves_nothing(session: Any, server: FaultServer) -> None:
    """Spark's own exception is raised with the source's words. No truncated share becomes visible."""
    frame = made(session)
    with pytest.raises(errors.PySparkException, match="the source of this partition"):
        deliver(server, frame.mapInArrow(failing(2, times=99), frame.schema))
    assert left(server) == ({}, [])


def test_a_store_that_fails_for_good_leaves_nothing(session: Any, server: FaultServer) -> None:
    """What no retry changes has its type; nothing is visible, and nothing is pending."""
    server.fault("Create", Status(403, "AccessDenied"), n=3, times=FOREVER)
    with pytest.raises(mc_sink.PermissionDenied):
        deliver(server, made(session))
    assert left(server) == ({}, [])
    server.heal()
    server.fault("Create", Status(400, "SomethingElse"), n=3, times=FOREVER)
    with pytest.raises(UploadError):
        deliver(server, made(session), run_id="r-2")
    assert left(server) == ({}, [])


def test_a_killed_worker_loses_nothing(session: Any, server: FaultServer, tmp_path: Path) -> None:
    """Its partition is staged again: one copy of every row, and the upload of the killed one is aborted."""
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(1) as pool:
        receipt = pool.submit(deliver, server, slow(session, gate, first_only=True), format="csv")
        until_parts_are_up(server, receipt)
        (worker,) = stage_workers(server)
        os.kill(worker.pid, signal.SIGKILL)
        gate.touch()
        assert receipt.result().num_rows == MANY
    assert server.log.ops().count("Create") == 2
    assert ids_of_csv(server, tmp_path) == list(range(MANY))
    assert server.pending_uploads(server.bucket) == []


def test_a_cancelled_job_leaves_nothing_visible(session: Any, server: FaultServer, tmp_path: Path) -> None:
    """Its worker's rows just end, and Spark drops the message. What it still uploads goes when the run is delivered."""
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(1) as pool:
        receipt = pool.submit(deliver, server, slow(session, gate, first_only=False), format="csv")
        until_parts_are_up(server, receipt)
        session.sparkContext.cancelAllJobs()
        with pytest.raises((errors.PySparkException, Py4JJavaError), match=r"(?i)cancelled"):
            receipt.result()
    gate.touch()
    assert server.wait_until_idle()
    assert seen(server) == {}
    assert len(server.pending_uploads(server.bucket)) <= 1
    assert deliver(server, made(session, MANY, 1), format="csv").num_rows == MANY
    assert ids_of_csv(server, tmp_path) == list(range(MANY))
    assert server.pending_uploads(server.bucket) == []


@pytest.mark.parametrize(
    ("messages", "error"),
    [(None, "without handing back what its tasks have staged"), ([None], "1 share of 1 is missing")],
)
def test_tasks_that_hand_nothing_back_are_no_empty_frame(
    session: Any, server: FaultServer, monkeypatch: pytest.MonkeyPatch, messages: list[None] | None, error: str
) -> None:
    """Where no message of the tasks comes back, nothing says what they staged: an error, and no file of no rows."""
    from mc_sink.engines import spark

    monkeypatch.setattr(spark, "_handed_back", lambda _place: messages)
    with pytest.raises(mc_sink.SinkError, match=error) as raised:
        deliver(server, made(session))
    assert raised.value.visible == "nothing"
    assert left(server) == ({}, [])


def test_sparks_own_words(session: Any, server: FaultServer, tmp_path: Path) -> None:
    """Options are text or JSON; the receipt is kept, also after the run is asked for again."""
    tags = json.dumps({"metadata": {"a": "b"}})
    save(server, made(session), max_rows_per_file="500", object_options=tags, on_invalid="fail", success_marker="true")
    receipt = outcome()
    assert (receipt.num_rows, receipt.num_files, receipt.success_marker is not None) == (ROWS, 8, True)
    assert delivered_ids(server, tmp_path) == list(range(ROWS))
    assert server.pending_uploads(server.bucket) == []
    with pytest.raises(errors.PySparkException, match="AlreadyDelivered"):
        save(server, made(session))
    assert outcome() == receipt
    save(server, made(session).where("id < 0"), run_id="empty")
    assert (outcome("empty").num_rows, outcome("empty").num_files) == (0, 1)


def delivered_ids(server: FaultServer, folder: Path) -> list[int]:
    """Return the ids of all data files, in order."""
    keys = [key for key in data_files(server) if key.endswith(".parquet")]
    return [
        one for key in keys for one in read_back(server.read(server.bucket, key), "parquet", folder)["id"].to_list()
    ]


REFUSED: dict[str, tuple[dict[str, str], str]] = {
    "overwrite": ({"mode": "overwrite"}, r'mode\("overwrite"\) can\'t be delivered'),
    "an unknown option": (
        {"max_rows_per_fil": "5"},
        "unexpected option 'max_rows_per_fil'. Did you mean 'max_rows_per_file'",
    ),
    "an option of one machine": ({"progress": "true"}, "unexpected option 'progress'"),
    "a number that is none": ({"max_rows_per_file": "many"}, "Cannot read the option 'max_rows_per_file'"),
    "a secret": ({"storage_options": '{"secret": "s"}'}, "'secret' of storage_options"),
    "a format that is none": ({"format": "orc"}, "orc"),
}


@pytest.mark.parametrize(("how", "expected"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_before_any_task(session: Any, server: FaultServer, how: dict[str, str], expected: str) -> None:
    """On the driver: Spark raises its own exception with the message, and `outcome` raises the error."""
    with pytest.raises(errors.PySparkException, match=expected):
        save(server, made(session), **how)
    with pytest.raises(ConfigurationError, match=expected):
        outcome()
    assert set(server.log.ops()) <= {"List"}


def test_a_unique_key_needs_the_function(session: Any, server: FaultServer, tmp_path: Path) -> None:
    """`df.write` doesn't shuffle, and so refuses such a schema, naming the call that does."""
    path = tmp_path / "once.yaml"
    path.write_text(YAML + "    unique: true\n")
    with pytest.raises(errors.PySparkException, match=r"mc_sink\.engines\.spark\.sink_madconnect"):
        save(server, made(session).select("id"), schema=str(path))
    with pytest.raises(ConfigurationError, match="requires id to be unique"):
        outcome()


def test_errors_of_sparks_own_words_have_their_type(session: Any, server: FaultServer, tmp_path: Path) -> None:
    """The report on the rows of all partitions is kept, and nothing is left."""
    path = tmp_path / "small.yaml"
    path.write_text(YAML + "    less_than: 1990\n")
    with pytest.raises(errors.PySparkException, match="3 shares failed 1 check"):
        save(server, made(session).select("id"), schema=str(path))
    with pytest.raises(ValidationError) as raised:
        outcome()
    assert raised.value.failure_cases is not None
    assert raised.value.failure_cases["share"].unique().sort().to_list() == [1, 2, 3]
    assert left(server) == ({}, [])
    with pytest.raises(ConfigurationError, match="No outcome of run 'another'"):
        outcome("another")


def test_each_batch_of_a_stream_is_delivered_once(session: Any, server: FaultServer, tmp_path: Path) -> None:
    """Also where the stream has lost its checkpoint and repeats its batches."""
    (tmp_path / "in").mkdir()
    for number in range(2):
        pl.DataFrame({"id": range(number * 10, number * 10 + 10)}).write_parquet(tmp_path / f"in/{number}.parquet")

    def each(batch: Any, number: int) -> None:
        with suppress(mc_sink.AlreadyDelivered):
            deliver(server, batch, run_id=f"orders-{number}")

    def run(checkpoint: str) -> None:
        stream = session.readStream.schema("id long").option("maxFilesPerTrigger", 1).parquet(str(tmp_path / "in"))
        query = stream.writeStream.foreachBatch(each).option("checkpointLocation", str(tmp_path / checkpoint))
        query.trigger(availableNow=True).start().awaitTermination()

    run("first")
    before = seen(server)
    assert sorted(delivered_ids(server, tmp_path)) == list(range(20))
    assert {"p/_manifests/orders-0.json", "p/_manifests/orders-1.json"} <= set(before)
    run("second")
    assert (seen(server), server.pending_uploads(server.bucket)) == (before, [])


ROOT = Path(__file__).parents[2]
SNIPPET = re.compile(r"```python\n(.*?)```", re.DOTALL)
EXAMPLES = SNIPPET.findall((ROOT / "docs/spark.md").read_text(encoding="utf-8"))
README = (ROOT / "README.md").read_text(encoding="utf-8").partition("## More than one machine")[2]


@pytest.mark.parametrize("example", [*EXAMPLES, *(one for one in SNIPPET.findall(README) if "import spark" in one)])
def test_the_examples_deliver(session: Any, tmp_path: Path, example: str) -> None:
    """To a local folder instead of the bucket: the function, Spark's own words, a stream, and the README."""
    rows = mc_sink.testing.sample("audience", 30).collect()
    rows.write_parquet(tmp_path / "in.parquet")
    df = session.read.parquet(str(tmp_path / "in.parquet"))
    stream = session.readStream.schema(df.schema).option("pathGlobFilter", "in.parquet").parquet(str(tmp_path))
    writer = stream.writeStream.option("checkpointLocation", str(tmp_path / "checkpoint")).trigger(availableNow=True)
    names = {"session": session, "df": df, "writer": writer}
    exec(re.sub(r"s3://bucket/\w+/", f"{tmp_path}/out/", example), names)  # noqa: S102  the page's text
    (manifest,) = (tmp_path / "out" / "_manifests").iterdir()
    assert json.loads(manifest.read_text())["num_rows"] == 30


def test_no_key_is_in_event_logs_or_plans(session: Any, server: FaultServer, folder: Path) -> None:
    """The session of all these tests had the canary as its key, and logged all events."""
    deliver(server, made(session))
    logs = [path.read_bytes() for path in (folder / "events").rglob("events_*")]
    assert b"madconnect" in b"".join(logs)
    assert sum(map(len, logs)) > 100_000
    assert found_in(b"".join(logs)) == []
    assert [path for path in (folder / "state").rglob("*") if path.is_file() and found_in(path.read_bytes())] == []
    assert found_in((KEY + SECRET).encode()) == [KEY, SECRET]
