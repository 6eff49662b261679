"""Deliver a Spark DataFrame: each partition is a share, staged in its task. Extra: `mc-sink[spark]`.

frame ─► shuffled by key, if one must be unique ─► mapInArrow, a task for each partition ─► shares ─► published here

The driver collects the shares as rows of text. Spark keeps one result of each partition, also if it repeats a task or
runs it twice. When the rows of a task break off, its share may look complete, and Spark drops its row.
"""

from __future__ import annotations

import pickle
import re
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark import TaskContext
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import IntegerType, StructField, StructType

from mc_sink.exceptions import ConfigurationError, add_note
from mc_sink.secret import seals_options
from mc_sink.sink import Share, open_delivery, takes_options

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator
    from typing import Unpack

    from pyspark.sql import DataFrame

    from mc_sink.receipt import Receipt
    from mc_sink.sink import Delivery, Options

BUCKET = "__mc_sink_bucket__"
_OUTCOME = "share string, error binary"
_LOCAL = re.compile(r"local(?:\[[^,\]]*(?:,(\d+))?\])?")


@seals_options
@takes_options
def sink_madconnect(
    frame: DataFrame, target: str | os.PathLike[str], *, credentials: str | None = None, **options: Unpack[Options]
) -> Receipt:
    """Deliver a Spark DataFrame, whole or not at all: its partitions are staged in tasks, and published here.

    The options are those of `mc_sink.open_delivery`. A schema with `unique` shuffles the rows by the key. Raises what
    `Delivery.stage` and `Delivery.publish` raise, and Spark's own errors. Then nothing became visible, or the error
    says so, and what was staged is discarded. Tasks are repeated as Spark is configured to.
    """
    session = frame.sparkSession
    zone = session.conf.get("spark.sql.session.timeZone")
    columns = to_arrow_schema(frame.schema, timezone=zone)
    delivery = open_delivery(target, columns, credentials=credentials, by_bucket=True, **options)
    if delivery.unique:
        wider = StructType([*frame.schema.fields, StructField(BUCKET, IntegerType())])
        frame = frame.mapInArrow(partial(_with_bucket, delivery), wider).repartition(BUCKET)
    shares = list[Share]()
    try:
        rows = frame.mapInArrow(partial(_stage, delivery, _num_attempts(session)), _OUTCOME).collect()
        shares += [Share.from_json(row.share) for row in rows if row.share]
        for error in (row.error for row in rows if row.error):
            raise pickle.loads(error)  # noqa: S301, TRY301  of a task of this job; what is staged is discarded below
        if not rows:  # Spark plans no task for a frame that it knows to be empty
            shares.append(delivery.stage((), number=0))
        return delivery.publish(shares, num_shares=len(rows) or 1)
    except BaseException as error:
        for sentence in delivery.discard(shares):
            add_note(error, sentence)
        raise


def _num_attempts(session: Any) -> int:
    """Return how often Spark attempts a task: a master of this machine has a number of its own."""
    local = _LOCAL.fullmatch(session.conf.get("spark.master", ""))
    return int(local[1] or 1) if local else int(session.conf.get("spark.task.maxFailures", "4"))


def _with_bucket(delivery: Delivery, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the batches with the bucket of each row's key."""
    for batch in batches:
        buckets = pa.array(delivery.buckets(pa.Table.from_batches([batch])).to_list(), pa.int32())
        yield batch.append_column(BUCKET, buckets)


def _stage(delivery: Delivery, num_attempts: int, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Stage the partition of this task, and yield its share.

    The error of the last attempt is a value too: if it were raised, Spark would drop the shares of all other tasks.
    """
    task = TaskContext.get()
    if task is None:
        raise ConfigurationError("A share is staged in a task of Spark's. Call sink_madconnect with a DataFrame.")
    share = error = None
    try:
        rows = (batch.drop_columns(BUCKET) if delivery.unique else batch for batch in batches)
        share = delivery.stage(rows, number=task.partitionId()).to_json()
    except Exception as raised:
        if task.attemptNumber() + 1 < num_attempts:
            raise
        error = pickle.dumps(raised)
    yield pa.RecordBatch.from_pydict({"share": pa.array([share], pa.string()), "error": pa.array([error], pa.binary())})
