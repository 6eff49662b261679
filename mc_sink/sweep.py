"""The result of a search for uploads that lost workers have left in a store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Sweep:
    """The search for uploads of a run that a lost worker had begun, and whose ids no share names.

    outcome
        "done"; "denied" where the permission to list uploads isn't granted; "failed" where the store didn't answer;
        "none" where the store has no uploads, or the names of the run's files may be another run's too.
    num_aborted
        The number of uploads that were found and aborted.
    left
        A sentence for each upload that was found and couldn't be aborted.
    reported
        Whether workers reported every upload when they had begun it. The uploads of lost workers are then known by
        their ids, also where they can't be listed.
    """

    outcome: Literal["done", "denied", "failed", "none"]
    num_aborted: int = 0
    left: tuple[str, ...] = ()
    reported: bool = False

    def __str__(self) -> str:
        found = f"{self.num_aborted:,} aborted, {len(self.left):,} left"
        if self.outcome == "done":
            return f"searched for: {found}"
        if self.reported:
            return f"reported by the workers: {found}"
        why = {
            "denied": "s3:ListBucketMultipartUploads isn't granted",
            "failed": "the store didn't answer",
            "none": "this store or these names don't allow it",
        }[self.outcome]
        return f"not searched for, because {why}: a lifecycle rule removes them"
