"""Find what a previous attempt of this run published, and check this attempt against it.

A run id that the caller chose may have run before, completely or in part. Its published files are not written again.
They are compared, and any difference is an error before more becomes visible.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, NoReturn

from mc_sink._display import counted
from mc_sink.exceptions import AlreadyExistsError
from mc_sink.publishing import journal, raise_stale
from mc_sink.staged import Claim, Present
from mc_sink.storage import already_exists, is_visible, short_listing
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from mc_sink.delivery_spec import DeliverySpec
    from mc_sink.exceptions import Visible
    from mc_sink.keys import FileNames
    from mc_sink.staged import Staged
    from mc_sink.storage import Store, Stores
    from mc_sink.target import Target


@dataclass(frozen=True, slots=True, eq=False)
class PriorAttempt:
    """The objects at this run's names, found before the run does any work.

    published
        URLs of this run's files that are visible.
    to_compare
        URLs whose content this attempt must reproduce. It compares them instead of writing them.
    foreign
        URLs that belong to other runs. This run must not write to them.
    manifest
        The URL of this run's manifest, if it is visible.
    claim
        Where to look again for leftover files, right before publishing.
    is_unlisted
        Whether an earlier attempt may have published more: it began to publish, under a prefix with too many keys to be
        listed. Each file of this attempt is then looked for when it is opened.
    """

    published: frozenset[str] = frozenset()
    to_compare: frozenset[str] = frozenset()
    foreign: frozenset[str] = frozenset()
    manifest: str | None = None
    claim: Claim | None = None
    is_unlisted: bool = False

    def compared(self, stores: Stores) -> Container[str]:
        """Return the URLs of the files to compare; a URL that isn't known is listed, if it has to be."""
        return _Listed(self.to_compare, stores) if self.is_unlisted else self.to_compare

    def check(self, staged: Staged) -> None:
        """Raise `AlreadyExistsError` if this attempt and the published files aren't one delivery."""
        made = {file.path for file in staged.all_files}
        if foreign := sorted(self.foreign & made):
            raise already_exists(foreign[0])
        if strays := sorted(self.published - made):
            raise AlreadyExistsError(
                f"Cannot continue run {staged.run_id}: an earlier attempt published {counted(len(strays), 'object')} "
                f"that this one doesn't make, such as {strays[0]}. The data or the options changed. Use a new run_id.",
                visible="some",
            )
        new = [file.path for file in staged.all_files if not isinstance(file.upload, Present)]
        if self.manifest and new and staged.if_exists == "fail":
            raise AlreadyExistsError(
                f"Run {staged.run_id} is already complete: its manifest is at {self.manifest}, and it doesn't list "
                f"{counted(len(new), 'object')} of this attempt, such as {new[0]}. Use a new run_id.",
                visible="some",
            )


@dataclass(frozen=True, slots=True, eq=False)
class _Listed:
    """The URLs that are known to be visible, and all others that a listing shows."""

    known: frozenset[str]
    stores: Stores

    def __contains__(self, url: object) -> bool:
        return url in self.known or is_visible(self.stores, str(url))


def find_prior_attempt(spec: DeliverySpec, stores: Stores) -> PriorAttempt:
    """List the store for files of this run. Raises if one of its names belongs to another run."""
    names, overwrites = spec.names, spec.if_exists == "overwrite"
    store = stores.of(names.target)
    # No name contains a new run id yet, so its listing is short, even where a template puts the run id last.
    is_shared = spec.run_id_given or (overwrites and not names.are_its_own)
    if overwrites and names.is_numbered:  # any file may be replaced, and which ones isn't known yet
        is_shared = False
    stem = names.stem if is_shared else names.target.file(names.run_id)
    found = short_listing(store, stem) if spec.records_begun else store.listing(stem, exact=not names.target.is_prefix)
    published = names.of_this_run(found or frozenset())
    if published and not spec.run_id_given and not overwrites:
        raise already_exists(min(published))
    # A visible manifest completes the run even if this attempt writes none.
    place = spec.manifest or (names.manifest if names.target.is_prefix else None)
    manifest = place.url if spec.run_id_given and place and store.listing(place, exact=True) else None
    # Of a run in shares, a visible manifest is the end: `open_delivery` says so.
    compares = not (overwrites or (manifest and names.share is not None))
    if spec.cipher and published and compares:
        _refuse_encrypted(names.run_id, f"published {counted(len(published), 'object')}, such as {min(published)}")
    if spec.success_marker and not (overwrites or published or manifest):
        _refuse_marker(store, spec.success_marker)
    rejects = _visible_rejects(spec, stores)
    # Raises for a journal of this run that can't be read.
    begun = journal.find(names.run_id, names.target.url) if spec.run_id_given else None
    is_unlisted = found is None and bool(begun or manifest or store.listing(names.begun, exact=False))
    if spec.cipher and is_unlisted and compares:
        _refuse_encrypted(names.run_id, "began to publish, and may have published files", visible="unknown")
    if overwrites:
        if names.target.is_prefix and not names.is_numbered and spec.stale == "fail":
            raise_stale(published - {names.file(0).url})
        elsewhere = tuple(_elsewhere(begun, names)) if begun else ()
        return PriorAttempt(manifest=manifest, claim=_claim(spec, elsewhere, overwrites=True))
    if not spec.run_id_given:
        return PriorAttempt(foreign=rejects)
    to_compare = published | rejects
    others = _elsewhere(begun, names) if begun else ()
    published |= frozenset(islice((url for url in others if store.listing(parse_target(url), exact=True)), 1))
    if spec.rejects and names.run_id in spec.rejects[0].name:
        published |= rejects  # without the run id it may be another run's, and this run may reject no row
    claim = _claim(spec, (), overwrites=False)
    return PriorAttempt(published, to_compare, manifest=manifest, claim=claim, is_unlisted=is_unlisted)


