"""Publish, discard, verify: the only room that makes anything visible.

staged ──publish──► visible, and a receipt          staged ──discard──► gone
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mc_sink.exceptions import CommitError, ConfigurationError, SinkError
from mc_sink.receipt import Receipt, Verification, WrittenFile
from mc_sink.storage import Store, open_store
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mc_sink.staged import Staged, StagedFile


def publish(staged: Sequence[Staged], *, storage_options: Mapping[str, Any] | None = None) -> Receipt:
    """Make every staged file visible, in order, and give the receipt; never replaces one unless it was staged to.

    All `staged` belong to one run. Raises `AlreadyExistsError` where the first key is taken, `CommitUnknown` where a
    reply was lost and can't be settled, and `CommitError`, with `committed` and `uncommitted`, where publishing stopped
    part way; what is not published stays staged.
    """
    return publish_with(_store(_one_run(staged).target, storage_options), staged)


def publish_with(store: Store, staged: Sequence[Staged]) -> Receipt:
    """Publish through a store that is already open; see `publish`."""
    run = _one_run(staged)
    files = [file for part in staged for file in part.files]
    written: list[WrittenFile] = []
    for file in files:
        try:
            written.append(_publish_file(store, file, run))
        except SinkError as error:
            if not written:
                raise
            raise _part_way(error, written, files) from error
    return _receipt(staged, tuple(written), store)


def discard(staged: Sequence[Staged], *, storage_options: Mapping[str, Any] | None = None) -> list[str]:
    """Throw staged files away; nothing becomes visible. Gives a sentence for each one the store would not remove."""
    return [left for part in staged for left in discard_with(_store(part.target, storage_options), part)]


def discard_with(store: Store, staged: Staged) -> list[str]:
    """Discard through a store that is already open; see `discard`."""
    return [left for file in staged.files if (left := store.discard(file))]


def verify(receipt: Receipt, *, storage_options: Mapping[str, Any] | None = None) -> Verification:
    """List the store and compare: every file there, with its size and ETag (locally: size and CRC32)."""
    return _verify(receipt, _store(receipt.target, storage_options))


def _verify(receipt: Receipt, store: Store) -> Verification:
    matches = {file.path: store.match(file) for file in receipt.files}
    missing = tuple(path for path, match in matches.items() if match == "missing")
    changed = tuple(path for path, match in matches.items() if match == "changed")
    return Verification(len(matches), missing, changed)


def _one_run(staged: Sequence[Staged]) -> Staged:
    runs = {(part.run_id, part.target, part.if_exists) for part in staged}
    if len(runs) != 1:
        raise ConfigurationError(f"{len(runs)} runs were given to one publish; give what was staged for one run.")
    return staged[0]


def _store(target: str, storage_options: Mapping[str, Any] | None) -> Store:
    """Open the store again; what an object is to be was said when it was staged."""
    return open_store(parse_target(target), storage_options)


def _publish_file(store: Store, file: StagedFile, run: Staged) -> WrittenFile:
    published = store.publish(file, run.if_exists)
    return WrittenFile(file.path, file.num_rows, file.num_bytes, published.etag, published.version_id, file.checksum)


def _receipt(staged: Sequence[Staged], files: tuple[WrittenFile, ...], store: Store) -> Receipt:
    run = staged[0]
    started_at = min(part.started_at for part in staged)
    return Receipt(
        run_id=run.run_id,
        target=run.target,
        files=files,
        num_rows=sum(file.num_rows for file in files),
        num_bytes=sum(file.num_bytes for file in files),
        rejects=run.rejects,
        validated=all(part.validated for part in staged),
        manifest=None,
        started_at=started_at,
        elapsed=datetime.now(UTC) - started_at,
        _verifier=lambda receipt: _verify(receipt, store),
    )


def _part_way(error: SinkError, written: list[WrittenFile], files: list[StagedFile]) -> CommitError:
    committed = [file.path for file in written]
    uncommitted = [file.path for file in files[len(written) :]]
    return CommitError(
        f"{len(committed)} of {len(files)} files are visible, then publishing stopped at {uncommitted[0]}: {error} "
        "The rest is staged and invisible: publish or discard it.",
        committed=committed,
        uncommitted=uncommitted,
    )
