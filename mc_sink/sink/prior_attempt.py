"""Find what a previous attempt of this run published, and check this attempt against it.

A run id that its caller chose may have run before, wholly or in part. Its files are never written again: they are
compared, and whatever doesn't fit is an error before anything more becomes visible.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from mc_sink.exceptions import AlreadyExistsError
from mc_sink.publishing import journal, raise_stale
from mc_sink.staged import Claim, Present
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mc_sink.keys import FileNames
    from mc_sink.sink.options import SinkOptions
    from mc_sink.sink.spec import DeliverySpec
    from mc_sink.staged import Staged
    from mc_sink.storage import Store, Stores
    from mc_sink.target import Target


@dataclass(frozen=True, slots=True, eq=False)
class PriorAttempt:
    """URLs of this run's files that are visible; `compared` are those that this try must find the same.

    `taken` are those of others, which it may not need, and must not meet. `claim` says where to look again, right
    before publishing, for files that are no part of this run.
    """

    files: frozenset[str]
    compared: frozenset[str]
    taken: frozenset[str]
    manifest: str | None
    claim: Claim | None = None

    def check(self, staged: Staged) -> None:
        """Refuse to add to a delivery that isn't this one: files it doesn't have, or a manifest that is closed."""
        made = {file.path for file in staged.all_files}
        if met := sorted(self.taken & made):
            raise _taken(met[0])
        if strays := sorted(self.files - made):
            raise AlreadyExistsError(
                f"{len(strays)} object(s) of an earlier try of run {staged.run_id} are no part of this one, from "
                f"{strays[0]} on: data or options changed. Use a new run_id.",
                visible="some",
            )
        new = [file.path for file in staged.all_files if not isinstance(file.upload, Present)]
        if self.manifest and new and staged.if_exists == "fail":
            raise AlreadyExistsError(
                f"Run {staged.run_id} has been delivered: its manifest is at {self.manifest}, and {len(new)} object(s) "
                f"of this try aren't in it, from {new[0]} on. Use a new run_id.",
                visible="some",
            )


def look(to: DeliverySpec, stores: Stores, order: SinkOptions) -> PriorAttempt:
    """Look for files of this run; raises where nothing can be delivered, or something else has the name."""
    names, overwrites = to.names, order.if_exists == "overwrite"
    store = stores.of(names.target)
    # A new run id is in no name yet: what is listed for it is little, even where a template puts it last.
    shared = to.run_id_given or (overwrites and not names.are_its_own)
    stem = names.stem if shared else names.target.file(names.run_id)
    files = names.of_this_run(store.listing(stem, exact=not names.target.is_prefix))
    if files and not to.run_id_given and not overwrites:
        raise _taken(min(files))
    closed = _closed(to, store) if to.run_id_given else None
    if to.success_marker and not overwrites and not (files or closed):
        _refuse_marked(to.success_marker, store)
    rejects = stores.of(to.rejects[0]).listing(to.rejects[0], exact=True) if to.rejects else frozenset()
    begun = (
        journal.find(names.run_id, names.target.url) if to.run_id_given else None
    )  # raises for one that can't be read
    if overwrites:
        if names.target.is_prefix and not names.is_numbered and order.stale == "fail":
            raise_stale(files - {names.file(0).url})
        elsewhere = tuple(_elsewhere(begun, names)) if begun else ()
        return PriorAttempt(frozenset(), frozenset(), frozenset(), closed, _claim(to, elsewhere, overwrites=True))
    if not to.run_id_given:
        return PriorAttempt(frozenset(), frozenset(), rejects, None)
    compared = files | rejects
    files |= _first_visible(_elsewhere(begun, names), store) if begun else frozenset()
    if to.rejects and names.run_id in to.rejects[0].name:
        files |= rejects  # a file at another key may be another run's, and this one may reject no row
    return PriorAttempt(files, compared, frozenset(), closed, _claim(to, (), overwrites=False))


def _claim(to: DeliverySpec, elsewhere: tuple[str, ...], *, overwrites: bool) -> Claim | None:
    """Return where files may be that this run doesn't make; None where its names are new."""
    names, keys = to.names, elsewhere
    if to.rejects:
        are_its_own = names.run_id in to.rejects[0].name
        keys += (to.rejects[0].url,) if (to.run_id_given if are_its_own else overwrites) else ()
    if names.target.is_prefix and (to.run_id_given or not names.are_its_own):
        return Claim(names.stem.url, names.patterns, keys)
    return Claim(None, (), keys) if keys else None


def _closed(to: DeliverySpec, store: Store) -> str | None:
    """Give the manifest's URL if it is visible: a run is one delivery, and closed even for a try that writes none."""
    place = to.manifest or (to.names.manifest if to.names.target.is_prefix else None)
    return place.url if place and store.listing(place, exact=True) else None


def _refuse_marked(marker: Target, store: Store) -> None:
    """Refuse a place whose marker says already that all is there, of a run that nothing of this one is of."""
    if marked := store.listing(marker, exact=True):
        raise AlreadyExistsError(
            f"1 success marker of another run is already at {min(marked)} and stays as it was: deliver each run under "
            f'a prefix of its own, leave success_marker out, or declare if_exists="overwrite".'
        )


def _elsewhere(begun: journal.Journal, names: FileNames) -> Iterator[str]:
    """Yield the files that a try with other folders or another template noted where this one doesn't look."""
    return (file.path for part in begun.staged for file in part.files if not names.claims(file.path))


def _first_visible(urls: Iterator[str], store: Store) -> frozenset[str]:
    return frozenset(islice((url for url in urls if store.listing(parse_target(url), exact=True)), 1))


def _taken(url: str) -> AlreadyExistsError:
    return AlreadyExistsError(
        f"1 object is already at {url} and stays as it was. Choose another key, a prefix (a new object each run), or "
        f'if_exists="overwrite".'
    )
