"""Ray delivers a dataset from its write tasks: what is visible, what is pending, and what is raised in the end."""

from __future__ import annotations

import _thread
import json
import os
import pickle
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandera.polars as pa
import polars as pl
import pytest

import mc_sink
import mc_sink.testing
from mc_sink import ConfigurationError, PermissionDenied, UploadError, ValidationError
from tests.servers.faults import FOREVER, BlackHole, Call, Kill, Status
from tests.servers.rules import WRITER
from tests.support.frames import numbers, read_back
from tests.support.readme import run_snippet
from tests.support.small_deliveries import MANIFEST, RUN, data_files, seen

ray = pytest.importorskip("ray", reason="make test-engines installs Ray")
pytest.importorskip("ray.data")

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyarrow import Table

    from mc_sink.sandbox.admin import Admin, Writer
    from tests.servers.fault import FaultServer

# Ray warns about its own future, and leaves sockets to the garbage collector.
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("cluster")]

FRAME = numbers(4_000)
SMALL = pa.DataFrameSchema({"id": pa.Column(pl.Int64, pa.Check.lt(3_990))}, strict=False, name="small")
ONCE = pa.DataFrameSchema({"id": pa.Column(pl.Int64, unique=True)}, strict=False, name="once")


def credentials() -> dict[str, str]:
    """Return the key in the cluster's folder, and write down there in which process that was."""
    folder = Path(os.environ["RAY_TEST_FOLDER"])
    own = folder / str(os.getpid())
    own.write_text(own.name, "utf-8")
    own.replace(folder / "pid")
    key, secret = json.loads((folder / "key").read_text("utf-8"))
    return {"key": key, "secret": secret}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield a folder with the writer's key and the id of the last process that staged, while two workers are there."""
    folder = tmp_path_factory.mktemp("ray")
    (folder / "key").write_text(json.dumps([WRITER.key, WRITER.secret]), "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TEST_FOLDER", str(folder))
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars, context.default_hash_shuffle_parallelism = False, 4
        try:
            yield folder
        finally:
            ray.shutdown()


def options(server: FaultServer | Writer, read_timeout: float = 20, **how: Any) -> dict[str, Any]:
    """Return the options of a delivery to the server."""
    where = {"endpoint_url": server.url, "config_kwargs": {"read_timeout": read_timeout}}
    made = {"format": "parquet", "run_id": RUN, "credentials": f"{__name__}:credentials", "storage_options": where}
    return made | how


def deliver(server: FaultServer | Writer, dataset: Any, **how: Any) -> mc_sink.Receipt:
    """Deliver a dataset by the function."""
    from mc_sink.engines.ray import sink_madconnect

    writer: Any = getattr(server, "writer", server)
    return sink_madconnect(dataset, writer.target("p/"), **options(server, **how))


def sink_on(server: FaultServer, **how: Any) -> Any:
    """Return a sink, in Ray's own words."""
    from mc_sink.engines.ray import MadConnectSink

    return MadConnectSink(server.writer.target("p/"), **options(server, **how))


