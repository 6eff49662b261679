"""Recover a delivery that was interrupted while it was published."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, overload

from mc_sink.exceptions import ConfigurationError
from mc_sink.platforms import stores_for
from mc_sink.publishing import journal
from mc_sink.publishing.publication import discard_files, discard_with, publish_alone
from mc_sink.publishing.run_objects import look_before_recovery, places
from mc_sink.secret import seals_options
from mc_sink.storage import is_visible
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mc_sink.platforms import Platform
    from mc_sink.receipt import Receipt
    from mc_sink.storage import Stores


@overload
def recover(
    run_id: str,
    *,
    target: str | None = None,
    action: Literal["publish"] = "publish",
    platform: str | Platform | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Receipt: ...


@overload
def recover(
    run_id: str,
    *,
    target: str | None = None,
    action: Literal["discard"],
    platform: str | Platform | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> list[str]: ...


@seals_options
def recover(
    run_id: str,
    *,
    target: str | None = None,
    action: Literal["publish", "discard"] = "publish",
    platform: str | Platform | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Receipt | list[str]:
    """End a delivery that was cut short while it was published from this machine: all of it becomes visible, once.

    `action="discard"` throws away what isn't visible yet instead, and gives a sentence for everything that stays. Only
    a delivery with a journal needs this (`list_journals()`): before publishing began, nothing is visible, and a rerun
    is all it takes. `target` tells two deliveries of one run id apart. Nothing more is published where a key has
    something else than the journal knew, such as newer data of another run: that raises `AlreadyExistsError`, or, where
    some files are visible, `CommitError`. Raises what `publish` raises; the journal stays until all is visible or
    discarded.
    """
    if action not in {"publish", "discard"}:
        raise ConfigurationError(f'action={action!r} is neither "publish" nor "discard". Nothing was done.')
    waiting = _journal_of(run_id, target)
    with journal.lock(run_id, waiting.target):
        found = _journal_of(run_id, waiting.target)  # another process may have ended it meanwhile
        stores = stores_for(found.target, platform, storage_options, found.staged[0].object_options)
        if action == "publish":
            look_before_recovery(stores, found)
            with stores.learning():
                return publish_alone(stores, [replace(part, repeatable=True) for part in found.staged])
        sent = journal.sent(run_id, found.target)
        left = discard_with(stores, found.staged, look=True)
        left += discard_files(stores, found.superseded, sent, look=True) + _visible(stores, found)
        journal.remove(found.staged)
    return left


def _journal_of(run_id: str, target: str | None) -> journal.Journal:
    place = None if target is None else parse_target(target).url
    found = [one for one in journal.journals_of(run_id) if place in {None, one.target}]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigurationError(
            f"{len(found)} deliveries of run {run_id} wait, to {', '.join(one.target for one in found)}: say target=…"
        )
    raise ConfigurationError(
        f"0 journals of run {run_id} are in {journal.folder()}: its publishing didn't begin on this machine, or it "
        "ended. Rerun with the same run_id: what is there is compared, and only the rest is published."
    )


def _visible(stores: Stores, found: journal.Journal) -> list[str]:
    """Tell of every file of a delivery, and of the manifest, at whose place something is."""
    there = [url for url in places(found.staged) if is_visible(stores, url)]
    return [f"{url} is visible and stays: only its bucket's owner can remove it." for url in there]
