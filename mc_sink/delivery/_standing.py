"""What stands at the places of a run: noted before it replaces files, and compared before a recovery goes on."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from mc_sink.delivery._run import in_order, part_way
from mc_sink.exceptions import AlreadyExistsError, CommitUnknown, PermissionDenied, SinkError
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mc_sink.journal import Journal
    from mc_sink.staged import Staged, StagedFile
    from mc_sink.storage import Store, Stores


def standing(stores: Stores, staged: Sequence[Staged]) -> dict[str, str] | None:
    """Return what stands at the places of a run that may replace it; None for any other, and where it can't be seen."""
    if staged[0].if_exists != "overwrite":
        return None
    by_store: defaultdict[Store, list[StagedFile]] = defaultdict(list)
    for file in in_order(staged):
        by_store[stores.of(parse_target(file.path))].append(file)
    seen = [store.standing(files) for store, files in by_store.items()]
    known = [one for one in seen if one is not None]
    return {url: text for one in known for url, text in one.items()} if len(known) == len(seen) else None


def look_before_recovery(stores: Stores, found: Journal) -> None:
    """Raise where a key has something that is neither this run's own nor what the journal knew to be there.

    Nothing is published then: somebody may have delivered newer data meanwhile.
    """
    committed: list[str] = []
    wrong: SinkError | None = None
    for file in in_order(found.staged):
        wrong = wrong or _wrong_at(stores.of(parse_target(file.path)), file, found, committed)
    if wrong and committed:
        raise part_way(wrong, committed, found.staged) from wrong
    if wrong:
        raise wrong


def _wrong_at(store: Store, file: StagedFile, found: Journal, committed: list[str]) -> SinkError | None:
    """Return what is wrong at one place, if anything is; a file of this run's own is added to `committed`."""
    replaces = found.staged[0].if_exists == "overwrite"
    seen = store.standing([file])
    if seen is None:
        return _unseen(file, found) if replaces else None  # else the condition of the request decides
    if file.path not in seen or (replaces and (found.replaces or {}).get(file.path) == seen[file.path]):
        return None
    held = store.holds(file)
    if held == "yes":
        committed.append(file.path)
    elif held == "no":
        return _other(file, found)
    elif replaces:
        return _unknown(file, found)
    return None


_WAYS = (
    'Look at it. recover("{run_id}", action="discard") gives up what isn\'t visible yet; a new run delivers again. '
    "Nothing more became visible."
)


def _other(file: StagedFile, found: Journal) -> AlreadyExistsError:
    return AlreadyExistsError(
        f"1 object that is neither of run {found.run_id} nor known to its journal is at {file.path}, and stays as it "
        f"was: newer data may have been delivered since {found.noted_at:%Y-%m-%d %H:%M:%S} UTC. "
        + _WAYS.format(run_id=found.run_id)
    )


def _unknown(file: StagedFile, found: Journal) -> CommitUnknown:
    return CommitUnknown(
        f"1 object at {file.path} may be of run {found.run_id} or newer: its ETag, which KMS may have made, shows "
        "nothing. It stays as it was. " + _WAYS.format(run_id=found.run_id),
        uncommitted=[file.path],
    )


def _unseen(file: StagedFile, found: Journal) -> PermissionDenied:
    return PermissionDenied(
        f"Run {found.run_id} may replace files, and what is at {file.path} by now can't be seen: the listing was "
        "refused. Nothing more became visible. Grant s3:ListBucket, or deliver again."
    )
