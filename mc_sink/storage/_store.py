"""What a store can do for a delivery: the seam between S3, local files and fsspec's renaming filesystems."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from mc_sink.exceptions import NOTHING_VISIBLE, AlreadyExistsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mc_sink.receipt import CreateOnly, Integrity, WrittenFile
    from mc_sink.staged import IfExists, StagedFile
    from mc_sink.storage._writer import Destination
    from mc_sink.target import Target

Match = Literal["same", "alike", "changed", "missing"]
Holds = Literal["yes", "no", "unknown"]


@dataclass(frozen=True, slots=True, eq=False)
class Published:
    """What the store said when it made a file visible.

    - `found`: it was there already, from an earlier try.
    - `made_of`: whether it is what was staged, as the store answered, or "another", or whether that is "unclear".
    - `create_only`, `integrity`, `etag_is_computed`: see `WrittenFile`.
    """

    etag: str | None
    version_id: str | None
    found: bool = False
    create_only: CreateOnly | None = None
    made_of: Literal["staged", "another", "unclear"] = "staged"
    integrity: Integrity | None = None
    etag_is_computed: bool = True


class Store(Protocol):
    """One place to deliver to. Only `publish` makes anything visible.

    `at_once` is the number of files that may be open or on their way at the same time. `is_blind` says that a listing
    was refused, so that what it gave, nothing, shows nothing.
    """

    at_once: int

    @property
    def is_blind(self) -> bool: ...

    def listing(self, stem: Target, *, exact: bool) -> frozenset[str]:
        """Give the URLs of the visible files that begin with `stem`, or of that one alone.

        Raises where nothing can be delivered: refused, not there.
        """

    def open(self, target: Target, content_type: str, *, several: bool) -> Destination:
        """Take bytes for one file that stays invisible; memory must not grow where it is one of `several`."""

    def compare(self, target: Target) -> Destination:
        """Take bytes to compare with a file that is there, storing none; `finish` raises where they differ."""

    def publish(self, file: StagedFile, if_exists: IfExists, *, repeatable: bool) -> Published:
        """Make one staged file visible, or raise; where `repeatable`, finding the very same file is a success."""

    def may_show(self, file: StagedFile) -> bool:
        """Return True if what this process sent may have made, or may yet make, a staged file visible."""

    def discard(self, file: StagedFile, *, look: bool = False) -> str | None:
        """Throw one staged file away, unless it may be visible; a sentence on what is left behind, if anything is.

        With `look`, another process may have published it: then the store is asked first.
        """

    def standing(self, files: Sequence[StagedFile]) -> Mapping[str, str] | None:
        """Return, by URL, a text that only the same object at the place of a file has; None where none may be seen."""

    def holds(self, file: StagedFile) -> Holds:
        """Return whether the object at a file's place is that file, as far as a writer can know."""

    def match(self, file: WrittenFile) -> Match:
        """Return whether a delivered file is as it was delivered.

        "alike" is as much as can be known of some: the size, and what the store itself had answered, are the same.
        """


def already_exists(where: str) -> AlreadyExistsError:
    """Say that a key is taken, and what the ways out are."""
    return AlreadyExistsError(
        f"1 object is already at {where} and stays as it was. Choose another key, a prefix (a new object each run), "
        f'or if_exists="overwrite". {NOTHING_VISIBLE}'
    )
