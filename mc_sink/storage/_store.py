"""What a store can do for a delivery: the seam between S3, local files and fsspec's renaming filesystems."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from mc_sink.exceptions import NOTHING_VISIBLE, AlreadyExistsError

if TYPE_CHECKING:
    from mc_sink.receipt import WrittenFile
    from mc_sink.staged import IfExists, StagedFile
    from mc_sink.storage._writer import Destination
    from mc_sink.target import Target

Match = Literal["same", "changed", "missing"]


@dataclass(frozen=True, slots=True)
class Published:
    """What the store said when it made a file visible."""

    etag: str | None
    version_id: str | None


class Store(Protocol):
    """One place to deliver to. Only `publish` makes anything visible."""

    def check(self, target: Target, if_exists: IfExists) -> None:
        """Raise before any work is done where the file can't be delivered: taken, refused, not there."""

    def open(self, target: Target, content_type: str) -> Destination:
        """Take bytes for one file that stays invisible."""

    def publish(self, file: StagedFile, if_exists: IfExists) -> Published:
        """Make one staged file visible, or raise."""

    def discard(self, file: StagedFile) -> str | None:
        """Throw one staged file away; a sentence on what is left behind, if anything is."""

    def match(self, file: WrittenFile) -> Match:
        """Say whether a delivered file is still as it was delivered."""


def already_exists(where: str) -> AlreadyExistsError:
    """Say that a key is taken, and what the ways out are."""
    return AlreadyExistsError(
        f"1 object is already at {where} and stays as it was. Choose another key, a prefix (a new object each run), "
        f'or if_exists="overwrite". {NOTHING_VISIBLE}'
    )
