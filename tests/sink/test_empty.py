"""Nothing, or far too little: what a delivery without rows is, and how few rows are too few."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pandera.polars as pandera
import polars as pl
import pytest

import mc_sink
from mc_sink import ValidationError
from mc_sink.publishing import list_journals
from tests.support.small_deliveries import tiny_parts

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.fault import FaultServer

ROWS = pl.DataFrame({"k": ["a", "b"] * 5, "x": range(10)})
NONE = ROWS.clear()
LARGE = pandera.DataFrameSchema({"x": pandera.Column(pl.Int64, pandera.Check.gt(100))}, name="large")
BELOW_5 = pandera.DataFrameSchema({"x": pandera.Column(pl.Int64, pandera.Check.lt(5))}, name="small")
# All ways in which no row is left to deliver, with where it goes.
WAYS: dict[str, tuple[str, pl.DataFrame, dict[str, Any]]] = {
    "a prefix": ("p/", NONE, {}),
    "a file": ("p/x.csv", NONE, {}),
    "a Parquet file": ("p/x.parquet", NONE, {}),
    "csv.gz": ("p/x.csv.gz", NONE, {}),
    "split by rows": ("p/", NONE, {"max_rows_per_file": 3}),
    "split by bytes": ("p/", NONE, {"max_bytes_per_file": 1_000}),
    "partitions": ("p/", NONE, {"partition_by": "k"}),
    "a marker and a manifest": ("p/", NONE, {"success_marker": True, "manifest": True}),
    "no changes": ("p/", ROWS, {"previous": ROWS, "keys": "x"}),
    "no changes in a column": ("p/", ROWS, {"previous": ROWS, "keys": "x", "changes": "column"}),
    "a preset that wants rows": ("p/", NONE, {"preset": "liveramp"}),
    "an overwrite": ("p/", NONE, {"if_exists": "overwrite"}),
}


def deliver(server: FaultServer, frame: Any, to: str, **options: Any) -> mc_sink.Receipt:
    """Deliver to the server that fails on command, and here does not."""
    given: Any = {"storage_options": server.storage_options, "progress": False} | options
    return mc_sink.sink_madconnect(frame, server.writer.target(to), **given)


def assert_nothing_there(server: FaultServer) -> None:
    """Look for objects, uploads and journals."""
    assert server.listing(server.bucket) == {}
    assert server.pending_uploads(server.bucket) == []
    assert list(list_journals()) == []


@pytest.mark.parametrize(("to", "frame", "how"), WAYS.values(), ids=WAYS)
def test_skip_makes_nothing_and_says_so(fault_s3: FaultServer, to: str, frame: pl.DataFrame, how: Any) -> None:
    """No file, no manifest and no marker; the receipt says "skipped", and has nothing to verify."""
    receipt = deliver(fault_s3, frame, to, on_empty="skip", **how)
    assert receipt.skipped
    assert (receipt.files, receipt.num_rows, receipt.num_bytes) == ((), 0, 0)
    assert (receipt.manifest, receipt.success_marker) == (None, None)
    assert str(receipt).startswith("skipped    0 rows")
    assert receipt.verify().ok
    assert pickle.loads(pickle.dumps(receipt)).skipped  # noqa: S301  our own
    assert_nothing_there(fault_s3)


@pytest.mark.parametrize(("to", "frame", "how"), WAYS.values(), ids=WAYS)
def test_fail_fails_before_anything_is_visible(fault_s3: FaultServer, to: str, frame: pl.DataFrame, how: Any) -> None:
    """An error of this library that states what was asked for, and nothing is left behind."""
    how = {name: value for name, value in how.items() if name != "preset"}
    with pytest.raises(ValidationError, match=r'no row is left, and .*on_empty is "fail".*Nothing became visible'):
        deliver(fault_s3, frame, to, on_empty="fail", **how)
    assert_nothing_there(fault_s3)


@pytest.mark.parametrize("on_empty", ["skip", "fail"])
def test_rows_are_delivered_whatever_an_empty_delivery_would_be(fault_s3: FaultServer, on_empty: Any) -> None:
    """With a single row the option has no say."""
    receipt = deliver(fault_s3, ROWS.head(1), "p/", on_empty=on_empty, partition_by="k", success_marker=True)
    assert (receipt.num_rows, receipt.skipped) == (1, False)
    assert len(fault_s3.listing(fault_s3.bucket)) == 3


def test_deliver_is_the_default_and_makes_what_can_be_made(fault_s3: FaultServer) -> None:
    """One file of the columns alone; of partitions, which no row names, the manifest and the marker alone."""
    receipt = deliver(fault_s3, NONE, "p/x.csv")
    assert (receipt.num_files, receipt.skipped) == (1, False)
    assert fault_s3.read(fault_s3.bucket, "p/x.csv") == b"k,x\n"
    receipt = deliver(fault_s3, NONE, "q/", partition_by="k", success_marker=True, run_id="a", on_empty="deliver")
    assert (receipt.num_files, receipt.skipped) == (0, False)
    assert list(fault_s3.listing(fault_s3.bucket, "q/")) == ["q/_SUCCESS", "q/_manifests/a.json"]


def test_a_skipped_part_leaves_the_others_alone(fault_s3: FaultServer) -> None:
    """Of parts that are staged apart, those with rows are published, and all of them are closed by one manifest."""
    given: dict[str, Any] = {"run_id": "a", "storage_options": fault_s3.storage_options, "on_empty": "skip"}
    parts = [
        mc_sink.stage(rows, fault_s3.writer.target("p/"), name=f"{{run_id}}-{n}{{ext}}", manifest=True, **given)
        for n, rows in enumerate([NONE, ROWS, NONE])
    ]
    receipt = mc_sink.publish(parts, storage_options=fault_s3.storage_options)
    assert (receipt.num_rows, receipt.num_files, receipt.skipped) == (10, 1, False)
    assert receipt.content is not None
    assert receipt.content.pattern == ""  # one of the first part's names would load a part of the rows
    assert list(fault_s3.listing(fault_s3.bucket)) == ["p/_manifests/a.json", "p/a-1.csv"]
    empty = mc_sink.stage(NONE, fault_s3.writer.target("q/"), **given)
    assert mc_sink.publish([empty], storage_options=fault_s3.storage_options).skipped


def test_a_rerun_that_is_empty_now_is_no_skip(fault_s3: FaultServer) -> None:
    """What an earlier attempt of the run has delivered is there: the data are others, and that is an error."""
    deliver(fault_s3, ROWS, "p/", run_id="a", on_empty="skip")
    with pytest.raises(mc_sink.AlreadyExistsError, match=r"differs .*\(44 bytes, and now 4\)"):
        deliver(fault_s3, NONE, "p/", run_id="a", on_empty="skip")
    assert list(fault_s3.listing(fault_s3.bucket)) == ["p/a.csv"]


def test_rejects_of_a_skipped_delivery_are_written(fault_s3: FaultServer) -> None:
    """Rows in are rows delivered and rows rejected, also where no row differs from the last delivery."""
    rejects = fault_s3.writer.target("rejects/")
    how: dict[str, Any] = {"schema": BELOW_5, "on_invalid": "reject", "rejects": rejects, "run_id": "a"}
    receipt = deliver(fault_s3, ROWS, "p/", previous=ROWS.head(5), keys="x", on_empty="skip", **how)
    assert receipt.skipped
    assert receipt.rejects is not None
    assert (receipt.rejects.num_rows, len(receipt.rejects.files)) == (5, 1)
    assert list(fault_s3.listing(fault_s3.bucket)) == ["rejects/a.rejects.parquet"]


@pytest.mark.parametrize("on_empty", ["deliver", "skip", "fail"])
@pytest.mark.parametrize("how", [{}, {"max_rejects": 1.0}, {"max_rejects": 10}, {"partition_by": "k"}], ids=str)
def test_a_run_whose_rows_are_all_rejected_fails(fault_s3: FaultServer, how: Any, on_empty: Any) -> None:
    """Nothing is left, which no max_rejects allows; the report has every failure, and no rejects are written."""
    rejects = fault_s3.writer.target("rejects/")
    with pytest.raises(ValidationError, match=r"(?s)Every row was rejected.*Nothing became visible") as raised:
        deliver(fault_s3, ROWS, "p/", schema=LARGE, on_invalid="reject", rejects=rejects, on_empty=on_empty, **how)
    assert raised.value.schema_name == "large"
    assert raised.value.failure_cases is not None
    assert raised.value.failure_cases.height == 10
    assert_nothing_there(fault_s3)


def test_a_frame_without_rows_rejects_none_of_them(fault_s3: FaultServer) -> None:
    """It is empty, and on_empty says what that is."""
    receipt = deliver(
        fault_s3, NONE, "p/x.csv", schema=LARGE, on_invalid="reject", rejects=fault_s3.writer.target("r/")
    )
    assert (receipt.num_rows, receipt.num_files) == (0, 1)


MANY = pl.DataFrame({"k": "a", "x": range(3_000)})


@pytest.mark.parametrize(
    ("to", "how"),
    [
        ("p/", {}),
        ("p/x.csv", {}),
        ("p/x.csv.gz", {}),
        ("p/x.parquet", {}),
        ("p/", {"partition_by": "k"}),
        ("p/", {"max_rows_per_file": 500}),
        ("p/", {"max_bytes_per_file": 5_000}),
        ("p/", {"schema": pandera.DataFrameSchema({"x": pandera.Column(pl.Int64)})}),
    ],
    ids=str,
)
def test_fewer_rows_than_min_rows_fail(
    fault_s3: FaultServer, monkeypatch: pytest.MonkeyPatch, to: str, how: dict[str, Any]
) -> None:
    """With both figures, nothing visible, no upload left behind; as many rows as were asked for are delivered."""
    tiny_parts(monkeypatch)
    with pytest.raises(ValidationError, match=r"^Only 3,000 rows can.*min_rows=3001\. .*Nothing became visible"):
        deliver(fault_s3, MANY, to, min_rows=3_001, **how)
    assert_nothing_there(fault_s3)
    assert deliver(fault_s3, MANY, to, min_rows=3_000, **how).num_rows == 3_000


def test_rejected_rows_are_no_rows_and_of_changes_all_of_this_run_are(fault_s3: FaultServer) -> None:
    """What min_rows counts is what is valid now, and not what differs from the last delivery."""
    rejecting: dict[str, Any] = {"schema": BELOW_5, "on_invalid": "reject", "rejects": fault_s3.writer.target("r/")}
    with pytest.raises(ValidationError, match=r"^Only 5 rows can.*min_rows=6"):
        deliver(fault_s3, ROWS, "p/", min_rows=6, **rejecting)
    with pytest.raises(ValidationError, match=r"^Only 1 row can.*min_rows=2"):
        deliver(fault_s3, ROWS.head(1), "p/", min_rows=2, previous=ROWS, keys="x")
    assert_nothing_there(fault_s3)
    assert deliver(fault_s3, ROWS, "p/", min_rows=10, previous=ROWS, keys="x").num_rows == 0


def test_a_local_delivery_is_held_to_the_same(tmp_path: Path) -> None:
    """Files of the disk's are thrown away before they have a name."""
    for how in ({"min_rows": 1}, {"on_empty": "fail"}):
        with pytest.raises(ValidationError):
            mc_sink.sink_madconnect(NONE, f"{tmp_path}/", **how)
    assert mc_sink.sink_madconnect(NONE, f"{tmp_path}/", on_empty="skip").skipped
    assert list(tmp_path.rglob("*")) == []
