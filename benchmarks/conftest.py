"""Tables of ratios, printed when all benchmarks have run."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from _pytest.terminal import TerminalReporter

    from tests.servers.s3_admin import Writer

Row = tuple[str, ...]
_tables: dict[str, list[Row]] = defaultdict(list)


@pytest.fixture
def note() -> Callable[[str, Row], None]:
    """Give a function that adds a row to a named table."""
    return lambda table, row: _tables[table].append(row)


@pytest.fixture(scope="module")
def discarding() -> Iterator[Writer]:
    """Give a bucket on a server in another process that counts bodies and drops them."""
    from tests.servers.fault_child import fault_child

    with fault_child() as writer:
        yield writer


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print the tables as Markdown, ready for the README."""
    for title, rows in _tables.items():
        terminalreporter.section(title)
        for row in rows:
            terminalreporter.write_line("| " + " | ".join(row) + " |")
