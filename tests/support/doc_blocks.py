"""The blocks of code in the README and the docs, with what a comment before a block says of it.

<!-- run by tests/engines/test_spark.py -->     another test runs the block
<!-- not run: needs Airflow, … -->              nothing runs it, for this reason
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
_BLOCK = re.compile(
    r"(?:^<!-- (?P<note>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code. `run_by` is the test that runs it, and `reason` says why nothing does, if either is noted."""

    page: Path
    line: int
    language: str
    code: str
    run_by: str
    reason: str

    @property
    def place(self) -> str:
        """The page and line, as they are shown in a failure."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page in their order."""
    text = page.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        note = found["note"] or ""
        line = text.count("\n", 0, found.start("code"))
        run_by, reason = (
            note.removeprefix(start) if note.startswith(start) else "" for start in ("run by ", "not run: ")
        )
        yield Block(page, line, found["language"], found["code"], run_by, reason)


def all_blocks() -> list[Block]:
    """Return the blocks of all pages."""
    return [block for page in PAGES for block in blocks_of(page)]
