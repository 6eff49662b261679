"""Deliver a Ray dataset: each write task stages a share, and the driver publishes them. Extra: `mc-sink[ray]`.

dataset ─► shuffled by key, if one must be unique ─► write tasks ─► shares ─► published by the driver
                                                     └─► uploads, reported to an actor ─► those of lost tasks aborted
"""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import ray
from ray.data import DataContext, Datasink
from ray.data.block import BlockAccessor
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mc_sink.exceptions import ConfigurationError, UploadError, add_note
from mc_sink.secret import seals_options
from mc_sink.sink import Share, open_delivery, takes_options

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator
    from typing import Unpack

    from mc_sink.receipt import Receipt
    from mc_sink.sink import Delivery, Options
    from mc_sink.staged import Report

BUCKET = "__mc_sink_bucket__"
# How long a failed run waits for its tasks: a cancelled task aborts its own uploads, and a killed one never ends.
PATIENCE_SECONDS = 5


@seals_options
@takes_options
def sink_madconnect(
    dataset: ray.data.Dataset,
    target: str | os.PathLike[str],
    *,
    columns: object = None,
    credentials: str | None = None,
    num_shares: int | None = None,
    **options: Unpack[Options],
) -> Receipt:
    """Deliver a Ray dataset, whole or not at all.

    The options are those of `mc_sink.open_delivery`. `columns` are by default those of `dataset.schema()`. A schema
    with `unique` shuffles the rows by the key, into `num_shares` blocks; default: as many as Ray's shuffles have.
    Raises what `Delivery.stage` and `Delivery.publish` raise, and the errors of Ray. Then nothing became visible, or
    the error says so, and what was staged is discarded.
    """
    _check_lossless(dataset.context)
    if columns is None and (columns := _columns_of(dataset.schema())) is None:  # of pandas
        dataset = dataset.map_batches(_as_it_is, batch_format="pyarrow")
        columns = dataset.schema()
    sink = MadConnectSink(target, columns=_known(columns), credentials=credentials, by_bucket=True, **options)
    if sink.delivery.unique:
        number = num_shares or dataset.context.default_hash_shuffle_parallelism
        dataset = dataset.map_batches(_with_bucket, batch_format="pyarrow", fn_args=(sink.delivery,))
        dataset = dataset.repartition(number, keys=[BUCKET])
    try:
        dataset.write_datasink(sink)
    except BaseException as error:
        sink.on_write_failed(error)
        raise
    assert sink.receipt is not None  # noqa: S101  for type checkers: Ray returned from `on_write_complete`
    return sink.receipt


