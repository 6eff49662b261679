"""What the driver does of a delivery in shares: it publishes 1,000 files of as many shares, at 50 ms a request."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from time import perf_counter, process_time
from typing import TYPE_CHECKING

import pytest

import mc_sink
from benchmarks.data import audience
from tests.servers.fault_child import fault_child

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_benchmark.fixture import BenchmarkFixture

SHARES, ROWS, LATENCY = 1_000, 100, 0.05
TABLE = f"Publishing {SHARES:,} files of as many shares over https, {LATENCY * 1_000:.0f} ms added to every request"


@pytest.mark.timeout(600)
def test_publishing_shares(
    benchmark: BenchmarkFixture,
    note: Callable[[str, tuple[str, ...]], None],
    rounds: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All files of all shares are visible, and the receipt has their rows; staging isn't counted."""
    frame = audience(ROWS)
    columns = frame.schema
    seconds, cpu = [], []
    with fault_child(latency=LATENCY, tls=True) as writer, ThreadPoolExecutor(16) as workers:
        travels = {name: value for name, value in writer.storage_options.items() if name not in {"key", "secret"}}
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", writer.credentials.key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", writer.credentials.secret)

        def publish(delivery: mc_sink.Delivery, shares: list[mc_sink.Share]) -> None:
            started, used = perf_counter(), process_time()
            receipt = delivery.publish(shares, num_shares=SHARES)
            seconds.append(perf_counter() - started)
            cpu.append(process_time() - used)
            assert (len(receipt.files), receipt.num_rows) == (SHARES, SHARES * ROWS)

        def staged() -> tuple[tuple[mc_sink.Delivery, list[mc_sink.Share]], dict[str, object]]:
            delivery = mc_sink.open_delivery(
                writer.target("shares/"), columns, format="parquet", storage_options=travels
            )
            shares = list(workers.map(lambda number: delivery.stage(frame, number=number), range(SHARES)))
            return (delivery, shares), {}

        benchmark.pedantic(publish, setup=staged, rounds=rounds)
    note(TABLE, ("fastest, s", "median, s", "processor time of the driver, ms a file"))
    note(TABLE, ("---",) * 3)
    middle = sorted(seconds)[len(seconds) // 2]
    note(TABLE, (f"{min(seconds):.2f}", f"{middle:.2f}", f"{min(cpu) / SHARES * 1_000:.1f}"))
