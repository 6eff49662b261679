"""Record on this machine what is about to be published, so that a crash part way can be rolled forward.

    staged ──► written ──► publish, publish, … manifest ──► removed

Each delivery has one JSON file, mode 0600, in the folder `journals` of the state folder. It holds what `Staged` holds:
no credentials, but the bytes of a file that is smaller than a part and than 16 MiB. It is removed as soon as everything
is visible.
A later attempt of a run replaces the journal of the earlier one, and lists what that one had stored, so that it can be
discarded in the end. The publisher holds a lock beside the journal.

A second file, `.sent`, has a line for each upload that is about to be completed, and another for the answer, if one
came. An upload whose Complete was sent, and not refused for certain, may be an object, and is never aborted.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from mc_sink import _display
from mc_sink._display import logger
from mc_sink._lazy import type_adapter
from mc_sink._runtime import state_dir
from mc_sink.content import Content
from mc_sink.exceptions import ConfigurationError, SinkError, UploadError
from mc_sink.staged import Multipart, Present, Staged, StagedFile, Temporary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from mc_sink.staged import Upload

Sent = Literal["sent", "refused", "published"]
_FOLDER, _KIND = "journals", "journal"
_log = logger(__name__)
# Stands for the content of the first part: written for each of 1,000 shares, 2,000 columns would be 46 MB.
_AS_FIRST = Content("", {}, {}, None)
# The system, or this program, has no file descriptor left.
_NO_DESCRIPTORS = {errno.EMFILE, errno.ENFILE}


@dataclass(frozen=True, slots=True)
class Journal:
    """A delivery whose publishing began and is not known to have ended; `recover(run_id)` ends it.

    `superseded` is what earlier attempts of the same run had stored; it is discarded when this one has ended.
    `replaces` is set for a run that may replace files: what stood at their URLs when the journal was written. It is
    None where that isn't known.
    """

    run_id: str
    target: str
    path: str
    noted_at: datetime
    staged: tuple[Staged, ...]
    superseded: tuple[StagedFile, ...] = ()
    replaces: Mapping[str, str] | None = None

    @property
    def num_files(self) -> int:
        """Files of the delivery, visible or not, including those of its rejects."""
        return sum(len(part.all_files) for part in self.staged)

    def shown(self) -> dict[str, object]:
        """Return the labelled values in display order."""
        noted = f"{self.noted_at:%Y-%m-%d %H:%M:%S} UTC"
        return {"run id": self.run_id, "target": self.target, "noted at": noted, "files": self.num_files}

    def _repr_html_(self) -> str:
        return _display.facts(self.shown().items())


@dataclass(frozen=True, slots=True, eq=False)
class _Note:
    """The content of a journal's file."""

    __pydantic_config__: ClassVar[Mapping[str, object]] = {"allow_inf_nan": False}
    staged: tuple[Staged, ...]
    superseded: tuple[StagedFile, ...]
    replaces: Mapping[str, str] | None = None


def folder() -> Path:
    """Return the folder of journals, which need not exist."""
    return state_dir.state_folder() / _FOLDER


def prepare() -> None:
    """Create the folder, for its owner alone; raises `UploadError` where it can't be used, before any work is done."""
    with state_dir.writing("folder of journals", folder()):
        state_dir.check_folder(_FOLDER)


@contextmanager
def lock(run_id: str, target: str) -> Iterator[None]:
    """Hold the lock of one delivery, so that no other process or thread of this machine publishes it meanwhile."""
    path = _path(run_id, target).with_suffix(".lock")
    held = state_dir.Lock(path)
    try:
        with state_dir.writing(_KIND, path):
            state_dir.prepare_folder(_FOLDER)
            held.acquire(
                lambda: _log.warning("Waiting for %s: another process or thread is publishing this delivery.", path)
            )
        yield
    finally:
        held.release()


def write(
    staged: Sequence[Staged], superseded: Sequence[StagedFile] = (), replaces: Mapping[str, str] | None = None
) -> None:
    """Write the journal of what is about to be published, and wait until the disk holds it.

    It replaces an earlier attempt's journal; `superseded` is what that attempt stored and this one doesn't use.
    """
    path = _path(staged[0].run_id, staged[0].target)
    first, *others = staged
    others = [replace(part, content=_AS_FIRST) if part.content == first.content else part for part in others]
    note = _Note((first, *others), tuple(superseded), None if replaces is None else dict(replaces))
    with state_dir.writing(_KIND, path):
        state_dir.prepare_folder(_FOLDER)
        text = json.dumps(note, default=as_json, ensure_ascii=False, separators=(",", ":"))
        state_dir.write_private(path, text.encode())


def remove(staged: Sequence[Staged]) -> None:
    """Remove the journal of files that are all visible, or discarded."""
    path = _path(staged[0].run_id, staged[0].target)
    for one in (path, path.with_suffix(".sent")):
        with suppress(OSError):
            one.unlink()


