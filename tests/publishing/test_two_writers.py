"""Two at the same moment: on one key, under one prefix, and in one and the same run."""

from __future__ import annotations

import pickle
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import mc_sink
from mc_sink import AlreadyExistsError, SinkError
from tests.servers.faults import FOREVER, Call, Reset
from tests.support import killed_deliveries
from tests.support.frames import FORMATS, as_text
from tests.support.killed_deliveries import Child, Children
from tests.support.small_deliveries import (
    FRAME,
    MANIFEST,
    RUN,
    assert_delivered_once,
    data_files,
    deliver,
    manifest_of,
    options,
    rows,
    seen,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.servers.fault import FaultServer

OTHER = FRAME.with_columns(day=pl.lit(9, pl.Int8))


pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Child, Child]]:
    """Give two processes that are ready to deliver, again and again."""
    with Children(ahead=1) as children:
        yield children.take(), children.take()


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Call them all at the same moment, and give what each returned or raised."""
    gate = threading.Barrier(len(calls))

    def through(call: Callable[[], Any]) -> Any:
        gate.wait(10)
        try:
            return call()
        except SinkError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(through, calls))


def meet(server: FaultServer) -> None:
    """Let the first two requests that publish wait for each other, for some seconds, so that neither comes first."""
    arrived, both = iter(range(1000)), threading.Event()

    def wait(_: object) -> None:
        if next(arrived):
            both.set()
        both.wait(5)

    for op in ("Complete", "Put"):
        server.fault(op, Call(wait), times=2)


def test_runs_of_one_second_do_not_meet(server: FaultServer) -> None:
    """Six deliveries begin at once under one prefix without a run id: six objects, each with the rows of its own."""
    frames = [FRAME.with_columns(day=pl.lit(n, pl.Int8)) for n in range(6)]
    how: dict[str, Any] = {"run_id": None, "max_rows_per_file": None}
    receipts = at_once(*[lambda frame=frame: deliver(server, frame, **how) for frame in frames])
    assert len({receipt.run_id for receipt in receipts}) == len(seen(server)) == 6
    for frame, receipt in zip(frames, receipts, strict=True):
        assert server.read(server.bucket, f"p/{receipt.run_id}.csv") == frame.write_csv().encode()
        assert receipt.verify().ok


@pytest.mark.parametrize("part_size", [400, 2**20], ids=["upload", "Put"])
@pytest.mark.parametrize("run_ids", [(None, None), ("a", "b")], ids=["no run id", "two run ids"])
def test_one_key_goes_to_one_of_them(server: FaultServer, part_size: int, run_ids: tuple[str | None, ...]) -> None:
    """Two with other data on one key at one moment: one wins, the other fails, and nothing is left of it."""
    meet(server)
    results = at_once(
        *[
            lambda frame=frame, run_id=run_id: deliver(server, frame, to="p/x.csv", part_size=part_size, run_id=run_id)
            for frame, run_id in zip((FRAME, OTHER), run_ids, strict=True)
        ]
    )
    (lost,) = [result for result in results if isinstance(result, SinkError)]
    assert isinstance(lost, AlreadyExistsError)
    won = FRAME if results[1] is lost else OTHER
    assert server.read(server.bucket, "p/x.csv") == won.write_csv().encode()
    assert server.pending_uploads(server.bucket) == []
    assert mc_sink.list_journals() == []


def deliver_twice(
    server: FaultServer, pair: tuple[Child, Child], states: list[Path], *orders: dict[str, Any]
) -> list[Any]:
    """Deliver one run from two processes at one moment, and return the report of each."""
    if states[0] == states[1]:  # the second waits for the first, which is made to take its time
        server.fault("Complete", Call(lambda _: time.sleep(0.3)))
    else:
        meet(server)
    for child, state, order in zip(pair, states, orders, strict=True):
        child.start(state, url=server.url, run_id=RUN, **order)
    reports = [child.told() for child in pair]
    assert server.wait_until_idle()
    return reports


@pytest.fixture(params=[1, 2], ids=["one machine", "two machines"])
def states(request: pytest.FixtureRequest, state: Path, tmp_path: Path) -> list[Path]:
    """Give where two processes keep their journals: together, or each on a machine of its own."""
    return [state, state if request.param == 1 else tmp_path / "state"]


@pytest.mark.parametrize("format", FORMATS)
def test_one_run_twice_at_one_moment_is_one_copy(
    server: FaultServer, pair: tuple[Child, Child], states: list[Path], tmp_path: Path, format: str
) -> None:
    """Same run id, same data: both succeed, one copy is visible, and on one machine no upload stays.

    On two, one store's "taken" may be an answer to our own request that something in between repeated: no Abort then.
    """
    order = {"format": format}
    reports = deliver_twice(server, pair, states, order, order)
    assert [one.get("num_rows") for one in reports] == [60, 60], reports
    assert_delivered_once(server, killed_deliveries.frame(), format, tmp_path, in_doubt=states[0] != states[1])
    assert list(tmp_path.glob("state/journals/*")) == []


CHANGED: dict[str, dict[str, Any]] = {
    "all rows": {"changed_from": 0},
    "the last file": {"changed_from": 40},
    "the last row": {"changed_from": 59},
    "a file fewer": {"rows": 40},
    "no rows": {"rows": 0},
}


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED)
def test_one_run_with_other_data_goes_to_one_of_them(
    server: FaultServer, pair: tuple[Child, Child], states: list[Path], tmp_path: Path, change: dict[str, Any]
) -> None:
    """Same run id, other data: one succeeds, and the manifest lists the files of that one alone."""
    reports = deliver_twice(server, pair, states, {}, change)
    (won,) = [n for n, one in enumerate(reports) if "num_rows" in one]
    assert reports[1 - won]["error"] in {"AlreadyExistsError", "CommitError"}, reports
    frame = killed_deliveries.frame(**[{}, change][won])
    files = manifest_of(server)["files"]
    assert [file["path"] for file in files] == reports[won]["files"]
    assert sum(file["num_rows"] for file in files) == frame.height
    assert {file["path"]: file["etag"] for file in files}.items() <= {
        server.writer.target(key): one.etag for key, one in seen(server).items()
    }.items()
    listed = [server.writer.target(key) for key in data_files(server)] == reports[won]["files"]
    assert listed or reports[1 - won]["error"] == "CommitError"
    if listed:
        assert rows(server, "csv", tmp_path).equals(as_text(frame, "csv"))


@pytest.mark.parametrize("format", FORMATS)
def test_one_run_by_many_threads_is_one_copy(server: FaultServer, tmp_path: Path, format: str) -> None:
    """Four threads of one process do the same: none stumbles over the others' notes."""
    receipts = at_once(*[lambda: deliver(server, format=format)] * 4)
    assert [getattr(receipt, "num_rows", receipt) for receipt in receipts] == [60] * 4
    assert_delivered_once(server, FRAME, format, tmp_path)


