"""Deliveries of many rows into many partitions, each in a process of its own, for an honest peak of memory.

What arrived is held to a group-by of the source, file by file, and to the sizes that the store has.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mc_sink.sandbox.admin import Admin, Writer

CHILD = """
import json, sys, time
import mc_sink, polars as pl
from benchmarks.data import generated, peak_mib

order, partitions, rows, target, format, key, secret, url = sys.argv[1:]
rows, partitions = int(rows), int(partitions)
keys = {"unsorted": pl.col("id").hash(5) % max(1, partitions), "sorted": pl.col("id") * partitions // rows}
frame = generated(rows).with_columns(k=keys.get(order, pl.lit(0)))
plan = {"partition_by": "k"} if partitions else {}
options = {"key": key, "secret": secret, "endpoint_url": url}
began = time.perf_counter()
staged = mc_sink.stage(frame, target, format=format, storage_options=options, progress=False, **plan)
seconds, peak = time.perf_counter() - began, peak_mib()
receipt = mc_sink.publish([staged], storage_options=options)
if partitions:
    counts = frame.group_by("k").len().collect(engine="streaming")
    found = {(file.partition["k"], file.num_rows) for file in receipt.files}
    assert found == {(str(k), n) for k, n in counts.iter_rows()}
assert receipt.num_rows == rows
files = {file.path: file.num_bytes for file in receipt.files}
print(json.dumps({"seconds": seconds, "peak": peak, "files": files, "manifest": receipt.manifest}))
"""


def deliver(  # noqa: PLR0913, PLR0917  a case, and where it goes
    order: str, partitions: int, rows: int, writer: Writer, format: str, owner: Admin
) -> dict[str, Any]:
    """Deliver in a child, and give its seconds, its peak of resident memory in MiB, and its files."""
    who, place = writer.credentials, f"{order}-{partitions}-{rows}-{format}/".replace(" ", "-")
    command = [sys.executable, "-c", CHILD, order, str(partitions), str(rows), writer.target(place), format]
    root = Path(__file__).parents[2]
    child = subprocess.run(
        [*command, who.key, who.secret, writer.url], check=True, stdout=subprocess.PIPE, text=True, cwd=root
    )
    found: dict[str, Any] = json.loads(child.stdout)
    arrived = {f"s3://{writer.bucket}/{key}": one.size for key, one in owner.listing(writer.bucket).items()}
    assert {path: arrived.get(path) for path in found["files"]} == found["files"]
    assert arrived.get(found["manifest"], partitions == 0)
    return found
