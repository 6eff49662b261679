"""Publish what is staged, or discard it; remember what waits for either."""

from __future__ import annotations

import threading
import time
import weakref
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from mc_sink._display import logger
from mc_sink.exceptions import CommitError, CommitUnknown, SinkError, add_note
from mc_sink.platforms import stores_for
from mc_sink.publishing import journal
from mc_sink.publishing.manifest import close, is_closed, written_file
from mc_sink.publishing.run_objects import leftovers, note_what_waits, part_way, places, run_of, standing
from mc_sink.publishing.verification import verify_with
from mc_sink.receipt import Receipt, Rejects, added_up, summed, unproven
from mc_sink.secret import seals_options
from mc_sink.staged import Multipart, in_order
from mc_sink.storage import not_aborted
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mc_sink.platforms import Platform
    from mc_sink.receipt import WrittenFile
    from mc_sink.staged import Staged, StagedFile
    from mc_sink.storage import Published, Stores

_log = logger(__name__)
_lock = threading.Lock()
# Weak: what is let go of can't be published from here any more, and is staged again by a retry.
_waiting: dict[int, weakref.ref[Staged]] = {}


@seals_options
def publish(
    staged: Sequence[Staged],
    *,
    platform: str | Platform | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Receipt:
    """Make every staged file visible, in order, the manifest last; never replaces one unless it was staged to.

    All `staged` belong to one run. Raises `AlreadyExistsError` where the first key is taken, `CommitUnknown` where a
    reply was lost and can't be settled, and `CommitError`, with `committed` and `uncommitted`, where publishing stopped
    part way; what is not published stays staged, and a journal of this machine's lets `recover` roll it forward.
    Publishing again what has been published does nothing and says so.
    """
    run = run_of(staged)
    no_longer_waiting(staged)
    return publish_with(stores_for(run.target, platform, storage_options, run.object_options), staged)


def publish_with(stores: Stores, staged: Sequence[Staged]) -> Receipt:
    """Publish through stores that are already open; see `publish`. Rejects come after what they were rejected from."""
    run = run_of(staged)
    with journal.lock(run.run_id, run.target), stores.learning():
        return publish_alone(stores, staged)


def publish_alone(stores: Stores, staged: Sequence[Staged]) -> Receipt:
    """Publish while nobody else on this machine publishes the same delivery."""
    if all(part.is_skipped for part in staged):  # nothing to close: no manifest, and no marker
        staged = [replace(part, manifest=None, success_marker=None) for part in staged]
    began, run = time.monotonic(), staged[0]
    earlier = journal.find(run.run_id, run.target)
    left = journal.superseded(earlier, staged)
    written: list[WrittenFile] = []
    unused: list[StagedFile] = []
    closing: list[WrittenFile] = []
    closed = False
    stale: tuple[str, ...] = ()
    try:
        stale = leftovers(stores, staged)  # before an earlier attempt's note is replaced
        journal.write(staged, left, standing(stores, staged))
        closed = is_closed(stores, staged)
        _publish_files(stores, staged, written, unused)
        for file in close(stores, staged, written, closed=closed, stale=stale):
            closing.append(file)  # noqa: PERF402  what was visible when the next one failed must be known
        _tidy(stores, staged, [*left, *unused])
    except SinkError as error:
        was_done = earlier is None and closed  # all files are another try's, and there is nothing to roll forward
        altered = error.committed if isinstance(error, CommitError) else ()
        if closing or altered or (written and not was_done) or isinstance(error, CommitUnknown):
            raise part_way(error, [*(file.path for file in (*written, *closing)), *altered], staged) from error
        if earlier is None:
            journal.remove(staged)
        note_what_waits(error, staged)
        raise
    except BaseException as error:
        note_what_waits(error, staged)
        raise
    try:
        journal.remove(staged)
        receipt = _receipt(staged, written, stores, time.monotonic() - began)
        return replace(receipt, closing=tuple(closing), stale=stale)
    except BaseException as error:  # Ctrl-C, or SIGTERM
        add_note(error, f"all {len(places(staged))} files of run {run.run_id} are visible.")
        raise


def _publish_files(
    stores: Stores, staged: Sequence[Staged], written: list[WrittenFile], unused: list[StagedFile]
) -> None:
    """Publish file after file, noting each in `written`, and those that may not be what was staged in `unused`."""
    before = journal.sent(staged[0].run_id, staged[0].target)
    for file in in_order(staged):
        done = _publish_file(stores, staged[0], file, before)
        if done.made_of != "staged":
            unused.append(file)
        written.append(written_file(file, done))


def _publish_file(stores: Stores, run: Staged, file: StagedFile, before: Mapping[str, journal.Sent]) -> Published:
    """Publish one file, with a note of what may be visible, should this process end meanwhile."""
    store = stores.of(parse_target(file.path))
    if not isinstance(file.upload, Multipart):
        return store.publish(file, run.if_exists, repeatable=run.repeatable)
    upload_id = file.upload.upload_id
    if before.get(upload_id) != "published":
        journal.note_sent(run, upload_id)
    try:
        done = store.publish(file, run.if_exists, repeatable=run.repeatable)
    finally:
        if before.get(upload_id, "refused") == "refused" and not store.may_show(file):
            journal.note_sent(run, upload_id, "refused")
    if done.made_of == "staged":
        journal.note_sent(run, upload_id, "published")
    return done


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
        rejects=Rejects(num_rejected, rejected) if any(part.rejects for part in staged) else None,
        validated=all(part.validated for part in staged),
        manifest=run.manifest,
        success_marker=run.success_marker,
        changes=added_up(part.changes for part in staged),
        skipped=all(part.is_skipped for part in staged),
        warnings=summed([*(warning for part in staged for warning in part.warnings), *unproven(written)]),
        started_at=min(part.started_at for part in staged),
        elapsed=max(part.took for part in staged) + timedelta(seconds=seconds),
        _verifier=lambda receipt: verify_with(receipt, stores),
    )


