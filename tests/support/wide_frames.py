"""Deliveries of wide rows in a process of their own, which reports its peak of memory.

Run it as `python -m tests.support.wide_frames JSON`.

`measured` is for the tests, everything else for the child.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

import mc_sink
from tests.support.versions import FREED_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
MB = 1_000_000


def measured(folder: Path, target: str, format: str, **case: Any) -> dict[str, Any]:
    """Deliver in a child: what came of it, with the child's peak of memory in MB as `peak`."""
    words = json.dumps({"folder": str(folder), "target": target, "format": format, **case})
    state = FREED_AT_ONCE | {"MC_SINK_STATE_DIR": str(folder / "state"), "TMPDIR": str(folder)}
    child = subprocess.run(
        [sys.executable, "-m", "tests.support.wide_frames", words],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **state},
    )
    found: dict[str, Any] = json.loads(child.stdout)
    return found


class Rows:
    """`num_bytes` of rows that are `width` bytes wide, in batches of 2 MB or one row; `kind` is where the bytes are."""

    def __init__(self, *, width: int = 200_000, num_bytes: int = 600 * MB, kind: str = "text", **_: Any) -> None:
        self.width, self.num_rows, self.kind = width, num_bytes // width, kind
        self.step = max(1, 2 * MB // width)

    def batches(self) -> Iterator[pl.DataFrame]:
        """Yield all rows, which no codec makes much smaller."""
        for first in range(0, self.num_rows, self.step):
            numbers = range(first, min(first + self.step, self.num_rows))
            yield pl.DataFrame(
                {
                    "id": numbers,
                    "third": [number % 3 for number in numbers],
                    "sorted": [number * 3 // self.num_rows for number in numbers],
                    "wide": [self._value() for _ in numbers],
                }
            )

    def _value(self) -> Any:
        width = self.width
        if self.kind == "binary":
            return os.urandom(width)
        if self.kind == "list":
            return [os.urandom(500).hex() for _ in range(width // 1_000)]
        if self.kind == "struct":
            return {"a": os.urandom(width // 4).hex(), "b": {"c": os.urandom(width // 4).hex()}}
        return os.urandom(width // 2).hex()

    def frame(self, source: str, folder: Path) -> Any:
        """Return them as a generator, an Arrow reader, or a scan of a Parquet file that another process writes."""
        if source == "generator":
            return self.batches()
        if source == "reader":
            arrow = (batch for frame in self.batches() for batch in frame.to_arrow().to_batches())
            return pa.RecordBatchReader.from_batches(next(self.batches()).to_arrow().schema, arrow)
        path = folder / "source.parquet"
        if (child := os.fork()) == 0:
            with pq.ParquetWriter(path, next(self.batches()).to_arrow().schema, compression="none") as file:
                for frame in self.batches():
                    file.write_table(frame.to_arrow())
            os._exit(0)
        os.waitpid(child, 0)
        return pl.scan_parquet(path)


def options_of(case: dict[str, Any], rows: Rows, folder: Path) -> dict[str, Any]:
    """Return the arguments of a delivery: those of the case, and what stands for a schema or a last delivery."""
    import pandera.polars as pandera

    options: dict[str, Any] = dict(case.get("options", {}))
    if case["format"] != "parquet" and rows.kind in {"list", "struct"}:
        options["format"] = mc_sink.Csv(nested="json")
    third = pandera.Column(pl.Int64, pandera.Check.lt(2))
    checks: dict[str, Any] = {
        "valid": {"wide": pandera.Column(pl.String, pandera.Check.str_length(min_value=1))},
        "rejects": {"third": third},
        "rejects in Python": {"third": pandera.Column(pl.Int64, pandera.Check(lambda n: n < 2, element_wise=True))},
        "invalid": {"wide": pandera.Column(pl.String, pandera.Check.str_length(max_value=1))},
        "unique": {"wide": pandera.Column(pl.String, unique=True)},
    }
    how = case.get("how", "")
    if how in checks:
        options["schema"] = pandera.DataFrameSchema(checks[how])
    if how.startswith("rejects"):
        options |= {"on_invalid": "reject", "rejects": f"{folder}/rejected.{case['format']}"}
    if how == "new":
        options |= {"keys": "id", "previous": next(rows.batches()).head(0)}
    if how == "changed":
        options |= {"keys": "id", "previous": rows.batches()}
    return options


def main(case: dict[str, Any]) -> dict[str, Any]:
    """Deliver, and say what came of it."""
    rows, folder = Rows(**case), Path(case["folder"])
    options = {"format": case["format"], **options_of(case, rows, folder)}
    frame = rows.frame(case.get("source", "generator"), folder)
    try:
        receipt = mc_sink.sink_madconnect(frame, case["target"], progress=False, **options)
    except mc_sink.ValidationError as error:
        return {
            "error": str(error),
            "cases": 0 if error.failure_cases is None else error.failure_cases.height,
            "peak": peak(),
        }
    most = peak()
    rejected = receipt.rejects.num_rows if receipt.rejects else 0
    return {
        "rows": receipt.num_rows,
        "rejected": rejected,
        "files": [file.path for file in receipt.files],
        "peak": most,
    }


def peak() -> int:
    """Return this process' own peak of memory in MB; what `resource` says may be its parent's."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1_024 // MB


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))  # noqa: T201  the test reads it
