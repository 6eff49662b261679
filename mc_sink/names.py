"""Run id → exact keys: what the files of one run are called, the same for every try of it.

s3://bucket/prefix/RUN_ID.csv                 one file
s3://bucket/prefix/RUN_ID-00000.csv           the first of several
s3://bucket/prefix/_manifests/RUN_ID.json     what belongs together; no *.csv finds it
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mc_sink.target import Target

MANIFESTS = "_manifests/"


@dataclass(frozen=True, slots=True)
class Names:
    """The keys of one run. `several` says whether it may have more than one file, and so numbers them."""

    target: Target
    run_id: str
    extension: str
    several: bool

    @property
    def stem(self) -> Target:
        """What the names of all files of this run begin with, whatever its format or number of files."""
        return self.target.file(self.run_id)

    def file(self, part: int) -> Target:
        """Give the file with this number, counted from 0."""
        number = f"-{part:05d}" if self.several else ""
        return self.target.file(f"{self.run_id}{number}{self.extension}")

    @property
    def manifest(self) -> Target:
        """Give the place of the manifest."""
        return self.target.folder.file(f"{MANIFESTS}{self.run_id}.json")

    def of_this_run(self, urls: frozenset[str]) -> frozenset[str]:
        """Pick the files of this run from a listing: run "a-1" is not run "a-10"."""
        if not self.target.is_prefix:
            return urls
        mine = re.compile(re.escape(self.stem.url) + r"(-[0-9]{5,})?\.[a-z.]+")
        return frozenset(url for url in urls if mine.fullmatch(url))
