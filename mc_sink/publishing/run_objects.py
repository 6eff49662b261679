"""The objects of one run: their order, what stands at their places now, and which visible ones are stale."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from mc_sink._display import lines, logger
from mc_sink.exceptions import (
    AlreadyExistsError,
    CommitError,
    CommitUnknown,
    ConfigurationError,
    PermissionDenied,
    SinkError,
    add_note,
)
from mc_sink.publishing import journal
from mc_sink.staged import in_order
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from mc_sink.publishing.journal import Journal
    from mc_sink.staged import Claim, Staged, StagedFile
    from mc_sink.storage import Store, Stores

_log = logger(__name__)
_SHOWN = 5


def run_of(staged: Sequence[Staged]) -> Staged:
    """Give the first of what was staged; raises where it is not all one run's, or a file comes twice."""
    runs = {(part.run_id, part.target, part.if_exists) for part in staged}
    if len(runs) != 1:
        raise ConfigurationError(f"{len(runs)} runs were given to one publish; give what was staged for one run.")
    _check_alike(staged)
    _check_provable(staged)
    times = Counter(file.path for file in in_order(staged))
    if twice := [path for path, number in times.items() if number > 1]:
        raise ConfigurationError(f"{len(twice)} file(s) were given twice, from {twice[0]} on. Give each one once.")
    return staged[0]


def _check_alike(staged: Sequence[Staged]) -> None:
    """Refuse parts of which one manifest, one marker and one receipt could not tell the truth."""
    run = staged[0]
    facts: dict[str, Callable[[Staged], object]] = {
        "manifest=": lambda part: (part.manifest, part.manifest_form),
        "success_marker=": lambda part: part.success_marker,
        "previous=": lambda part: part.changes is None,
        "columns, format or schema, which one manifest describes,": lambda part: part.manifest and part.content,
    }
    if odd := [name for name, fact in facts.items() if any(fact(part) != fact(run) for part in staged)]:
        raise ConfigurationError(
            f"{len(staged)} parts were staged with different {odd[0]} and published as one run. "
            "Stage all of them alike."
        )


def _check_provable(staged: Sequence[Staged]) -> None:
    """Refuse, of several parts, what was checked over the rows of each part alone and holds for the run as a whole."""
    if len(staged) > 1 and (options := sorted({option for part in staged for option in part.over_all_rows})):
        raise ConfigurationError(
            f"{len(staged)} parts can't be published as one run with {', '.join(options)}: each part was checked by "
            f"itself, and rows of two parts were never compared. Deliver all rows in one call, or "
            "stage the parts without."
        )


def places(staged: Sequence[Staged]) -> list[str]:
    """Give the URLs of a delivery in the order of publishing, those of what closes it last."""
    closing = (staged[0].manifest, staged[0].success_marker)
    return [file.path for file in in_order(staged)] + [url for url in closing if url]


def part_way(error: SinkError, committed: Sequence[str], staged: Sequence[Staged]) -> CommitError:
    """Say what is visible and what is not, where publishing broke off."""
    paths = places(staged)
    uncommitted = paths[len(committed) :]
    kind = CommitUnknown if isinstance(error, CommitUnknown) else CommitError
    reason = error.message
    run_id = staged[0].run_id
    if not uncommitted:
        return kind(reason, committed=committed)
    return kind(
        f"Publishing stopped at {uncommitted[0]}: {reason} "
        f'The rest is staged and invisible: mc_sink.recover("{run_id}") publishes or discards it, and so does a rerun '
        f'with run_id="{run_id}".',
        committed=committed,
        uncommitted=uncommitted,
    )


def note_what_waits(error: BaseException, staged: Sequence[Staged]) -> None:
    """Tell on an exception that ended publishing, where a journal waits, what ends it."""
    if any(map(journal.holds, staged)):
        add_note(error, f'publishing was begun: mc_sink.recover("{staged[0].run_id}") ends it.')


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


