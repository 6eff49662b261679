"""What is known of a saved platform's stores from one process to the next, beside what is saved of the platform."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mc_sink.platforms._saved import KeptWays, keep_ways, kept_ways

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mc_sink.platforms._platform import Platform


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """Keeps the facts of stores with the platform `name`; a platform that isn't saved any more keeps none."""

    name: str

    def recall(self, endpoint: str, bucket: str) -> Mapping[str, bool | str]:
        """Return what is known of a bucket at this endpoint."""
        found = self._kept(endpoint, bucket)
        return found.facts if found else {}

    def since(self, endpoint: str, bucket: str) -> datetime | None:
        """Return since when something is known of a bucket at this endpoint."""
        found = self._kept(endpoint, bucket)
        return found.since if found else None

    def keep(self, endpoint: str, bucket: str, facts: Mapping[str, bool | str]) -> None:
        """Keep facts, where they aren't kept already; those that were known keep their time, and so end in time."""
        before = self._kept(endpoint, bucket)
        if before is None:
            keep_ways(self.name, KeptWays(endpoint, bucket, datetime.now(UTC), dict(facts)))
        elif before.facts != facts:
            keep_ways(self.name, replace(before, facts=dict(facts)))

    def renew(self, endpoint: str, bucket: str, facts: Mapping[str, bool | str]) -> None:
        """Keep facts that were all found out now."""
        keep_ways(self.name, KeptWays(endpoint, bucket, datetime.now(UTC), dict(facts)))

    def _kept(self, endpoint: str, bucket: str) -> KeptWays | None:
        found = (one for one in kept_ways(self.name) if (one.endpoint, one.bucket) == (endpoint, bucket))
        return next(found, None)


def memory_of(platform: str | Platform | None) -> Memory | None:
    """Return the memory of a saved platform, which is one that was given by its name."""
    return Memory(platform) if isinstance(platform, str) else None
