"""What encryption costs: a delivery in the clear and encrypted, beside the reference tools on the same bytes."""

from __future__ import annotations

import shutil
import subprocess
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

import polars as pl
import pyrage
import pytest

import mc_sink
from tests.support.openpgp import GnuPG

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

ROWS = 2_000_000
TITLE = f"{ROWS:,} rows as CSV to a local folder, encrypted"


@pytest.mark.skipif(not shutil.which("gpg"), reason="GnuPG isn't installed")
def test_encrypted_deliveries_beside_the_reference_tools(
    benchmark: BenchmarkFixture, tmp_path: Path, rounds: int, note: Callable[[str, tuple[str, ...]], None]
) -> None:
    """Contenders run alternately. The tools read the file that was delivered in the clear."""
    frame = pl.select(id=pl.int_range(ROWS)).with_columns(
        pl.col("id").hash().cast(pl.String).alias(name) for name in "abcde"
    )
    identity = pyrage.x25519.Identity.generate()
    clear = tmp_path / "clear.csv"

    def deliver(name: str, encrypt: mc_sink.Pgp | mc_sink.Age | None = None) -> None:
        mc_sink.sink_madconnect(frame, tmp_path / name, encrypt=encrypt, if_exists="overwrite", progress=False)

    with GnuPG() as gpg:
        gpg.make("receiver")
        deliver("clear.csv")
        own = ["--trust-model", "always", "--compress-algo", "none", "--recipient", "receiver"]
        contenders: dict[str, Callable[[], object]] = {
            "in the clear": lambda: deliver("clear.csv"),
            "Age": lambda: deliver("x.csv.age", mc_sink.Age(recipients=[str(identity.to_public())])),
            "Pgp": lambda: deliver("x.csv.pgp", mc_sink.Pgp(recipients=[gpg.public("receiver")])),
            "gpg alone, of the finished file": lambda: gpg.run(
                *own, "--output", str(tmp_path / "own.pgp"), "--encrypt", str(clear)
            ),
        }
        if shutil.which("age"):
            line = ["age", "--recipient", str(identity.to_public()), "--output", str(tmp_path / "own.age"), str(clear)]
            contenders["age alone, of the finished file"] = lambda: subprocess.run(line, check=True)
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(rounds):
            for name, run in contenders.items():
                began = perf_counter()
                run()
                seconds[name].append(perf_counter() - began)
        size = clear.stat().st_size / 1e6
        note(TITLE, ("", "seconds", "MB/s of clear bytes"))
        note(TITLE, ("---",) * 3)
        for name, taken in seconds.items():
            note(TITLE, (name, f"{median(taken):.2f}", f"{size / median(taken):.0f}"))
        benchmark.pedantic(contenders["Pgp"], rounds=1)
        assert gpg.decrypt(tmp_path / "x.csv.pgp")[0] == clear.read_bytes()
