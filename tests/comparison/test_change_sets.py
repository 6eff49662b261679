"""Change sets as they are asked for: what differs from the last delivery arrives, counted, and nothing else does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandera.polars as pa
import polars as pl
import pytest

import mc_sink
from mc_sink import AlreadyExistsError, Changes, ConfigurationError
from mc_sink.testing import sample
from tests.support.frames import FORMATS, as_text, read_back

if TYPE_CHECKING:
    from pathlib import Path

    from mc_sink.sandbox.admin import Admin, Writer
    from tests.servers.fault import FaultServer

BEFORE = pl.DataFrame({"id": range(1_000), "text": [f"text {n}" for n in range(1_000)]})
# Of a thousand rows the first hundred are gone, every tenth is another, and fifty are new.
NOW = pl.concat([BEFORE.slice(100), pl.DataFrame({"id": range(1_000, 1_050), "text": "new"})]).with_columns(
    text=pl.when(pl.col("id") % 10 == 0, pl.col("id") < 1_000).then(pl.lit("changed")).otherwise("text")
)
ADDED, REMOVED = NOW.filter(pl.col("id") >= 1_000), BEFORE.head(100)
CHANGED = NOW.filter(pl.col("text") == "changed")
AUDIENCE = sample("audience", 200).collect().with_columns(external_id=pl.format("p{}", pl.int_range(200)))
COUNTS = Changes(added=50, changed=90, removed=100, unchanged=810)


@pytest.mark.parametrize("format", FORMATS)
def test_each_action_is_a_file(seaweed: Admin, writer: Writer, tmp_path: Path, format: Any) -> None:
    """Under the write-only key, from the file of the last delivery to the files of this one, in every format."""
    last = mc_sink.sink_madconnect(BEFORE, f"{tmp_path}/last.{format}")
    receipt = mc_sink.sink_madconnect(
        NOW,
        writer.target("p/"),
        format=format,
        previous=last.files[0].path,
        keys="id",
        run_id="a",
        storage_options=writer.storage_options,
    )
    found = {
        action: read_back(seaweed.read(writer.bucket, f"p/action={action}/a-00000.{format}"), format, tmp_path)
        for action in ("added", "changed", "removed")
    }
    for action, expected in {"added": ADDED, "changed": CHANGED, "removed": REMOVED}.items():
        assert found[action].equals(as_text(expected, format))
    facts = json.loads(seaweed.read(writer.bucket, "p/_manifests/a.json"))
    assert facts["transfer_mode"] == "changes"
    assert facts["changes"] == {"added": 50, "changed": 90, "removed": 100, "unchanged": 810}
    assert facts["num_rows"] == 240
    assert {file["partition"]["action"]: file["num_rows"] for file in facts["files"]} == {
        "added": 50,
        "changed": 90,
        "removed": 100,
    }
    assert receipt.changes == COUNTS
    assert "50 added, 90 changed, 100 removed, 810 unchanged" in str(receipt)
    assert receipt.verify().ok


def test_one_file_has_a_column_of_actions(tmp_path: Path) -> None:
    """In front of the others, and in the order of the actions."""
    receipt = mc_sink.sink_madconnect(NOW, f"{tmp_path}/x.parquet", previous=BEFORE, keys=["id"], changes="column")
    assert receipt.changes == COUNTS
    expected = pl.concat(
        frame.select(pl.lit(action).alias("action"), "id", "text")
        for action, frame in (("added", ADDED), ("changed", CHANGED), ("removed", REMOVED))
    )
    assert pl.read_parquet(tmp_path / "x.parquet").equals(expected)


def test_nothing_changed_is_told(tmp_path: Path) -> None:
    """Only the manifest is written, or a file without rows, and the receipt says why."""
    receipt = mc_sink.sink_madconnect(NOW, f"{tmp_path}/", previous=NOW, keys="id")
    assert (receipt.num_files, receipt.changes) == (0, Changes(0, 0, 0, 950))
    assert receipt.verify().ok
    mc_sink.sink_madconnect(NOW, f"{tmp_path}/x.csv", previous=NOW, keys="id", changes="column")
    assert (tmp_path / "x.csv").read_text() == "action,id,text\n"


def test_actions_go_with_partitions_and_splitting(tmp_path: Path) -> None:
    """A template may name the action, partitions lie within it, and each is split."""
    group = pl.col("id") % 2
    receipt = mc_sink.sink_madconnect(
        NOW.with_columns(group=group),
        f"{tmp_path}/",
        previous=BEFORE.with_columns(group=group),
        keys="id",
        partition_by="group",
        max_rows_per_file=30,
        run_id="a",
        name="{action}/{group}/{run_id}-{part}{ext}",
        include_key=False,
    )
    sizes = {file.path.removeprefix(f"{tmp_path}/"): file.num_rows for file in receipt.files}
    assert sizes["removed/0/a-0.csv"] == 30
    assert sizes["removed/0/a-1.csv"] == 20
    assert sum(sizes.values()) == 240
    assert {path.split("/")[0] for path in sizes} == {"added", "changed", "removed"}
    assert (tmp_path / "added/1/a-0.csv").read_text().startswith("id,text\n1001,new\n")


def test_a_rerun_does_nothing_and_other_rows_are_refused(fault_s3: FaultServer) -> None:
    """The same run id, rows and last delivery find what is there; another last delivery is another run."""
    place, options = fault_s3.writer.target("p/"), fault_s3.storage_options
    how: dict[str, Any] = {"keys": "id", "run_id": "a", "storage_options": options}
    first = mc_sink.sink_madconnect(NOW, place, previous=BEFORE, **how)
    before = fault_s3.listing(fault_s3.bucket)
    again = mc_sink.sink_madconnect(NOW, place, previous=BEFORE.reverse().sort("id"), **how)
    assert again.num_found == first.num_files == 3
    with pytest.raises(AlreadyExistsError):
        mc_sink.sink_madconnect(NOW, place, previous=BEFORE.head(500), **how)
    assert fault_s3.listing(fault_s3.bucket) == before


def test_what_is_rejected_now_counts_as_removed(tmp_path: Path) -> None:
    """It was delivered before and is not among the rows of this run; every row is accounted for."""
    schema = pa.DataFrameSchema({"id": pa.Column(pl.Int64, pa.Check.ne(500))}, strict=False)
    receipt = mc_sink.sink_madconnect(
        NOW,
        f"{tmp_path}/x/",
        previous=BEFORE,
        keys="id",
        schema=schema,
        on_invalid="reject",
        rejects=f"{tmp_path}/bad/",
    )
    assert receipt.changes == Changes(added=50, changed=89, removed=101, unchanged=810)
    assert receipt.rejects is not None
    assert receipt.rejects.num_rows == 1


TWICE = pl.concat([BEFORE, BEFORE.tail(3)])
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a key twice, now": ({"frame": TWICE, "previous": BEFORE}, "6 rows of this run share their key"),
    "a key twice, before": ({"previous": TWICE}, "6 rows of previous= share their key"),
    "no such key": ({"previous": BEFORE, "keys": "name"}, "name"),
    "another column": ({"previous": BEFORE.with_columns(more=1)}, "more"),
    "an address": ({"previous": "s3://bucket/last.csv"}, "never from the bucket|local"),
    "no last delivery": ({"previous": None}, "previous= and keys= go together"),
    "no keys": ({"previous": BEFORE, "keys": None}, "previous= and keys= go together"),
    "one file": ({"previous": BEFORE, "to": "x.csv"}, 'x.csv is a single file, and changes="files" may need several'),
    "a column of that name": (
        {"frame": NOW.with_columns(action=1), "previous": BEFORE.with_columns(action=1)},
        "column 'action' can't have the action of each row: its dtype is Int32",
    ),
    "other words in it": (
        {"frame": NOW.with_columns(action=pl.lit("click")), "previous": BEFORE.with_columns(action=pl.lit("add"))},
        "950 values are neither 'add' nor 'remove'",
    ),
    "a key with the action": (
        {"frame": AUDIENCE, "previous": AUDIENCE, "keys": ["external_id", "action"]},
        "column 'action' can't have the action of each row: it is one of keys=",
    ),
    "a column of another name that isn't text": (
        {"previous": BEFORE, "action_column": "id", "keys": "text"},
        "'id' can't have the action of each row: its dtype is Int64",
    ),
    "the name of an action without changes": ({"previous": None, "keys": None, "action_column": "x"}, "Add previous="),
}


@pytest.mark.parametrize(("how", "message"), REFUSED.values(), ids=REFUSED)
def test_what_can_not_be_compared_is_refused(
    fault_s3: FaultServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: dict[str, Any], message: str
) -> None:
    """With an error that says what, nothing visible, no upload, and no rows left on the disk."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    how = dict[str, Any](frame=NOW, keys="id", to="p/") | how
    place = fault_s3.writer.target(how.pop("to"))
    with pytest.raises(ConfigurationError, match=message):
        mc_sink.sink_madconnect(how.pop("frame"), place, storage_options=fault_s3.storage_options, **how)
    assert fault_s3.listing(fault_s3.bucket) == {}
    assert fault_s3.pending_uploads(fault_s3.bucket) == []
    assert list(tmp_path.iterdir()) == []


