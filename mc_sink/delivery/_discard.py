"""Throw away what is staged: nothing of it becomes visible."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mc_sink.delivery._stores import stores_for
from mc_sink.delivery._waiting import no_longer_waiting
from mc_sink.secret import seal
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mc_sink.platforms import Platform
    from mc_sink.staged import Staged, StagedFile
    from mc_sink.storage import Stores


def discard(
    staged: Sequence[Staged],
    *,
    platform: str | Platform | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> list[str]:
    """Throw staged files away; nothing becomes visible. Gives a sentence for each one the store would not remove."""
    storage_options = seal(storage_options)
    target = staged[0].target if staged else ""
    no_longer_waiting(staged)
    return discard_with(stores_for(target, platform, storage_options), staged)


def discard_with(stores: Stores, staged: Sequence[Staged]) -> list[str]:
    """Discard through stores that are already open; see `discard`."""
    return discard_files(stores, [file for part in staged for file in part.all_files])


def discard_files(stores: Stores, files: Sequence[StagedFile]) -> list[str]:
    return [left for file in files if (left := stores.of(parse_target(file.path)).discard(file))]
