"""Deliver a Spark DataFrame: each partition is a share, staged by the task that has it. Extra: `mc-sink[spark]`.

frame ─► shuffled by key, if one must be unique ─► a task for each partition ─► shares ─► published by the driver

Spark plans, commits and aborts a write in Python processes of its own. `sink_madconnect` hands them the delivery in a
file of the state folder, finds the shares there, and publishes them itself. `df.write` has no such caller: commit
publishes, and `outcome` reads the receipt or the error.
"""

from __future__ import annotations

import hashlib
import pickle
import re
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pydantic
from pyspark import TaskContext
from pyspark.sql import functions
from pyspark.sql.datasource import DataSource, DataSourceArrowWriter, WriterCommitMessage
from pyspark.sql.pandas.types import to_arrow_schema

from mc_sink._display import logger, nearest
from mc_sink._runtime import state_dir
from mc_sink.exceptions import AlreadyDelivered, ConfigurationError, SinkError, UploadError, add_note
from mc_sink.object_options import ObjectOptions
from mc_sink.secret import seals_options
from mc_sink.sink import KINDS, Share, open_delivery, takes_options

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence
    from typing import Unpack

    from pyspark.sql import Column, DataFrame
    from pyspark.sql.types import StructType

    from mc_sink.receipt import Receipt
    from mc_sink.sink import Delivery, Options

# Before 4.3, Spark's conversion knows no other time zone, and has no such argument.
_UTC = {"timezone": "UTC"} if "timezone" in signature(to_arrow_schema).parameters else {}
_LOCAL = re.compile(r"local(?:\[[^,\]]*(?:,\s*(\d+))?\])?")
_log = logger(__name__)
_FORMAT, _HANDED = "madconnect", "handed_over"
# The options of `df.write` that a connection file doesn't have, or that it writes in another way.
_TYPES: dict[str, Any] = {"run_id": str, "credentials": str, "format": str, "object_options": ObjectOptions}


@seals_options
@takes_options
def sink_madconnect(
    frame: DataFrame, target: str | os.PathLike[str], *, credentials: str | None = None, **options: Unpack[Options]
) -> Receipt:
    """Deliver a Spark DataFrame, whole or not at all. The options are those of `mc_sink.open_delivery`.

    A schema with `unique` shuffles the rows by the key. Raises what `open_delivery`, `Delivery.stage` and
    `Delivery.publish` raise, and Spark's own exceptions where the query fails. What was staged is then discarded.
    """
    columns = _columns(frame.schema)
    delivery = open_delivery(target, columns, credentials=credentials, by_bucket=True, **options)
    if delivery.unique:
        frame = frame.repartition(_bucket(delivery))
    session, place = frame.sparkSession, state_dir.prepare_folder("spark") / f"{delivery.id}.pickle"
    local = _LOCAL.fullmatch(session.conf.get("spark.master", ""))  # a master of this machine has its own number
    num_attempts = int(local[1] or 1) if local else int(session.conf.get("spark.task.maxFailures", "4"))
    try:
        writer = _Writer(delivery, columns, place, num_attempts)
        state_dir.write_private(place, pickle.dumps(writer))
        session.createDataFrame([], "number long")  # makes it this thread's session, where `save` looks for the format
        session.dataSource.register(MadConnect)
        frame.write.format(_FORMAT).option(_HANDED, str(place)).mode("append").save()
        return _published(delivery, columns, _handed_back(place))
    except BaseException as error:
        for sentence in delivery.discard(_shares(_handed_back(place) or [])):
            add_note(error, sentence)
        raise
    finally:
        with suppress(OSError):
            place.unlink()


def outcome(run_id: str) -> Receipt:
    """Return the receipt of a run that `df.write` delivered from this machine, or raise the error it ended with."""
    try:
        found = pickle.loads(state_dir.read_private(_kept_at(run_id))[0])  # noqa: S301  a private file of this user
    except FileNotFoundError:
        raise ConfigurationError(
            f"No outcome of run {run_id!r} is kept in {state_dir.state_folder()}. Ask where the driver ran, with the "
            f"run_id that was given to df.write, and with its {state_dir.STATE_DIR}."
        ) from None
    if isinstance(found, SinkError):
        raise found
    receipt: Receipt = found
    return receipt


class MadConnect(DataSource):  # type: ignore[misc]  # PySpark isn't there for mypy
    """The format "madconnect" of `df.write`, for `session.dataSource.register`. Its options are text."""

    @classmethod
    def name(cls) -> str:
        """Return the name of the format."""
        return _FORMAT

    def writer(self, schema: StructType, overwrite: bool) -> _Writer:  # noqa: FBT001  the signature is Spark's
        """Open the delivery, and refuse what can be refused, before any task."""
        if place := self.options.get(_HANDED):
            made: _Writer = pickle.loads(state_dir.read_private(Path(place))[0])  # noqa: S301  as above
            return made
        given, columns = dict(self.options), _columns(schema)
        with _kept(given.get("run_id")):
            if overwrite:
                raise ConfigurationError(
                    'mode("overwrite") can\'t be delivered: a write-only key removes nothing. Use mode("append"), '
                    'and option("if_exists", "overwrite") to replace files of the same names.'
                )
            target = given.pop("path", None)
            if target is None:
                raise ConfigurationError('No target is given. Pass it to save("s3://bucket/prefix/").')
            options = {name: _parsed(name, text) for name, text in given.items()}
            delivery = open_delivery(target, columns, by_bucket=True, **options)
            if delivery.unique:
                raise ConfigurationError(
                    f"The schema requires {', '.join(delivery.unique)} to be unique, and df.write doesn't divide the "
                    "rows by it. Call mc_sink.engines.spark.sink_madconnect(df, …), which does."
                )
            return _Writer(delivery, columns)


