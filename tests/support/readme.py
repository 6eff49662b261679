"""The snippets of the README, to be run as they are shown."""

from __future__ import annotations

import re
from pathlib import Path

SECTION = "## More than one machine"
BUCKET = "s3://bucket/exports/"


def run_snippet(text: str, target: str, names: dict[str, object]) -> dict[str, object]:
    """Run the snippet with `text` in it, to another target, and return its variables."""
    page = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    section = page.partition(SECTION)[2].partition("\n## ")[0]
    (snippet,) = [one for one in re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL) if text in one]
    assert BUCKET in snippet
    found = dict(names)
    exec(snippet.replace(BUCKET, target), found)  # noqa: S102  our own
    return found
