"""The same run again: after a success it does nothing, after a half it does the rest, and other data are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandera.polars as pa
import polars as pl
import pytest

import mc_sink
from mc_sink import AlreadyExistsError, CommitError, Csv, Parquet
from tests.servers.fault import FaultServer
from tests.servers.faults import Status
from tests.servers.rules import Rules
from tests.support.frames import FORMATS, SMALL_PARTS, as_text, numbers
from tests.support.small_deliveries import (
    FRAME,
    MANIFEST,
    RUN,
    TINY,
    WRITES,
    assert_delivered_once,
    data_files,
    deliver,
    options,
    rows,
    seen,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Recorded

SCHEMA = pa.DataFrameSchema({"id": pa.Column(pl.Int64, pa.Check.lt(50))}, name="few")
REJECTING: dict[str, Any] = {"schema": SCHEMA, "on_invalid": "reject"}


pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """Give an empty bucket that keeps versions and takes tiny parts."""
    with FaultServer(Rules(min_part_size=1, versions="on")) as made:
        yield made


SHAPES: dict[str, dict[str, Any]] = {
    "one Put": {"part_size": 2**20, "max_rows_per_file": None},
    "one upload": {"max_rows_per_file": None},
    "several files": {},
    "several small files": {"max_rows_per_file": 7, "part_size": 2**20},
    "no rows": {"frame": FRAME.head(0)},
    "without a manifest": {"manifest": False},
    "one with a manifest": {"max_rows_per_file": None, "manifest": True},
    "a file key": {"to": "p/x.{format}"},
    "a file key, one Put": {"to": "p/x.{format}", "part_size": 2**20},
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("format", FORMATS)
def test_a_rerun_after_success_sends_nothing(server: FaultServer, format: str, shape: dict[str, Any]) -> None:
    """It compares by listings alone, tells of what is there, says that nothing was done, and no version is added."""
    how: dict[str, Any] = shape | {"format": format, "to": shape.get("to", "p/").format(format=format)}
    first = deliver(server, **how)
    before, number = seen(server), len(server.log)
    again = deliver(server, **how)
    assert {record.op for record in list(server.log)[number:]} == {"List"}
    assert seen(server) == before
    assert again.num_found == len(again.files) == len(first.files)
    assert "nothing was done" in str(again)
    assert [(f.path, f.num_rows, f.num_bytes, f.etag, f.checksum) for f in again.files] == [
        (f.path, f.num_rows, f.num_bytes, f.etag, f.checksum) for f in first.files
    ]
    assert again.verify().ok
    assert mc_sink.list_journals() == []


@pytest.mark.parametrize("rejects", ["p/", "bad/", "bad/x.csv"])
@pytest.mark.parametrize("format", FORMATS)
def test_a_rerun_with_rejects_sends_nothing(server: FaultServer, format: str, rejects: str) -> None:
    """The file of rejected rows is compared too, wherever it lies."""
    how: dict[str, Any] = REJECTING | {"format": format, "rejects": server.writer.target(rejects)}
    deliver(server, **how)
    before, number = seen(server, ""), len(server.log)
    again = deliver(server, **how)
    assert {record.op for record in list(server.log)[number:]} == {"List"}
    assert seen(server, "") == before
    assert again.rejects is not None
    assert (again.num_rows, again.rejects.num_rows, again.rejects.files[0].from_prior_attempt) == (50, 10, True)


@pytest.mark.parametrize("rows", [10, 300_000], ids=["small", "large"])
@pytest.mark.parametrize("format", FORMATS)
def test_a_rerun_sends_nothing_to_a_real_server(recorded: Recorded, format: str, rows: int) -> None:
    """The real server's own ETags show what is there, of small files and of many parts, one of several and alone."""
    storage = recorded.writer.storage_options | SMALL_PARTS
    for to, at_most in (("one/", None), ("several/", rows // 2)):
        how: dict[str, Any] = {
            "format": format,
            "run_id": RUN,
            "max_rows_per_file": at_most,
            "storage_options": storage,
        }
        first = mc_sink.sink_madconnect(numbers(rows), recorded.writer.target(to), **how)
        number = len(recorded.proxy.log)
        again = mc_sink.sink_madconnect(numbers(rows), recorded.writer.target(to), **how)
        assert {record.op for record in list(recorded.proxy.log)[number:]} == {"List"}
        assert again.num_found == len(first.files)
        assert again.verify().ok


@pytest.mark.parametrize("format", FORMATS)
def test_a_rerun_to_a_folder_writes_nothing(tmp_path: Path, format: str) -> None:
    """Locally the files are read and compared; their times stay as they were."""
    how: dict[str, Any] = {"format": format, "run_id": RUN, "max_rows_per_file": 20}
    mc_sink.sink_madconnect(FRAME, f"{tmp_path}/p/", **how)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again = mc_sink.sink_madconnect(FRAME, f"{tmp_path}/p/", **how)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert again.num_found == len(again.files) == 3


@pytest.mark.parametrize("k", [1, 2, 3, 4])
@pytest.mark.parametrize("format", FORMATS)
def test_a_rerun_publishes_only_the_rest(server: FaultServer, tmp_path: Path, format: str, k: int) -> None:
    """Stopped at the k-th of three files, or at the manifest: what is visible stays, and the rest comes, once."""
    server.fault("Complete", Status(403, "AccessDenied"), n=k)
    with pytest.raises((CommitError, mc_sink.PermissionDenied)):
        deliver(server, format=format)
    before, number = seen(server), len(server.log)
    assert len(before) == k - 1
    receipt = deliver(server, format=format)
    assert receipt.num_found == k - 1
    assert {key: one for key, one in seen(server).items() if key in before} == before
    sent = {record.key for record in list(server.log)[number:] if record.op in WRITES}
    assert not sent & set(before)
    assert_delivered_once(server, FRAME, format, tmp_path)


@pytest.mark.parametrize("format", FORMATS)
def test_rejects_of_an_earlier_try_are_thrown_away_too(server: FaultServer, format: str) -> None:
    """Rejected rows that fill several parts are an upload as well, and none of the earlier attempt's stays behind."""
    how: dict[str, Any] = REJECTING | {"format": format, "rejects": server.writer.target("bad/"), "part_size": 200}
    server.fault("Complete", Status(403, "AccessDenied"), n=2)
    with pytest.raises(CommitError):
        deliver(server, **how)
    assert "bad/" in {upload.key[:4] for upload in server.pending_uploads(server.bucket)}
    deliver(server, **how)
    assert server.pending_uploads(server.bucket) == []
    assert mc_sink.list_journals() == []


CHANGES: dict[str, dict[str, Any]] = {
    "a changed value": {"frame": FRAME.with_columns(day=pl.when(pl.col("id") == 59).then(9).otherwise("day"))},
    "a changed first value": {"frame": FRAME.with_columns(day=pl.when(pl.col("id") == 0).then(9).otherwise("day"))},
    "one row fewer": {"frame": FRAME.head(59)},
    "one file fewer": {"frame": FRAME.head(40)},
    "no rows": {"frame": FRAME.head(0)},
    "one row more": {"frame": numbers(61)},
    "another order": {"frame": FRAME.reverse()},
    "a column fewer": {"frame": FRAME.drop("day")},
    "another part size": {"part_size": 300},
    "other files": {"max_rows_per_file": 30},
    "a single file": {"max_rows_per_file": None},
    "no manifest and a row more": {"frame": numbers(61), "manifest": False},
}
OF_FORMAT: dict[str, dict[str, dict[str, Any]]] = {
    "csv": {"another format": {"format": "parquet"}, "another separator": {"format": Csv(separator=";")}},
    "csv.gz": {
        "another format": {"format": "csv"},
        "another separator": {"format": Csv(separator=";", compression="gzip")},
    },
    "parquet": {
        "another format": {"format": "csv.gz"},
        "another compression": {"format": Parquet(compression="snappy")},
    },
}
ALL_CHANGES = [(of, name, how) for of in FORMATS for name, how in {**CHANGES, **OF_FORMAT[of]}.items()]


@pytest.mark.parametrize(
    ("format", "change"), [(of, how) for of, _, how in ALL_CHANGES], ids=[f"{of}-{name}" for of, name, _ in ALL_CHANGES]
)
def test_other_data_or_options_are_refused_after_success(
    server: FaultServer, format: str, change: dict[str, Any]
) -> None:
    """Loud, with nothing more visible and nothing changed, and with nothing left behind."""
    deliver(server, format=format)
    before = seen(server, "")
    with pytest.raises(AlreadyExistsError, match="nothing more became visible"):
        deliver(server, **{"format": format} | change)
    assert seen(server, "") == before
    assert server.pending_uploads(server.bucket) == []
    assert mc_sink.list_journals() == []


@pytest.mark.parametrize(
    "change", ["a changed first value", "another order", "other files", "a single file", "no rows"]
)
@pytest.mark.parametrize("format", FORMATS)
def test_other_data_are_refused_after_a_half(server: FaultServer, tmp_path: Path, format: str, change: str) -> None:
    """What differs from the file that is visible is refused; the first attempt's journal still ends the delivery."""
    server.fault("Complete", Status(403, "AccessDenied"), n=2)
    with pytest.raises(CommitError):
        deliver(server, format=format)
    before, pending = seen(server), server.pending_uploads(server.bucket)
    with pytest.raises(AlreadyExistsError, match="nothing more became visible"):
        deliver(server, format=format, **CHANGES[change])
    assert seen(server) == before
    assert server.pending_uploads(server.bucket) == pending
    mc_sink.recover(RUN, storage_options=options(server))
    assert_delivered_once(server, FRAME, format, tmp_path)


def test_a_run_is_never_taken_for_one_whose_id_begins_alike(server: FaultServer) -> None:
    """Run "a-1" and run "a-10" are two, in either order, and so are "a" and "a-1"."""
    for run_id in ("a-10", "a-1", "a", "a-2"):
        receipt = deliver(server, run_id=run_id)
        assert receipt.num_found == 0
    assert len(data_files(server)) == 12


def test_files_of_a_run_that_are_gone_are_not_delivered_again(server: FaultServer) -> None:
    """A receiver who took a file away after the manifest closed the delivery doesn't get it twice."""
    deliver(server)
    server.store.delete(server.bucket, f"p/{RUN}-00001.csv")
    before = seen(server)
    with pytest.raises(AlreadyExistsError, match="is already complete: its manifest is at"):
        deliver(server)
    assert seen(server) == before


def test_a_rerun_that_may_overwrite_replaces_all(server: FaultServer, tmp_path: Path) -> None:
    """Asked to overwrite, the files and the manifest are those of the last attempt."""
    deliver(server)
    changed = FRAME.with_columns(day=pl.lit(1, pl.Int8))
    receipt = deliver(server, changed, if_exists="overwrite")
    assert receipt.num_found == 0
    assert_delivered_once(server, changed, "csv", tmp_path)


def test_a_taken_key_for_rejects_is_refused_before_anything_is_visible(server: FaultServer) -> None:
    """The rejects' own key belongs to another run: the delivery isn't shown and then left without its rejects."""
    server.put_foreign(server.bucket, "bad/x.csv", b"foreign")
    how: dict[str, Any] = REJECTING | {"run_id": None, "rejects": server.writer.target("bad/x.csv")}
    with pytest.raises(AlreadyExistsError, match=r"bad/x\.csv"):
        deliver(server, **how)
    assert list(seen(server, "")) == ["bad/x.csv"]
    assert server.pending_uploads(server.bucket) == []
    receipt = deliver(server, FRAME.head(50), **how)
    assert receipt.num_rows == 50


def test_rejects_of_another_run_are_none_of_this_ones_business(server: FaultServer, tmp_path: Path) -> None:
    """A run without rejected rows doesn't stumble over the rejects' file of an earlier one at the same key."""
    how: dict[str, Any] = REJECTING | {"rejects": server.writer.target("bad/x.csv")}
    deliver(server, **how, run_id="earlier")
    receipt = deliver(server, FRAME.head(50), **how, run_id="later", to="q/")
    assert receipt.num_rows == 50
    assert rows(server, "csv", tmp_path, "q/").equals(as_text(FRAME.head(50), "csv"))


def test_a_writer_who_may_not_list_is_never_told_of_a_success(tmp_path: Path) -> None:
    """Without the right to list no evidence exists: the rerun fails, says so, and nothing is there twice."""
    with FaultServer(Rules(min_part_size=1, granted=TINY.granted - {"List"})) as server:
        deliver(server)
        before = seen(server)
        with pytest.raises(mc_sink.CommitUnknown, match="may or may not be visible"):
            deliver(server)
        assert seen(server) == before
        assert rows(server, "csv", tmp_path).equals(as_text(FRAME, "csv"))


def test_a_store_without_conditions_is_not_written_twice() -> None:
    """Where the store ignores "if none matches", the look beforehand and the comparison keep a rerun from writing."""
    with FaultServer(
        Rules(min_part_size=1, if_none_match_on_put="ignored", if_none_match_on_complete="ignored", versions="on")
    ) as server:
        deliver(server)
        before = seen(server)
        assert deliver(server).num_found == 3
        assert seen(server) == before
        server.store.delete(server.bucket, MANIFEST)
        assert deliver(server).num_found == 3
        assert {key: one for key, one in seen(server).items() if key != MANIFEST} == {
            key: one for key, one in before.items() if key != MANIFEST
        }