def claim_of(spec: DeliverySpec) -> Claim | None:
    """Return where leftover files of a run in several shares may be, of this attempt or an earlier one."""
    begun = journal.find(spec.names.run_id, spec.target.url)
    elsewhere = tuple(_elsewhere(begun, spec.names)) if begun else ()
    return _claim(spec, elsewhere, overwrites=spec.if_exists == "overwrite")


def _visible_rejects(spec: DeliverySpec, stores: Stores) -> frozenset[str]:
    """Return the URLs of this run's visible files of rejected rows, of all shares."""
    if spec.rejects is None:
        return frozenset()
    store = stores.of(spec.rejects[0])
    if spec.names.share is None:
        return store.listing(spec.rejects[0], exact=True)
    stem, pattern = _rejects_of_all(spec.rejects[0], spec.names.share)
    return frozenset(url for url in store.listing(stem, exact=False) if re.fullmatch(pattern, url))


def _rejects_of_all(file: Target, share: int) -> tuple[Target, str]:
    """Return the start and the pattern of the names of all shares' rejects, given those of one."""
    before, _, after = file.url.rpartition(f"{share:05d}")
    stem = replace(file, path=file.path.rpartition(f"{share:05d}")[0])
    return stem, f"{re.escape(before)}(?:[0-9]{{5}}|[1-9][0-9]{{5,}}){re.escape(after)}"


def _claim(spec: DeliverySpec, elsewhere: tuple[str, ...], *, overwrites: bool) -> Claim | None:
    """Return where leftover files may be that this run doesn't make; None where its names are new."""
    names, keys, rejects = spec.names, elsewhere, None
    if spec.rejects and names.share is not None:
        stem, pattern = _rejects_of_all(spec.rejects[0], names.share)
        rejects = stem.url, pattern
    elif spec.rejects:
        are_its_own = names.run_id in spec.rejects[0].name
        keys += (spec.rejects[0].url,) if (spec.run_id_given if are_its_own else overwrites) else ()
    if names.target.is_prefix and (spec.run_id_given or not names.are_its_own or names.share is not None):
        return Claim(names.stem.url, names.patterns, keys, rejects, names.begun.url if spec.records_begun else None)
    return Claim(None, (), keys) if keys else None


def _elsewhere(begun: journal.Journal, names: FileNames) -> Iterator[str]:
    """Yield files of the journal outside of this run's names: an attempt with other folders or another template."""
    return (file.path for part in begun.staged for file in part.files if not names.claims(file.path))


def _refuse_marker(store: Store, marker: Target) -> None:
    """Raise if a success marker is there, which then is another run's."""
    if present := store.listing(marker, exact=True):
        raise AlreadyExistsError(
            f"The success marker of another run is already at {min(present)} and was not changed. Deliver each run "
            'under its own prefix, leave success_marker out, or set if_exists="overwrite".'
        )


def _refuse_encrypted(run_id: str, what: str, *, visible: Visible = "some") -> NoReturn:
    """Raise because an encryption of the same rows has other bytes each time, and can't be compared."""
    raise AlreadyExistsError(
        f"Cannot repeat run {run_id}: an earlier attempt {what}. Encrypted files have other bytes each time, so this "
        f'attempt can\'t be compared with them. If that attempt was interrupted, mc_sink.recover("{run_id}") finishes '
        "it. Otherwise use a new run_id.",
        visible=visible,
    )
