"""Check what is staged before anything is published: against itself, and against what is visible already.

Stale files are visible files under this run's names that no part of the run makes.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from mc_sink._display import lines, logger
from mc_sink.exceptions import AlreadyExistsError, ConfigurationError, PermissionDenied
from mc_sink.publishing import begun
from mc_sink.staged import Present, Staged, in_order
from mc_sink.storage import is_visible, short_listing
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from mc_sink.staged import Claim, StagedFile
    from mc_sink.storage import Store, Stores

_log = logger(__name__)
_SHOWN = 5
# The search for stale files ends at so many: those that `stale="keep"` lists in receipt and manifest, and others.
_MOST_STALE, _MOST_REFUSED = 10_000, 1_000


def check_parts(staged: Sequence[Staged], call: str) -> None:
    """Raise `ConfigurationError` for anything else than a list of what `stage` returned."""
    given: Any = staged  # what the types promise is checked here
    if isinstance(given, str) or not isinstance(given, Sequence) or not all(isinstance(part, Staged) for part in given):
        raise ConfigurationError(
            f"Cannot use {call}() with a {type(given).__name__}. Pass a list of what stage() returned."
        )


def check_one_run(staged: Sequence[Staged]) -> Staged:
    """Return the first part; raise `ConfigurationError` unless all parts are alike, of one run, and without overlap."""
    runs = {(part.run_id, part.target, part.if_exists) for part in staged}
    if len(runs) != 1:
        raise ConfigurationError(f"publish() got the parts of {len(runs)} runs. Pass the parts of one run.")
    run = staged[0]
    # One manifest, one marker and one receipt describe all parts.
    facts: dict[str, Callable[[Staged], object]] = {
        "manifest=": lambda part: (part.manifest, part.manifest_form),
        "success_marker=": lambda part: part.success_marker,
        "previous=": lambda part: part.changes is None,
        "columns, format or schema, which one manifest describes,": lambda part: (
            part.manifest and replace(part.content, pattern="")
        ),
    }
    if odd := [name for name, fact in facts.items() if any(fact(part) != fact(run) for part in staged)]:
        raise ConfigurationError(
            f"{len(staged)} parts were staged with different {odd[0]} and published as one run. Stage all parts alike."
        )
    if len(staged) > 1 and (options := sorted({option for part in staged for option in part.over_all_rows})):
        raise ConfigurationError(
            f"{len(staged)} parts can't be published as one run with {', '.join(options)}: each part was checked by "
            f"itself, and rows of two parts were never compared. Deliver all rows in one call, or "
            "stage the parts without."
        )
    times = Counter(file.path for file in in_order(staged))
    if twice := [path for path, number in times.items() if number > 1]:
        files = "1 file was" if len(twice) == 1 else f"{len(twice):,} files were"
        raise ConfigurationError(f"{files} given twice: {twice[0]}. Pass each file once.")
    return run


def is_closed(stores: Stores, staged: Sequence[Staged]) -> bool:
    """Return True if this run's manifest is already visible; raise if it can't list what this attempt would publish."""
    run = staged[0]
    if not run.manifest or not run.repeatable or run.if_exists == "overwrite" or not is_visible(stores, run.manifest):
        return False
    files = [file for file in in_order(staged) if not isinstance(file.upload, Present)]
    if missing := [file.path for file in files if not is_visible(stores, file.path)]:
        objects = "1 object" if len(missing) == 1 else f"{len(missing):,} objects"
        raise AlreadyExistsError(
            f"Run {run.run_id} has been delivered: its manifest is at {run.manifest}, and {objects} of this attempt "
            f"are missing, from {missing[0]} on. Use a new run_id.",
            visible="some",
        )
    return True


def standing(stores: Stores, staged: Sequence[Staged]) -> dict[str, str] | None:
    """Return what stands at the URLs of a run that may replace it; None for other runs, and where it can't be seen."""
    if staged[0].if_exists != "overwrite":
        return None
    seen = [store.standing(files) for store, files in files_by_store(stores, staged).items()]
    known = [one for one in seen if one is not None]
    return {url: text for one in known for url, text in one.items()} if len(known) == len(seen) else None


