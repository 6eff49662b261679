"""Find visible files that belong to the names of a run and are no part of it: stale data beside fresh ones."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mc_sink._printable import logger
from mc_sink.exceptions import NOTHING_VISIBLE, AlreadyExistsError, PermissionDenied
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from mc_sink.staged import Claim, Staged
    from mc_sink.storage import Stores

_log = logger(__name__)
_SHOWN = 5


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
            f"this one, from {first} on: data, options or the number of parts changed. Nothing of this try became "
            "visible. Use a new run_id."
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
    raise AlreadyExistsError(
        f"{_objects(urls)} of an earlier run would stay beside the files of this one, which doesn't replace {them}: a "
        f"reader would find old rows among the new. {NOTHING_VISIBLE} Have {their} owner delete {them}, put {{run_id}} "
        f'into name=, or accept {them} with stale="keep". Stale: {", ".join(named)}'
    )


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
                f"may stay beside those of this run. {NOTHING_VISIBLE} Grant s3:ListBucket, put {{run_id}} into name=, "
                'or accept what may be there with stale="keep".'
            )


def _objects(urls: Collection[str]) -> str:
    return "1 object" if len(urls) == 1 else f"{len(urls):,} objects"
