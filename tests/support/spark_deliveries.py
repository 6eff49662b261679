"""Deliveries of Spark DataFrames that several test files make, and the processes that stage them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import polars as pl
import psutil  # type: ignore[import-untyped]  # ships no types

from tests.servers.rules import GRANTED, Rules
from tests.support.frames import read_back
from tests.support.small_deliveries import RUN, data_files
from tests.support.spark_sessions import CANARY, CREDENTIALS, waiting

if TYPE_CHECKING:
    from concurrent.futures import Future
    from pathlib import Path

    import mc_sink
    from tests.servers.fault import FaultServer

ROWS, MANY = 4_000, 200_000
CANARIES = Rules(credentials=(CANARY,), granted=GRANTED | {"ListUploads"})


def made(session: Any, rows: int = ROWS, number: int = 4) -> Any:
    """Make rows in so many partitions, in order, with an instant."""
    frame = session.range(0, rows, 1, number)
    return frame.selectExpr("id", "sha2(cast(id as string), 256) as text", "timestamp_seconds(id) as at")


def options_for(server: FaultServer) -> dict[str, Any]:
    """Return where the server is."""
    return {"endpoint_url": server.url, "default_block_size": 5 << 20, "config_kwargs": {"read_timeout": 20}}


def deliver(server: FaultServer, frame: Any, **how: Any) -> mc_sink.Receipt:
    """Deliver a DataFrame to the server."""
    from mc_sink.engines.spark import sink_madconnect

    given: dict[str, Any] = {"format": "parquet", "run_id": RUN, "credentials": CREDENTIALS} | how
    return sink_madconnect(frame, server.writer.target("p/"), storage_options=options_for(server), **given)


def slow(session: Any, gate: Path, *, first_only: bool, number: int = 1) -> Any:
    """Make more than 15 MB in each partition; the last partition waits before its last batch until `gate` exists."""
    frame = made(session, MANY * number, number)
    return frame.mapInArrow(waiting(number - 1, gate, first_only=first_only), frame.schema)


def ids_of_csv(server: FaultServer, folder: Path) -> list[int]:
    """Return the ids of all data files, in order."""
    files = [read_back(server.read(server.bucket, key), "csv", folder) for key in data_files(server)]
    return pl.concat(files)["id"].cast(pl.Int64).to_list()


def stage_workers(server: FaultServer) -> list[psutil.Process]:
    """Return the Python processes of Spark that have a connection to the server."""
    port = int(server.url.rsplit(":", 1)[1])
    processes = psutil.Process().children(recursive=True)
    return [one for one in processes if any(at.raddr and at.raddr.port == port for at in one.net_connections())]


def until_parts_are_up(server: FaultServer, delivery: Future[Any]) -> None:
    """Wait until a part has been stored, or the delivery has ended."""
    while "Part" not in server.log.ops() and not delivery.done():
        time.sleep(0.05)
