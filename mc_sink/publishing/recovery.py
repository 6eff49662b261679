"""Recover a delivery that was interrupted while it was published."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, overload

from mc_sink.exceptions import AlreadyExistsError, CommitUnknown, ConfigurationError, PermissionDenied, SinkError
from mc_sink.platforms import stores_for
from mc_sink.publishing import hidden_files, journal
from mc_sink.publishing.preconditions import files_by_store
from mc_sink.publishing.publication import Attempt, commit_error, discard_files, discard_with, urls_of
from mc_sink.publishing.several import run_several
from mc_sink.records import recorded
from mc_sink.secret import seals_options
from mc_sink.storage import is_visible
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mc_sink.platforms import Platform
    from mc_sink.publishing.journal import Journal
    from mc_sink.receipt import Receipt
    from mc_sink.staged import StagedFile
    from mc_sink.storage import Holds, Store, Stores

# What stands at a key: nothing new since the journal was written, this run's own file, another object, either of the
# two, or nothing that may be seen.
_State = Literal["as recorded", "own", "foreign", "unknown", "unseen"]


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
    """Finish a delivery that was interrupted while it was published from this machine: all of it becomes visible, once.

    Only a delivery with a journal needs this (`list_journals()`): before publishing began, nothing is visible, and a
    rerun is enough. The journal stays until all is visible or discarded. Hidden files that a killed process left of the
    run on a disk are removed, also where it has no journal.

    Parameters
    ----------
    run_id, target
        The delivery; `target` is needed where a run id has deliveries to several targets.
    action
        "discard" discards everything that isn't visible yet, and returns a sentence for each file that stays.
    platform, storage_options
        As in `sink_madconnect`.

    Raises
    ------
    AlreadyExistsError, CommitError
        A key has another object than the journal recorded, such as newer data of another run; the latter where some
        files of this run are visible. Nothing more is published.
    """
    return _recover(run_id, target, action, platform, storage_options, recorded)


@seals_options
def recover_unrecorded(
    run_id: str,
    *,
    target: str | None = None,
    platform: str | Platform | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Receipt:
    """Finish a delivery whose record in the history the caller updates; see `recover`."""
    receipt: Any = _recover(run_id, target, "publish", platform, storage_options, lambda deliver, **_: deliver())
    return receipt  # type: ignore[no-any-return]


def _recover(  # noqa: PLR0913, PLR0917  those of `recover`
    run_id: str,
    target: str | None,
    action: Literal["publish", "discard"],
    platform: str | Platform | None,
    storage_options: Mapping[str, Any] | None,
    record: Callable[..., Receipt],
) -> Receipt | list[str]:
    if not isinstance(run_id, str):
        raise ConfigurationError(f"Cannot use run_id= with a {type(run_id).__name__}. Give the run's id, as text.")
    asked: Any = action  # what the types promise is checked here
    if not isinstance(asked, str) or asked not in {"publish", "discard"}:
        raise ConfigurationError(f'Cannot use action={action!r}. Give "publish" or "discard".')
    waiting = _journal_of(run_id, target)
    if waiting is None:
        left = _remove_hidden(run_id, target, platform, storage_options)
        if left is None or action == "publish":
            raise _nothing_to_publish(run_id, left)
        return left
    with journal.lock(run_id, waiting.target):
        found = _journal_of(run_id, waiting.target)  # again: another process may have finished it meanwhile
        if found is None:
            raise _nothing_to_publish(run_id, None)
        stores = stores_for(found.target, platform, storage_options, found.staged[0].object_options)
        if action == "discard":
            sent = journal.sent(found.run_id, found.target)
            left = hidden_files.remove_left(run_id, found.target, stores) or []
            left += discard_with(stores, found.staged, look=True)
            left += discard_files(stores, found.superseded, sent, look=True)
            visible = [url for url in urls_of(found.staged) if is_visible(stores, url)]
            journal.remove(found.staged)
            return left + [f"{url} is visible and stays: only its bucket's owner can remove it." for url in visible]
        _check_places(stores, found)
        with stores.learning():
            attempt = Attempt(stores, [replace(part, repeatable=True) for part in found.staged])
            return record(
                attempt.publish,
                run_id=run_id,
                target=found.target,
                platform=platform,
                storage_options=storage_options,
            )


def _journal_of(run_id: str, target: str | None) -> Journal | None:
    """Return the one journal of a run, or of a run and a target, or None; raise `ConfigurationError` for several."""
    if target is not None:
        return journal.find(run_id, parse_target(target).url)
    found = journal.journals_of(run_id)
    if len(found) > 1:
        raise ConfigurationError(
            f"{len(found)} deliveries of run {run_id} wait to be recovered. Pass one of their targets as target=: "
            f"{', '.join(one.target for one in found)}."
        )
    return found[0] if found else None


def _remove_hidden(
    run_id: str, target: str | None, platform: str | Platform | None, storage_options: Mapping[str, Any] | None
) -> list[str] | None:
    """Remove the hidden files that killed processes left of a run without a journal; None where nothing was left."""
    place = None if target is None else parse_target(target).url
    found = [left.target for left in hidden_files.list_left(run_id) if place in {None, left.target}]
    stores = {one: stores_for(one, platform, storage_options) for one in found}
    removed = [left for one in stores if (left := hidden_files.remove_left(run_id, one, stores[one])) is not None]
    return [sentence for left in removed for sentence in left] if removed else None


def _nothing_to_publish(run_id: str, left: Sequence[str] | None) -> ConfigurationError:
    """Return the error for a run without a journal; `left` are the hidden files that stay, None if it had none."""
    removed = "" if left is None else " The hidden files that a killed process left were removed."
    removed = f" {' '.join(left)}" if left else removed
    return ConfigurationError(
        f"Run {run_id} has no journal in {journal.folder()}: its publishing didn't begin on this machine, or it "
        f"ended.{removed} Rerun with the same run_id: files that are visible are compared, and only the rest is "
        "published."
    )


def _check_places(stores: Stores, found: Journal) -> None:
    """Raise if a key has an object that is neither this run's own nor recorded in the journal.

    Nothing is published then: another run may have delivered newer data meanwhile.
    """
    states: dict[str, _State] = {}
    for store, files in files_by_store(stores, found.staged).items():
        states |= _states_at(store, files, found)
    # A run that doesn't replace files needs no more: the condition of each request decides.
    refused = {"foreign", "unknown", "unseen"} if _replaces(found) else {"foreign"}
    url = next((url for url, state in states.items() if state in refused), None)
    if url is None:
        return
    committed = [url for url, state in states.items() if state == "own"]
    error = _refusal(url, states[url], found)
    if committed:
        raise commit_error(error, committed, found.staged) from error
    error.visible = "unknown" if {"unknown", "unseen"} & set(states.values()) else "nothing"
    raise error


def _replaces(found: Journal) -> bool:
    return found.staged[0].if_exists == "overwrite"


def _states_at(store: Store, files: Sequence[StagedFile], found: Journal) -> dict[str, _State]:
    """Return by URL what stands at the keys of files."""
    seen = store.standing(files)
    if seen is None:
        return {file.path: "unseen" for file in files}
    recorded = (found.replaces or {}) if _replaces(found) else {}
    states: dict[str, _State] = {file.path: "as recorded" for file in files}
    others = [one for one in files if one.path in seen and recorded.get(one.path) != seen[one.path]]
    held: list[Holds | BaseException | None] = [None] * len(others)
    run_several([partial(store.holds, one) for one in others], held, store.publishes_at_once, store.interrupt)
    for file, answer in zip(others, held, strict=True):
        if isinstance(answer, BaseException):
            raise answer
        states[file.path] = "own" if answer == "yes" else "foreign" if answer == "no" else "unknown"
    return states


def _refusal(url: str, state: _State, found: Journal) -> SinkError:
    """Return the error for a key at which this run must not publish."""
    advice = (
        f'Look at the object. recover("{found.run_id}", action="discard") discards the files that aren\'t visible yet. '
        "A new run delivers again."
    )
    if state == "unseen":
        return PermissionDenied(
            f"Run {found.run_id} may replace files, and the object at {url} can't be seen: the listing was refused. "
            "Grant s3:ListBucket, or deliver again."
        )
    if state == "unknown":
        return CommitUnknown(
            f"The object at {url} may be of run {found.run_id} or newer: its ETag, which KMS may have made, shows "
            f"nothing. It stays as it was. {advice}",
            uncommitted=[url],
        )
    return AlreadyExistsError(
        f"The object at {url} is neither of run {found.run_id} nor recorded in its journal, and stays as it was: newer "
        f"data may have been delivered since {found.noted_at:%Y-%m-%d %H:%M:%S} UTC. {advice}"
    )