_WAYS = 'Look at it. recover("{run_id}", action="discard") gives up what isn\'t visible yet; a new run delivers again.'


def _other(file: StagedFile, found: Journal) -> AlreadyExistsError:
    return AlreadyExistsError(
        f"1 object that is neither of run {found.run_id} nor known to its journal is at {file.path}, and stays as it "
        f"was: newer data may have been delivered since {found.noted_at:%Y-%m-%d %H:%M:%S} UTC. "
        + _WAYS.format(run_id=found.run_id),
        visible="some",
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
        "refused. Grant s3:ListBucket, or deliver again.",
        visible="some",
    )


def leftovers(stores: Stores, staged: Sequence[Staged]) -> tuple[str, ...]:
    """Return the URLs of stale files that the caller accepted with `stale="keep"`; raise for any others.

    Stale is what stands at a name that the run's template gives, and that no part of the run makes. Looked for right
    before publishing, over all parts together.
    """
    run = staged[0]
    if run.if_exists == "overwrite" and all(part.is_skipped for part in staged):
        return ()  # nothing is made, and what is there stays whole
    made = {file.path for part in staged for file in part.all_files}
    claims = {part.claim for part in staged if part.claim}
    left = {url for claim in claims for url in _visible(stores, claim)} - made
    if run.if_exists == "overwrite" and run.stale == "fail":
        _refuse_blind(stores, claims)
        raise_stale(left)
    if left and run.if_exists == "fail":
        first = min(left)
        raise AlreadyExistsError(
            f"{_objects(left)} of an earlier try of run {run.run_id} {'is' if len(left) == 1 else 'are'} no part of "
            f"this one, from {first} on: data, options or the number of parts changed. Use a new run_id.",
            visible="some",
        )
    if left:
        _log.warning("%s of an earlier run stay beside run %s, from %s on.", _objects(left), run.run_id, min(left))
    return tuple(sorted(left))


def raise_stale(urls: Collection[str]) -> None:
    """Raise `AlreadyExistsError` where any file of an earlier run would stay beside those of this one."""
    if not urls:
        return
    them, their = ("it", "its") if len(urls) == 1 else ("them", "their")
    named = sorted(urls)[:_SHOWN] + ([f"… and {len(urls) - _SHOWN:,} more"] if len(urls) > _SHOWN else [])
    message = (
        f"{_objects(urls)} of an earlier run would stay beside the files of this one, which doesn't replace {them}: a "
        f"reader would find old rows among the new. Have {their} owner delete {them}, put {{run_id}} "
        f'into name=, or accept {them} with stale="keep". Stale:'
    )
    raise AlreadyExistsError(lines(message, *(f"  {url}" for url in named)))


def _visible(stores: Stores, claim: Claim) -> Iterator[str]:
    for key in claim.keys:
        place = parse_target(key)
        yield from stores.of(place).listing(place, exact=True)
    if claim.stem is not None:
        stem, patterns = parse_target(claim.stem), [re.compile(pattern) for pattern in claim.patterns]
        listed = stores.of(stem).listing(stem, exact=False)
        yield from (url for url in listed if any(pattern.fullmatch(url) for pattern in patterns))


def _refuse_blind(stores: Stores, claims: Collection[Claim]) -> None:
    """Refuse to replace where the store lists nothing: stale files could not be seen."""
    for claim in claims:
        place = parse_target(claim.stem or claim.keys[0])
        if stores.of(place).is_blind:
            raise PermissionDenied(
                f"Files of an earlier run can't be looked for at {place.url}: the listing was refused, and stale files "
                f"may stay beside those of this run. Grant s3:ListBucket, put {{run_id}} into name=, "
                'or accept what may be there with stale="keep".'
            )


def _objects(urls: Collection[str]) -> str:
    return "1 object" if len(urls) == 1 else f"{len(urls):,} objects"
