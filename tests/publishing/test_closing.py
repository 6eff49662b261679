"""What closes a delivery: the manifest in each of its forms, held to what documents it, and the success marker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pandera.polars as pa
import polars as pl
import pytest
from jsonschema import Draft202012Validator

import mc_sink
from mc_sink import AlreadyExistsError, CommitError, ConfigurationError, Csv
from tests.servers.faults import FOREVER, Call, Status
from tests.support.frames import FORMATS
from tests.support.small_deliveries import FRAME, MANIFEST, RUN, deliver, manifest_of, options, seen

if TYPE_CHECKING:
    from mc_sink.sandbox.admin import Admin, Writer
    from tests.servers.fault import FaultServer

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "manifest.schema.json").read_text(encoding="utf-8"))
JUDGED = pa.DataFrameSchema({"id": pa.Column(pl.Int64, pa.Check.lt(50))}, name="few")
MARKER = "p/_SUCCESS"
BIG = 2**20  # a part holds what closes a delivery, so that each is one Put


pytestmark = pytest.mark.usefixtures("tiny")


def invalid(facts: Any) -> list[str]:
    """List what is wrong with a manifest by its published schema."""
    return [error.message for error in Draft202012Validator(SCHEMA).iter_errors(facts)]


WAYS: dict[str, dict[str, Any]] = {
    "rows": {},
    "bytes": {"max_rows_per_file": None, "max_bytes_per_file": 2_000},
    "partitions": {"partition_by": "half", "max_rows_per_file": None},
    "no rows in partitions": {"frame": FRAME.clear(), "partition_by": "id", "max_rows_per_file": None},
    "no rows": {"frame": FRAME.clear()},
    "rejects": {"schema": JUDGED, "on_invalid": "reject"},
    "a dialect": {"format": Csv(formulas="escape", non_finite="null", compression="gzip")},
    "parquet": {"format": "parquet"},
}


@pytest.mark.parametrize("how", WAYS.values(), ids=WAYS)
def test_every_manifest_is_valid_by_its_schema(server: FaultServer, tmp_path: Path, how: dict[str, Any]) -> None:
    """For every kind of delivery the manifest is valid by its published JSON Schema, and lists what is visible."""
    how = {"frame": FRAME, "rejects": f"{tmp_path}/" if "schema" in how else None} | how
    half = pl.when(pl.col("id") % 2 == 0).then(pl.lit("=a")).alias("half")
    receipt = deliver(server, how.pop("frame").with_columns(half, infinite=float("inf")), **how)
    facts = manifest_of(server)
    assert invalid(facts) == []
    assert facts["num_files"] == len(facts["files"]) == receipt.num_files
    assert facts["warnings"] == [
        {"kind": warning.kind, "column": warning.column, "num_cells": warning.num_cells} for warning in receipt.warnings
    ]


def test_the_schema_refuses_what_is_none() -> None:
    """It is a valid JSON Schema, and a manifest with a key more, a key less or a value of another kind is refused."""
    Draft202012Validator.check_schema(SCHEMA)
    facts = dict.fromkeys(SCHEMA["required"], "x")
    assert len(invalid(facts)) >= 10
    assert any("'more' was unexpected" in message for message in invalid(facts | {"more": 1}))
    assert any("'run_id' is a required property" in message for message in invalid({}))


@pytest.mark.parametrize("format", FORMATS)
def test_redshift_gets_the_form_that_its_copy_reads(server: FaultServer, format: str) -> None:
    """AWS documents `entries` with `url`, `mandatory` and, for columnar files, `meta.content_length`; and no more."""
    receipt = deliver(server, format=format, manifest="redshift")
    assert manifest_of(server) == {
        "entries": [
            {"url": file.path, "mandatory": True, "meta": {"content_length": file.num_bytes}} for file in receipt.files
        ]
    }
    sizes = {server.writer.target(key): one.size for key, one in seen(server).items() if key != MANIFEST}
    assert {entry["url"]: entry["meta"]["content_length"] for entry in manifest_of(server)["entries"]} == sizes
    assert deliver(server, format=format, manifest="redshift").num_found == 3


def test_redshift_reads_from_s3_alone(tmp_path: Path) -> None:
    """Elsewhere its form is refused before anything is written, and so is an unknown form."""
    with pytest.raises(ConfigurationError, match="lists objects in S3"):
        mc_sink.sink_madconnect(FRAME, f"{tmp_path}/", manifest="redshift")
    with pytest.raises(ConfigurationError, match=r"manifest=.*Give True, False or"):
        mc_sink.sink_madconnect(FRAME, f"{tmp_path}/", manifest="snowflake")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_the_marker_is_the_last_thing_to_appear(server: FaultServer) -> None:
    """When it is put, every file and the manifest are there; it is empty, and receipt and verification know it."""
    found: list[set[str]] = []
    server.fault("Put", Call(lambda _: found.append(set(seen(server)))), n=2)
    receipt = deliver(server, success_marker=True, part_size=BIG)
    assert found == [set(seen(server)) - {MARKER}]
    assert MANIFEST in found[0]
    assert seen(server)[MARKER].size == 0
    assert receipt.success_marker == server.writer.target(MARKER)
    assert receipt.verify().checked == 5
    server.store.bucket(server.bucket).pop(MARKER)
    assert receipt.verify().missing == (receipt.success_marker,)


@pytest.mark.parametrize("manifest", [None, False])
def test_a_rerun_finds_its_own_marker(server: FaultServer, *, manifest: bool | None) -> None:
    """It does nothing, and says so; with other rows it fails, and the marker stays as it was."""
    deliver(server, success_marker=True, manifest=manifest)
    before = seen(server)
    again = deliver(server, success_marker=True, manifest=manifest)
    assert again.num_found == again.num_files
    with pytest.raises(mc_sink.SinkError):
        deliver(server, FRAME.head(30), success_marker=True, manifest=manifest)
    assert seen(server) == before


def test_another_runs_marker_is_reported_before_any_work(server: FaultServer) -> None:
    """A marker that is there would show a delivery before it is whole: refused, unless replacing was asked for."""
    deliver(server, success_marker=True)
    before, sent = seen(server), len(server.log.of("Create"))
    for run_id in (None, "r-2"):
        with pytest.raises(AlreadyExistsError, match="The success marker of another run is already at"):
            deliver(server, success_marker=True, run_id=run_id)
    assert seen(server) == before
    assert len(server.log.of("Create")) == sent
    deliver(server, success_marker=True, run_id="r-2", if_exists="overwrite")
    assert "p/_manifests/r-2.json" in seen(server)


@pytest.mark.parametrize("ending", ["recover", "rerun"])
def test_a_marker_that_can_not_be_written_is_named_and_completed(server: FaultServer, ending: str) -> None:
    """All else is visible: the error says just that, and recovery or a rerun writes the marker."""
    server.fault("Put", Status(403, "AccessDenied"), n=2, times=FOREVER)
    with pytest.raises(CommitError) as raised:
        deliver(server, success_marker=True, part_size=BIG)
    assert raised.value.uncommitted == (server.writer.target(MARKER),)
    assert "4 of 5 files are visible" in str(raised.value)
    assert MARKER not in seen(server)
    server.heal()
    if ending == "recover":
        receipt = mc_sink.recover(RUN, storage_options=options(server, BIG))
    else:
        receipt = deliver(server, success_marker=True, part_size=BIG)
    assert receipt.verify().ok
    assert seen(server)[MARKER].size == 0


def test_a_marker_needs_a_prefix(tmp_path: Path) -> None:
    """One file is marked by being there."""
    with pytest.raises(ConfigurationError, match=r"is a single file, and success_marker may need several"):
        mc_sink.sink_madconnect(FRAME, f"{tmp_path}/x.csv", success_marker=True)


def test_readers_do_not_see_what_closes_a_delivery(seaweed: Admin, writer: Writer, tmp_path: Path) -> None:
    """On the real server, under the write-only key: a glob for the files finds these alone."""
    place = writer.target("p/")
    receipt = mc_sink.sink_madconnect(
        FRAME, place, max_rows_per_file=20, success_marker=True, storage_options=writer.storage_options
    )
    found = seaweed.listing(writer.bucket)
    names = {f"p/{receipt.run_id}-{part:05d}.csv" for part in range(3)}
    assert set(found) == names | {f"p/_manifests/{receipt.run_id}.json", MARKER}
    assert found[MARKER].size == 0
    assert invalid(json.loads(seaweed.read(writer.bucket, f"p/_manifests/{receipt.run_id}.json"))) == []
    for key in found:
        path = tmp_path / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(seaweed.read(writer.bucket, key))
    assert duckdb.read_csv(f"{tmp_path}/p/*.csv").shape == FRAME.shape
