"""Servers for the benchmarks, the tables that are printed at the end, and the comparison with the last release."""

from __future__ import annotations

import json
import os
import platform
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

from benchmarks.data import write_files
from tests.servers.fault_child import fault_child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from _pytest.terminal import TerminalReporter

    from mc_sink.sandbox.admin import Writer

Row = tuple[str, ...]
RATIOS = Path(__file__).with_name("ratios.json")
WORSE = 1.05
_tables: dict[str, list[Row]] = defaultdict(list)
_ratios: dict[str, float] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of `make bench`."""
    group = parser.getgroup("mc_sink")
    group.addoption("--rounds", type=int, default=5, help="how often each contender takes its turn")
    group.addoption("--keep-ratios", action="store_true", help="store the ratios in ratios.json, as a release does")


@pytest.fixture
def note() -> Callable[[str, Row], None]:
    """Return a function that adds a row to a named table."""
    return lambda table, row: _tables[table].append(row)


@pytest.fixture
def keep_ratio() -> Callable[[str, float], None]:
    """Return a function that keeps a named ratio, smaller is better, for the comparison with the last release."""
    return _ratios.__setitem__


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    """Return how often each contender takes its turn."""
    return int(request.config.getoption("--rounds"))


@pytest.fixture(scope="session")
def servers() -> Iterator[dict[str, Writer]]:
    """Give a bucket over http and one over https, on servers in other processes that count bodies and drop them."""
    with fault_child() as http, fault_child(tls=True) as https:
        yield {"http": http, "https": https}


@pytest.fixture(scope="module")
def discarding(servers: dict[str, Writer]) -> Writer:
    """Give the bucket over http."""
    return servers["http"]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder of ten Parquet files of a million rows each."""
    return write_files(tmp_path_factory.mktemp("files"), number=10)


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """Print the tables as Markdown, ready for the README, and what became worse since the last release."""
    terminalreporter.section("The machine")
    terminalreporter.write_line(
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, Polars "
        f"{pl.__version__}; load of the last 15 minutes {os.getloadavg()[2]:.2f}"
    )
    for title, rows in _tables.items():
        _print(terminalreporter, title, rows)
    kept: dict[str, float] = json.loads(RATIOS.read_text(encoding="utf-8")) if RATIOS.exists() else {}
    changes = [
        (name, f"{kept[name]:.2f}", f"{now:.2f}", "worse" if now > kept[name] * WORSE else "")
        for name, now in _ratios.items()
        if name in kept
    ]
    if changes:
        _print(terminalreporter, "Against the last release", [("ratio", "then", "now", ""), ("---",) * 4, *changes])
    if config.getoption("--keep-ratios"):
        kept |= {name: round(now, 3) for name, now in _ratios.items()}
        RATIOS.write_text(json.dumps(dict(sorted(kept.items())), indent=2) + "\n", encoding="utf-8")


def _print(reporter: TerminalReporter, title: str, rows: list[Row]) -> None:
    reporter.section(title)
    for row in rows:
        reporter.write_line("| " + " | ".join(row) + " |")