def test_a_preview_says_what_would_be_delivered() -> None:
    """Columns and names, with nothing compared."""
    seen = mc_sink.preview(NOW, "s3://bucket/p/", previous=BEFORE, keys="id", run_id="a")
    assert seen.pattern == "s3://bucket/p/action={action}/a-{part:05d}.csv"
    assert seen.columns == ("id", "text")
    assert mc_sink.preview(NOW, "s3://bucket/p/", previous=BEFORE, keys="id", max_rows_per_file=9).num_files is None
    column = mc_sink.preview(NOW, "s3://bucket/p/", previous=BEFORE, keys="id", changes="column")
    assert column.columns == ("action", "id", "text")


def test_a_preview_leaves_the_last_delivery_to_the_run(tmp_path: Path) -> None:
    """An iterator or a reader can be read once: nothing of it is missing when the run compares with it."""
    for last in (BEFORE.iter_slices(100), BEFORE.to_arrow().to_reader(100)):
        seen = mc_sink.preview(NOW, f"{tmp_path}/", previous=last, keys="id")
        assert not seen.columns or seen.columns == ("id", "text")
        assert mc_sink.sink_madconnect(NOW, f"{tmp_path}/", previous=last, keys="id").changes == COUNTS


def test_a_preview_of_changes_counts_no_files() -> None:
    """The number of rows that differ is not known before, and so neither is the number of files."""
    seen = mc_sink.preview(
        NOW, "s3://bucket/p/", previous=BEFORE, keys="id", changes="column", max_rows_per_file=100, run_id="a"
    )
    assert (seen.num_files, seen.pattern) == (None, "s3://bucket/p/a-{part:05d}.csv")


