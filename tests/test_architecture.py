"""docs/architecture.md names each of the ten promises, the floors of the package, and tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.test_floors import FLOORS, HEIGHT

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`([\w/]*test_\w+\.py)::(test_\w+)`")


def section(title: str) -> str:
    """Return the text under a heading."""
    return PAGE.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def promises() -> list[str]:
    """Return the rows of the table of promises."""
    return re.findall(r"^\| \d+\. .*\|$", section("Where each promise is proven"), re.MULTILINE)


def is_defined(file: str, name: str) -> bool:
    """Return whether a test file defines a test."""
    path = TESTS / file
    return path.exists() and any(
        isinstance(node, ast.FunctionDef) and node.name == name
        for node in ast.parse(path.read_text(encoding="utf-8")).body
    )


def test_each_of_the_ten_promises_names_its_tests() -> None:
    """A promise without a test is one that nothing holds."""
    assert [row.split(".", 1)[0] for row in promises()] == [f"| {number}" for number in range(1, 11)]
    assert [row for row in promises() if not NAMED.search(row)] == []


def test_the_tests_that_are_named_exist() -> None:
    """A test that is renamed or removed changes its row too."""
    assert [f"{file}::{name}" for file, name in NAMED.findall(PAGE) if not is_defined(file, name)] == []


def test_every_floor_is_shown() -> None:
    """The table has a row for each floor, with its parts and no other."""
    rows = re.findall(r"^\| (\d) \| ([^|]*) \|", section("Floors"), re.MULTILINE)
    shown = {int(number): {name.rstrip("/") for name in re.findall(r"`([\w/]+)`", parts)} for number, parts in rows}
    held = {number: {part for step in steps for part in step} for number, steps in FLOORS.items()}
    for number, parts in held.items():
        names = {"__init__" if part == "mc_sink" else part.split(".")[-1] for part in parts}
        assert shown[number] - {"engines"} == names - {"engines"}, number
    assert set(shown) == {number for number, _ in HEIGHT.values()}