def divided(frame: pl.DataFrame = FRAME, number: int = 4) -> Any:
    """Return the rows as a dataset of so many blocks."""
    return ray.data.from_arrow([part.to_arrow() for part in frame.iter_slices(-(-frame.height // number))])


def delivered(server: FaultServer, folder: Path) -> pl.DataFrame:
    """Read all files back."""
    return pl.concat(read_back(server.read(server.bucket, key), "parquet", folder) for key in data_files(server))


def assert_nothing(server: FaultServer) -> None:
    """Fail if an object is visible, or an upload is pending."""
    assert (seen(server), server.pending_uploads(server.bucket)) == ({}, [])


def test_each_task_is_a_share(fault_s3: FaultServer, tmp_path: Path) -> None:
    """All rows, in order, under one manifest, with the three permissions; a second run is refused: it is delivered."""
    receipt = deliver(fault_s3, divided())
    assert (receipt.num_rows, receipt.num_files, receipt.verify().ok) == (4_000, 4, True)
    assert delivered(fault_s3, tmp_path).equals(FRAME)
    assert json.loads(fault_s3.read(fault_s3.bucket, MANIFEST))["num_shares"] == 4
    assert receipt.sweep == mc_sink.Sweep("denied", reported=True)
    assert [one.op for one in fault_s3.log.forbidden() if one.op != "ListUploads"] == []
    assert fault_s3.pending_uploads(fault_s3.bucket) == []
    with pytest.raises(mc_sink.AlreadyDelivered):
        deliver(fault_s3, divided(number=2))
    assert len(data_files(fault_s3)) == 4


def test_a_sink_in_rays_own_words(fault_s3: FaultServer, tmp_path: Path) -> None:
    """The columns are those that are written, also where the rows are made of others; or they are given."""
    dataset = divided().map_batches(_doubled, batch_format="pyarrow")
    dataset.write_datasink(sink := sink_on(fault_s3))
    assert sink.receipt.num_rows == 4_000
    assert delivered(fault_s3, tmp_path).equals(FRAME.select(double=pl.col("id") * 2))
    dataset.write_datasink(sink := sink_on(fault_s3, columns=dataset.schema(), run_id="r-2"))
    assert sink.receipt.num_rows == 4_000
    dataset = divided().map_batches(_named, batch_format="pandas")
    dataset.write_datasink(sink := sink_on(fault_s3, columns=dataset.schema(), run_id="r-3"))
    assert sink.receipt.num_rows == 4_000
    assert deliver(fault_s3, dataset, run_id="r-4").num_rows == 4_000


def _doubled(rows: Table) -> Table:
    return pl.DataFrame(rows).select(double=pl.col("id") * 2).to_arrow()


def _named(rows: Any) -> Any:
    return rows.assign(name="a")


def test_empty_blocks_and_skew(fault_s3: FaultServer, tmp_path: Path) -> None:
    """Blocks without rows have no file; of a block with nearly all rows nothing is lost."""
    parts = [FRAME[:0], FRAME[:3], FRAME[3:3_990], FRAME[:0], FRAME[3_990:], FRAME[:0]]
    receipt = deliver(fault_s3, ray.data.from_arrow([part.to_arrow() for part in parts]))
    assert (receipt.num_rows, receipt.num_files) == (4_000, 3)
    assert delivered(fault_s3, tmp_path).equals(FRAME)
    receipt = deliver(fault_s3, divided().filter(expr=ray.data.expressions.col("id") >= 3_990), run_id="r-2")
    assert (receipt.num_rows, receipt.num_files) == (10, 1)


def test_a_dataset_without_rows_needs_columns(fault_s3: FaultServer) -> None:
    """Then it is one empty file, or what `on_empty` says; Ray knows the columns of some such datasets."""
    nothing = divided().filter(_never)
    assert deliver(fault_s3, nothing).num_rows == 0
    for number, none in enumerate([nothing, ray.data.from_items([])]):
        with pytest.raises(ConfigurationError, match="columns of the dataset are not known"):
            none.write_datasink(sink_on(fault_s3, run_id=f"unknown-{number}"))
        none.write_datasink(sink := sink_on(fault_s3, columns=FRAME.schema, run_id=f"known-{number}"))
        assert (sink.receipt.num_rows, sink.receipt.num_files) == (0, 1)
    with pytest.raises(ValidationError, match="no share has a row"):
        deliver(fault_s3, nothing, run_id="r-2", on_empty="fail")
    assert fault_s3.pending_uploads(fault_s3.bucket) == []


def _never(_: Any) -> bool:
    return False


def test_a_task_that_ray_leaves_out_is_missed(fault_s3: FaultServer) -> None:
    """The actor has counted the tasks, so that a run without the last share is refused, and discarded."""
    from mc_sink.engines.ray import MadConnectSink

    class Forgetful(MadConnectSink):
        def on_write_complete(self, write_result: Any) -> None:
            write_result.write_returns.remove(max(write_result.write_returns, key=lambda share: share.number))
            super().on_write_complete(write_result)

    sink = Forgetful(fault_s3.writer.target("p/"), **options(fault_s3))
    with pytest.raises(ConfigurationError, match="1 share of 4 is missing: 3"):
        divided().write_datasink(sink)
    assert_nothing(fault_s3)


def test_what_can_be_refused_is_refused_before_any_task(fault_s3: FaultServer) -> None:
    """Secrets that would travel, `previous`, and blocks that Ray would leave out."""
    for wrong in ({"storage_options": {"secret": "no"}}, {"previous": FRAME}):
        with pytest.raises(ConfigurationError):
            sink_on(fault_s3, columns=FRAME.schema, **wrong)
    with pytest.raises(ConfigurationError, match="Divide the rows by"):
        sink_on(fault_s3, columns=FRAME.schema, schema=ONCE)
    context = ray.data.DataContext.get_current()
    lossy = divided()
    lossy.context.max_errored_blocks = -1
    try:
        with pytest.raises(ConfigurationError, match="Set it to 0"):
            deliver(fault_s3, lossy)
        context.max_errored_blocks = 0
        with pytest.raises(ConfigurationError, match="Set it to 0"):
            lossy.write_datasink(sink_on(fault_s3))
    finally:
        context.max_errored_blocks = lossy.context.max_errored_blocks = 0
    assert_nothing(fault_s3)


def test_verdicts_of_all_tasks_are_one_error(fault_s3: FaultServer) -> None:
    """With its own type and report; nothing is left."""
    with pytest.raises(ValidationError, match="1 share failed 1 check of schema 'small'") as raised:
        deliver(fault_s3, divided(), schema=SMALL)
    assert raised.value.failure_cases is not None
    assert raised.value.failure_cases["share"].unique().to_list() == [3]
    fault_s3.fault("Create", Status(403, "AccessDenied"), n=3, times=FOREVER)
    with pytest.raises(PermissionDenied, match="s3:PutObject"):
        deliver(fault_s3, divided())
    assert_nothing(fault_s3)


def test_a_task_that_fails_for_good(fault_s3: FaultServer) -> None:
    """The store fails at one part, when other tasks have staged: the error keeps its type, and all is discarded."""
    fault_s3.fault("Part", Status(400, "InvalidDigest"), n=3, times=FOREVER)
    with pytest.raises(UploadError):
        deliver(fault_s3, divided())
    assert len(fault_s3.log.of("Create")) >= 3
    assert_nothing(fault_s3)


def test_a_task_that_fails_once(fault_s3: FaultServer, tmp_path: Path) -> None:
    """Where Ray is asked to repeat tasks, the run is whole, and nothing is left of the first attempt."""
    fault_s3.fault("Part", Status(400, "InvalidDigest"), n=3)
    how = {"ray_remote_args": {"retry_exceptions": True, "max_retries": 3}}
    divided().write_datasink(sink := sink_on(fault_s3), **how)
    assert sink.receipt.num_rows == 4_000
    assert delivered(fault_s3, tmp_path).equals(FRAME)
    assert fault_s3.pending_uploads(fault_s3.bucket) == []


@pytest.mark.parametrize("is_last", [False, True], ids=["and all is delivered", "and the run fails"])
def test_a_killed_worker_leaves_nothing(fault_s3: FaultServer, tmp_path: Path, cluster: Path, *, is_last: bool) -> None:
    """Its upload, with a part in it, is known to the driver, who may not list uploads; Ray repeats the task."""
    fault_s3.fault("Part", Kill(lambda: int((cluster / "pid").read_text("utf-8"))), n=3, when="after")
    if is_last:
        fault_s3.fault("Create", Status(403, "AccessDenied"), n=5)
    dataset, sink = divided(), sink_on(fault_s3)
    if is_last:
        with pytest.raises(PermissionDenied):
            dataset.write_datasink(sink, concurrency=1)
        assert_nothing(fault_s3)
        return
    dataset.write_datasink(sink, concurrency=1)
    assert len(fault_s3.log.of("Create")) == 5
    assert delivered(fault_s3, tmp_path).equals(FRAME)
    assert sink.receipt.sweep == mc_sink.Sweep("denied", 1, reported=True)
    assert fault_s3.pending_uploads(fault_s3.bucket) == []


def test_a_failure_while_other_tasks_run(fault_s3: FaultServer) -> None:
    """A task waits for the store when another one fails: it is cancelled, and its upload is aborted."""
    fault_s3.fault("Part", BlackHole(), n=1)
    fault_s3.fault("Part", Status(400, "InvalidDigest"), n=2, times=FOREVER)
    began = time.monotonic()
    with pytest.raises(UploadError):
        deliver(fault_s3, divided(number=2), read_timeout=60)
    assert time.monotonic() - began < 30
    assert_nothing(fault_s3)


def test_rows_that_fail_are_never_delivered_in_part(fault_s3: FaultServer) -> None:
    """The last block fails where it is made, when others are staged: Ray names the error, and nothing is left."""
    with pytest.raises(ray.exceptions.UserCodeException, match="ZeroDivisionError: the last block"):
        deliver(fault_s3, divided().map_batches(_fails_late, batch_format="pyarrow"), columns=FRAME.schema)
    assert_nothing(fault_s3)


def _fails_late(rows: Table) -> Table:
    """Return a block, and raise at the last one, late."""
    if rows.num_rows and rows["id"][-1].as_py() == 3_999:
        time.sleep(1)
        raise ZeroDivisionError("the last block")
    return rows


def test_ctrl_c_leaves_nothing(fault_s3: FaultServer) -> None:
    """On the driver, when parts are up."""
    fault_s3.fault("Part", Call(lambda _: _thread.interrupt_main()), n=3, when="after")
    with pytest.raises(KeyboardInterrupt):
        deliver(fault_s3, divided().map_batches(_slowly, batch_format="pyarrow"), columns=FRAME.schema)
    assert_nothing(fault_s3)


def _slowly(rows: Table) -> Table:
    time.sleep(1)
    return rows


def test_a_failed_complete_waits_in_the_journal(fault_s3: FaultServer, tmp_path: Path) -> None:
    """Then `recover` ends the run, or a rerun of the same blocks; one in other blocks is refused."""
    fault_s3.fault("Complete", Status(403, "AccessDenied"), n=3)
    with pytest.raises(mc_sink.CommitError) as raised:
        deliver(fault_s3, divided())
    assert (len(data_files(fault_s3)), raised.value.visible) == (2, "some")
    assert any("mc_sink.recover" in note for note in raised.value.__notes__)
    with pytest.raises(mc_sink.AlreadyExistsError):
        deliver(fault_s3, divided(number=2))
    assert len(data_files(fault_s3)) == 2
    receipt = deliver(fault_s3, divided())
    assert (receipt.num_rows, receipt.num_found) == (4_000, 2)
    assert delivered(fault_s3, tmp_path).equals(FRAME)
    assert fault_s3.pending_uploads(fault_s3.bucket) == []


def test_a_key_is_unique_over_all_tasks(fault_s3: FaultServer, tmp_path: Path) -> None:
    """Rows are shuffled by key, so that duplicates of two blocks are found; without, it isn't proven, and refused."""
    receipt = deliver(fault_s3, divided(), schema=ONCE, num_shares=3)
    assert (receipt.num_rows, receipt.validated) == (4_000, True)
    assert receipt.num_files <= 3
    assert delivered(fault_s3, tmp_path).sort("id").equals(FRAME)
    twice = pl.concat([FRAME, FRAME[:10]])
    with pytest.raises(ValidationError, match="of schema 'once'") as raised:
        deliver(fault_s3, divided(twice), schema=ONCE, run_id="r-2")
    assert raised.value.checks is not None
    assert raised.value.checks["failures"].sum() == 20
    with pytest.raises(ConfigurationError, match="it isn't proven that id is unique"):
        divided().write_datasink(sink_on(fault_s3, columns=FRAME.schema, schema=ONCE, by_bucket=True, run_id="r-3"))
    assert fault_s3.pending_uploads(fault_s3.bucket) == []


def test_nothing_that_travels_holds_a_key(fault_s3: FaultServer) -> None:
    """Neither the sink that Ray pickles, nor a share, nor the logs that Ray writes."""
    dataset = divided()
    dataset.write_datasink(sink := sink_on(fault_s3, columns=dataset.schema()))
    share = sink.delivery.stage(FRAME, number=9)
    shown = [pickle.dumps(sink), repr(sink).encode(), repr(vars(sink)).encode(), pickle.dumps(share)]
    shown += [str(dataset._write_ds).encode(), dataset.stats().encode()]  # noqa: SLF001  the plan
    logs = Path(ray._private.worker._global_node.get_logs_dir_path())  # noqa: SLF001  no public name
    shown += [path.read_bytes() for path in logs.rglob("*") if path.is_file()]
    assert len(shown) > 6
    assert not [text for text in shown if WRITER.secret.encode() in text or WRITER.key.encode() in text]
    sink.delivery.discard([share])


def test_the_snippet_of_the_readme(tmp_path: Path) -> None:
    """It runs as it is shown, to a folder."""
    rows = mc_sink.testing.sample("audience", 100).collect()
    found: Any = run_snippet("engines.ray", f"{tmp_path}/", {"ds": divided(rows)})
    assert (found["receipt"].num_rows, found["sink"].receipt.num_rows) == (100, 100)


def test_a_real_server(writer: Writer, seaweed: Admin, cluster: Path) -> None:
    """With the write-only key of a user of a real server."""
    key = cluster / "key"
    kept = key.read_text("utf-8")
    key.write_text(json.dumps([writer.credentials.key, writer.credentials.secret]), "utf-8")
    try:
        receipt = deliver(writer, divided())
        assert (receipt.num_rows, receipt.num_files) == (4_000, 4)
        key_of = [file.path.split("/", 3)[3] for file in receipt.files]
        assert sorted(seaweed.listing(writer.bucket)) == sorted([*key_of, MANIFEST])
        assert seaweed.pending_uploads(writer.bucket) == []
    finally:
        key.write_text(kept, "utf-8")
