"""The public names as a type checker sees them; this file is only type-checked, and never run.

A line that must be an error says so with an ignore: where the error goes away, the ignore itself is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, assert_type

import duckdb
import pandas as pd
import pandera.polars as pandera
import polars as pl
import pyarrow as pa

import mc_sink
from mc_sink import Csv, ObjectOptions, Parquet, Receipt, Rejects, Staged, StagedFile, Verification, WrittenFile
from mc_sink.sink import Preview, preview
from mc_sink.sink.previewing import UploadPlan


class Audience(pandera.DataFrameModel):
    """A schema as a class."""

    email: str


lazy = pl.LazyFrame({"email": ["a@example.com"]})
relation: duckdb.DuckDBPyRelation = duckdb.table("audience")
batches: list[pa.RecordBatch] = []
frames: list[pl.DataFrame] = []


def generated() -> Iterator[pl.DataFrame]:
    """Give batches."""
    yield from frames


# --- Every kind of frame

assert_type(mc_sink.sink_madconnect(lazy, "s3://bucket/p/"), Receipt)
assert_type(mc_sink.sink_madconnect(lazy.collect(), "s3://bucket/p/x.csv"), Receipt)
assert_type(mc_sink.sink_madconnect(pa.table({"n": [1]}), Path("x.parquet")), Receipt)
assert_type(mc_sink.sink_madconnect(relation, "~/out/"), Receipt)
assert_type(mc_sink.sink_madconnect(duckdb.sql("select 1"), "~/out/"), Receipt)
assert_type(mc_sink.sink_madconnect(pd.DataFrame({"n": [1]}), "file:///out/"), Receipt)
assert_type(mc_sink.sink_madconnect(batches, "out/"), Receipt)
assert_type(mc_sink.sink_madconnect(frames, "out/"), Receipt)
assert_type(mc_sink.sink_madconnect(generated(), "out/"), Receipt)
assert_type(lazy.pipe(mc_sink.sink_madconnect, "s3://bucket/p/"), Receipt)
assert_type(lazy.pipe(mc_sink.sink_madconnect, "s3://bucket/p/", format="csv", if_exists="overwrite"), Receipt)
assert_type(mc_sink.SinkMadConnect(lazy)("s3://bucket/p/", format="csv"), Receipt)

mc_sink.sink_madconnect(7, "out/")  # type: ignore[arg-type]
mc_sink.sink_madconnect(lazy)  # type: ignore[call-arg]
mc_sink.sink_madconnect(lazy, 7)  # type: ignore[arg-type]
mc_sink.sink_madconnect(lazy, b"out/")  # type: ignore[arg-type]
mc_sink.sink_madconnect(lazy, "out/", object())  # type: ignore[call-arg, arg-type]

# --- Every option

options: Mapping[str, Any] = {"key": "k", "secret": "s"}
everything = mc_sink.sink_madconnect(
    lazy,
    "s3://bucket/p/",
    format="csv.gz",
    schema=Audience,
    if_exists="overwrite",
    name="{date}/{run_id}{ext}",
    row_group_size=100_000,
    run_id="run",
    object_options=ObjectOptions(acl="bucket-owner-full-control"),
    storage_options=options,
    progress=False,
)
staged = mc_sink.stage(
    lazy,
    Path("out"),
    format=Parquet(),
    schema=pandera.DataFrameSchema({"email": pandera.Column(str)}),
    if_exists="fail",
    row_group_size=None,
    run_id=None,
    object_options=None,
    storage_options=None,
    progress=None,
)
mc_sink.stage(lazy, "out/", format=Csv(), schema="audience")
mc_sink.stage(lazy, "out/", min_rows=1, on_empty="skip")

mc_sink.sink_madconnect(lazy, "out/", format="json")  # type: ignore[arg-type]
mc_sink.sink_madconnect(lazy, "out/", format=Csv)  # type: ignore[arg-type]
mc_sink.sink_madconnect(lazy, "out/", schema=7)  # type: ignore[arg-type]
mc_sink.sink_madconnect(lazy, "out/", if_exists="replace")  # type: ignore[arg-type]
mc_sink.sink_madconnect(lazy, "out/", row_group_size="large")  # type: ignore[arg-type]
mc_sink.sink_madconnect(lazy, "out/", min_rows="many")  # type: ignore[arg-type]
mc_sink.sink_madconnect(lazy, "out/", on_empty="ignore")  # type: ignore[arg-type]
mc_sink.sink_madconnect(lazy, "out/", name=7)  # type: ignore[arg-type]
mc_sink.sink_madconnect(lazy, "out/", run_id=7)  # type: ignore[arg-type]
mc_sink.sink_madconnect(lazy, "out/", object_options={"acl": "private"})  # type: ignore[arg-type]
mc_sink.sink_madconnect(lazy, "out/", storage_options="key")  # type: ignore[arg-type]
mc_sink.sink_madconnect(lazy, "out/", progress="yes")  # type: ignore[arg-type]
mc_sink.sink_madconnect(lazy, "out/", overwrite=True)  # type: ignore[call-arg]

# --- Previews

assert_type(preview(lazy, "s3://bucket/p/", name="{run_id}{ext}"), Preview)
assert_type(preview(None, Path("out"), max_rows_per_file=10), Preview)
told = mc_sink.SinkMadConnect(lazy).preview("s3://bucket/p/")
assert_type(told, Preview)
assert_type(told.files, tuple[str, ...])
assert_type(told.num_files, int | None)
assert_type(told.manifest, str | None)
assert_type(told.permissions, tuple[str, ...])
assert_type(told.upload, UploadPlan | None)
told.files = ()  # type: ignore[misc]
preview(lazy)  # type: ignore[call-arg]
preview(lazy, "out/", object())  # type: ignore[call-arg, arg-type]
preview(lazy, "out/", name=["{run_id}"])  # type: ignore[arg-type]

# --- Staging, publishing, discarding, verifying

assert_type(staged, Staged)
assert_type(staged.files, tuple[StagedFile, ...])
assert_type(staged.num_rows, int)
assert_type(mc_sink.publish([staged]), Receipt)
assert_type(mc_sink.publish((staged,), storage_options=options), Receipt)
assert_type(mc_sink.discard([staged], storage_options=options), list[str])
assert_type(mc_sink.verify(everything, storage_options=options), Verification)
mc_sink.publish(staged)  # type: ignore[arg-type]
mc_sink.publish([staged], object())  # type: ignore[call-arg, arg-type]
mc_sink.discard(staged)  # type: ignore[arg-type]
mc_sink.verify(staged)  # type: ignore[arg-type]
staged.run_id = "other"  # type: ignore[misc]

# --- One delivery from several workers

delivery = mc_sink.open_delivery("s3://bucket/p/", {"email": pl.String}, run_id="run", credentials="module:function")
assert_type(delivery, mc_sink.Delivery)
share = delivery.stage(batches, number=0)
assert_type(share, mc_sink.Share)
assert_type(share.failure, mc_sink.SinkError | None)
assert_type(delivery.publish([share], num_shares=1), Receipt)
assert_type(delivery.discard([share]), list[str])
assert_type(delivery.buckets(lazy.collect()), pl.Series)
assert_type(everything.sweep, mc_sink.Sweep | None)
mc_sink.open_delivery("s3://bucket/p/", pl.Schema(), formt="csv")  # type: ignore[call-arg]
delivery.publish([share])  # type: ignore[call-arg]

# --- Formats

assert_type(
    Csv(
        separator=";",
        include_header=False,
        quote_style="always",
        quote_char="'",
        null_value="NULL",
        line_terminator="\r\n",
        include_bom=True,
        date_format="%F",
        time_format="%T",
        datetime_format="%F %T%z",
        float_scientific=False,
        decimal_comma=True,
        compression="gzip",
        compression_level=3,
    ),
    Csv,
)
assert_type(Parquet(compression="snappy", compression_level=None, statistics=False, data_page_size=2**20), Parquet)
Parquet(statistics={"min": True})
Csv(";")  # type: ignore[call-arg]
Csv(quote_style="never")  # type: ignore[arg-type]
Csv(line_terminator="\r")  # type: ignore[arg-type]
Csv(compression="zip")  # type: ignore[arg-type]
Csv(seperator=";")  # type: ignore[call-arg]
Parquet(compression="lzo")  # type: ignore[arg-type]
Csv().separator = ";"  # type: ignore[misc]

# --- Object options

ObjectOptions(
    acl="private",
    sse="aws:kms",
    sse_kms_key_id="k",
    storage_class="STANDARD_IA",
    content_type="text/csv",
    cache_control="no-cache",
    content_disposition="attachment",
    metadata={"feed": "audience"},
    tags={"team": "data"},
)
ObjectOptions(acl="public")  # type: ignore[arg-type]
ObjectOptions(sse="aes")  # type: ignore[arg-type]
ObjectOptions(storage_class="standard")  # type: ignore[arg-type]
ObjectOptions(tags={"team": 7})  # type: ignore[dict-item]
ObjectOptions(ACL="private")  # type: ignore[call-arg]

# --- Facts

assert_type(everything.run_id, str)
assert_type(everything.target, str)
assert_type(everything.files, tuple[WrittenFile, ...])
assert_type(everything.num_rows, int)
assert_type(everything.num_bytes, int)
assert_type(everything.rejects, Rejects | None)
assert_type(everything.validated, bool)
assert_type(everything.manifest, str | None)
assert_type(everything.started_at, datetime)
assert_type(everything.elapsed, timedelta)
assert_type(everything.verify(), Verification)
assert_type(everything.verify().ok, bool)
assert_type(everything.files[0].path, str)
assert_type(everything.files[0].etag, str | None)
assert_type(everything.files[0].version_id, str | None)
assert_type(everything.files[0].checksum, str)
assert_type(everything.files[0].partition, Mapping[str, Any] | None)
everything.num_rows = 7  # type: ignore[misc]

# --- Errors

try:
    mc_sink.publish([staged])
except mc_sink.CommitError as commit:
    assert_type(commit.committed, tuple[str, ...])
    assert_type(commit.uncommitted, tuple[str, ...])
except mc_sink.PermissionDenied as denied:
    assert_type(denied.action, str | None)
except mc_sink.ValidationError as invalid:
    assert_type(invalid.schema_name, str)
    assert_type(invalid.failure_cases, pl.DataFrame | None)
