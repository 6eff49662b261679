"""One delivery, from the call to the receipt: resolve, open the rows, write the files, stage them, publish.

frame ─► plan ─► batches ─► validated batches ─► file (encode ─► parts) ─► staged ─► publish ─► receipt
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from mc_sink._lazy import attributes
from mc_sink._runtime.progress import show_progress
from mc_sink.publishing import hidden_files, journal, publish_with, wait_to_publish, waiting_at
from mc_sink.records import recorded
from mc_sink.secret import seals_options
from mc_sink.sink.options import DEFAULT_REJECTS, KINDS, Options, SinkOptions, takes_options
from mc_sink.sink.own_source import refuse_own_frames, refuse_own_source
from mc_sink.sink.pipeline import RowCountGuard
from mc_sink.sink.prior_attempt import find_prior_attempt
from mc_sink.sink.spec import resolve
from mc_sink.sink.staging import discard_noting, stage_frame

if TYPE_CHECKING:
    import os
    from typing import Unpack

    from mc_sink._frames import Frame
    from mc_sink.delivery_spec import DeliverySpec
    from mc_sink.receipt import Receipt
    from mc_sink.sink.handing_over import Wishes, handover, page_for
    from mc_sink.sink.opening import open_delivery
    from mc_sink.sink.previewing import Preview, preview
    from mc_sink.sink.share import Share
    from mc_sink.sink.shares import Delivery
    from mc_sink.staged import Staged

__all__ = [
    "DEFAULT_REJECTS",
    "KINDS",
    "Delivery",
    "Options",
    "Preview",
    "RowCountGuard",
    "Share",
    "SinkOptions",
    "Wishes",
    "check_before",
    "deliver_frame",
    "handover",
    "open_delivery",
    "page_for",
    "preview",
    "refuse_own_frames",
    "refuse_own_source",
    "resolve",
    "sink_madconnect",
    "stage",
    "takes_options",
]

if not TYPE_CHECKING:
    __getattr__ = attributes(
        {
            "sink.handing_over": "Wishes handover page_for",
            "sink.opening": "open_delivery",
            "sink.previewing": "Preview preview",
            "sink.share": "Share",
            "sink.shares": "Delivery",
        },
        __name__,
    )


@seals_options
@takes_options
def sink_madconnect(frame: Frame, target: str | os.PathLike[str], **options: Unpack[Options]) -> Receipt:
    """Deliver a frame, whole or not at all: nothing is visible until every row is valid and every byte is stored.

    After an exception nothing is visible, with three exceptions: a `CommitError` lists the visible files, a
    `CommitUnknown` names the file to look for, and Ctrl-C while files are published has a note that says so.
    Of several files the first may be visible before the last; the manifest comes last. `recover(run_id)`, or a rerun
    with the same `run_id`, completes such a delivery.

        import polars as pl
        import mc_sink

        audience = pl.LazyFrame({"id": [1, 2], "country": ["US", "DE"]})
        receipt = mc_sink.sink_madconnect(audience, "./out/", format="parquet", run_id="20261122")
        print(receipt.num_rows, [file.path for file in receipt.files])

    Parameters
    ----------
    frame
        A LazyFrame, a DataFrame, any object with `__arrow_c_stream__`, a pyarrow Dataset or Scanner, or an iterable of
        record batches or DataFrames.
    target
        A prefix (`s3://bucket/prefix/`: a new object each run) or a file (`s3://bucket/prefix/name.csv`); also a local
        path, a `file://` URL, or an fsspec URL whose filesystem can rename.
    format
        "csv", "csv.gz", "parquet", `Csv(...)` or `Parquet(...)`. Default: the suffix of the name, else "csv".
    preset
        A receiver's name ("liveramp", "adobe", "redshift", "snowflake", "bigquery", "athena", "excel") or a `Preset`.
        Its format, splitting and names apply where no argument is given. Its limits are checked. See docs/receivers.md.
    schema
        A Pandera (polars) schema or model, or the name or path of a YAML schema. Every row is validated.
    on_invalid
        "fail" (default) ends the run on any invalid row. "reject" delivers the valid rows, and writes the invalid ones
        with row numbers and reasons to `rejects`. A run in which every row is invalid fails either way.
    rejects
        The target of invalid rows. Default: the local folder `rejects/`.
    max_rejects
        More invalid rows than this fail the run: a count (int), or a fraction of all rows (float, 0.0 to 1.0).
    min_rows
        Fewer valid rows than this fail the run. With `previous`, all valid rows count, changed or not.
    on_empty
        For a delivery without rows (with `previous`: without changes). "deliver" (default) writes a file with a header
        only, or, with partitions, only the manifest; "skip" writes nothing; "fail" fails the run.
    if_exists
        "fail" (default) never replaces an object. "overwrite" does.
    stale
        With "overwrite": files of an earlier run under names of this template that this run doesn't replace. "fail"
        (default) raises before anything is visible; "keep" accepts them and lists them in the receipt and manifest.
    name
        A template for names under a prefix, such as `"{date}/audience-{run_id}-{part:05d}{ext}"`. Default:
        `{run_id}{ext}`, or `{run_id}-{part:05d}{ext}` where several files are possible. See docs/names.md.
    partition_by
        Columns whose values divide the rows into folders `country=US/date=2026-11-22/`, as in Hive and Spark, or into
        the places that the template names. Rows may come in any order. Needs a prefix. See docs/partitions.md.
    include_key
        Whether files keep the columns of `partition_by`. Default: not for Hive folders, yes for a custom template.
    previous
        The last delivery, as a frame or local files. Only rows that were added, changed or removed since are delivered.
        See docs/changes.md.
    keys
        The columns that identify a row in `previous` and in the frame.
    changes
        "files" (default) delivers changes in folders `action=added/` and so on; "column" adds a column `action`.
    action_column
        Another name for that column, or those folders. A column of the frame with that name is the action itself: its
        values are "add" and "remove", and a row of `previous` that is missing now is delivered with "remove".
    max_rows_per_file
        The number of rows in every file but the last. Needs a prefix. A file is staged as soon as it is full.
    max_bytes_per_file
        The largest size of a file in bytes as stored: header, footer and compression included. Needs a prefix.
    row_group_size
        Rows in a batch and in a Parquet row group. Default: 100,000.
    manifest
        Whether to write `_manifests/RUN_ID.json` under the prefix after all files are visible. Default: only where
        several files are possible. "redshift" writes it in the form that Redshift's COPY reads.
    success_marker
        Whether to write an empty `_SUCCESS` under the prefix, last of all. Default: False.
    run_id
        The id in the names of objects under a prefix; the same id gives the same names. A rerun with the id of an
        earlier attempt compares the existing files, publishes only the missing ones, and fails if the data differ.
        Default: UTC time and six hex digits, new for each call.
    platform
        A saved platform's name, or a `Platform`: its credentials, and its ACL and KMS key unless `object_options` has
        its own. A target outside its allowed buckets raises `ConfigurationError`.
    encrypt
        `Pgp(recipients=[…])` or `Age(recipients=[…])`: files are encrypted for these keys while they are written, and
        get the suffix `.pgp` or `.age`. The rejected rows, the manifest and the marker are not. Default: in the clear.
    object_options
        ACL, encryption, storage class, tags and metadata of the objects in S3.
    storage_options
        Options with the names of s3fs or fsspec (`key`, `secret`, `endpoint_url`, `profile`, …); an unknown one is an
        error. `default_block_size` is the size of the first part in bytes, `max_concurrency` the number of parts in
        flight, and `config_kwargs={"read_timeout": 60}` the timeout of every request in seconds.
    progress
        True shows a progress bar, False hides it. Default: a bar in a terminal or a notebook.

    Raises
    ------
    TargetError, ConfigurationError, PermissionDenied, AlreadyExistsError
        Before the first byte is sent, where the cause can be known by then.
    ValidationError, QueryError, UploadError
        Nothing became visible. Exceptions of the query and the source are raised unchanged; a panic of the engine is
        raised as `QueryError`.
    CommitError, CommitUnknown
        Some files are visible, or may be. The error lists them.
    """
    spec = resolve(SinkOptions.of("sink_madconnect", target, options))
    return recorded(
        partial(deliver_frame, frame, spec),
        run_id=spec.names.run_id,
        target=spec.target.url,
        platform=options.get("platform"),
        storage_options=options.get("storage_options"),
    )


def check_before(spec: DeliverySpec) -> None:
    """Raise for what stands in the way of a run, before its source is opened: this machine, the store, existing files.

    The store is listed for a new run only: a source may run its query when it is opened.
    """
    journal.prepare()
    stores = spec.stores()
    spec.check_places(stores)
    if not spec.run_id_given:
        find_prior_attempt(spec, stores)


def deliver_frame(frame: Frame, spec: DeliverySpec, guard: RowCountGuard | None = None) -> Receipt:
    """Deliver a frame by a specification; see `sink_madconnect`. `guard` is the row count guard of a connection."""
    journal.prepare()
    with (
        hidden_files.noted(spec.names.run_id, spec.target.url) as note,
        show_progress(spec.target.url, progress=spec.progress) as progress,
    ):
        done = stage_frame(frame, replace(spec, note=note), guard, progress=progress)
        try:
            return publish_with(done.stores, [done.staged])
        except BaseException as error:
            if not journal.holds(done.staged):  # what a journal lists may be visible in part, and `recover` needs it
                discard_noting(done.staged, done.stores, error)
            raise


@seals_options
@takes_options
def stage(frame: Frame, target: str | os.PathLike[str], **options: Unpack[Options]) -> Staged:
    """Validate, encode and upload a frame without making it visible; `publish([staged])` shows it, `discard` undoes it.

    Takes the arguments of `sink_madconnect`, and raises the same errors up to publishing. Several processes may stage
    parts of one run, each with its own names. Parts whose names collide are refused: by `publish`, and before any
    upload by `stage`, if this process still holds the other part. `open_delivery` numbers the parts of several workers,
    and checks what only all of them together can show.
    """
    spec = resolve(SinkOptions.of("stage", target, options))
    with (
        hidden_files.noted(spec.names.run_id, spec.target.url) as note,
        show_progress(spec.target.url, progress=spec.progress, done="staged") as progress,
    ):
        waiting = waiting_at(spec.names.run_id, spec.target.url)
        staged = stage_frame(frame, replace(spec, note=note), waiting=waiting, progress=progress).staged
    wait_to_publish(staged)
    return staged