def files_by_store(stores: Stores, staged: Sequence[Staged]) -> dict[Store, list[StagedFile]]:
    """Return the files of a run, in the order of publishing, by their store."""
    by_store: defaultdict[Store, list[StagedFile]] = defaultdict(list)
    for file in in_order(staged):
        by_store[stores.of(parse_target(file.path))].append(file)
    return dict(by_store)


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
    most = _MOST_STALE if run.stale == "keep" else _MOST_REFUSED
    stale = set(islice((url for claim in claims for url in _visible(stores, claim, staged) if url not in made), most))
    if run.if_exists == "overwrite" and run.stale == "fail":
        for place in (parse_target(claim.stem or claim.keys[0]) for claim in claims):
            if stores.of(place).is_blind:
                raise PermissionDenied(
                    f"Files of an earlier run can't be looked for at {place.url}: the listing was refused, and stale "
                    "files may stay beside those of this run. Grant s3:ListBucket, put {run_id} into name=, "
                    'or accept stale files with stale="keep".'
                )
        raise_stale(stale, may_be_more=len(stale) == most)
    if stale and run.if_exists == "fail":
        are = "is" if len(stale) == 1 else "are"
        raise AlreadyExistsError(
            f"{_objects(stale, most)} of an earlier attempt of run {run.run_id} {are} no part "
            f"of this one, from {min(stale)} on: data, options or the number of parts changed. Use a new run_id.",
            visible="some",
        )
    if stale:
        text = "%s of an earlier run stay beside run %s, from %s on."
        _log.warning(text, _objects(stale, most), run.run_id, min(stale))
    return tuple(sorted(stale))


def raise_stale(urls: Collection[str], *, may_be_more: bool = False) -> None:
    """Raise `AlreadyExistsError` if any file of an earlier run would stay beside those of this one."""
    if not urls:
        return
    them, their = ("it", "its") if len(urls) == 1 else ("them", "their")
    more = "… and more" if may_be_more else f"… and {len(urls) - _SHOWN:,} more"
    objects = _objects(urls, len(urls) if may_be_more else None)
    named = sorted(urls)[:_SHOWN] + ([more] if len(urls) > _SHOWN else [])
    message = (
        f"{objects} of an earlier run would stay beside the files of this one, which doesn't replace {them}: a "
        f"reader would find old rows among the new. Have {their} owner delete {them}, put {{run_id}} "
        f'into name=, or accept {them} with stale="keep". Stale:'
    )
    raise AlreadyExistsError(lines(message, *(f"  {url}" for url in named)))


def _visible(stores: Stores, claim: Claim, staged: Sequence[Staged]) -> Iterator[str]:
    """Yield the URLs of the visible files that a claim covers, once each.

    Where the attempts of a run are recorded and the prefix is large, the records show that it has no others than this
    attempt's, and no file is listed; see `begun.py`.
    """
    for key in claim.keys:
        place = parse_target(key)
        yield from stores.of(place).listing(place, exact=True)
    for url, texts in claim.spans:
        stem, patterns = parse_target(url), [re.compile(text) for text in texts]
        listed: Iterable[str] | None = stores.of(stem).listed(stem)
        if claim.begun and url == claim.stem and (listed := short_listing(stores.of(stem), stem)) is None:
            begun.check_others(stores, staged, claim)
            continue
        yield from (url for url in listed or () if any(pattern.fullmatch(url) for pattern in patterns))


def _objects(urls: Collection[str], most: int | None = None) -> str:
    """Return the number of objects as text; of `most`, which is where the search ended, there may be more."""
    return "1 object" if len(urls) == 1 else f"{'at least ' if len(urls) == most else ''}{len(urls):,} objects"