@dataclass(frozen=True)
class _Message(WriterCommitMessage):  # type: ignore[misc]  # PySpark isn't there for mypy
    share: Share | None
    error: SinkError | None = None


@dataclass(frozen=True)
class _Writer(DataSourceArrowWriter):  # type: ignore[misc]  # PySpark isn't there for mypy
    """What Spark pickles for its tasks, and for the process that commits or aborts."""

    delivery: Delivery
    columns: pa.Schema
    place: Path | None = None
    num_attempts: int = 4  # of a task, as Spark's default is

    def write(self, iterator: Iterator[pa.RecordBatch]) -> _Message:
        """Stage a partition. If the query fails or the task is cancelled, the rows end, and Spark drops the message."""
        task = TaskContext.get()
        batches = (batch.cast(self.columns) for batch in iterator)  # instants get UTC for the session's time zone
        try:
            return _Message(self.delivery.stage(batches, number=task.partitionId()))
        except SinkError as error:
            if task.attemptNumber() + 1 < self.num_attempts:
                raise
            return _Message(None, error)  # if it were raised, Spark would change its type, and end the other tasks

    def commit(self, messages: Sequence[_Message | None]) -> None:
        """Publish the shares of all tasks, or hand them back to the process that does."""
        if self.place:
            state_dir.write_private(self.place, pickle.dumps(list(messages)))
            return
        with _kept(self.delivery.run_id) as keep:
            keep(_published(self.delivery, self.columns, messages))

    def abort(self, messages: Sequence[_Message | None]) -> None:
        """Discard the shares of the tasks that ended, or hand them back to the process that does."""
        if self.place:
            state_dir.write_private(self.place, pickle.dumps(list(messages)))
            return
        for sentence in self.delivery.discard(_shares(messages)):
            _log.warning(sentence)


def _columns(schema: StructType) -> pa.Schema:
    """Return the columns as Arrow's, with instants in UTC."""
    columns: pa.Schema = to_arrow_schema(schema, **_UTC)
    return columns


def _bucket(delivery: Delivery) -> Column:
    """Return the bucket of each row's key, computed as the shares compute it when they prove that keys are unique."""

    def buckets(*keys: pa.Array) -> pa.Array:  # Spark reads these types
        return delivery.buckets(pl.DataFrame(pa.table(list(keys), list(delivery.unique)))).cast(pl.Int32).to_arrow()

    names = [functions.col("`" + name.replace("`", "``") + "`") for name in delivery.unique]
    bucket: Column = functions.arrow_udf(buckets, "int")(*names)
    return bucket


def _parsed(name: str, text: str) -> Any:
    """Return an option of `df.write`, which is text, or JSON where it has several values, as its value."""
    kind = _TYPES.get(name) or (KINDS[name].in_file if name in KINDS else None)
    if kind is None:
        known = [*_TYPES, *(one for one in KINDS if KINDS[one].in_file)]
        raise ConfigurationError(f"df.write got an unexpected option {name!r}.{nearest(name, known)}")
    if kind is str:
        return text
    adapter = pydantic.TypeAdapter(kind)
    try:
        return adapter.validate_json(text)
    except pydantic.ValidationError:
        with suppress(pydantic.ValidationError):
            return adapter.validate_strings(text)
    words = KINDS[name].words or "JSON"
    raise ConfigurationError(f"Cannot read the option {name!r} of df.write. Give {words}, as text.")


def _published(delivery: Delivery, columns: pa.Schema, messages: Sequence[_Message | None] | None) -> Receipt:
    """Publish the shares of all tasks, or raise the error of a task that failed for good.

    `messages` is None where the process that committed handed nothing back: that proves no frame without rows.
    """
    if messages is None:
        raise UploadError(
            f"Spark ended the write to {delivery.target} without handing back what its tasks have staged. Call this "
            "where Spark's driver runs, with its state folder, or use df.write."
        )
    for error in (message.error for message in messages if message and message.error):
        raise error
    if not messages:  # an empty frame may have no task
        return delivery.publish([delivery.stage(columns.empty_table(), number=0)], num_shares=1)
    return delivery.publish(_shares(messages), num_shares=len(messages))


def _shares(messages: Sequence[_Message | None]) -> list[Share]:
    return [message.share for message in messages if message and message.share]


def _handed_back(place: Path) -> list[_Message | None] | None:
    """Return the messages that commit or abort had; None if neither was called, or not where this process reads."""
    with suppress(OSError):
        found = pickle.loads(state_dir.read_private(place)[0])  # noqa: S301  a private file of this user
        return found if isinstance(found, list) else None
    return None


@contextmanager
def _kept(run_id: str | None) -> Iterator[Callable[[Receipt], None]]:
    """Keep the receipt of a run of `df.write`, or its error, for `outcome`."""

    def keep(found: Receipt | SinkError) -> None:
        if run_id:
            state_dir.prepare_folder("spark")
            state_dir.write_private(_kept_at(run_id), pickle.dumps(found))

    try:
        yield keep
    except AlreadyDelivered:
        raise  # the receipt of the delivery stays
    except SinkError as error:
        keep(error)
        raise


def _kept_at(run_id: str) -> Path:
    return state_dir.state_folder() / "spark" / f"{hashlib.sha256(run_id.encode()).hexdigest()[:32]}.outcome"