@pytest.mark.parametrize("other", [FRAME, OTHER, FRAME.head(40)], ids=["same data", "other data", "fewer rows"])
def test_one_run_to_a_folder_by_many_threads(tmp_path: Path, other: pl.DataFrame) -> None:
    """Locally too: same data are one copy and no error, other data are refused, and no hidden file is left."""
    results = at_once(
        *[
            lambda frame=frame: mc_sink.sink_madconnect(frame, f"{tmp_path}/p/", run_id=RUN, max_rows_per_file=20)
            for frame in (FRAME, other, FRAME, other)
        ]
    )
    won = {result.num_rows for result in results if not isinstance(result, SinkError)}
    assert len(won) == 1
    assert sum(isinstance(result, SinkError) for result in results) == (0 if other is FRAME else 2)
    assert (tmp_path / MANIFEST).exists()
    for journal in mc_sink.list_journals():
        mc_sink.recover(journal.run_id, action="discard")
    names = [path.name for path in (tmp_path / "p").iterdir()]
    assert all(re.fullmatch(r"_manifests|r-1-0000[0-2]\.csv", name) for name in names), names


def staged_twice(server: FaultServer) -> list[mc_sink.Staged]:
    """Stage one run twice, each as a process of its own hands it over."""
    how: dict[str, Any] = {"run_id": RUN, "max_rows_per_file": 20, "storage_options": options(server)}
    return [
        pickle.loads(pickle.dumps(mc_sink.stage(FRAME, server.writer.target("p/"), **how)))  # noqa: S301  our own
        for _ in range(2)
    ]


def test_an_upload_that_may_be_the_object_is_never_aborted(
    server: FaultServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another machine publishes the same after our Complete got no answer: which upload is visible is unclear."""
    first, second = staged_twice(server)
    once = iter([True])

    def publish_elsewhere(_: object) -> None:
        if next(once, False) if server.log.of("Complete") else False:
            with monkeypatch.context() as elsewhere:
                elsewhere.setenv("MC_SINK_STATE_DIR", str(tmp_path))
                mc_sink.publish([second], storage_options=options(server))

    server.fault("Complete", Reset("head"))
    server.fault("List", Call(publish_elsewhere), times=FOREVER)
    with caplog.at_level("INFO", "mc_sink"):
        assert mc_sink.publish([first], storage_options=options(server)).num_rows == 60
    (pending,) = server.pending_uploads(server.bucket)
    assert pending.upload_id not in {one.upload_id for one in server.log.of("Abort")}
    assert pending.upload_id in caplog.text
    assert [record for record in caplog.records if record.levelname != "INFO"] == []


def test_an_upload_that_another_try_made_needless_is_aborted(server: FaultServer) -> None:
    """The same run was published meanwhile, and this process' request was refused for that: nothing of it is left."""
    first, second = staged_twice(server)
    mc_sink.publish([second], storage_options=options(server))
    before = seen(server)
    mc_sink.publish([first], storage_options=options(server))
    assert seen(server) == before
    assert server.pending_uploads(server.bucket) == []
