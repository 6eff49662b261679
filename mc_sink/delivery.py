"""Publish, discard, recover, verify: the only room that makes anything visible.

staged ──► noted in a journal ──► file, file, … ──► manifest ──► struck out ──► receipt
staged ──discard──► gone
"""

from __future__ import annotations

import logging
import time
from collections import Counter
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
from mc_sink.staged import Present, StagedFile
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
    run = _one_run(staged)
    with journal.alone(run.run_id, run.target):
        return _publish(stores, staged)


def _publish(stores: Stores, staged: Sequence[Staged]) -> Receipt:
    """Publish while nobody else on this machine publishes the same delivery."""
    began, run = time.monotonic(), staged[0]
    earlier = journal.find(run.run_id, run.target)
    left = journal.superseded(earlier, staged)
    written: list[WrittenFile] = []
    try:
        journal.note(staged, left)
        closed = _is_closed(stores, staged)
        _publish_files(stores, staged, written)
        _publish_manifest(stores, staged, written, closed=closed)
        _tidy(stores, left)
    except SinkError as error:
        if written or isinstance(error, CommitUnknown):
            raise _part_way(error, written, staged) from error
        if earlier is None:
            journal.strike(staged)
        _note_what_waits(error, staged)
        raise
    except BaseException as error:
        _note_what_waits(error, staged)
        raise
    journal.strike(staged)
    return _receipt(staged, written, stores, time.monotonic() - began)


def discard(staged: Sequence[Staged], *, storage_options: Mapping[str, Any] | None = None) -> list[str]:
    """Throw staged files away; nothing becomes visible. Gives a sentence for each one the store would not remove."""
    storage_options = seal(storage_options)
    return discard_with(Stores(storage_options), staged)


def discard_with(stores: Stores, staged: Sequence[Staged]) -> list[str]:
    """Discard through stores that are already open; see `discard`."""
    return _discard_files(stores, [file for part in staged for file in part.all_files])


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
    if action not in {"publish", "discard"}:
        raise ConfigurationError(f'action={action!r} is neither "publish" nor "discard". Nothing was done.')
    waiting = _journal_of(run_id, target)
    with journal.alone(run_id, waiting.target):
        found = _journal_of(run_id, waiting.target)  # another process may have ended it meanwhile
        stores = Stores(storage_options, found.staged[0].object_options)
        if action == "publish":
            return _publish(stores, [replace(part, repeatable=True) for part in found.staged])
        left = discard_with(stores, found.staged) + _discard_files(stores, found.superseded) + _visible(stores, found)
        journal.strike(found.staged)
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


def _discard_files(stores: Stores, files: Sequence[StagedFile]) -> list[str]:
    return [left for file in files if (left := stores.of(parse_target(file.path)).discard(file))]


def _visible(stores: Stores, found: journal.Journal) -> list[str]:
    """Tell of every file of a delivery, and of the manifest, at whose place something is."""
    there = [url for url in _places(found.staged) if _is_visible(stores, url)]
    return [f"{url} is visible and stays: only its bucket's owner can remove it." for url in there]


def _is_visible(stores: Stores, url: str) -> bool:
    place = parse_target(url)
    return bool(stores.of(place).listing(place, exact=True))


def verify(receipt: Receipt, *, storage_options: Mapping[str, Any] | None = None) -> Verification:
    """List the store and compare: every file there, with its size and ETag (locally: size and CRC32)."""
    storage_options = seal(storage_options)
    return _verify(receipt, Stores(storage_options))


def _verify(receipt: Receipt, stores: Stores) -> Verification:
    files = [*receipt.files, *(receipt.rejects.files if receipt.rejects else ())]
    matches = {file.path: stores.of(parse_target(file.path)).match(file) for file in files}
    missing = [path for path, match in matches.items() if match == "missing"]
    changed = tuple(path for path, match in matches.items() if match == "changed")
    if receipt.manifest and not _is_visible(stores, receipt.manifest):
        missing.append(receipt.manifest)
    return Verification(len(matches) + bool(receipt.manifest), tuple(missing), changed)


