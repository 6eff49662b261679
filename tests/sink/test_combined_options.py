"""Where features meet: partitions, markers, manifests, presets and templates with reruns and half published runs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandera.polars as pa
import polars as pl
import pytest

import mc_sink
from mc_sink import AlreadyExistsError, CommitError, ConfigurationError, LimitError
from mc_sink.sink import SinkOptions, resolve
from tests.servers.faults import Status

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from tests.servers.fault import FaultServer

FRAME = pl.DataFrame({"id": range(90), "text": "x"}).with_columns(k=pl.col("id") % 3)


def deliver(server: FaultServer, frame: pl.DataFrame | pl.LazyFrame = FRAME, **how: Any) -> mc_sink.Receipt:
    """Deliver as run "a"; nothing in it depends on the clock."""
    given: dict[str, Any] = {"run_id": "a", "storage_options": server.storage_options} | how
    return mc_sink.sink_madconnect(frame, server.writer.target("p/"), **given)


OTHERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "no folders": ({"partition_by": "k"}, {}),
    "rows a file, and no folders": ({"partition_by": "k"}, {"max_rows_per_file": 30}),
    "a template": ({"partition_by": "k"}, {"name": "{run_id}{ext}"}),
    "another template": ({"partition_by": "k", "name": "x{k}/{run_id}-{part}{ext}"}, {"name": "{run_id}{ext}"}),
    "replacing": ({"partition_by": "k"}, {"if_exists": "overwrite"}),
}


@pytest.mark.parametrize(("first", "then"), OTHERS.values(), ids=OTHERS)
def test_rows_of_a_half_published_run_never_come_again_elsewhere(
    fault_s3: FaultServer, first: dict[str, Any], then: dict[str, Any]
) -> None:
    """A rerun that names files otherwise is refused, and the first attempt's journal still ends the run, once."""
    fault_s3.fault("Complete", Status(403, "AccessDenied"), n=2)
    with pytest.raises(CommitError):
        deliver(fault_s3, **first)
    before = fault_s3.listing(fault_s3.bucket)
    with pytest.raises(
        AlreadyExistsError,
        match=r"(this one doesn't make|(no part|beside the files) of this one)(?s:.*)[Nn]othing (more )?became visible",
    ):
        deliver(fault_s3, **then)
    assert fault_s3.listing(fault_s3.bucket) == before
    assert mc_sink.recover("a", storage_options=fault_s3.storage_options).num_rows == 90
    assert fault_s3.pending_uploads(fault_s3.bucket) == []


def test_a_run_without_rows_can_be_run_again(fault_s3: FaultServer) -> None:
    """Its manifest says that the marker, which names no run, is its own; another run's marker is refused as ever."""
    how: dict[str, Any] = {"frame": FRAME.head(0), "partition_by": "k", "success_marker": True}
    deliver(fault_s3, **how)
    before = fault_s3.listing(fault_s3.bucket)
    assert deliver(fault_s3, **how).num_rows == 0
    assert fault_s3.listing(fault_s3.bucket) == before
    with pytest.raises(AlreadyExistsError, match="marker of another run"):
        deliver(fault_s3, **how, run_id="b")


def test_a_manifest_that_is_visible_is_told(fault_s3: FaultServer) -> None:
    """Where no row makes no file, the marker may fail when the manifest has closed the delivery already."""
    how: dict[str, Any] = {"frame": FRAME.head(0), "partition_by": "k", "success_marker": True}
    fault_s3.fault("Put", Status(403, "AccessDenied"), n=2)
    with pytest.raises(CommitError, match="1 of 2 files are visible") as raised:
        deliver(fault_s3, **how)
    assert "Nothing became visible" not in str(raised.value)
    assert list(raised.value.committed) == [fault_s3.writer.target("p/_manifests/a.json")]
    deliver(fault_s3, **how)
    assert mc_sink.list_journals() == []


def part(server: FaultServer, number: int, **how: Any) -> mc_sink.Staged:
    """Stage one partition, as one of several executors does."""
    given: dict[str, Any] = {"partition_by": "k", "run_id": "a", "storage_options": server.storage_options} | how
    return mc_sink.stage(FRAME.filter(k=number), server.writer.target("p/"), **given)


