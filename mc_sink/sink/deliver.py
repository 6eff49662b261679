"""The straight path, on one screen.

frame ─► plan ─► batches ─► validated batches ─► file (encode ─► parts) ─► staged ─► publish ─► receipt
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from mc_sink._display import logger
from mc_sink._frames import ROW_GROUP_SIZE, as_lazyframe
from mc_sink._runtime.batches import known_num_rows, pull
from mc_sink._runtime.fork_guard import check_fork
from mc_sink.exceptions import ValidationError, add_note, panics_as_query_errors
from mc_sink.formats import options_of, without_categories
from mc_sink.publishing import discard_with, journal, publish_with, wait_to_publish, waiting_at
from mc_sink.secret import seal
from mc_sink.sink.options import SinkOptions, takes_options
from mc_sink.sink.pipeline import open_rows, show_progress
from mc_sink.sink.prior_attempt import look
from mc_sink.sink.spec import refuse_own_source, resolve, scanned
from mc_sink.staged import Content, Staged, StagedRejects
from mc_sink.writing import DeliveryPlan, FilePlan, check_files_apart, write_file, write_files

if TYPE_CHECKING:
    import os
    from typing import Unpack

    from mc_sink._frames import Frame
    from mc_sink.receipt import Receipt
    from mc_sink.sink.options import Options
    from mc_sink.sink.pipeline import DeliveryRows, RowCountGuard
    from mc_sink.sink.prior_attempt import PriorAttempt
    from mc_sink.sink.spec import DeliverySpec
    from mc_sink.staged import StagedFile
    from mc_sink.storage import Stores

_log = logger(__name__)


@takes_options
def sink_madconnect(frame: Frame, target: str | os.PathLike[str], **options: Unpack[Options]) -> Receipt:
    """Deliver a frame, whole or not at all: nothing is visible until every row is valid and every byte is stored.

    Whatever is raised on the way, the query's own exception or Ctrl-C included, nothing became visible, unless it is a
    `CommitError`, which says what did, or a `CommitUnknown`, which says what to look for; `recover(run_id)` or a rerun
    with the same `run_id` ends both.

    Parameters
    ----------
    frame
        A LazyFrame, a DataFrame, anything with `__arrow_c_stream__`, a pyarrow Dataset or Scanner, or an iterable of
        record batches or DataFrames.
    target
        A prefix (`s3://bucket/prefix/`: a new object each run) or a file (`s3://bucket/prefix/name.csv`); a local path,
        a `file://` URL, or another fsspec URL that renames.
    format
        "csv", "csv.gz", "parquet", `Csv(...)` or `Parquet(...)`; by default what the name's suffix says, else "csv".
    preset
        A receiver's name ("liveramp", "adobe", "redshift", "snowflake", "bigquery", "athena", "excel") or a `Preset`:
        its format, splitting and names, wherever nothing else is said here, and its limits, which data must keep; see
        docs/receivers.md.
    schema
        A Pandera (polars) schema or model, or the name or path of a YAML schema; every row is judged.
    on_invalid, rejects, max_rejects
        "fail" ends the run on any bad row; "reject" delivers the others, and writes the bad ones, with row numbers and
        reasons, to `rejects` (a target; by default the local folder `rejects/`). More than `max_rejects` of them, a
        count or a fraction of all rows, fail the run, and so does the rejection of every row.
    min_rows
        Fewer valid rows than these fail the run. With `previous` the rows that this run has are counted, not those that
        differ.
    on_empty
        What a delivery without any row is: "deliver" makes a file of the columns alone (of partitions, which no row
        names, only the manifest); "skip" makes nothing, and the receipt says so; "fail" fails the run. With `previous`
        it is one in which no row differs.
    if_exists
        "fail" never replaces an object; "overwrite" does.
    stale
        What becomes, with "overwrite", of files that an earlier run left under names of this template, and that this
        run doesn't replace: "fail" refuses before anything is visible; "keep" accepts them, and lists them in receipt
        and manifest.
    name
        A template for the names under a prefix, such as `"{date}/audience-{run_id}-{part:05d}{ext}"`; see
        docs/names.md. By default `{run_id}{ext}`, and `{run_id}-{part:05d}{ext}` where there may be several files.
    partition_by
        Columns whose values divide the rows, in any order, into folders `country=US/date=2026-11-22/`, as Hive and
        Spark have them, or wherever the template names them; needs a prefix. See docs/partitions.md.
    include_key
        Whether the files keep those columns; by default not where folders tell their values, and yes where a template
        does.
    previous, keys, changes
        What was delivered last, a frame or local files, and the columns that tell its rows apart: what is delivered are
        the rows added, changed and removed since, in folders `action=added/` and so on; or, with `changes="column"`,
        in a column `action`. See docs/changes.md.
    max_rows_per_file
        Rows in a file, the last one's excepted; needs a prefix. Each file is staged as soon as it is full.
    max_bytes_per_file
        No file is larger, as it is stored, header, footer and compression included; needs a prefix.
    row_group_size
        Rows in a batch, and in a Parquet row group; 100,000 by default.
    manifest
        Whether to write `_manifests/RUN_ID.json` under the prefix when all files are visible; by default where there
        may be more than one file. "redshift" writes it in the form that Redshift's COPY reads.
    success_marker
        Whether to write an empty `_SUCCESS` under the prefix, last of all.
    run_id
        Names the objects under a prefix; the same id gives the same names. A rerun with the id of an earlier try
        compares what is there, publishes only the rest, and fails where the data are others. By default new: UTC time
        and six hex digits.
    platform
        A saved platform's name, or a `Platform`: whose credentials, and what of ACL and KMS key was left open. A target
        outside of what it may be used for is refused.
    object_options
        ACL, encryption, storage class, tags and metadata of the object in S3.
    storage_options
        s3fs' names (`key`, `secret`, `endpoint_url`, `profile`, …); an unknown one is an error.
        `default_block_size` is the size of a first part in bytes, `max_concurrency` the number of parts in flight;
        `config_kwargs={"read_timeout": seconds}` (60) sets how patient every request is.
    progress
        True or False for a bar or none; by default a bar where a person is looking.

    Raises
    ------
    TargetError, ConfigurationError, PermissionDenied, AlreadyExistsError
        Before the first byte, wherever that can be known.
    ValidationError, QueryError, UploadError
        Nothing became visible. The query's and the source's own exceptions arrive as they are; a panic of the engine is
        a `QueryError`.
    CommitError, CommitUnknown
        Some of it is visible, or may be: they say what.
    """
    options["storage_options"] = seal(options.get("storage_options"))  # first: a traceback may show what is bound here
    return sink_guarded(frame, SinkOptions.of(target, options))


def check_new_run(order: SinkOptions) -> None:
    """Raise what a delivery under a new run id would raise for what stands at its names; lists, and needs no frame."""
    look(_resolved(order, is_new=True), order.stores(), order)


def sink_guarded(
    frame: Frame, order: SinkOptions, guard: RowCountGuard | None = None, *, is_new: bool = False
) -> Receipt:
    """Deliver a frame by an order that is ready; see `sink_madconnect`. `guard` is what a connection may add.

    `is_new` says that the order's run id was made for this call, so that whatever is at its names is foreign.
    """
    journal.prepare()
    staged, stores = _stage(frame, order, guard, is_new=is_new)
    try:
        return publish_with(stores, [staged])
    except BaseException as error:
        if not journal.holds(staged):  # what is noted in a journal may be visible in part, and `recover` needs the rest
            _discard(staged, stores, error)
        raise


@takes_options
def stage(frame: Frame, target: str | os.PathLike[str], **options: Unpack[Options]) -> Staged:
    """Validate, encode and upload a frame without showing anything; `publish([staged])` does that, `discard` undoes it.

    Takes what `sink_madconnect` takes, and raises what it raises before it publishes. Several processes may stage parts
    of one run, each with names of its own; `publish` refuses parts whose names collide, and so does `stage`, before any
    upload, where this process still holds the other part.
    """
    options["storage_options"] = seal(options.get("storage_options"))  # first: a traceback may show what is bound here
    staged, _ = _stage(frame, SinkOptions.of(target, options), apart=True)
    wait_to_publish(staged)
    return staged


def _resolved(order: SinkOptions, *, is_new: bool) -> DeliverySpec:
    """Resolve an order; a run id that was made for it is not one that an earlier attempt may have had."""
    to = resolve(order)
    return replace(to, run_id_given=False) if is_new else to


@panics_as_query_errors()
def _stage(
    frame: Frame, order: SinkOptions, guard: RowCountGuard | None = None, *, is_new: bool = False, apart: bool = False
) -> tuple[Staged, Stores]:
    """Walk the straight path as far as "staged", and keep the stores open for publishing."""
    check_fork()
    began, started_at = time.monotonic(), datetime.now(UTC)
    to, stores = _resolved(order, is_new=is_new), order.stores()
    if to.preset and to.lost:
        _log.warning("The format leaves out of the dialect of preset %r: %s.", to.preset.name, ", ".join(to.lost))
    refuse_own_source(to, scanned(frame, to), "the frame")
    refuse_own_source(to, scanned(order.previous, to), "previous=")
    with stores.learning(), open_rows(as_lazyframe(frame), order, to.format, known_num_rows(frame)) as rows:
        to.check(rows.delivered)
        waiting = waiting_at(to.names.run_id, to.names.target.url) if apart else frozenset()
        if to.rejects:
            check_files_apart(to.rejects[0].url, to.names.run_id, waiting)
        earlier = look(to, stores, order)
        with show_progress(to.names.target.url, progress=order.progress) as advance:
            batches = to.watch(rows.batches(to.row_group_size))
            files = write_files(batches, _plan(to, rows, earlier, waiting), stores.of(to.names.target), advance)
        staged = replace(_staged(order, to, files, rows, started_at), claim=earlier.claim)
        try:
            staged = replace(staged, rejects=_stage_rejects(rows, to, stores, earlier))
            rows.account_for(staged)
            rows.check_number(order.min_rows, guard)
            staged = _if_empty(staged, stores)
            to.check_files(staged)
            earlier.check(staged)
        except BaseException as error:
            _discard(staged, stores, error)
            raise
    return replace(staged, took=timedelta(seconds=time.monotonic() - began)), stores


def _plan(to: DeliverySpec, rows: DeliveryRows, earlier: PriorAttempt, waiting: frozenset[str]) -> DeliveryPlan:
    schema = {"mc_sink.schema": rows.compiled.name} if rows.compiled.name else {}
    return DeliveryPlan(
        to.names,
        rows.delivered,
        to.format,
        to.row_group_size,
        to.max_rows_per_file,
        already_published=earlier.compared,
        max_bytes=to.max_bytes_per_file,
        partition_by=to.partition_by,
        include_key=to.include_key,
        metadata={"mc_sink.run_id": to.names.run_id, **schema},
        waiting=waiting,
    )


def _staged(
    order: SinkOptions, to: DeliverySpec, files: tuple[StagedFile, ...], rows: DeliveryRows, started_at: datetime
) -> Staged:
    schema = to.partitioning(rows.delivered).file_schema
    columns = {name: str(without_categories(dtype)) for name, dtype in schema.items()}  # an Enum's text holds values
    kind, dialect = to.format.extension.removeprefix("."), options_of(to.format)
    return Staged(
        run_id=to.names.run_id,
        target=to.names.target.url,
        files=files,
        content=Content(kind, dialect, columns, rows.compiled.name, to.partition_by),
        validated=rows.compiled.validated,
        if_exists=order.if_exists,
        stale=order.stale,
        repeatable=to.repeatable,
        started_at=started_at,
        took=timedelta(0),
        manifest=to.manifest.url if to.manifest else None,
        manifest_form=to.manifest_form,
        success_marker=to.success_marker.url if to.success_marker else None,
        changes=rows.changes,
        on_empty=order.on_empty,
        object_options=order.object_options,
        over_all_rows=rows.over_all_rows,
    )


def _if_empty(staged: Staged, stores: Stores) -> Staged:
    """Leave the files out of a delivery without rows, or refuse it, as the caller asked."""
    if staged.num_rows or staged.on_empty == "deliver":
        return staged
    if staged.on_empty == "fail":
        raise ValidationError(
            f'0 rows are left to deliver to {staged.target}, and on_empty is "fail". Look at the '
            'source; "skip" makes no file of no rows, and "deliver" one with its columns alone.'
        )
    left = discard_with(stores, [replace(staged, rejects=None)])
    for sentence in left:
        _log.warning("A file without rows was thrown away. %s", sentence)
    return replace(staged, files=())


def _stage_rejects(rows: DeliveryRows, to: DeliverySpec, stores: Stores, earlier: PriorAttempt) -> StagedRejects | None:
    """Stage the rows that were rejected, where there may be any."""
    if to.rejects is None:
        return None
    rejected, (target, format) = rows.compiled.rejects(), to.rejects
    if rejected is None:
        return StagedRejects(0, None)
    there = target.url in earlier.compared
    file = FilePlan(target, rejected.collect_schema(), format, ROW_GROUP_SIZE, already_published=there)
    written = write_file(pull(rejected, ROW_GROUP_SIZE), file, stores.of(target), lambda _rows, _bytes: None)
    return StagedRejects(written.num_rows, written)


def _discard(staged: Staged, stores: Stores, cause: BaseException) -> None:
    """Throw a delivery away, telling on its cause what could not be."""
    for left_behind in discard_with(stores, [staged]):
        add_note(cause, left_behind)
