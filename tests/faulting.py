"""Deliveries of a few rows in a few parts to a store that fails on command, and what must be true afterwards."""

from __future__ import annotations

import csv
import gzip
import io
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl
import pyarrow.parquet
import pytest

import mc_sink
from mc_sink.storage import _s3
from mc_sink.storage._parts import PartPlan
from tests.frames import numbers
from tests.servers.fault import FaultServer
from tests.servers.rules import Rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from mc_sink._order import FormatName

FRAME = numbers(60)
"""In any format at least two parts of `PART_SIZE`."""
PART_SIZE = 1000
LARGE = 2**20
"""A part size that makes a delivery of `FRAME` one Put."""
PATIENT, HURRIED = 20.0, 1.5
"""Read timeouts in seconds: for what a busy machine must not end, and for what is to end within a few of them."""
AT_ONCE = 8
Case = TypeVar("Case")


@dataclass(frozen=True, slots=True)
class Small:
    """A store that takes parts of any size, and deliveries to it."""

    server: FaultServer

    def deliver(self, format: FormatName, **changed: Any) -> mc_sink.Receipt:
        """Deliver `FRAME` in parts to `p/x.FORMAT`, or with what is changed about it."""
        target = self.server.writer.target(changed.pop("key", f"p/x.{format}"))
        frame = changed.pop("frame", FRAME)
        hurry = {"read_timeout": changed.pop("read_timeout", PATIENT)}
        storage: dict[str, Any] = {
            "default_block_size": changed.pop("part_size", PART_SIZE),
            "max_concurrency": changed.pop("max_concurrency", 2),
            "config_kwargs": hurry,
        }
        options = self.server.storage_options | storage | changed.pop("storage_options", {})
        return mc_sink.sink_madconnect(frame, target, format=format, storage_options=options, **changed)

    def fails(
        self, format: FormatName, error: type[BaseException] | tuple[type[BaseException], ...], **changed: Any
    ) -> Any:
        """Deliver what must fail, and give the exception; whatever it is, nothing is visible and nothing is left."""
        with pytest.raises(error) as raised:
            self.deliver(format, **changed)
        assert self.server.wait_until_idle()
        assert self.server.listing(self.server.bucket) == {}
        return raised.value

    def holds(self, format: FormatName, key: str | None = None, frame: pl.DataFrame = FRAME) -> bool:
        """Whether the object at a key, by default that of `deliver`, has exactly these rows."""
        data = self.server.read(self.server.bucket, key or f"p/x.{format}")
        if format == "parquet":
            return pl.DataFrame(pyarrow.parquet.read_table(io.BytesIO(data))).equals(frame)
        text = (gzip.decompress(data) if format == "csv.gz" else data).decode()
        found = [tuple(row) for row in csv.reader(io.StringIO(text))]
        return found == [tuple(frame.columns), *frame.cast(pl.String).rows()]

    def keys(self) -> list[str]:
        """Give the keys of what is visible."""
        return list(self.server.listing(self.server.bucket))

    def tidy(self) -> bool:
        """Whether no upload is open."""
        return not self.server.pending_uploads(self.server.bucket)

    def empty(self) -> None:
        """Make the bucket as it was, its owner's doing, and its faults with it."""
        self.server.heal()
        self.server.store.bucket(self.server.bucket).clear()
        self.server.store.uploads.clear()


@contextmanager
def small_store(rules: Rules | None = None) -> Iterator[Small]:
    """Serve for the length of a `with`, and let parts be as small as one byte meanwhile."""
    with _small_parts(), FaultServer(rules or Rules(min_part_size=1)) as server:
        yield Small(server)


def at_once(cases: Iterable[Case], check: Callable[[Small, Case], None]) -> None:
    """Check every case with a store of its own, several at the same time, because most of it is waiting."""

    def run(case: Case) -> None:
        with FaultServer(Rules(min_part_size=1)) as server:
            try:
                check(Small(server), case)
            except BaseException as error:
                error.add_note(f"in the case {case}, after {server.log.ops()}")
                raise

    with _small_parts(), ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(run, cases))


@contextmanager
def _small_parts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_s3, "PartPlan", partial(PartPlan, min_size=1))
        yield
