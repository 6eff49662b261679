"""Preview: the keys that a run then makes, what it would refuse, and what it needs; and nothing is sent."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd
import pandera.polars as pandera
import polars as pl
import pyarrow as pa
import pytest

import mc_sink
from mc_sink import Csv, ObjectOptions, Parquet, SinkError
from mc_sink.sink import Preview, preview
from mc_sink.sink.previewing import UploadPlan
from mc_sink.storage.s3.part_plan import PartPlan
from tests.servers.fault import FaultServer
from tests.servers.rules import Rules
from tests.support.frames import SMALL_PARTS, numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

RUN_ID = "20261122T101530Z-4f2a9c"
FRAME = numbers(10)
PREFIX = "s3://bucket/p/"
DELIVERIES: dict[str, dict[str, Any]] = {
    "one file": {},
    "several files": {"max_rows_per_file": 4},
    "a file for each row": {"max_rows_per_file": 1},
    "one large file of several": {"max_rows_per_file": 10},
    "a template": {
        "name": "{date:%Y/%m/%d}/{schema}-{run_id}{ext}",
        "schema": pandera.DataFrameSchema({}, name="feed"),
    },
    "a template for several": {"name": "{run_id}/{part:03d}-{timestamp:%H%M}{ext}", "max_rows_per_file": 3},
    "no extension": {"name": "AUD{run_id}.DAT", "format": "csv"},
    "an own run id": {"name": "AUD{run_id}.{part:03d}", "format": "csv", "run_id": "20261122", "max_rows_per_file": 7},
    "an overwrite": {"name": "latest{ext}", "if_exists": "overwrite"},
    "a manifest of one": {"manifest": True},
    "no manifest": {"max_rows_per_file": 4, "manifest": False},
}


@pytest.mark.parametrize("format", ["csv.gz", "parquet"])
@pytest.mark.parametrize("given", DELIVERIES.values(), ids=DELIVERIES)
def test_a_run_makes_the_keys_of_its_preview(fault_s3: FaultServer, format: str, given: dict[str, Any]) -> None:
    """With the preview's run id, exactly these keys come to be in the bucket; the preview itself sends nothing."""
    target, given = (
        fault_s3.writer.target("p/"),
        {"format": format, "storage_options": fault_s3.storage_options} | given,
    )
    told = preview(FRAME, target, **given)
    assert fault_s3.log.ops() == []
    receipt = mc_sink.sink_madconnect(FRAME, target, **given | {"run_id": told.run_id})
    expected = {*told.files, *([told.manifest] if told.manifest else [])}
    assert {fault_s3.writer.target(key) for key in fault_s3.listing(fault_s3.bucket)} == expected
    assert [file.path for file in receipt.files] == list(told.files)
    assert told.num_files == len(receipt.files)


@pytest.mark.parametrize("given", DELIVERIES.values(), ids=DELIVERIES)
def test_a_local_run_makes_the_files_of_its_preview(tmp_path: Path, given: dict[str, Any]) -> None:
    """On the disk too; the preview itself makes neither file nor folder."""
    told = FRAME.sink_madconnect.preview(f"{tmp_path}/out/", **given)  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == []
    mc_sink.sink_madconnect(FRAME, f"{tmp_path}/out/", **given | {"run_id": told.run_id})
    made = {str(path) for path in tmp_path.rglob("*") if path.is_file()}
    assert made == {*told.files, *([told.manifest] if told.manifest else [])}


def test_a_file_is_its_own_preview(tmp_path: Path) -> None:
    """A target that is one file is the one that is listed."""
    assert preview(FRAME, "s3://bucket/p/x.parquet").files == ("s3://bucket/p/x.parquet",)
    assert preview(FRAME, tmp_path / "x.csv").files == (f"{tmp_path}/x.csv",)


