"""Throw away what is staged: nothing of it becomes visible."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mc_sink import journal
from mc_sink.delivery._stores import stores_for
from mc_sink.delivery._waiting import no_longer_waiting
from mc_sink.secret import seal
from mc_sink.staged import Multipart
from mc_sink.storage import not_aborted
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
    return discard_with(stores_for(target, platform, storage_options), staged, look=True)


def discard_with(stores: Stores, staged: Sequence[Staged], *, look: bool = False) -> list[str]:
    """Discard through stores that are already open; with `look`, another process may have published some of it."""
    return [left for part in staged for left in discard_files(stores, part.all_files, _sent(part), look=look)]


def _sent(part: Staged) -> Mapping[str, journal.Sent]:
    """Return what is noted of the uploads among staged files; without uploads there is nothing to read."""
    has_uploads = any(isinstance(file.upload, Multipart) for file in part.all_files)
    return journal.sent(part.run_id, part.target) if has_uploads else {}


def discard_files(
    stores: Stores, files: Sequence[StagedFile], sent: Mapping[str, journal.Sent], *, look: bool = False
) -> list[str]:
    """Discard files, and return a sentence for each that stays; an upload that may be an object does, by `sent`."""
    left: list[str | None] = []
    for file in files:
        state = sent.get(file.upload.upload_id) if isinstance(file.upload, Multipart) else None
        if state == "sent" and isinstance(file.upload, Multipart):
            left.append(not_aborted(file.path, file.upload.upload_id))
        elif state != "published":
            left.append(stores.of(parse_target(file.path)).discard(file, look=look))
    return [told for told in left if told]