def _one_run(staged: Sequence[Staged]) -> Staged:
    runs = {(part.run_id, part.target, part.if_exists) for part in staged}
    if len(runs) != 1:
        raise ConfigurationError(f"{len(runs)} runs were given to one publish; give what was staged for one run.")
    times = Counter(file.path for file in _in_order(staged))
    if twice := [path for path, number in times.items() if number > 1]:
        raise ConfigurationError(
            f"{len(twice)} file(s) were given twice, from {twice[0]} on. {NOTHING_VISIBLE} Give each one once."
        )
    return staged[0]


def _is_there(file: StagedFile) -> bool:
    """Whether it was found, and compared, when it was to be staged."""
    return isinstance(file.upload, Present)


def _is_closed(stores: Stores, staged: Sequence[Staged]) -> bool:
    """Say whether this run's manifest is visible already; raises where it can't list what this try would publish."""
    run = staged[0]
    if not run.manifest or not run.repeatable or run.if_exists == "overwrite" or not _is_visible(stores, run.manifest):
        return False
    missing = [file.path for file in _in_order(staged) if not (_is_there(file) or _is_visible(stores, file.path))]
    if missing:
        raise AlreadyExistsError(
            f"Run {run.run_id} has been delivered: its manifest is at {run.manifest}, and {len(missing)} object(s) of "
            f"this try aren't there, from {missing[0]} on. Nothing of this try became visible. Use a new run_id."
        )
    return True


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
                partition=file.partition,
                found=done.found,
            )
        )


def _in_order(staged: Sequence[Staged]) -> list[StagedFile]:
    """Give the files in the order of publishing: all that is delivered, then what was rejected from it."""
    return [file for part in staged for file in part.files] + [
        part.rejects.file for part in staged if part.rejects and part.rejects.file
    ]


def _publish_manifest(
    stores: Stores, staged: Sequence[Staged], written: Sequence[WrittenFile], *, closed: bool
) -> None:
    """Write and publish the manifest, unless this run has one that lists the same."""
    run = staged[0]
    if run.manifest is None:
        return
    text = manifest(staged, written[: sum(len(part.files) for part in staged)], datetime.now(UTC))
    if not closed and _is_new(stores, run, text):
        return
    # Tries differ in their times, which are all as long, and a writer may not read: the size is the evidence.
    facts = WrittenFile(run.manifest, 0, len(text), None, None, "")
    if stores.of(parse_target(run.manifest)).match(facts) != "same":
        raise AlreadyExistsError(f"1 object that is not this delivery's manifest is at {run.manifest}, and stays.")


def _is_new(stores: Stores, run: Staged, text: bytes) -> bool:
    """Publish a manifest; False where this run has one already."""
    place = parse_target(str(run.manifest))
    store = stores.of(place)
    writer = Writer(store.open(place, CONTENT_TYPE, several=False))
    writer.write(text)
    file = StagedFile(place.url, 0, len(text), f"crc32:{writer.crc:08x}", writer.finish())
    try:
        store.publish(file, run.if_exists, repeatable=False)
    except BaseException as error:
        store.discard(file)  # no journal knows of it: it is written anew
        if run.repeatable and isinstance(error, AlreadyExistsError):
            return False
        raise
    return True


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
    paths = _places(staged)
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


def _places(staged: Sequence[Staged]) -> list[str]:
    """Give the URLs of a delivery in the order of publishing, its manifest's last."""
    return [file.path for file in _in_order(staged)] + ([staged[0].manifest] if staged[0].manifest else [])


def _note_what_waits(error: BaseException, staged: Sequence[Staged]) -> None:
    """Tell on an exception that ended publishing, where a journal waits, what ends it."""
    if any(map(journal.waits, staged)):
        error.add_note(f'mc_sink: publishing was begun: mc_sink.recover("{staged[0].run_id}") ends it.')


def _tidy(stores: Stores, left: Sequence[StagedFile]) -> None:
    """Throw away what earlier tries of this run had stored, now that this one has published the same."""
    for told in _discard_files(stores, left):
        _log.warning("An earlier try of this run left something behind. %s", told)