@pytest.mark.parametrize("frame", [FRAME.lazy(), None], ids=["lazy", "no frame"])
def test_where_the_number_of_files_is_open_the_first_are_told(frame: pl.LazyFrame | None) -> None:
    """They are those of a run, and the pattern tells how they go on."""
    told = preview(frame, PREFIX, max_rows_per_file=4, run_id=RUN_ID)
    assert told.num_files is None
    assert told.files == preview(FRAME, PREFIX, max_rows_per_file=4, run_id=RUN_ID).files
    assert told.pattern == f"{PREFIX}{RUN_ID}-{{part:05d}}.csv"
    assert f"{told.pattern}, and so on" in str(told)


def test_rows_that_may_be_rejected_leave_the_number_open(tmp_path: Path) -> None:
    """The number of valid rows is unknown before validation."""
    given: dict[str, Any] = {
        "schema": pandera.DataFrameSchema({"id": pandera.Column(pl.Int64)}),
        "max_rows_per_file": 4,
    }
    assert preview(FRAME, PREFIX, **given).num_files == 3
    place = tmp_path / "rejects.csv"
    told = preview(FRAME, PREFIX, **given, on_invalid="reject", rejects=place, run_id=RUN_ID)
    assert told.num_files is None
    assert told.rejects == str(place)


def one_after_another() -> Iterator[pl.DataFrame]:
    """Give batches that can be had once."""
    yield from FRAME.iter_slices(3)


ONCE: dict[str, tuple[Callable[[], Any], int | None, bool]] = {
    "generator": (one_after_another, None, False),
    "reader": (lambda: pa.RecordBatchReader.from_stream(FRAME), None, True),
    "table": (lambda: pa.table(FRAME), 3, True),
    "relation": (lambda: duckdb.from_arrow(pa.table(FRAME)), None, False),
    "pandas": (lambda: pd.DataFrame({name: FRAME[name].to_list() for name in FRAME.columns}), None, False),
    "list": (lambda: list(one_after_another()), None, True),
}


@pytest.mark.parametrize(("made", "num_files", "looked"), ONCE.values(), ids=ONCE)
def test_a_preview_uses_nothing_up(
    tmp_path: Path,
    made: Callable[[], Any],
    num_files: int | None,
    looked: bool,  # noqa: FBT001  a row of the table
) -> None:
    """What can be read only once is whole after its preview; its columns are known where looking reads nothing."""
    frame = made()
    told = preview(frame, f"{tmp_path}/", max_rows_per_file=4)
    assert told.num_files == num_files
    assert told.columns == (tuple(FRAME.columns) if looked else None)
    receipt = mc_sink.sink_madconnect(frame, f"{tmp_path}/", max_rows_per_file=4, run_id=told.run_id)
    assert receipt.num_rows == FRAME.height
    assert [file.path for file in receipt.files] == list(told.files)


def test_a_query_is_not_run(tmp_path: Path) -> None:
    """A lazy frame is asked for its columns alone."""
    touched = pl.LazyFrame({"a": [1]}).map_batches(lambda _: pytest.fail("the query ran"))
    assert touched.sink_madconnect.preview(f"{tmp_path}/").columns == ("a",)  # type: ignore[attr-defined]


