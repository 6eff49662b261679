"""Publish what is staged for one run, or discard it."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from mc_sink._display import logger
from mc_sink.content import shared
from mc_sink.exceptions import CommitError, CommitUnknown, SinkError, add_note
from mc_sink.platforms import stores_for
from mc_sink.publishing import begun, journal
from mc_sink.publishing.lost_uploads import abort_lost, upload_ids
from mc_sink.publishing.manifest import publish_manifest, publish_marker, written_file
from mc_sink.publishing.preconditions import accepted_stale, check_one_run, check_parts, is_closed, standing
from mc_sink.publishing.several import run_several
from mc_sink.publishing.verification import verify_with
from mc_sink.publishing.waiting import forget_waiting
from mc_sink.receipt import Receipt, Rejects, Stage, added_checks, added_up, summed, unproven
from mc_sink.records import recorded
from mc_sink.secret import seals_options
from mc_sink.staged import Multipart, in_order
from mc_sink.storage import Published, not_aborted
from mc_sink.sweep import Sweep
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from mc_sink.platforms import Platform
    from mc_sink.publishing.journal import Sent
    from mc_sink.receipt import WrittenFile
    from mc_sink.staged import Claim, Staged, StagedFile
    from mc_sink.storage import Store, Stores

_log = logger(__name__)
# Up to this many files after the first are published in order, so that a failure leaves no gap among the visible files.
# At 50 ms a request that takes half a second.
FEW_FILES = 8


@seals_options
def publish(
    staged: Sequence[Staged],
    *,
    platform: str | Platform | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Receipt:
    """Make every staged file visible, the manifest last; replace a file only if it was staged to.

    Up to 9 files become visible in order; of more, the first does, and then several at once.

    - `staged`: all parts of one run. Publishing again what has been published does nothing, and the receipt says so.
    - `platform`, `storage_options`: as in `sink_madconnect`.

    Raises `AlreadyExistsError` where the first key is taken, `CommitUnknown` where a reply was lost and no evidence
    settles it, and `CommitError`, with `committed` and `uncommitted`, where publishing stopped part way. Files that are
    not published then stay staged, and `recover` publishes them by the journal of this machine.
    """
    check_parts(staged, "publish")
    run = check_one_run(staged)
    forget_waiting(staged)
    stores = stores_for(run.target, platform, storage_options, run.object_options)
    return recorded(
        partial(publish_with, stores, staged),
        run_id=run.run_id,
        target=run.target,
        platform=platform,
        storage_options=storage_options,
    )


def publish_with(
    stores: Stores,
    staged: Sequence[Staged],
    lost: Claim | None = None,
    reported: Collection[tuple[str, str]] | None = None,
) -> Receipt:
    """Publish through stores that are already open, under the lock of the delivery; see `publish`.

    `lost` is where workers of the run may have left uploads, which are searched for in the end; `reported` are those
    that they have begun.
    """
    run = check_one_run(staged)
    with journal.lock(run.run_id, run.target), stores.learning():
        return Attempt(stores, staged, lost, reported).publish()


class Attempt:
    """One attempt to publish what is staged for one run, under `journal.lock`.

    It knows which files it has made visible, and what the journal held before, and so what an error means: whether
    something is visible, and whether the journal is removed or waits for `recover`.
    """

    def __init__(
        self,
        stores: Stores,
        staged: Sequence[Staged],
        lost: Claim | None = None,
        reported: Collection[tuple[str, str]] | None = None,
    ) -> None:
        if all(part.is_skipped for part in staged):  # without files, neither a manifest nor a marker
            staged = [replace(part, manifest=None, success_marker=None) for part in staged]
        self._stores, self._staged, self._run = stores, staged, staged[0]
        self._earlier = journal.find(self._run.run_id, self._run.target)
        self._superseded = journal.superseded(self._earlier, staged)
        self._visible: list[WrittenFile] = []
        self._closing: list[WrittenFile] = []
        self._unused: list[StagedFile] = []
        self._altered: list[str] = []
        self._is_closed = False
        self._lost, self._reported = lost, reported
        self._sweep = None if lost is None else Sweep("none")

    def publish(self) -> Receipt:
        """Publish the files, then the manifest, then the marker; see `publish` for what is raised."""
        began = time.monotonic()
        try:
            stale = accepted_stale(self._stores, self._staged)  # before an earlier attempt's journal is replaced
            journal.write(self._staged, self._superseded, standing(self._stores, self._staged))
            self._is_closed = is_closed(self._stores, self._staged)
            begun.record(self._stores, self._staged)
            self._publish_files()
            self._close(stale)
            self._discard_unused()
        except SinkError as error:
            failure = self._failure(error)
            if failure is error:
                raise
            for note in getattr(error, "__notes__", ()):
                failure.add_note(note)
            raise failure from error
        except BaseException as error:
            self._note_recovery(error)
            raise
        try:
            journal.remove(self._staged)
            return self._receipt(time.monotonic() - began, stale)
        except BaseException as error:  # Ctrl-C, or SIGTERM
            add_note(error, f"every file of run {self._run.run_id} is visible.")
            raise

    def _publish_files(self) -> None:
        """Publish few files in order, and many at once, but the first by itself and that of rejected rows last.

        If the first key is taken, nothing becomes visible. What the first replies show of the store is known to the
        requests that follow.
        """
        sent, files = journal.sent(self._run.run_id, self._run.target), in_order(self._staged)
        last = max(1, self._num_delivered)
        for group in filter(None, (files[:1], files[1:last], files[last:])):
            outcomes: list[Published | BaseException | None] = [None] * len(group)
            store = self._stores.of(parse_target(group[0].path))  # a group is for one place
            work = [partial(self._publish_file, file, store, sent, len(files)) for file in group]
            at_once = store.publishes_at_once if len(group) > FEW_FILES else 1
            try:
                run_several(work, outcomes, at_once, store.interrupt)
            finally:  # also where the wait was interrupted
                for file, done in zip(group, outcomes, strict=True):
                    if isinstance(done, Published):
                        self._unused += [file] if done.made_of != "staged" else []  # perhaps not what is visible
                        self._visible.append(written_file(file, done))
            if errors := [one for one in outcomes if isinstance(one, BaseException)]:
                raise self._first_of(errors)

    def _first_of(self, errors: Sequence[BaseException]) -> BaseException:
        """Return the error to raise of several: one that leaves in doubt what is visible, else the first."""
        known = [error for error in errors if isinstance(error, CommitError)]
        self._altered += [url for error in known for url in error.committed]
        unknown = [error for error in known if isinstance(error, CommitUnknown)]
        first = next(iter([*unknown, *known, *errors]))
        for other in errors:
            if other is not first:
                add_note(first, f"another file failed too: {other}")
        return first

    def _publish_file(self, file: StagedFile, store: Store, sent: Mapping[str, Sent], num_files: int) -> Published:
        """Publish one of `num_files`; note its upload first: it may be visible if this process ends meanwhile."""
        run, upload_id = self._run, file.upload.upload_id if isinstance(file.upload, Multipart) else None
        if upload_id and sent.get(upload_id) != "published":
            journal.note_sent(run, upload_id)
        try:
            was_sent = upload_id is not None and sent.get(upload_id) == "sent"
            done = store.publish(file, run.if_exists, repeatable=run.repeatable, was_sent=was_sent)
        finally:
            if upload_id and sent.get(upload_id, "refused") == "refused" and not store.may_show(file):
                journal.note_sent(run, upload_id, "refused")
        if upload_id and done.made_of == "staged":
            journal.note_sent(run, upload_id, "published")
        self._stores.progress.publish(num_files)
        return done

    def _close(self, stale: Sequence[str]) -> None:
        """Publish the manifest, which is the commit point, and then the success marker."""
        if self._run.manifest:
            delivered = self._visible[: self._num_delivered]
            manifest = publish_manifest(self._stores, self._staged, delivered, stale, already_published=self._is_closed)
            self._closing.append(manifest)
        if self._run.success_marker:
            self._closing.append(publish_marker(self._stores, self._run))

    def _discard_unused(self) -> None:
        """Discard uploads that are not part of what is visible: of earlier attempts, made in vain, of lost workers.

        Where the store kept the condition, another upload of a published file can't be its object, and can't become it.
        Elsewhere a Complete that was never answered may replace the file at any time, and its upload stays.
        """
        sent = journal.sent(self._run.run_id, self._run.target)
        settled = {file.path for file in in_order(self._staged) if _state(file, sent) == "published"}
        if self._lost:
            known = upload_ids([*in_order(self._staged), *self._superseded]) | set(sent)
            self._sweep = abort_lost(self._stores, self._lost, known, settled, self._reported)
        kept = settled & {file.path for file in self._visible if file.create_only == "condition"}
        for file in [*self._superseded, *self._unused]:
            is_another = file.path in kept and _state(file, sent) != "published"
            may_be_it = {} if is_another else sent
            # An upload whose Complete was sent is nearly always the very object that is visible: not worth a warning.
            log = _log.info if _state(file, may_be_it) == "sent" else _log.warning
            for sentence in discard_files(self._stores, [file], may_be_it):
                log("Run %s is published. %s", self._run.run_id, sentence)

    def _failure(self, error: SinkError) -> SinkError:
        """Return the error to raise for a failure: a `CommitError` if files of this attempt are, or may be, visible.

        Any other failure removes the journal, unless an earlier attempt's uploads still wait in it.
        """
        altered = self._altered or (error.committed if isinstance(error, CommitError) else ())
        # Then all files are an earlier attempt's, and nothing is left to roll forward.
        was_done = self._earlier is None and self._is_closed
        if self._closing or altered or (self._visible and not was_done) or isinstance(error, CommitUnknown):
            committed = [*(file.path for file in (*self._visible, *self._closing)), *altered]
            return commit_error(error, committed, self._staged)
        if self._earlier is None:
            journal.remove(self._staged)
        self._note_recovery(error)
        return error

    def _note_recovery(self, error: BaseException) -> None:
        if any(map(journal.holds, self._staged)):
            add_note(error, f'publishing was begun: mc_sink.recover("{self._run.run_id}") ends it.')

    @property
    def _num_delivered(self) -> int:
        """Files of the delivery without those of its rejects, which come last."""
        return sum(len(part.files) for part in self._staged)

    def _receipt(self, seconds: float, stale: tuple[str, ...]) -> Receipt:
        run, staged, stores = self._run, self._staged, self._stores
        files, rejected = tuple(self._visible[: self._num_delivered]), tuple(self._visible[self._num_delivered :])
        num_rejected = sum(part.rejects.num_rows for part in staged if part.rejects)
        checks = added_checks(check for part in staged if part.rejects for check in part.rejects.checks)
        slowest = max(staged, key=lambda part: part.took)  # parts are staged at the same time
        return Receipt(
            run_id=run.run_id,
            target=run.target,
            files=files,
            num_rows=sum(file.num_rows for file in files),
            num_bytes=sum(file.num_bytes for file in files),
            rejects=Rejects(num_rejected, rejected, checks) if any(part.rejects for part in staged) else None,
            validated=all(part.validated for part in staged),
            manifest=run.manifest,
            success_marker=run.success_marker,
            changes=added_up(part.changes for part in staged),
            skipped=all(part.is_skipped for part in staged),
            warnings=summed([*(warning for part in staged for warning in part.warnings), *unproven(self._visible)]),
            started_at=min(part.started_at for part in staged),
            elapsed=slowest.took + timedelta(seconds=seconds),
            closing=tuple(self._closing),
            stale=stale,
            sweep=self._sweep,
            content=shared(part.content for part in staged),
            stages=(*slowest.stages, Stage("publish", seconds)),
            _verifier=lambda receipt: verify_with(receipt, stores),
        )


def urls_of(staged: Sequence[Staged]) -> list[str]:
    """Return the URLs of a delivery in the order of publishing, with its manifest and marker last."""
    closing = (staged[0].manifest, staged[0].success_marker)
    return [file.path for file in in_order(staged)] + [url for url in closing if url]


def commit_error(error: SinkError, committed: Sequence[str], staged: Sequence[Staged]) -> CommitError:
    """Return the `CommitError` for a failure part way: which URLs are visible, which are not, and what to do."""
    visible = set(committed)
    uncommitted = [url for url in urls_of(staged) if url not in visible]
    kind = CommitUnknown if isinstance(error, CommitUnknown) else CommitError
    if not uncommitted:
        return kind(error.message, committed=committed)
    run_id = staged[0].run_id
    return kind(
        f"Publishing stopped at {uncommitted[0]}: {error.message} "
        f'The rest is staged and invisible: mc_sink.recover("{run_id}") publishes or discards it, and so does a rerun '
        f'with run_id="{run_id}".',
        committed=committed,
        uncommitted=uncommitted,
    )


def _state(file: StagedFile, sent: Mapping[str, Sent]) -> Sent | None:
    return sent.get(file.upload.upload_id) if isinstance(file.upload, Multipart) else None


@seals_options
def discard(
    staged: Sequence[Staged],
    *,
    platform: str | Platform | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> list[str]:
    """Discard staged files; nothing becomes visible. Return a sentence for each file that the store keeps.

    - `staged`: parts of one run, or of several.
    - `platform`, `storage_options`: as in `sink_madconnect`.
    """
    check_parts(staged, "discard")
    target = staged[0].target if staged else ""
    forget_waiting(staged)
    return discard_with(stores_for(target, platform, storage_options), staged, look=True)


def discard_with(stores: Stores, staged: Sequence[Staged], *, look: bool = False) -> list[str]:
    """Discard through stores that are already open; with `look`, another process may have published some of it."""
    left = []
    for part in staged:
        has_uploads = any(isinstance(file.upload, Multipart) for file in part.all_files)
        sent = journal.sent(part.run_id, part.target) if has_uploads else {}
        left += discard_files(stores, part.all_files, sent, look=look)
    return left


def discard_files(
    stores: Stores, files: Sequence[StagedFile], sent: Mapping[str, Sent], *, look: bool = False
) -> list[str]:
    """Discard files, and return a sentence for each that stays. An upload that may be an object, by `sent`, stays."""
    left: list[str | None] = []
    for file in files:
        state = _state(file, sent)
        if state == "sent" and isinstance(file.upload, Multipart):
            left.append(not_aborted(file.path, file.upload.upload_id))
        elif state != "published":
            left.append(stores.of(parse_target(file.path)).discard(file, look=look))
    return [sentence for sentence in left if sentence]
