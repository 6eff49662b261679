"""Connection files and the `mc-sink` command, as several test files use them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Callable

    from mc_sink.sandbox.admin import Writer

ROOT = Path(__file__).parents[2]
FRAME = pl.DataFrame({"id": range(60), "text": [f"row {number}" for number in range(60)]})
SOURCES = """
import ctypes
import pathlib
import time

import polars as pl

FRAME = pl.DataFrame({"id": range(50_000)})


def some(rows=10):
    return pl.DataFrame({"id": range(rows)})


def broken():
    return some().with_columns(late=pl.lit("cell-4711").cast(pl.Int64))


def endless():
    for number in range(1_000_000):
        if number == 10:
            pathlib.Path(__file__).with_name("started").touch()
        yield FRAME
        time.sleep(0.005)


def deaf():
    pathlib.Path(__file__).with_name("started").touch()
    libc, lock = ctypes.CDLL(None), ctypes.create_string_buffer(64)
    libc.pthread_mutex_lock(lock)
    libc.pthread_mutex_lock(lock)
"""


def marking(folder: str, num_rows: int) -> pl.DataFrame:
    """Yield a frame, and leave a mark when the source is opened."""
    (Path(folder) / "opened").touch()
    return FRAME.head(num_rows)


def environment(writer: Writer) -> dict[str, str]:
    """Return the variables by which the AWS libraries find the writer's key and server."""
    return {
        "AWS_ACCESS_KEY_ID": writer.credentials.key,
        "AWS_SECRET_ACCESS_KEY": writer.credentials.secret,
        "AWS_ENDPOINT_URL": writer.url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def write_connection(folder: Path, target: str, more: str = "", source: str = 'files = "data/*.parquet"') -> Path:
    """Write a connection file, the files of its source and a module of sources into a folder."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for number in range(2):
        FRAME.slice(number * 30, 30).write_parquet(folder / "data" / f"{number}.parquet")
    (folder / "sources_of_tests.py").write_text(SOURCES, encoding="utf-8")
    file = folder / "nightly.toml"
    file.write_text(f'target = "{target}"\n{more}\n[source]\n{source}\n', encoding="utf-8")
    return file


def start_command(*words: object, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Start the real command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "mc_sink.connector.cli", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | (env or {}),
    )


def wait_until(ready: Callable[[], object], child: subprocess.Popen[str] | None = None) -> None:
    """Wait until something is so; gives up after some minutes, or when the child has ended."""
    for _ in range(6_000):
        if ready():
            return
        if child is not None and child.poll() is not None:
            raise AssertionError(f"it ended with {child.returncode}: {child.communicate()}")
        time.sleep(0.02)
    raise AssertionError("it was never ready")