def note_sent(run: Staged, upload_id: str, state: Sent = "sent") -> None:
    """Note that an upload is about to be completed, or what the answer was. The disk need not confirm it."""
    path = _path(run.run_id, run.target).with_suffix(".sent")
    with state_dir.writing(_KIND, path):
        descriptor = state_dir.open_private(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        with open(descriptor, "a", encoding="utf-8") as opened:  # noqa: PTH123  a descriptor is not a path
            opened.write(json.dumps([upload_id, state]) + "\n")


def sent(run_id: str, target: str) -> dict[str, Sent]:
    """Return the last noted state of each upload by its id; uploads that no Complete was sent for are not in it."""
    path = _path(run_id, target).with_suffix(".sent")
    try:
        text, _ = state_dir.read_private(path)
        noted = [json.loads(line) for line in text.splitlines()]
        if any(type(upload_id) is not str or state not in get_args(Sent) for upload_id, state in noted):
            raise _unreadable(path, "a line doesn't name an upload and its state")  # by another it might be aborted
        return dict(noted)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise _unreadable(path, error) from error


def holds(staged: Staged) -> bool:
    """Return True if the journal lists this delivery's uploads; they must then not be discarded."""
    try:
        found = find(staged.run_id, staged.target)
    except (ConfigurationError, UploadError):
        return False
    noted = _uploads(found.staged) if found else {}
    return any(noted.get(file.path) == file.upload for file in staged.all_files)


def find(run_id: str, target: str) -> Journal | None:
    """Return the journal of one delivery, or None if it has none."""
    return _read(_path(run_id, target))


def superseded(earlier: Journal | None, staged: Sequence[Staged]) -> tuple[StagedFile, ...]:
    """Return what earlier attempts stored and what `staged`, which replaces them, doesn't use."""
    if earlier is None:
        return ()
    used = _uploads(staged)
    noted = [*(file for part in earlier.staged for file in part.all_files), *earlier.superseded]
    stored = [file for file in noted if isinstance(file.upload, Multipart | Temporary)]
    return tuple(file for file in stored if used.get(file.path) != file.upload)


def list_journals() -> _display.Listing[Journal]:
    """List the deliveries on this machine whose publishing began and is not known to have ended, oldest first.

    A journal that can't be read is logged as a warning, and hides no other.
    """
    found, unreadable = read_all()
    for error in unreadable:
        _log.warning("%s", error.message)
    return found


def read_all() -> tuple[_display.Listing[Journal], list[ConfigurationError]]:
    """Return all journals of this machine, oldest first, and an error for each that can't be read."""
    found, unreadable = list[Journal | None](), list[ConfigurationError]()
    for path in sorted(folder().glob("*.json")):
        try:
            found.append(_read(path))
        except ConfigurationError as error:
            unreadable.append(error)
    return _in_order(found), unreadable


def journals_of(run_id: str) -> _display.Listing[Journal]:
    """List the journals of one run, one for each target. Unreadable journals of other runs are ignored."""
    named = re.compile(re.escape(run_id) + r"-[0-9a-f]{8}\.json")
    return _in_order(_read(path) for path in folder().glob("*.json") if named.fullmatch(path.name))


def _in_order(found: Iterable[Journal | None]) -> _display.Listing[Journal]:
    return _display.Listing(sorted(filter(None, found), key=lambda journal: journal.noted_at))


def _path(run_id: str, target: str) -> Path:
    """Return the path of a journal; deliveries of one run id to two targets have two."""
    return _path_in(folder(), run_id, target)


@lru_cache(maxsize=64)  # a delivery asks for it six times
def _path_in(place: Path, run_id: str, target: str) -> Path:
    return place / f"{run_id}-{hashlib.sha256(target.encode()).hexdigest()[:8]}.json"


def _uploads(staged: Sequence[Staged]) -> dict[str, Upload]:
    """Return the uploads by the URLs of their files, but for files that are already visible."""
    files = [file for part in staged for file in part.all_files]
    return {file.path: file.upload for file in files if not isinstance(file.upload, Present)}


def _read(path: Path) -> Journal | None:
    """Return a journal, or None if it was removed."""
    try:
        text, written_at = state_dir.read_private(path)
        noted_at = datetime.fromtimestamp(written_at, UTC)
        note: _Note = type_adapter(_Note).validate_json(text)
        run = note.staged[0]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, IndexError) as error:
        raise _unreadable(path, error) from error
    if _path(run.run_id, run.target).name != path.name:
        raise _unreadable(path, f"it is of run {run.run_id} to {run.target}")
    staged = [replace(part, content=run.content) if part.content == _AS_FIRST else part for part in note.staged]
    return Journal(run.run_id, run.target, str(path), noted_at, tuple(staged), note.superseded, note.replaces)


def _unreadable(path: Path, why: Exception | str) -> SinkError:
    """Return the error for an unreadable journal; a lack of descriptors shows nothing about the journal itself."""
    if isinstance(why, OSError) and why.errno in _NO_DESCRIPTORS:
        return UploadError(
            f"The journal {path} could not be read: {why.strerror}. Raise the limit on open files (ulimit -n), or run "
            f"fewer deliveries at once."
        )
    reason = why if isinstance(why, str) else getattr(why, "strerror", None) or type(why).__name__
    return ConfigurationError(
        f"The journal {path} can't be read: {reason}. Its delivery may be visible in part. Remove the file and rerun "
        "with the same run_id: files that are visible are compared, and only the rest is published."
    )


def as_json(value: object) -> object:
    """Convert a part of a note or a message to JSON, in a form that pydantic reads back.

    Pydantic could write it too, but its import would cost every first delivery 0.09 s of processor time (measured).
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: getattr(value, one.name) for one in fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, bytes):
        return urlsafe_b64encode(value).decode()
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    raise TypeError(f"JSON can't hold a {type(value).__name__}.")