NESTED = pl.DataFrame({"a": [[1]], "b": [b"x"]})
WRONG: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "dtypes": (NESTED, PREFIX, {}),
    "dtypes of a reader": (pa.RecordBatchReader.from_stream(NESTED), PREFIX, {}),
    "an unknown type": (pa.table({"a": pa.nulls(1, pa.month_day_nano_interval())}), PREFIX, {}),
    "no columns": (pl.DataFrame(), PREFIX, {}),
    "no frame": (7, PREFIX, {}),
    "text": ("frame.csv", PREFIX, {}),
    "no batches": ([], PREFIX, {}),
    "target": (FRAME, "s3://bucket", {}),
    "template": (FRAME, PREFIX, {"name": "{runid}"}),
    "template of a file": (FRAME, f"{PREFIX}x.csv", {"name": "{run_id}"}),
    "format": (FRAME, PREFIX, {"format": "json"}),
    "suffix": (FRAME, f"{PREFIX}x.csv", {"format": "parquet"}),
    "several in a file": (FRAME, f"{PREFIX}x.csv", {"max_rows_per_file": 4}),
    "if_exists": (FRAME, PREFIX, {"if_exists": "replace"}),
    "run id": (FRAME, PREFIX, {"run_id": "a/b"}),
    "rejects without a schema": (FRAME, PREFIX, {"on_invalid": "reject"}),
    "on_invalid": (FRAME, PREFIX, {"on_invalid": "skip"}),
    "max_rejects": (FRAME, PREFIX, {"max_rejects": 3}),
    "schema": (FRAME, PREFIX, {"schema": "none"}),
    "no schema": (FRAME, PREFIX, {"schema": 7}),
    "columns": (FRAME, PREFIX, {"schema": pandera.DataFrameSchema({"x": pandera.Column(int)})}),
    "storage options": (FRAME, PREFIX, {"storage_options": {"sekret": "x"}}),
    "part size": (FRAME, PREFIX, {"storage_options": {"default_block_size": 1000}}),
    "plain http": (FRAME, PREFIX, {"storage_options": {"endpoint_url": "http://example.com"}}),
    "local options": (FRAME, "out/", {"storage_options": {"key": "x"}}),
    "local object options": (FRAME, "out/", {"object_options": ObjectOptions()}),
    "filesystem": (FRAME, "memory://p/", {}),
}


@pytest.mark.parametrize(("frame", "target", "given"), WRONG.values(), ids=WRONG)
def test_what_a_run_refuses_is_refused_in_the_same_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frame: Any, target: str, given: dict[str, Any]
) -> None:
    """Whatever the run would raise before its first byte, the preview raises."""
    monkeypatch.chdir(tmp_path)
    raised = []
    for call in (preview, mc_sink.sink_madconnect):
        with pytest.raises(SinkError) as caught:
            call(frame, target, **given)
        raised.append((type(caught.value), str(caught.value)))
    assert raised[0] == raised[1]


@pytest.mark.parametrize("name", ["on_invalid", "max_rejects", "schema", "template", "storage options", "filesystem"])
def test_without_a_frame_the_rest_is_checked(name: str) -> None:
    """Only what hangs on the columns stays open."""
    _, target, given = WRONG[name]
    with pytest.raises(SinkError):
        preview(None, target, **given)
    assert preview(None, PREFIX, schema="audience").columns is None


NEEDS: dict[str, tuple[ObjectOptions | None, set[str]]] = {
    "nothing": (None, set()),
    "acl": (ObjectOptions(acl="bucket-owner-full-control"), {"s3:PutObjectAcl"}),
    "tags": (ObjectOptions(tags={"a": "b"}), {"s3:PutObjectTagging"}),
    "key": (ObjectOptions(sse_kms_key_id="k"), {"kms:GenerateDataKey", "kms:Decrypt"}),
    "kms": (ObjectOptions(sse="aws:kms:dsse"), {"kms:GenerateDataKey", "kms:Decrypt"}),
    "aes": (ObjectOptions(sse="AES256"), set()),
}


@pytest.mark.parametrize(("options", "more"), NEEDS.values(), ids=NEEDS)
def test_permissions_are_those_that_the_options_need(options: ObjectOptions | None, more: set[str]) -> None:
    """To put and to list, and what the object is to be besides."""
    assert set(preview(FRAME, PREFIX, object_options=options).permissions) == {"s3:PutObject", "s3:ListBucket"} | more
    assert preview(FRAME, "out/").permissions == ()


ACTIONS = {
    "s3:PutObject": ("Put", "Create", "Part", "Complete"),
    "s3:ListBucket": ("List",),
    "s3:PutObjectAcl": ("PutAcl",),
    "s3:PutObjectTagging": ("PutTagging",),
}


@pytest.mark.parametrize("rows", [10, 500_000])
def test_the_permissions_are_enough(rows: int) -> None:
    """A server that grants exactly those takes the delivery, whole or in parts."""
    options = ObjectOptions(acl="bucket-owner-full-control", tags={"a": "b"})
    told = preview(None, PREFIX, object_options=options)
    granted = frozenset(op for action in told.permissions for op in ACTIONS[action])
    with FaultServer(Rules(granted=granted)) as server:
        mc_sink.sink_madconnect(
            numbers(rows),
            server.writer.target("p/"),
            object_options=options,
            storage_options=server.storage_options | SMALL_PARTS,
        )
        assert len(server.listing(server.bucket)) == 1


