"""The straight path, on one screen.

frame ─► plan ─► batches ─► validated batches ─► file (encode ─► parts) ─► staged ─► publish ─► receipt
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from mc_sink import validation
from mc_sink._files import FilePlan, write_file
from mc_sink._plan import as_lazyframe, pull
from mc_sink._progress import watch
from mc_sink.delivery import discard_with, publish_with
from mc_sink.exceptions import CommitUnknown, ConfigurationError
from mc_sink.formats import choose_format
from mc_sink.staged import Staged
from mc_sink.storage import open_store
from mc_sink.target import check_run_id, new_run_id, parse_target

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from mc_sink._plan import Frame
    from mc_sink.formats import Format
    from mc_sink.receipt import Receipt
    from mc_sink.staged import IfExists
    from mc_sink.storage import ObjectOptions, Store
    from mc_sink.target import Target
    from mc_sink.validation import SchemaLike

FormatName = Literal["csv", "csv.gz", "parquet"]


def sink_madconnect(  # noqa: PLR0913  the public names
    frame: Frame,
    target: str | os.PathLike[str],
    *,
    format: FormatName | Format | None = None,
    schema: SchemaLike | None = None,
    if_exists: IfExists = "fail",
    row_group_size: int | None = None,
    run_id: str | None = None,
    object_options: ObjectOptions | None = None,
    storage_options: Mapping[str, Any] | None = None,
    progress: bool | None = None,
) -> Receipt:
    """Deliver a frame, whole or not at all: nothing is visible until every row is valid and every byte is stored.

    Takes what `stage` takes, stages it, publishes it, and gives the receipt. Whatever is raised on the way, the query's
    own exception or Ctrl-C included, nothing became visible, unless it is a `CommitUnknown`, which says what to look
    for.
    """
    order = _Order(
        target=target,
        format=format,
        schema=schema,
        if_exists=if_exists,
        row_group_size=row_group_size,
        run_id=run_id,
        object_options=object_options,
        storage_options=storage_options,
        progress=progress,
    )
    staged, store = _stage(frame, order)
    try:
        return publish_with(store, [staged])
    except CommitUnknown:
        raise
    except BaseException as error:
        for left_behind in discard_with(store, staged):
            error.add_note(f"mc_sink: {left_behind}")
        raise


def stage(  # noqa: PLR0913  the public names
    frame: Frame,
    target: str | os.PathLike[str],
    *,
    format: FormatName | Format | None = None,
    schema: SchemaLike | None = None,
    if_exists: IfExists = "fail",
    row_group_size: int | None = None,
    run_id: str | None = None,
    object_options: ObjectOptions | None = None,
    storage_options: Mapping[str, Any] | None = None,
    progress: bool | None = None,
) -> Staged:
    """Validate, encode and upload a frame without showing anything; `publish([staged])` does that, `discard` undoes it.

    Parameters
    ----------
    frame
        A LazyFrame, a DataFrame, anything with `__arrow_c_stream__`, or an iterable of record batches or DataFrames.
    target
        A prefix (`s3://bucket/prefix/`: a new object each run) or a file (`s3://bucket/prefix/name.csv`); a local path,
        a `file://` URL, or another fsspec URL that renames.
    format
        "csv", "csv.gz", "parquet", `Csv(...)` or `Parquet(...)`; by default what the name's suffix says, else "csv".
    schema
        A Pandera (polars) schema or model, or the name or path of a YAML schema; every row is judged.
    if_exists
        "fail" never replaces an object; "overwrite" does.
    row_group_size
        Rows in a Parquet row group, and in a batch; by default the engine's own.
    run_id
        Names the object under a prefix; the same id gives the same name. By default new: UTC time and six hex digits.
    object_options
        ACL, encryption, storage class, tags and metadata of the object in S3.
    storage_options
        s3fs' names (`key`, `secret`, `endpoint_url`, `profile`, …); an unknown one is an error.
        `default_block_size` is the size of a first part in bytes, `max_concurrency` the number of parts in flight.
    progress
        True or False for a bar or none; by default a bar where a person is looking.

    Raises
    ------
    TargetError, ConfigurationError, PermissionDenied, AlreadyExistsError
        Before the first byte, wherever that can be known.
    ValidationError, UploadError
        Nothing became visible. The query's and the source's own exceptions arrive as they are.
    """
    order = _Order(
        target=target,
        format=format,
        schema=schema,
        if_exists=if_exists,
        row_group_size=row_group_size,
        run_id=run_id,
        object_options=object_options,
        storage_options=storage_options,
        progress=progress,
    )
    return _stage(frame, order)[0]


def _stage(frame: Frame, order: _Order) -> tuple[Staged, Store]:
    """Walk the straight path as far as "staged", and keep the store open for publishing."""
    started_at = datetime.now(UTC)
    target, file, run_id, encoder = order.resolve()
    with closing(validation.compile(order.schema, as_lazyframe(frame))) as compiled:
        encoder.check(compiled.delivered)
        store = open_store(target, order.storage_options, order.object_options)
        store.check(file, order.if_exists)
        with watch(file.url, progress=order.progress) as advance:
            batches = compiled.judge(pull(compiled.frame, order.row_group_size))
            plan = FilePlan(file, compiled.delivered, encoder, order.row_group_size)
            staged_file = write_file(batches, plan, store, advance)
        staged = Staged(run_id, target.url, (staged_file,), compiled.validated, order.if_exists, started_at)
    return staged, store


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    """What the caller asked for, once for both ways in; shows nothing of itself, for it carries credentials."""

    target: str | os.PathLike[str]
    format: FormatName | Format | None
    schema: SchemaLike | None
    if_exists: IfExists
    row_group_size: int | None
    run_id: str | None
    object_options: ObjectOptions | None
    storage_options: Mapping[str, Any] | None
    progress: bool | None

    def __repr__(self) -> str:
        return "_Order(…)"

    def resolve(self) -> tuple[Target, Target, str, Format]:
        """Give the target, the file in it, the run id and the format, or raise what contradicts; opens nothing."""
        if self.if_exists not in {"fail", "overwrite"}:
            raise ConfigurationError(f'if_exists={self.if_exists!r} is neither "fail" nor "overwrite".')
        if self.row_group_size is not None and self.row_group_size < 1:
            raise ConfigurationError(f"row_group_size={self.row_group_size} has no rows in it; give at least 1.")
        target = parse_target(self.target)
        run_id = new_run_id() if self.run_id is None else check_run_id(self.run_id)
        encoder = choose_format("" if target.is_prefix else target.path.rpartition("/")[2], self.format)
        return target, target.file(run_id + encoder.extension), run_id, encoder
