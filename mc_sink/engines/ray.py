"""Deliver a Ray Dataset: each of its write tasks stages a share. Extra: `mc-sink[ray]`.

dataset ─► repartitioned by key, if one must be unique ─► write tasks ─► shares ─► published by the driver
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa
from ray.data import Datasink
from ray.exceptions import UserCodeException

from mc_sink.exceptions import ConfigurationError, add_note
from mc_sink.secret import seals_options
from mc_sink.sink import Share, open_delivery, takes_options

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable
    from typing import Unpack

    from ray.data import Dataset
    from ray.data._internal.execution.interfaces import TaskContext
    from ray.data.block import Block
    from ray.data.datasource import WriteResult

    from mc_sink.receipt import Receipt
    from mc_sink.sink import Delivery, Options

BUCKET = "__mc_sink_bucket__"
NUM_PARTITIONS = 8  # of rows that are divided by key


@seals_options
@takes_options
def sink_madconnect(
    frame: Dataset, target: str | os.PathLike[str], *, credentials: str | None = None, **options: Unpack[Options]
) -> Receipt:
    """Deliver a Ray Dataset, whole or not at all: its write tasks stage shares, and the driver publishes them.

    The options are those of `mc_sink.open_delivery`. A schema with `unique` repartitions the rows by the key. Raises
    what `Delivery.stage` and `Delivery.publish` raise, and Ray's own errors. Then nothing became visible, or the error
    says so, and what was staged is discarded.
    """
    schema = frame.schema()
    if schema is not None and not isinstance(schema.base_schema, pa.Schema):  # blocks of pandas
        frame = frame.map_batches(_as_it_is, batch_format="pyarrow")
        schema = frame.schema()
    if schema is None:
        raise ConfigurationError(
            "The dataset has neither rows nor columns. To deliver no rows, pass a frame with the columns to "
            "mc_sink.sink_madconnect."
        )
    delivery = open_delivery(target, schema.base_schema, credentials=credentials, by_bucket=True, **options)
    if delivery.unique:
        frame = frame.map_batches(partial(_with_bucket, delivery), batch_format="pyarrow")
        frame = frame.repartition(NUM_PARTITIONS, keys=[BUCKET])
    sink = ShareSink(delivery)
    try:
        frame.write_datasink(sink)
        for error in (one for one in sink.outcomes if isinstance(one, Exception)):
            raise error  # noqa: TRY301  what is staged is discarded below
        return delivery.publish(sink.shares, num_shares=len(sink.outcomes))
    except BaseException as error:
        for sentence in delivery.discard(sink.shares):
            add_note(error, sentence)
        raise


class ShareSink(Datasink):  # type: ignore[misc]  # Ray is typed as Any where it isn't installed
    """Stages one share in each write task. `outcomes` has the share, or the error, of each of them.

    The error is a value too: if it were raised, Ray would drop the shares of all other tasks.
    """

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self.outcomes: list[Share | Exception] = []

    @property
    def shares(self) -> list[Share]:
        """The shares that were staged or refused."""
        return [one for one in self.outcomes if isinstance(one, Share)]

    def write(self, blocks: Iterable[Block], ctx: TaskContext) -> Share | Exception:
        """Stage the blocks of one task."""
        try:
            rows = (block.drop_columns([BUCKET]) if self._delivery.unique else block for block in blocks)
            return self._delivery.stage(rows, number=ctx.task_idx)
        except UserCodeException as error:  # of an earlier step of this task, whose own error a pickle would lose
            return error.__cause__ if isinstance(error.__cause__, Exception) else error
        except Exception as error:  # noqa: BLE001  raised by the driver
            return error

    def on_write_complete(self, write_result: WriteResult) -> None:
        """Keep what the tasks returned."""
        self.outcomes = list(write_result.write_returns)


def _as_it_is(batch: pa.Table) -> pa.Table:
    return batch


def _with_bucket(delivery: Delivery, batch: pa.Table) -> pa.Table:
    """Return the rows with the bucket of each one's key."""
    return batch.append_column(BUCKET, pa.array(delivery.buckets(batch).to_list(), pa.int32()))
