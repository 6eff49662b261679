"""Stage a frame: open its rows, write the files, stage the rejected rows, and account for every row.

frame ─► plan ─► validated batches ─► files ─► rejected rows ─► rows in = rows staged + rows rejected
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from mc_sink._display import logger
from mc_sink._frames import ROW_GROUP_SIZE, as_lazyframe
from mc_sink._nested import without_categories
from mc_sink._runtime.batches import known_num_rows, pull
from mc_sink._runtime.fork_guard import check_fork
from mc_sink._runtime.turns import turn
from mc_sink.exceptions import ValidationError, add_note, panics_as_query_errors
from mc_sink.formats import options_of
from mc_sink.publishing import discard_with, hidden_files
from mc_sink.sink.own_source import refuse_own_frames
from mc_sink.sink.pipeline import open_rows, show_progress
from mc_sink.sink.prior_attempt import find_prior_attempt
from mc_sink.staged import Content, Staged, StagedRejects
from mc_sink.writing import DeliveryPlan, FilePlan, check_files_apart, write_file, write_files

if TYPE_CHECKING:
    import polars as pl

    from mc_sink._frames import Frame
    from mc_sink.delivery_spec import DeliverySpec
    from mc_sink.sink.pipeline import DeliveryRows, RowCountGuard
    from mc_sink.sink.prior_attempt import PriorAttempt
    from mc_sink.staged import StagedFile
    from mc_sink.storage import Stores

_log = logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """A staged delivery, its open stores, and the number of rows that came.

    `rejected` is the report on the rows that were rejected. `buckets` has a bit for each bucket of the keys that must
    be unique, where the rows are one of several shares.
    """

    staged: Staged
    stores: Stores
    num_rows: int
    rejected: ValidationError | None = None
    buckets: bytes | None = None


@panics_as_query_errors()
def stage_frame(  # noqa: PLR0913  each is a fact of its own
    frame: Frame,
    spec: DeliverySpec,
    guard: RowCountGuard | None = None,
    *,
    waiting: frozenset[str] = frozenset(),
    columns: pl.Schema | None = None,
    prior: PriorAttempt | None = None,
) -> Outcome:
    """Stage a frame, or raise the first error, leaving nothing staged.

    `waiting` are URLs of other staged parts of the run. For one of several shares, `columns` are those of all of them,
    and `prior` is what the driver found in the store.
    """
    check_fork()
    began, started_at, stores = time.monotonic(), datetime.now(UTC), spec.stores()
    if spec.preset and spec.lost:
        _log.warning("The format leaves out of the dialect of preset %r: %s.", spec.preset.name, ", ".join(spec.lost))
    refuse_own_frames(spec, frame)
    spec.check_places(stores)
    if spec.run_id_given:
        hidden_files.remove_left(spec.names.run_id, spec.target.url, stores)
    with turn(), stores.learning(), open_rows(as_lazyframe(frame, columns), spec, known_num_rows(frame)) as rows:
        spec.check(rows.delivered)
        if spec.rejects:
            check_files_apart(spec.rejects[0].url, spec.names.run_id, waiting)
        prior = prior or find_prior_attempt(spec, stores)
        schema = {"mc_sink.schema": rows.compiled.name} if rows.compiled.name else {}
        metadata = {"mc_sink.run_id": spec.names.run_id, **schema}
        plan = DeliveryPlan(spec, rows.delivered, prior.to_compare, waiting=waiting, metadata=metadata)
        with show_progress(spec.target.url, progress=spec.progress) as advance:
            batches = spec.watch(rows.batches(spec.row_group_size))
            files = write_files(batches, plan, stores.of(spec.target), advance)
        staged = replace(as_staged(spec, files, rows, started_at), claim=prior.claim)
        several = bool(waiting) or spec.names.share is not None
        try:
            staged = replace(staged, rejects=_stage_rejects(rows, spec, stores, prior, several=several))
            rows.account_for(staged)
            if spec.names.share is None:  # `Delivery.publish` counts the rows of all shares
                rows.check_number(spec.min_rows, guard)
            staged = _if_empty(staged, stores)
            spec.check_files(staged)
            prior.check(staged)
        except BaseException as error:
            discard_noting(staged, stores, error)
            raise
        staged = replace(staged, took=timedelta(seconds=time.monotonic() - began))
        buckets = [bytes(key.seen) for key in rows.compiled.unique if key.seen is not None]
        return Outcome(staged, stores, rows.compiled.num_rows, rows.compiled.rejected(), next(iter(buckets), None))


def as_staged(spec: DeliverySpec, files: tuple[StagedFile, ...], rows: DeliveryRows, started_at: datetime) -> Staged:
    """Return the staged delivery of these files, without its rejects."""
    schema = spec.partitioning(rows.delivered).file_schema
    columns = {name: str(without_categories(dtype)) for name, dtype in schema.items()}  # an Enum's text holds values
    kind, dialect = spec.format.extension.removeprefix("."), options_of(spec.format)
    return Staged(
        run_id=spec.names.run_id,
        target=spec.target.url,
        files=files,
        content=Content(kind, dialect, columns, rows.compiled.name, spec.partition_by),
        validated=rows.compiled.validated,
        if_exists=spec.if_exists,
        stale=spec.stale,
        repeatable=spec.repeatable,
        started_at=started_at,
        took=timedelta(0),
        manifest=spec.manifest.url if spec.manifest else None,
        manifest_form=spec.manifest_form,
        success_marker=spec.success_marker.url if spec.success_marker else None,
        changes=rows.changes,
        on_empty=spec.on_empty,
        object_options=spec.object_options,
        over_all_rows=rows.over_all_rows,
    )


def _if_empty(staged: Staged, stores: Stores) -> Staged:
    """Return a delivery without rows as `on_empty` asks: with its files, without them, or not at all."""
    if staged.num_rows or staged.on_empty == "deliver":
        return staged
    if staged.on_empty == "fail":
        raise ValidationError(
            f'Cannot deliver to {staged.target}: no row is left, and on_empty is "fail". Look at the source, or use '
            '"skip" to write no file, or "deliver" to write a file with a header only.'
        )
    for left_behind in discard_with(stores, [replace(staged, rejects=None)]):
        _log.warning("A file without rows was discarded. %s", left_behind)
    return replace(staged, files=())


def _stage_rejects(
    rows: DeliveryRows, spec: DeliverySpec, stores: Stores, prior: PriorAttempt, *, several: bool
) -> StagedRejects | None:
    """Stage the rejected rows; None where invalid rows fail the run. `several`: the run has other parts."""
    if spec.rejects is None:
        return None
    rejected, (target, format) = rows.compiled.rejects(), spec.rejects
    if rejected is None:
        return StagedRejects(0, None)
    is_published = target.url in prior.to_compare
    schema = rejected.collect_schema()
    file = FilePlan(target, schema, format, ROW_GROUP_SIZE, several=several, already_published=is_published)
    written = write_file(pull(rejected, ROW_GROUP_SIZE), file, stores.of(target), lambda _rows, _bytes: None)
    return StagedRejects(written.num_rows, written)


def discard_noting(staged: Staged, stores: Stores, cause: BaseException) -> None:
    """Discard a delivery, and note on its cause what could not be removed."""
    for left_behind in discard_with(stores, [staged]):
        add_note(cause, left_behind)
