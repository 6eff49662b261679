"""Publish, discard, verify: the only room that makes anything visible.

staged ──publish──► visible, and a receipt          staged ──discard──► gone
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mc_sink.exceptions import NOTHING_VISIBLE, CommitError, CommitUnknown, ConfigurationError, SinkError
from mc_sink.receipt import Receipt, Rejects, Verification, WrittenFile
from mc_sink.storage import Stores
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mc_sink.staged import IfExists, Staged, StagedFile


def publish(staged: Sequence[Staged], *, storage_options: Mapping[str, Any] | None = None) -> Receipt:
    """Make every staged file visible, in order, and give the receipt; never replaces one unless it was staged to.

    All `staged` belong to one run. Raises `AlreadyExistsError` where the first key is taken, `CommitUnknown` where a
    reply was lost and can't be settled, and `CommitError`, with `committed` and `uncommitted`, where publishing stopped
    part way; what is not published stays staged.
    """
    return publish_with(Stores(storage_options), staged)


def publish_with(stores: Stores, staged: Sequence[Staged]) -> Receipt:
    """Publish through stores that are already open; see `publish`. Rejects come after what they were rejected from."""
    run = _one_run(staged)
    files = [file for part in staged for file in part.files]
    rejected = [part.rejects.file for part in staged if part.rejects and part.rejects.file]
    written: list[WrittenFile] = []
    for file in [*files, *rejected]:
        try:
            written.append(_publish_file(stores, file, run.if_exists))
        except SinkError as error:
            if not written:
                raise
            raise _part_way(error, written, [*files, *rejected]) from error
    return _receipt(staged, tuple(written[: len(files)]), tuple(written[len(files) :]), stores)


def discard(staged: Sequence[Staged], *, storage_options: Mapping[str, Any] | None = None) -> list[str]:
    """Throw staged files away; nothing becomes visible. Gives a sentence for each one the store would not remove."""
    return discard_with(Stores(storage_options), staged)


def discard_with(stores: Stores, staged: Sequence[Staged]) -> list[str]:
    """Discard through stores that are already open; see `discard`."""
    files = [file for part in staged for file in part.files]
    files += [part.rejects.file for part in staged if part.rejects and part.rejects.file]
    return [left for file in files if (left := stores.of(parse_target(file.path)).discard(file))]


def verify(receipt: Receipt, *, storage_options: Mapping[str, Any] | None = None) -> Verification:
    """List the store and compare: every file there, with its size and ETag (locally: size and CRC32)."""
    return _verify(receipt, Stores(storage_options))


def _verify(receipt: Receipt, stores: Stores) -> Verification:
    files = [*receipt.files, *(receipt.rejects.files if receipt.rejects else ())]
    matches = {file.path: stores.of(parse_target(file.path)).match(file) for file in files}
    missing = tuple(path for path, match in matches.items() if match == "missing")
    changed = tuple(path for path, match in matches.items() if match == "changed")
    return Verification(len(matches), missing, changed)


def _one_run(staged: Sequence[Staged]) -> Staged:
    runs = {(part.run_id, part.target, part.if_exists) for part in staged}
    if len(runs) != 1:
        raise ConfigurationError(f"{len(runs)} runs were given to one publish; give what was staged for one run.")
    return staged[0]


def _publish_file(stores: Stores, file: StagedFile, if_exists: IfExists) -> WrittenFile:
    published = stores.of(parse_target(file.path)).publish(file, if_exists)
    return WrittenFile(file.path, file.num_rows, file.num_bytes, published.etag, published.version_id, file.checksum)


def _receipt(
    staged: Sequence[Staged], files: tuple[WrittenFile, ...], rejected: tuple[WrittenFile, ...], stores: Stores
) -> Receipt:
    run = staged[0]
    started_at = min(part.started_at for part in staged)
    num_rejected = sum(part.rejects.num_rows for part in staged if part.rejects)
    return Receipt(
        run_id=run.run_id,
        target=run.target,
        files=files,
        num_rows=sum(file.num_rows for file in files),
        num_bytes=sum(file.num_bytes for file in files),
        rejects=Rejects(num_rejected, rejected) if run.rejects else None,
        validated=all(part.validated for part in staged),
        manifest=None,
        started_at=started_at,
        elapsed=datetime.now(UTC) - started_at,
        _verifier=lambda receipt: _verify(receipt, stores),
    )


def _part_way(error: SinkError, written: list[WrittenFile], files: list[StagedFile]) -> CommitError:
    committed = [file.path for file in written]
    uncommitted = [file.path for file in files[len(written) :]]
    kind = CommitUnknown if isinstance(error, CommitUnknown) else CommitError
    reason = str(error).replace(NOTHING_VISIBLE, "").strip()  # true of this file, and not of the delivery
    return kind(
        f"{len(committed)} of {len(files)} files are visible, then publishing stopped at {uncommitted[0]}: {reason} "
        "The rest is staged and invisible: publish or discard it.",
        committed=committed,
        uncommitted=uncommitted,
    )
