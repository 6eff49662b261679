"""Find stale files: visible files under this run's names that no part of the run makes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mc_sink._display import lines, logger
from mc_sink.exceptions import AlreadyExistsError, PermissionDenied
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from mc_sink.staged import Claim, Staged
    from mc_sink.storage import Stores

_log = logger(__name__)
_SHOWN = 5


def accepted_stale(stores: Stores, staged: Sequence[Staged]) -> tuple[str, ...]:
    """Return the URLs of stale files that the caller accepted with `stale="keep"`; raise for any others.

    Call it right before publishing, with all parts of the run. Raises `AlreadyExistsError`, or `PermissionDenied` where
    the store refuses the listing.
    """
    run = staged[0]
    if run.if_exists == "overwrite" and all(part.is_skipped for part in staged):
        return ()  # nothing is made, and what is visible stays whole
    made = {file.path for part in staged for file in part.all_files}
    claims = {part.claim for part in staged if part.claim}
    stale = {url for claim in claims for url in _visible(stores, claim)} - made
    if run.if_exists == "overwrite" and run.stale == "fail":
        _refuse_without_listing(stores, claims)
        raise_stale(stale)
    if stale and run.if_exists == "fail":
        raise AlreadyExistsError(
            f"{_objects(stale)} of an earlier attempt of run {run.run_id} {'is' if len(stale) == 1 else 'are'} no part "
            f"of this one, from {min(stale)} on: data, options or the number of parts changed. Use a new run_id.",
            visible="some",
        )
    if stale:
        _log.warning("%s of an earlier run stay beside run %s, from %s on.", _objects(stale), run.run_id, min(stale))
    return tuple(sorted(stale))


def raise_stale(urls: Collection[str]) -> None:
    """Raise `AlreadyExistsError` if any file of an earlier run would stay beside those of this one."""
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
    """Yield the URLs of all visible files that a claim covers."""
    for key in claim.keys:
        place = parse_target(key)
        yield from stores.of(place).listing(place, exact=True)
    if claim.stem is not None:
        stem, patterns = parse_target(claim.stem), [re.compile(pattern) for pattern in claim.patterns]
        listed = stores.of(stem).listing(stem, exact=False)
        yield from (url for url in listed if any(pattern.fullmatch(url) for pattern in patterns))


def _refuse_without_listing(stores: Stores, claims: Collection[Claim]) -> None:
    """Refuse to replace files where the store lists nothing: stale files could not be seen."""
    for claim in claims:
        place = parse_target(claim.stem or claim.keys[0])
        if stores.of(place).is_blind:
            raise PermissionDenied(
                f"Files of an earlier run can't be looked for at {place.url}: the listing was refused, and stale files "
                f"may stay beside those of this run. Grant s3:ListBucket, put {{run_id}} into name=, "
                'or accept stale files with stale="keep".'
            )


def _objects(urls: Collection[str]) -> str:
    return "1 object" if len(urls) == 1 else f"{len(urls):,} objects"