def _tidy(stores: Stores, staged: Sequence[Staged], left: Sequence[StagedFile]) -> None:
    """Throw away what was stored and is no part of what is visible now: earlier tries', and uploads made needlessly."""
    run = staged[0]
    sent = journal.sent(run.run_id, run.target)
    settled = {file.path for file in in_order(staged) if _state(file, sent) == "published"}
    for file in left:
        is_another = file.path in settled and _state(file, sent) != "published"
        may_be_it = {} if is_another else sent
        # What a Complete was sent for is nearly always the very object that is visible: not worth a warning.
        log = _log.info if _state(file, may_be_it) == "sent" else _log.warning
        for told in discard_files(stores, [file], may_be_it):
            log("Run %s is published. %s", run.run_id, told)


def _state(file: StagedFile, sent: Mapping[str, journal.Sent]) -> journal.Sent | None:
    return sent.get(file.upload.upload_id) if isinstance(file.upload, Multipart) else None


@seals_options
def discard(
    staged: Sequence[Staged],
    *,
    platform: str | Platform | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> list[str]:
    """Throw staged files away; nothing becomes visible. Gives a sentence for each one the store would not remove."""
    target = staged[0].target if staged else ""
    no_longer_waiting(staged)
    return discard_with(stores_for(target, platform, storage_options), staged, look=True)


def discard_with(stores: Stores, staged: Sequence[Staged], *, look: bool = False) -> list[str]:
    """Discard through stores that are already open; with `look`, another process may have published some of it."""
    return [left for part in staged for left in discard_files(stores, part.all_files, _sent(part), look=look)]


def _sent(part: Staged) -> Mapping[str, journal.Sent]:
    """Return what is noted of the uploads among staged files; without uploads there is nothing to read."""
    has_uploads = any(isinstance(file.upload, Multipart) for file in part.all_files)
    return journal.sent(part.run_id, part.target) if has_uploads else {}


def discard_files(
    stores: Stores, files: Sequence[StagedFile], sent: Mapping[str, journal.Sent], *, look: bool = False
) -> list[str]:
    """Discard files, and return a sentence for each that stays; an upload that may be an object does, by `sent`."""
    left: list[str | None] = []
    for file in files:
        state = sent.get(file.upload.upload_id) if isinstance(file.upload, Multipart) else None
        if state == "sent" and isinstance(file.upload, Multipart):
            left.append(not_aborted(file.path, file.upload.upload_id))
        elif state != "published":
            left.append(stores.of(parse_target(file.path)).discard(file, look=look))
    return [told for told in left if told]


def wait_to_publish(staged: Staged) -> None:
    """Remember what was staged until it is published, discarded or let go of."""
    key = id(staged)
    with _lock:
        _waiting[key] = weakref.ref(staged, lambda _: _waiting.pop(key, None))


def no_longer_waiting(staged: Sequence[Staged]) -> None:
    """Forget what is being published or discarded."""
    for part in staged:
        _waiting.pop(id(part), None)


def waiting_at(run_id: str, target: str) -> frozenset[str]:
    """Return the URLs of all files that wait for one run."""
    with _lock:
        parts = [part for reference in _waiting.copy().values() if (part := reference())]
    same = [part for part in parts if (part.run_id, part.target) == (run_id, target)]
    return frozenset(file.path for part in same for file in part.all_files)