SIZES: list[dict[str, Any]] = [
    {},
    {"default_block_size": 5 * 2**20},
    {"default_block_size": 100 * 2**20},
    {"max_concurrency": 7},
    SMALL_PARTS,
]


@pytest.mark.parametrize("options", SIZES)
def test_the_memory_of_an_upload_is_what_the_store_plans(options: dict[str, Any]) -> None:
    """Part size and parts in flight are those of the store's own plan."""
    names = {"default_block_size": "first_size", "max_concurrency": "in_flight"}
    plan = PartPlan(**{names[name]: value for name, value in options.items()})
    upload = preview(FRAME, PREFIX, storage_options=options).upload
    assert upload is not None
    assert upload.part_size == plan.size(1)
    assert upload.part_size * upload.in_flight == plan.most_in_flight
    assert upload.num_bytes == plan.most_in_flight + plan.size(1)
    assert preview(FRAME, "out/").upload is None
    rejects = preview(None, "out/", schema="audience", on_invalid="reject", rejects=PREFIX)
    assert rejects.upload == UploadPlan(2**24, 16)
    assert "s3:PutObject" in rejects.permissions


def test_a_preview_reads_like_a_page() -> None:
    """As text and as a table: keys, format, options, permissions, memory; no credentials."""
    told = preview(
        FRAME,
        PREFIX,
        format=Parquet(compression="snappy"),
        name="a&b-{run_id}-{part:02d}{ext}",
        max_rows_per_file=4,
        run_id=RUN_ID,
        object_options=ObjectOptions(storage_class="STANDARD_IA", metadata={"feed": "<x>"}),
        storage_options={"key": "AKIAEXAMPLE", "secret": "wJalrXUtnFEMI"},
    )
    assert str(told).splitlines() == [
        "would make  3 files; nothing was sent",
        "to          s3://bucket/p/",
        f"run id      {RUN_ID}",
        f"manifest    s3://bucket/p/_manifests/{RUN_ID}.json",
        "format      Parquet(compression='snappy'), row groups of 100,000 rows",
        "columns     id, day, text",
        "object      ObjectOptions(storage_class='STANDARD_IA', metadata={'feed': '<x>'})",
        "needs       s3:PutObject, s3:ListBucket",
        "uploads     16 parts of 16.0 MiB at once, up to 272.0 MiB of memory for the first 900 parts of a file",
        *(f"  s3://bucket/p/a&b-{RUN_ID}-0{part}.parquet" for part in range(3)),
    ]
    html = told._repr_html_()
    assert f">s3://bucket/p/a&amp;b-{RUN_ID}-00.parquet</td>" in html
    assert "<x>" not in html
    for shown in (str(told), repr(told), html, str(pickle.loads(pickle.dumps(told)))):  # noqa: S301  our own
        assert "AKIAEXAMPLE" not in shown
        assert "wJalrXUtnFEMI" not in shown


def test_long_lists_are_cut_where_they_are_shown() -> None:
    """A person sees the first twenty, and the number of the others; a program has all of them."""
    wide = pl.DataFrame({f"c{number}": range(100) for number in range(30)})
    told = preview(wide, PREFIX, max_rows_per_file=1)
    assert len(told.files) == told.num_files == 100
    assert str(told).endswith("-00019.csv\n  … and 80 more")
    assert "c19, and 10 more\n" in str(told)


def test_a_preview_is_a_frozen_fact() -> None:
    """Equal previews are equal, and none can be changed."""
    told = preview(None, PREFIX, run_id=RUN_ID, format=Csv())
    assert told == preview(None, PREFIX, run_id=RUN_ID, format="csv")
    assert isinstance(told, Preview)
    with pytest.raises(FrozenInstanceError):
        told.run_id = "other"  # type: ignore[misc]
