"""docs/faults.md tells of tests that exist, one in every row."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
TABLE = TESTS.parent / "docs" / "faults.md"
ROW = re.compile(r"^\|(?! ---|---| fault | edge )(.*)\|$", re.MULTILINE)
NAMED = re.compile(r"`([\w/]*test_\w+\.py)::(test_\w+)`")


def rows() -> list[str]:
    """Return the rows of the tables, without their heads."""
    return ROW.findall(TABLE.read_text(encoding="utf-8"))


def defined(file: str) -> set[str]:
    """Return the names of the tests in a file; none of a missing file."""
    path = TESTS / file
    if not path.exists():
        return set()
    return {node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)}


def test_every_row_names_a_test() -> None:
    """A row without a test is a promise that nothing holds."""
    assert len(rows()) > 50
    assert [row for row in rows() if len(NAMED.findall(row)) != 1] == []


def test_every_test_that_is_named_exists() -> None:
    """A test that was renamed or removed takes its row with it."""
    named = [found for row in rows() for found in NAMED.findall(row)]
    assert [f"{file}::{name}" for file, name in named if name not in defined(file)] == []