LAST, LATER = AUDIENCE.head(150), AUDIENCE.tail(150).with_columns(consent=pl.lit("granted"))


@pytest.mark.parametrize("dtype", [pl.String, pl.Categorical, pl.Enum(["remove", "add"])], ids=str)
def test_a_feed_with_an_action_of_its_own_keeps_it(tmp_path: Path, dtype: Any) -> None:
    """Rows keep their action, and one that is missing now gets "remove"; the columns are those of the schema."""
    last, now = (each.with_columns(pl.col("action").cast(dtype)) for each in (LAST, LATER))
    options: dict[str, Any] = {"previous": last, "keys": ["external_id", "segment_id"], "changes": "column"}
    receipt = mc_sink.sink_madconnect(now, tmp_path / "x.csv", **options, progress=False)
    found = pl.read_csv(tmp_path / "x.csv", schema_overrides={"external_id": pl.String})
    both = LATER.slice(0, 100).join(LAST.slice(50), on=["external_id", "segment_id"])
    changed = both.filter(pl.col("consent") != pl.col("consent_right"))["external_id"]
    assert receipt.changes == Changes(50, len(changed), 50, 100 - len(changed))
    assert found.columns == AUDIENCE.columns
    expected = [
        *LATER.tail(50).select("external_id", "action").rows(),
        *LATER.filter(pl.col("external_id").is_in(changed.to_list())).select("external_id", "action").rows(),
        *((name, "remove") for name in LAST.head(50)["external_id"]),
    ]
    assert found.select("external_id", "action").rows() == expected
    assert {"add", "remove"} == set(found["action"])


def test_such_a_feed_has_its_schema_and_its_folders(tmp_path: Path) -> None:
    """The schema holds for the rows of this run, and each action has its own folder."""
    receipt = mc_sink.sink_madconnect(
        LATER,
        f"{tmp_path}/p/",
        schema="audience",
        previous=LAST,
        keys=["external_id", "segment_id"],
        format="parquet",
        progress=False,
    )
    assert {file.partition["action"] for file in receipt.files if file.partition} == {"add", "remove"}
    read = pl.read_parquet(f"{tmp_path}/p/**/*.parquet", hive_partitioning=True)
    gone = LAST.head(50)["external_id"].to_list()
    assert set(read.filter(pl.col("external_id").is_in(gone))["action"]) == {"remove"}
    assert receipt.changes is not None
    assert read.height == receipt.changes.num_rows


def test_the_action_can_have_another_name(tmp_path: Path) -> None:
    """As a column, as folders, and beside a column of the frame that is called "action"."""
    events = NOW.with_columns(action=pl.lit("click")), BEFORE.with_columns(action=pl.lit("click"))
    options: dict[str, Any] = {"keys": "id", "action_column": "what", "progress": False, "format": "csv"}
    mc_sink.sink_madconnect(events[0], tmp_path / "x.csv", previous=events[1], changes="column", **options)
    assert pl.read_csv(tmp_path / "x.csv").columns == ["what", "id", "text", "action"]
    mc_sink.sink_madconnect(events[0], f"{tmp_path}/p/", previous=events[1], **options)
    assert {path.name for path in (tmp_path / "p").iterdir()} >= {"what=added", "what=changed", "what=removed"}
