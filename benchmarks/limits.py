"""What a delivery costs, part by part, and what that means for other machines and lines: docs/performance.md.

    python -m benchmarks.limits

The figures at the top are measured, on the rows of `benchmarks/data.py`. The rest is arithmetic. A delivery is as fast
as the slowest of three: the line, the cores, and each part that runs on a few threads only.
"""

from __future__ import annotations

from typing import NamedTuple

# Seconds of processor time for a million rows, which are 105 MB as CSV.
READ = 0.105
CHECKS = 0.033  # seven checks, one of them a regular expression; on one thread
PARQUET, CSV = 0.19, 0.145
CSV_CELLS = 0.065  # formulas looked for, dates put together; on one thread
GZIP, GZIP_THREADS = 0.205, 4
SEND = 0.0009  # for a megabyte over https; on one thread
# Megabytes that a million rows make.
MEGABYTES = {"parquet": 23, "csv": 105, "csv.gz": 31}
CORES, LINES = (2, 8, 32), (1, 10, 25)  # gigabits per second
SIZES = {"1 GB": 1e3, "100 GB": 1e5, "10 TB": 1e7}  # in megabytes
MEGABYTES_PER_GIGABIT = 125

# Spark, from Parquet files to shares: seconds for a million rows on a machine of two cores.
SPARK = {"parquet": 2.65, "csv.gz": 2.7}
# What the driver does for one file: seconds of waiting at 50 ms a request, with 64 at once; seconds of its processor;
# bytes of its memory; bytes of the manifest.
PUBLISHED, DRIVER_PROCESSOR, DRIVER_MEMORY, MANIFEST = 0.0073, 0.0027, 4_000, 245
MACHINES, FILES, ROWS_A_FILE = (1, 10, 100, 1_000), (100, 1_000, 10_000, 100_000), 1_000_000


class Parts(NamedTuple):
    """Seconds for a million rows: those that all cores share, and those of each part on its own few threads."""

    shared: float
    alone: dict[str, float]

    @property
    def total(self) -> float:
        """All of its processor time."""
        return self.shared + sum(self.alone.values())


def parts(format: str) -> Parts:
    """Return what a format costs."""
    alone = {"sending": SEND * MEGABYTES[format]}
    if format == "parquet":
        return Parts(READ + PARQUET, alone)
    alone["cells"] = CSV_CELLS
    if format == "csv.gz":
        alone["compressing"] = GZIP
    return Parts(READ + CSV, alone)


def rate(format: str, cores: int, gigabits: float) -> tuple[float, str]:
    """Return the megabytes that are delivered in a second, and what limits them."""
    needed = parts(format)
    seconds = {"the cores": needed.total / cores}
    for name, alone in needed.alone.items():
        threads = min(cores, GZIP_THREADS) if name == "compressing" else 1
        seconds[name] = alone / threads
    limit = max(seconds, key=lambda name: seconds[name])
    made = MEGABYTES[format] / seconds[limit]
    line = gigabits * MEGABYTES_PER_GIGABIT
    return (line, "the line") if line <= made else (made, limit)


def lasting(seconds: float) -> str:
    """Return a time in words, in two digits."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.2g} {unit}" if seconds / size < 100 else f"{seconds / size:.0f} {unit}"
    return f"{seconds:.2g} s"


def tables() -> str:
    """Return both tables as Markdown."""
    lines = ["| format | processor time for 1 M rows | of it |", "|---|---|---|"]
    for format in MEGABYTES:
        needed = parts(format)
        each = {"reading and encoding, on all cores": needed.shared} | {
            {"sending": "sending", "cells": "cells of CSV", "compressing": "compressing"}[name]: value
            for name, value in needed.alone.items()
        }
        shares = ", ".join(f"{name} {value / needed.total:.0%}" for name, value in each.items())
        lines.append(f"| {format} | {needed.total:.2f} s | {shares} |")
    lines += [
        "",
        f"| format | cores | Gbit/s | MB/s | limited by | {' | '.join(SIZES)} |",
        "|---" * (5 + len(SIZES)) + "|",
    ]
    for format in MEGABYTES:
        for cores in CORES:
            for gigabits in LINES:
                made, limit = rate(format, cores, gigabits)
                times = " | ".join(lasting(size / made) for size in SIZES.values())
                lines.append(f"| {format} | {cores} | {gigabits} | {made:,.0f} | {limit} | {times} |")
    return "\n".join(lines)


def machines_table() -> str:
    """Return how long a delivery by Spark takes on several machines, as Markdown: files of a million rows, as gzip."""
    staged = [f"staged by {number:,}" for number in MACHINES]
    lines = [
        f"| files | {' | '.join(staged)} | published by the driver | its processor | its memory | manifest |",
        "|---" * (5 + len(MACHINES)) + "|",
    ]
    for files in FILES:
        rows = files * ROWS_A_FILE / 1_000_000
        times = [lasting(SPARK["csv.gz"] * rows / number) for number in MACHINES]
        driver = [lasting(PUBLISHED * files), lasting(DRIVER_PROCESSOR * files)]
        sizes = [f"{each * files / 1e6:.1f} MB" for each in (DRIVER_MEMORY, MANIFEST)]
        lines.append(f"| {files:,} | {' | '.join([*times, *driver, *sizes])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(tables(), machines_table(), sep="\n\n")
