"""Deliveries in shares: opened here, and staged here or in processes of their own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import mc_sink
from tests.servers.rules import WRITER
from tests.support.frames import numbers
from tests.support.small_deliveries import RUN

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

    from mc_sink.sandbox.admin import Writer
    from tests.servers.fault import FaultServer

ROWS = 60
FRAME = numbers(ROWS)
CREDENTIALS = "tests.support.shared_deliveries:credentials"


def credentials() -> dict[str, str]:
    """Return the key of the test server's writer, or the one in the environment of this process."""
    return {"key": os.environ.get("SHARED_KEY", WRITER.key), "secret": os.environ.get("SHARED_SECRET", WRITER.secret)}


def open_on(
    to: FaultServer | Writer, columns: object = FRAME.schema, part_size: int = 400, **how: Any
) -> mc_sink.Delivery:
    """Open a delivery to the server, under one run id unless another is asked for."""
    writer: Any = getattr(to, "writer", to)
    options: dict[str, Any] = {"endpoint_url": writer.url, "config_kwargs": {"read_timeout": 20}}
    options |= {"default_block_size": part_size} if part_size else {}
    given: dict[str, Any] = {"run_id": RUN, "credentials": CREDENTIALS, "storage_options": options} | how
    return mc_sink.open_delivery(writer.target("p/"), columns, **given)


def parts_of(frame: pl.DataFrame, number: int) -> list[pl.DataFrame]:
    """Divide a frame into as many parts, in order."""
    each = -(-frame.height // number)
    return [frame[start * each : (start + 1) * each] for start in range(number)]


def stage_all(delivery: mc_sink.Delivery, frame: pl.DataFrame = FRAME, number: int = 3) -> list[mc_sink.Share]:
    """Stage the frame in shares, one after the other."""
    return [delivery.stage(part, number=place) for place, part in enumerate(parts_of(frame, number))]


def stage_there(packed: bytes, start: int, end: int, number: int) -> bytes:
    """Stage some rows in another process, as an engine does: from a pickle and into a pickle."""
    import pickle

    delivery: mc_sink.Delivery = pickle.loads(packed)  # noqa: S301  our own
    return pickle.dumps(delivery.stage(iter([FRAME[start:end]]), number=number))


def told(call: Callable[[], object]) -> str:
    """Return the text of the error that a call raises; empty if it raises none."""
    try:
        call()
    except mc_sink.SinkError as error:
        return f"{type(error).__name__}: {error}"
    return ""