class MadConnectSink(Datasink):  # type: ignore[misc]  # Ray isn't installed where types are checked
    """A `ray.data.Datasink` that delivers a dataset, whole or not at all.

        ds.write_datasink(sink := MadConnectSink("s3://bucket/prefix/", schema="audience"))
        sink.receipt

    The options are those of `mc_sink.open_delivery`. With `columns=ds.schema()`, everything that can be refused is
    refused here, before any task. Without, it is refused when the first rows are there; a dataset without rows needs
    them. `delivery` is what was opened, and `receipt` is there when the dataset is written.
    """

    @seals_options
    @takes_options
    def __init__(
        self,
        target: str | os.PathLike[str],
        *,
        columns: object = None,
        credentials: str | None = None,
        by_bucket: bool = False,
        **options: Unpack[Options],
    ) -> None:
        self.receipt: Receipt | None = None
        self.delivery: Any = None
        self._tasks: Any = None
        self._target = target
        self._to_open: dict[str, Any] = {"credentials": credentials, "by_bucket": by_bucket, **options}
        _check_lossless(DataContext.get_current())
        if (known := _columns_of(columns)) is not None:
            self.delivery = open_delivery(target, known, **self._to_open)

    def __getstate__(self) -> dict[str, Any]:
        return {"delivery": self.delivery, "_tasks": self._tasks}  # what a task needs; it holds no secret

    @property
    def min_bytes_per_write(self) -> int:
        """One: Ray then gives `on_write_start` the columns that are written, not those that they are made of."""
        return 1

    def on_write_start(self, schema: object = None) -> None:
        """Open the delivery by the columns of the first rows, unless it is open."""
        if self.delivery is None:
            self.delivery = open_delivery(self._target, _known(schema), **self._to_open)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        self._tasks = ray.remote(_Tasks).options(num_cpus=0, scheduling_strategy=here).remote()

    def write(self, blocks: Iterable[Any], ctx: Any) -> Share:
        """Stage the blocks of one task as a share."""
        tasks = self._tasks

        def report(url: str, upload_id: str) -> None:
            if not ray.get(tasks.keep.remote("uploads", (url, upload_id))):
                raise UploadError(f"The upload of {url} was stopped, because the run has failed. See the run's error.")

        ray.get(tasks.enter.remote(ctx.task_idx))
        try:
            share = self._stage(blocks, ctx.task_idx, report)
            if not ray.get(tasks.keep.remote("shares", share)):
                self.delivery.discard([share])
        finally:
            tasks.leave.remote()
        return share

    def _stage(self, blocks: Iterable[Any], number: int, report: Report) -> Share:
        try:
            _check_lossless(DataContext.get_current())  # that of the dataset
        except ConfigurationError as error:  # a verdict, because Ray would leave out a task that raises
            host = socket.gethostname()
            return Share(number=number, delivery=self.delivery.id, host=host, failure=error)
        share: Share = self.delivery.stage(_tables(blocks), number=number, report=report)
        return share

    def on_write_complete(self, write_result: Any) -> None:
        """Publish the shares of all tasks, or raise; Ray then calls `on_write_failed`."""
        if self._tasks is None:  # Ray had no block to write
            self.on_write_start()
        known, shares = ray.get(self._tasks.close.remote()), list(write_result.write_returns)
        if not known["numbers"] and not shares:
            shares = [self.delivery.stage(pl.DataFrame(schema=self.delivery.columns), number=0)]
        num_shares = 1 + max(known["numbers"], default=0)
        self.receipt = self.delivery.publish(shares, num_shares=num_shares, reported=known["uploads"])

    def on_write_failed(self, error: BaseException) -> None:
        """Discard what all tasks have staged, and note on the error what stays."""
        tasks, self._tasks = self._tasks, None
        if tasks is None:
            return
        try:
            until = time.monotonic() + PATIENCE_SECONDS
            while (known := ray.get(tasks.close.remote()))["num_running"] and time.monotonic() < until:
                time.sleep(0.1)
            left = self.delivery.discard(known["shares"], reported=known["uploads"])
        except Exception as other:  # noqa: BLE001  the cause is raised
            left = [f"what was staged could not be discarded ({type(other).__name__}): a lifecycle rule removes it."]
        for sentence in left:
            add_note(error, sentence)


class _Tasks:
    """An actor on the driver's machine. It keeps which tasks have begun, and the uploads and shares of all of them."""

    def __init__(self) -> None:
        self._is_closed, self._num_running, self._numbers = False, 0, set[int]()
        self._kept: dict[str, list[Any]] = {"uploads": [], "shares": []}

    def enter(self, number: int) -> None:
        """Count a task that begins."""
        self._numbers.add(number)
        self._num_running += 1

    def leave(self) -> None:
        """Count a task that ends."""
        self._num_running -= 1

    def keep(self, kind: str, fact: object) -> bool:
        """Keep an upload or a share. Returns False if the run has ended, and the task must abort it."""
        if not self._is_closed:
            self._kept[kind].append(fact)
        return not self._is_closed

    def close(self) -> dict[str, Any]:
        """Keep nothing more, and return everything that is known."""
        self._is_closed = True
        return {"numbers": sorted(self._numbers), "num_running": self._num_running, **self._kept}


def _check_lossless(settings: DataContext) -> None:
    if settings.max_errored_blocks:
        raise ConfigurationError(
            f"Ray would leave out blocks that fail: DataContext.max_errored_blocks is {settings.max_errored_blocks}. "
            "Set it to 0, so that the run fails."
        )


def _known(columns: object) -> object:
    """Return the columns. Raises `ConfigurationError` for a dataset without rows, whose columns Ray doesn't know."""
    if columns is None:
        raise ConfigurationError(
            "The columns of the dataset are not known, because it has no rows. Pass columns=, such as an Arrow schema."
        )
    return columns


def _columns_of(schema: Any) -> Any:
    """Return columns as Arrow or Polars has them; None for those of pandas blocks, which don't tell all types."""
    own = isinstance(schema, ray.data.Schema)
    return schema if not own else schema.base_schema if isinstance(schema.base_schema, pa.Schema) else None


def _as_it_is(rows: pa.Table) -> pa.Table:
    return rows


def _with_bucket(rows: pa.Table, delivery: Delivery) -> pa.Table:
    """Return the rows with the bucket of each one's key."""
    return rows.append_column(BUCKET, delivery.buckets(rows).to_arrow())


def _tables(blocks: Iterable[Any]) -> Iterator[pa.Table]:
    """Yield the blocks as Arrow, without the bucket. Blocks without rows may have no columns, and are left out."""
    for block in blocks:
        table = BlockAccessor.for_block(block).to_arrow()
        if table.num_rows:
            yield table.drop_columns([BUCKET]) if BUCKET in table.column_names else table
