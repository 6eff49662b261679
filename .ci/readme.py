"""The long description for package indexes: the README, with whole URLs, since an index has no files beside it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

FILES = "https://github.com/madconnect/mc-sink/blob/main/"
PICTURES = "https://raw.githubusercontent.com/madconnect/mc-sink/main/"
_LINK = re.compile(r"(!?)(\[[^\]]*\])\((?!https?:|#)([^)\s]+)\)")


def with_whole_urls(text: str) -> str:
    """Return a page with links to the repository in place of those to its files."""
    return _LINK.sub(lambda found: f"{found[1]}{found[2]}({PICTURES if found[1] else FILES}{found[3]})", text)


class Readme(MetadataHookInterface):
    """Hatchling's hook for the field `readme`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the long description."""
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": with_whole_urls(text)}
