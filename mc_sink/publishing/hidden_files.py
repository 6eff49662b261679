"""Note on this machine which hidden files a delivery is writing, so that those of a killed process are removed.

    noted ──► each hidden file, before it is made ──► the delivery ends ──► the note is removed

A note is a file in the folder `hidden` of the state folder, with a line for each hidden file. The lock beside it is
held while the delivery is staged or published, and ends with the process. So a note whose lock is free is of a killed
process, and what it lists is removed: by the next attempt of the run, or by `recover`. Files that the journal lists are
left to it. The files of a living process, and those that `stage` has returned, which another process may publish, are
in no note whose lock is free.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mc_sink._display import counted, logger
from mc_sink._lazy import type_adapter
from mc_sink._runtime import state_dir
from mc_sink.publishing import journal
from mc_sink.staged import StagedFile, Temporary
from mc_sink.storage import is_hidden
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from mc_sink.staged import NoteHidden, Upload
    from mc_sink.storage import Stores

_FOLDER = "hidden"
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class LeftHidden:
    """The hidden files that a killed process left of a run: those that were noted, and may still exist."""

    run_id: str
    target: str
    noted_at: datetime
    files: tuple[StagedFile, ...]


@dataclass(frozen=True, slots=True)
class _Run:
    """The first line of a note."""

    run_id: str
    target: str


@dataclass(frozen=True, slots=True)
class _Noted:
    """Each other line of a note."""

    url: str
    place: Temporary


@contextmanager
def noted(run_id: str, target: str) -> Iterator[NoteHidden]:
    """Yield the function that notes a hidden file; when the block ends, however it does, the note is removed.

    A state folder that can't be written stops nothing here: only the trace of a killed process is lost.
    """
    path = state_dir.state_folder() / _FOLDER / f"{run_id}-{_digest(target)}-{secrets.token_hex(4)}.json"
    held, several, is_begun = state_dir.Lock(path.with_suffix(".lock")), threading.Lock(), False

    def note(url: str, place: Temporary) -> None:
        nonlocal is_begun
        with several, suppress(OSError):
            if not is_begun:
                is_begun = True
                state_dir.prepare_folder(_FOLDER)
                if held.acquire():  # before the note exists, so that it is never seen without its lock
                    _append(path, {"run_id": run_id, "target": target})
            _append(path, {"url": url, "place": journal.as_json(place)})

    try:
        yield note
    finally:
        try:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        finally:
            held.release()


def _append(path: Path, facts: Mapping[str, object]) -> None:
    descriptor = state_dir.open_private(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with open(descriptor, "ab") as opened:  # noqa: PTH123  a descriptor is not a path
        opened.write(json.dumps(facts, ensure_ascii=False).encode() + b"\n")


def list_left(run_id: str | None = None) -> list[LeftHidden]:
    """List what killed processes left on this machine, or of one run, oldest first."""
    found = [_read(path) for path in _notes() if _lock_of(path).is_free()]
    return sorted((left for left in found if left and run_id in {None, left.run_id}), key=lambda left: left.noted_at)


def remove_left(run_id: str, target: str, stores: Stores) -> list[str] | None:
    """Remove what killed processes left of a run to a target, and return a sentence for each file that stays.

    Returns None where nothing was left.
    """
    found: list[str] | None = None
    for path in _notes(f"{run_id}-{_digest(target)}-"):
        with suppress(OSError), _lock_of(path).held_if_free() as is_held:
            left = _read(path) if is_held else None
            if left is None:
                continue
            kept = _in_journal(run_id, target)
            files = [file for file in left.files if file.upload not in kept]
            sentences = [stores.of(parse_target(file.path)).discard(file) for file in files]
            found = [*(found or []), *filter(None, sentences)]
            path.unlink(missing_ok=True)
            _log.info("Run %s: removed what a killed process left of %s.", run_id, counted(len(files), "hidden file"))
    return found


def _in_journal(run_id: str, target: str) -> list[Upload]:
    """Return the places of the files that the journal lists, which `recover` ends; raises if it can't be read."""
    begun = journal.find(run_id, target)
    files = [file for part in begun.staged for file in part.all_files] if begun else []
    return [file.upload for file in (*files, *(begun.superseded if begun else ()))]


def _notes(start: str = "") -> list[Path]:
    """Return the notes whose names begin with `start`; it has no character with a meaning in a pattern."""
    return list((state_dir.state_folder() / _FOLDER).glob(f"{start}*.json"))


def _lock_of(path: Path) -> state_dir.Lock:
    return state_dir.Lock(path.with_suffix(".lock"))


def _read(path: Path) -> LeftHidden | None:
    """Return what a note lists, whose last line may be cut short. None where it lists nothing."""
    files = list[StagedFile]()
    try:
        data, written_at = state_dir.read_private(path)
        first, *lines = data.split(b"\n")
        run: _Run = type_adapter(_Run).validate_json(first)
    except (OSError, ValueError):
        return None
    for line in lines:
        with suppress(ValueError):
            noted: _Noted = type_adapter(_Noted).validate_json(line)
            if is_hidden(noted.place.temporary.rpartition("/")[2]):
                files.append(StagedFile(noted.url, 0, 0, "", noted.place))
    return LeftHidden(run.run_id, run.target, datetime.fromtimestamp(written_at, UTC), tuple(files)) if files else None


def _digest(target: str) -> str:
    return hashlib.sha256(target.encode()).hexdigest()[:8]
