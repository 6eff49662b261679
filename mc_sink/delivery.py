"""Publish, discard, recover, verify: the only room that makes anything visible.

staged ──► noted in a journal ──► file, file, … ──► manifest ──► struck out ──► receipt
staged ──discard──► gone
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, overload

from mc_sink import journal
from mc_sink.exceptions import (
    NOTHING_VISIBLE,
    AlreadyExistsError,
    CommitError,
    CommitUnknown,
    ConfigurationError,
    SinkError,
)
from mc_sink.manifest import CONTENT_TYPE, manifest
from mc_sink.receipt import Receipt, Rejects, Verification, WrittenFile
from mc_sink.secret import seal
from mc_sink.staged import StagedFile
from mc_sink.storage import Stores, Writer
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mc_sink.staged import Staged

_log = logging.getLogger(__name__)


def publish(staged: Sequence[Staged], *, storage_options: Mapping[str, Any] | None = None) -> Receipt:
    """Make every staged file visible, in order, the manifest last; never replaces one unless it was staged to.

    All `staged` belong to one run. Raises `AlreadyExistsError` where the first key is taken, `CommitUnknown` where a
    reply was lost and can't be settled, and `CommitError`, with `committed` and `uncommitted`, where publishing stopped
    part way; what is not published stays staged, and a journal of this machine's lets `recover` roll it forward.
    Publishing again what has been published does nothing and says so.
    """
    storage_options = seal(storage_options)
    run = _one_run(staged)
    return publish_with(Stores(storage_options, run.object_options), staged)


def publish_with(stores: Stores, staged: Sequence[Staged]) -> Receipt:
    """Publish through stores that are already open; see `publish`. Rejects come after what they were rejected from."""
    began = time.monotonic()
    run = _one_run(staged)
    earlier = journal.find(run.run_id, run.target)
    journal.note(staged)
    written: list[WrittenFile] = []
    try:
        _publish_files(stores, staged, written)
        _publish_manifest(stores, staged, written)
    except SinkError as error:
        if written or isinstance(error, CommitUnknown):
            raise _part_way(error, written, staged) from error
        if earlier is None:
            journal.strike(staged)
        raise
    except BaseException as error:
        error.add_note(f'mc_sink: publishing was interrupted: mc_sink.recover("{run.run_id}") ends it.')
        raise
    journal.strike(staged)
    _tidy(stores, earlier, staged)
    return _receipt(staged, written, stores, time.monotonic() - began)


def discard(staged: Sequence[Staged], *, storage_options: Mapping[str, Any] | None = None) -> list[str]:
    """Throw staged files away; nothing becomes visible. Gives a sentence for each one the store would not remove."""
    storage_options = seal(storage_options)
    return discard_with(Stores(storage_options), staged)


def discard_with(stores: Stores, staged: Sequence[Staged]) -> list[str]:
    """Discard through stores that are already open; see `discard`."""
    files = [file for part in staged for file in part.all_files]
    return [left for file in files if (left := stores.of(parse_target(file.path)).discard(file))]


@overload
def recover(
    run_id: str,
    *,
    target: str | None = None,
    action: Literal["publish"] = "publish",
    storage_options: Mapping[str, Any] | None = None,
) -> Receipt: ...


@overload
def recover(
    run_id: str,
    *,
    target: str | None = None,
    action: Literal["discard"],
    storage_options: Mapping[str, Any] | None = None,
) -> list[str]: ...


def recover(
    run_id: str,
    *,
    target: str | None = None,
    action: Literal["publish", "discard"] = "publish",
    storage_options: Mapping[str, Any] | None = None,
) -> Receipt | list[str]:
    """End a delivery that was cut short while it was published from this machine: all of it becomes visible, once.

    `action="discard"` throws away what isn't visible yet instead, and gives a sentence for everything that stays. Only
    a delivery with a journal needs this (`list_journals()`): before publishing began, nothing is visible, and a rerun
    is all it takes. `target` tells two deliveries of one run id apart. Raises what `publish` raises; the journal stays
    until all is visible or discarded.
    """
    storage_options = seal(storage_options)
    found = _journal_of(run_id, target)
    stores = Stores(storage_options, found.staged[0].object_options)
    if action == "publish":
        return publish_with(stores, [replace(part, repeatable=True) for part in found.staged])
    left = discard_with(stores, found.staged) + _visible(stores, found)
    journal.strike(found.staged)
    return left


def _journal_of(run_id: str, target: str | None) -> journal.Journal:
    place = None if target is None else parse_target(target).url
    found = [one for one in journal.list_journals() if one.run_id == run_id and place in {None, one.target}]
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
    """Tell of every file of a delivery at whose place something is."""
    places = [parse_target(file.path) for part in found.staged for file in part.all_files]
    there = [place.url for place in places if stores.of(place).listing(place, exact=True)]
    return [f"{url} is visible and stays: only its bucket's owner can remove it." for url in there]


def verify(receipt: Receipt, *, storage_options: Mapping[str, Any] | None = None) -> Verification:
    """List the store and compare: every file there, with its size and ETag (locally: size and CRC32)."""
    storage_options = seal(storage_options)
    return _verify(receipt, Stores(storage_options))


def _verify(receipt: Receipt, stores: Stores) -> Verification:
    files = [*receipt.files, *(receipt.rejects.files if receipt.rejects else ())]
    matches = {file.path: stores.of(parse_target(file.path)).match(file) for file in files}
    missing = [path for path, match in matches.items() if match == "missing"]
    changed = tuple(path for path, match in matches.items() if match == "changed")
    if receipt.manifest:
        place = parse_target(receipt.manifest)
        missing += [] if stores.of(place).listing(place, exact=True) else [receipt.manifest]
    return Verification(len(matches) + bool(receipt.manifest), tuple(missing), changed)


def _one_run(staged: Sequence[Staged]) -> Staged:
    runs = {(part.run_id, part.target, part.if_exists) for part in staged}
    if len(runs) != 1:
        raise ConfigurationError(f"{len(runs)} runs were given to one publish; give what was staged for one run.")
    return staged[0]


def _publish_files(stores: Stores, staged: Sequence[Staged], written: list[WrittenFile]) -> None:
    for file in _in_order(staged):
        store = stores.of(parse_target(file.path))
        done = store.publish(file, staged[0].if_exists, repeatable=staged[0].repeatable)
        written.append(
            WrittenFile(
                file.path,
                file.num_rows,
                file.num_bytes,
                done.etag,
                done.version_id,
                file.checksum,
                found=done.found,
            )
        )


def _in_order(staged: Sequence[Staged]) -> list[StagedFile]:
    """Give the files in the order of publishing: all that is delivered, then what was rejected from it."""
    return [file for part in staged for file in part.files] + [
        part.rejects.file for part in staged if part.rejects and part.rejects.file
    ]


def _publish_manifest(stores: Stores, staged: Sequence[Staged], written: Sequence[WrittenFile]) -> None:
    """Write and publish the manifest; one that an earlier try of this run published says the same and stays."""
    run = staged[0]
    if run.manifest is None:
        return
    place = parse_target(run.manifest)
    delivered = written[: sum(len(part.files) for part in staged)]
    text = manifest(staged, delivered, datetime.now(UTC))
    writer = Writer(stores.of(place).open(place, CONTENT_TYPE, several=False))
    writer.write(text)
    file = StagedFile(run.manifest, 0, len(text), f"crc32:{writer.crc:08x}", writer.finish())
    try:
        stores.of(place).publish(file, run.if_exists, repeatable=False)
    except AlreadyExistsError:
        stores.of(place).discard(file)
        if not run.repeatable:
            raise


def _receipt(staged: Sequence[Staged], written: Sequence[WrittenFile], stores: Stores, seconds: float) -> Receipt:
    run = staged[0]
    num_delivered = sum(len(part.files) for part in staged)
    files, rejected = tuple(written[:num_delivered]), tuple(written[num_delivered:])
    num_rejected = sum(part.rejects.num_rows for part in staged if part.rejects)
    return Receipt(
        run_id=run.run_id,
        target=run.target,
        files=files,
        num_rows=sum(file.num_rows for file in files),
        num_bytes=sum(file.num_bytes for file in files),
        rejects=Rejects(num_rejected, rejected) if run.rejects else None,
        validated=all(part.validated for part in staged),
        manifest=run.manifest,
        started_at=min(part.started_at for part in staged),
        elapsed=max(part.took for part in staged) + timedelta(seconds=seconds),
        _verifier=lambda receipt: _verify(receipt, stores),
    )


def _part_way(error: SinkError, written: Sequence[WrittenFile], staged: Sequence[Staged]) -> CommitError:
    paths = [file.path for file in _in_order(staged)] + ([staged[0].manifest] if staged[0].manifest else [])
    committed, uncommitted = [file.path for file in written], paths[len(written) :]
    kind = CommitUnknown if isinstance(error, CommitUnknown) else CommitError
    reason = str(error).replace(NOTHING_VISIBLE, "").strip()  # true of this file, and not of the delivery
    run_id = staged[0].run_id
    return kind(
        f"{len(committed)} of {len(paths)} files are visible, then publishing stopped at {uncommitted[0]}: {reason} "
        f'The rest is staged and invisible: mc_sink.recover("{run_id}") publishes or discards it, and so does a rerun '
        f'with run_id="{run_id}".',
        committed=committed,
        uncommitted=uncommitted,
    )


def _tidy(stores: Stores, earlier: journal.Journal | None, staged: Sequence[Staged]) -> None:
    """Throw away what an earlier try of this run had staged, now that this one has published the same."""
    published = [file.upload for file in _in_order(staged)]
    for part in earlier.staged if earlier else ():
        kept = replace(part, files=tuple(file for file in part.files if file.upload not in published), rejects=None)
        for left in discard_with(stores, [kept]):
            _log.warning("An earlier try of this run left something behind. %s", left)
