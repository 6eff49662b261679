"""Deliver a Dask DataFrame: each partition is a share, staged where Dask computes it. Extra: `mc-sink[dask]`.

frame ─► shuffled by key, if one must be unique ─► a task for each partition ─► shares ─► published by this process
                                                   └─► uploads, reported to this process ─► those of lost tasks aborted
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
import dask.callbacks
import numpy as np

from mc_sink.exceptions import add_note
from mc_sink.secret import seals_options
from mc_sink.sink import Share, open_delivery, takes_options

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Unpack

    import dask.dataframe as dd
    import pandas as pd

    from mc_sink.receipt import Receipt
    from mc_sink.sink import Delivery, Options

BUCKET = "__mc_sink_bucket__"


@seals_options
@takes_options
def sink_madconnect(
    frame: dd.DataFrame,
    target: str | os.PathLike[str],
    *,
    credentials: str | None = None,
    retries: int = 0,
    **options: Unpack[Options],
) -> Receipt:
    """Deliver a Dask DataFrame, whole or not at all, on the scheduler that Dask would use: a cluster, or this machine.

    The options are those of `mc_sink.open_delivery`. A schema with `unique` shuffles the rows by the key. `retries` is
    how often a cluster repeats a task after a failure that may pass. Raises what `Delivery.stage` and
    `Delivery.publish` raise; then nothing became visible, or the error says so, and what was staged is discarded.
    """
    meta = frame._meta  # noqa: SLF001  Dask's documented name of the empty frame with the columns
    delivery = open_delivery(target, meta, credentials=credentials, by_bucket=True, **options)
    if delivery.unique:
        wanted = meta.assign(**{BUCKET: np.array([], np.uint16)})
        frame = frame.map_partitions(_with_bucket, delivery, meta=wanted).shuffle(BUCKET)
    client = _client()
    shares, reports = list[Share](), _Reports(client, f"mc_sink {delivery.id}")
    stage = dask.delayed(_stage, pure=False)
    try:
        partitions = enumerate(frame.to_delayed())
        tasks = [stage(partition, delivery, number, reports.topic, reports.folder) for number, partition in partitions]
        _compute(tasks, client, retries, shares)
        return delivery.publish(shares, num_shares=len(tasks), reported=reports.close())
    except BaseException as error:
        for sentence in delivery.discard(shares, reported=reports.close()):
            add_note(error, sentence)
        raise


def _with_bucket(rows: pd.DataFrame, delivery: Delivery) -> pd.DataFrame:
    """Return the rows with the bucket of each one's key."""
    return rows.assign(**{BUCKET: delivery.buckets(rows).to_numpy()})


def _stage(rows: pd.DataFrame, delivery: Delivery, number: int, topic: str, folder: str | None) -> Share:
    """Stage a partition, and report its uploads: as a link in a folder, whose text is whole as soon as it is there."""
    worker = sys.modules["distributed"].get_worker() if folder is None else None  # known in the task's own thread

    def report(url: str, upload_id: str) -> None:
        if worker:
            worker.log_event(topic, [url, upload_id])
        else:  # it is moved away when the run has ended, and then this raises, and the upload is aborted
            os.symlink(json.dumps([url, upload_id]), f"{folder}/{secrets.token_hex(8)}")  # noqa: PTH211  no path

    return delivery.stage(rows.drop(columns=BUCKET, errors="ignore"), number=number, report=report)


class _Reports:
    """The uploads that tasks have begun: events of a cluster, or links in a folder of this machine."""

    def __init__(self, client: Any, topic: str) -> None:
        self.topic, self.folder = topic, None if client else tempfile.mkdtemp(prefix="mc_sink-")
        self._client, self._uploads = client, set[tuple[str, str]]()
        if client:  # a cluster keeps its last events only
            client.subscribe_topic(topic, lambda event: self._uploads.add(tuple(event[1])))

    def close(self) -> set[tuple[str, str]]:
        """Return the uploads. A task of this machine that begins another one later aborts it."""
        if self._client:
            with suppress(Exception):  # the cluster is gone
                self._uploads |= {tuple(event) for _, event in self._client.get_events(self.topic)}
                self._client.unsubscribe_topic(self.topic)
        elif self.folder:
            closed = Path(self.folder).rename(f"{self.folder}.closed")
            self.folder = None
            self._uploads |= {tuple(json.loads(os.readlink(link))) for link in closed.iterdir()}  # noqa: PTH115  no path
            shutil.rmtree(closed)
        return self._uploads


def _compute(tasks: Sequence[Any], client: Any, retries: int, shares: list[Share]) -> None:
    """Run all tasks, or raise the first error. `shares` receives each share when it is staged.

    On a cluster, every task ends before the error is raised, and a worker that dies takes no staged share with it. The
    schedulers of one machine stop at the first error, and drop the tasks that run at that moment.
    """
    if client is None:
        keep = lambda _key, result, *_: shares.append(result) if isinstance(result, Share) else None  # noqa: E731
        with dask.callbacks.Callback(posttask=keep):
            dask.compute(*tasks)
        return
    errors = list[BaseException]()
    for future in sys.modules["distributed"].as_completed(client.compute(list(tasks), retries=retries)):
        error = future.exception()
        if error is None:
            shares.append(future.result())
        else:
            errors.append(error)
    for error in errors:
        raise error


def _client() -> Any:
    """Return the client of the cluster that Dask would use; None where it would use threads or processes."""
    distributed = sys.modules.get("distributed")
    if distributed is None or dask.config.get("scheduler", None) not in {None, "dask.distributed", "distributed"}:
        return None
    try:
        return distributed.get_client()
    except ValueError:
        return None