def test_what_several_parts_count_is_added_up(fault_s3: FaultServer) -> None:
    """Rows and rejects are those of all parts, in the receipt and in the manifest, whichever part comes first."""
    schema = pa.DataFrameSchema({"id": pa.Column(pl.Int64, pa.Check.lt(80))}, strict=False)
    rejecting: dict[str, Any] = {"schema": schema, "on_invalid": "reject", "rejects": fault_s3.writer.target("bad/")}
    staged = [part(fault_s3, number, **how) for number, how in ((0, {}), (1, rejecting))]
    staged = [replace(one, content=staged[0].content) for one in staged]
    receipt = mc_sink.publish(staged, storage_options=fault_s3.storage_options)
    assert receipt.rejects is not None
    assert receipt.rejects.num_rows == 3
    facts = json.loads(fault_s3.read(fault_s3.bucket, "p/_manifests/a.json"))
    assert (facts["num_rows"], facts["num_rejected"]) == (57, 3)


UNALIKE: dict[str, tuple[dict[str, Any], str]] = {
    "a marker": ({"success_marker": True}, "success_marker="),
    "no manifest": ({"manifest": False}, "manifest="),
    "another manifest": ({"manifest": "redshift"}, "manifest="),
    "changes": ({"previous": FRAME.filter(k=1), "keys": "id", "changes": "column"}, "previous="),
    "a format": ({"format": "parquet"}, "columns, format or schema"),
}


@pytest.mark.parametrize(("how", "message"), UNALIKE.values(), ids=UNALIKE)
def test_parts_that_one_manifest_can_not_describe_are_refused(
    fault_s3: FaultServer, how: dict[str, Any], message: str
) -> None:
    """Nothing becomes visible, and neither is a marker left out nor one shown that a part didn't ask for."""
    staged = [part(fault_s3, 0), part(fault_s3, 1, **how)]
    for several in (staged, staged[::-1]):
        with pytest.raises(ConfigurationError, match=rf"different {message}.*Nothing became visible"):
            mc_sink.publish(several, storage_options=fault_s3.storage_options)
    assert fault_s3.listing(fault_s3.bucket) == {}


def test_another_form_of_manifest_changes_nothing(fault_s3: FaultServer) -> None:
    """A run that is closed stays as it is: no journal waits, and the first form is found again."""
    deliver(fault_s3, partition_by="k", manifest="redshift")
    before = fault_s3.listing(fault_s3.bucket)
    with pytest.raises(AlreadyExistsError, match="nothing more became visible"):
        deliver(fault_s3, partition_by="k")
    assert fault_s3.listing(fault_s3.bucket) == before
    assert mc_sink.list_journals() == []
    assert deliver(fault_s3, partition_by="k", manifest="redshift").num_found == 3


def test_a_limit_is_for_what_the_files_have(fault_s3: FaultServer) -> None:
    """A long number that stands in the key alone is none that a sheet would cut; kept in the files, it is."""
    frame = FRAME.with_columns(k=pl.lit(10**16))
    receipt = deliver(fault_s3, frame, partition_by="k", preset="excel")
    assert [file.partition for file in receipt.files] == [{"k": "1" + "0" * 16}]
    with pytest.raises(LimitError, match="digits of a number"):
        deliver(fault_s3, frame, partition_by="k", preset="excel", include_key=True, run_id="b")


def test_a_query_is_let_go_where_a_limit_ends_the_run() -> None:
    """At once, and not when the caller drops the error, which may be kept."""
    ended = []

    def source() -> Generator[pl.DataFrame, None, None]:
        try:
            yield FRAME.with_columns(text=pl.lit("x" * 70_000))
        finally:
            ended.append("source")

    batches, to = source(), resolve(SinkOptions(target="s3://bucket/p/", preset="redshift"))
    with pytest.raises(LimitError) as raised:
        next(to.watch(batches))
    assert (ended, raised.value.limit) == (["source"], "cell size")


def test_personal_data_is_in_no_name(tmp_path: Path) -> None:
    """A column that the schema marks is refused before a row is read: as a folder, in a template, and in a preview."""
    marked = pa.Column(str, metadata={"personal_data": True})
    schema = pa.DataFrameSchema({"email": marked, "country": pa.Column(str)}, name="people")
    frame = pl.DataFrame({"email": ["a@b.example"], "country": ["DE"]})
    options: dict[str, Any] = {"schema": schema, "format": "csv"}
    for more in (
        {"partition_by": "email"},
        {"partition_by": ["country", "email"], "name": "{country}/{email}/{run_id}{ext}"},
    ):
        for call in (mc_sink.sink_madconnect, mc_sink.stage, mc_sink.preview):
            with pytest.raises(ConfigurationError, match="schema 'people' marks it as personal data") as raised:
                call(frame, f"{tmp_path}/out/", **options, **more)
            assert "@" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []
    assert mc_sink.sink_madconnect(frame, f"{tmp_path}/out/", partition_by="country", **options).num_rows == 1
