"""Stage a frame: open its rows, write the files, stage the rejected rows, and account for every row.

frame ─► plan ─► validated batches ─► files ─► rejected rows ─► rows in = rows staged + rows rejected
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from mc_sink._display import logger
from mc_sink._frames import ROW_GROUP_SIZE, as_lazyframe
from mc_sink._nested import without_categories
from mc_sink._runtime.batches import count_rows, known_num_rows, pull
from mc_sink._runtime.fork_guard import check_fork
from mc_sink._runtime.progress import Progress
from mc_sink._runtime.turns import turn
from mc_sink.content import Content
from mc_sink.exceptions import ValidationError, add_note, panics_as_query_errors
from mc_sink.formats import names_in_files, options_of
from mc_sink.publishing import discard_with, hidden_files
from mc_sink.receipt import Stage, failed_checks
from mc_sink.sink.own_source import refuse_own_frames
from mc_sink.sink.pipeline import open_rows
from mc_sink.sink.prior_attempt import find_prior_attempt
from mc_sink.staged import Staged, StagedRejects
from mc_sink.writing import DeliveryPlan, FilePlan, check_files_apart, write_file, write_files

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    import polars as pl

    from mc_sink._frames import Frame
    from mc_sink.delivery_spec import DeliverySpec
    from mc_sink.receipt import StageName
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
    progress: Progress | None = None,
) -> Outcome:
    """Stage a frame, or raise the first error, leaving nothing staged.

    `waiting` are URLs of other staged parts of the run. For one of several shares, `columns` are those of all of them,
    and `prior` is what the driver found in the store.
    """
    check_fork()
    watch, started_at, stores = Stopwatch(), datetime.now(UTC), spec.stores()
    progress = stores.progress = progress or Progress()
    if spec.preset and spec.lost:
        _log.warning("The format leaves out of the dialect of preset %r: %s.", spec.preset.name, ", ".join(spec.lost))
    refuse_own_frames(spec, frame)
    spec.check_places(stores)
    if spec.run_id_given:
        hidden_files.remove_left(spec.names.run_id, spec.target.url, stores)
    source = as_lazyframe(frame, columns)
    with turn(), stores.learning(), open_rows(source, spec, known_num_rows(frame)) as rows:
        spec.check(rows.delivered)
        if spec.rejects:
            check_files_apart(spec.rejects[0].url, spec.names.run_id, waiting)
        prior = prior or find_prior_attempt(spec, stores)
        named = {"mc_sink.schema": rows.compiled.name} if rows.compiled.name else {}
        metadata = {"mc_sink.run_id": spec.names.run_id, **named}
        plan = DeliveryPlan(spec, rows.delivered, prior.compared(stores), waiting=waiting, metadata=metadata)
        watch.end("prepare")
        progress.begin(lambda: count_rows(source) if rows.expected is None else rows.expected)
        batches = watch.until_last(spec.watch(rows.batches(spec.row_group_size)))
        files = write_files(batches, plan, stores.of(spec.target), progress.advance)
        watch.end("upload")
        staged = replace(as_staged(spec, files, rows, started_at), claim=prior.claim)
        try:
            progress.finish_rows(rows.compiled.num_rows, sum(file.num_bytes for file in files))
            staged = replace(staged, rejects=_stage_rejects(rows, spec, stores, prior, several=bool(waiting)))
            rows.account_for(staged)
            if spec.names.share is None:  # `Delivery.publish` counts the rows of all shares
                rows.check_number(spec.min_rows, guard)
            staged = _if_empty(staged, stores)
            spec.check_files(staged)
            prior.check(staged)
        except BaseException as error:
            discard_noting(staged, stores, error)
            raise
        staged = watch.finish(staged)
        buckets = (bytes(key.seen) for key in rows.compiled.unique if key.seen is not None)
        return Outcome(staged, stores, rows.compiled.num_rows, rows.compiled.rejected(), next(buckets, None))


class Stopwatch:
    """Measures the stages of one delivery, one after the other."""

    def __init__(self) -> None:
        self._began = self._last = time.monotonic()
        self.stages: list[Stage] = []

    def end(self, name: StageName) -> None:
        """End a stage. The next one begins now."""
        moment = time.monotonic()
        self.stages.append(Stage(name, moment - self._last))
        self._last = moment

    def finish(self, staged: Staged) -> Staged:
        """End the last stage, and return the delivery with the time that each took."""
        self.end("check")
        return replace(staged, took=timedelta(seconds=self._last - self._began), stages=tuple(self.stages))

    def until_last(self, batches: Generator[pl.DataFrame, None, None]) -> Generator[pl.DataFrame, None, None]:
        """Pass batches on, and end the stage of the rows when the last one was taken."""
        with closing(batches):  # the query ends at once, even while an error is kept
            yield from batches
        self.end("rows")


def content_of(spec: DeliverySpec, rows: DeliveryRows) -> Content:
    """Return the content of a delivery of these rows."""
    schema = spec.partitioning(rows.delivered).file_schema
    names = names_in_files(spec.format, schema)
    return Content(
        format=spec.format.extension.removeprefix("."),
        dialect=options_of(spec.format),
        columns=_as_text({names[name]: dtype for name, dtype in schema.items()}),
        schema=rows.compiled.name,
        partition_by=spec.partition_by,
        keys={} if spec.include_key else _as_text({name: rows.delivered[name] for name in spec.partition_by}),
        preset=spec.preset.name if spec.preset else None,
        pattern=spec.names.glob,
        manifest_form=spec.manifest_form,
        encryption=spec.cipher.facts if spec.cipher else None,
    )


def as_staged(spec: DeliverySpec, files: tuple[StagedFile, ...], rows: DeliveryRows, started_at: datetime) -> Staged:
    """Return the staged delivery of these files, without its rejects."""
    return Staged(
        run_id=spec.names.run_id,
        target=spec.target.url,
        files=files,
        content=content_of(spec, rows),
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


def _as_text(schema: Mapping[str, pl.DataType]) -> dict[str, str]:
    """Return the text of each dtype; that of an Enum would hold values."""
    return {name: str(without_categories(dtype)) for name, dtype in schema.items()}


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
    """Stage the rejected rows; None where invalid rows fail the run. `several`: other parts are staged already."""
    if spec.rejects is None:
        return None
    rejected, (target, format) = rows.compiled.rejects(), spec.rejects
    report = rows.compiled.rejected()
    checks = failed_checks(report.checks if report else None)
    if rejected is None:
        return StagedRejects(0, None, checks)
    is_published = target.url in prior.to_compare
    schema, several = rejected.collect_schema(), several or spec.names.share is not None
    file = FilePlan(target, schema, format, ROW_GROUP_SIZE, several=several, already_published=is_published)
    written = write_file(pull(rejected, ROW_GROUP_SIZE), file, stores.of(target), lambda _rows, _bytes: None)
    return StagedRejects(written.num_rows, written, checks)


def discard_noting(staged: Staged, stores: Stores, cause: BaseException) -> None:
    """Discard a delivery, and note on its cause what could not be removed."""
    for left_behind in discard_with(stores, [staged]):
        add_note(cause, left_behind)
