"""Record on this machine what is about to be published, so that a crash part way can be rolled forward.

    staged ──► noted ──► publish, publish, … manifest ──► struck out

One JSON file for each delivery, mode 0600, in the folder `journals` of `$MC_SINK_STATE_DIR`, or else of the user's
folder for state (`~/.local/state/mc_sink` on Linux). It holds what `Staged` holds: no credentials, but a file smaller
than a part is in it as its bytes. It is removed as soon as everything is visible. A second try of a run takes the place
of the first, and goes on noting what that one had stored, so that it can be thrown away in the end. Whoever publishes
holds a lock beside the journal, which goes with the process that holds it.

A second file, `.sent`, has a line for each upload that is about to be completed, and another for the answer, if there
is one: an upload whose Complete was sent, and not refused for certain, may be an object, and must never be aborted.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Mapping  # noqa: TC003  pydantic reads a note by this type
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from mc_sink import _display
from mc_sink._display import logger
from mc_sink._runtime import state_dir
from mc_sink.exceptions import ConfigurationError, SinkError, UploadError
from mc_sink.staged import Multipart, Present, Staged, StagedFile, Temporary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from mc_sink.staged import Upload

Sent = Literal["sent", "refused", "published"]
STATE_DIR, _FOLDER = state_dir.STATE_DIR, "journals"
_log = logger(__name__)
# The system, or this program, has no file descriptor left.
_NO_DESCRIPTORS = {errno.EMFILE, errno.ENFILE}


@dataclass(frozen=True, slots=True)
class Journal:
    """A delivery whose publishing began and is not known to have ended; `recover(run_id)` ends it.

    `superseded` is what earlier tries of the same run had stored; it is thrown away when this one has ended. `replaces`
    says, of a run that may replace files, what stood at their URLs when it was noted; None where that isn't known.
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
        """Files of the delivery, visible or not, its rejects' included."""
        return sum(len(part.all_files) for part in self.staged)

    def shown(self) -> dict[str, object]:
        """Give what a person wants to know of it, by name."""
        noted = f"{self.noted_at:%Y-%m-%d %H:%M:%S} UTC"
        return {"run id": self.run_id, "target": self.target, "noted at": noted, "files": self.num_files}

    def _repr_html_(self) -> str:
        return _display.facts(self.shown().items())


@dataclass(frozen=True, slots=True, eq=False)
class _Note:
    """What is in the file."""

    staged: tuple[Staged, ...]
    superseded: tuple[StagedFile, ...]
    replaces: Mapping[str, str] | None = None


def folder() -> Path:
    """Return the folder of journals, which need not exist."""
    return state_dir.state_folder() / _FOLDER


def prepare() -> None:
    """Make the folder, for its owner alone, or raise what makes that impossible before any work is done."""
    with _writing(folder()):
        place = state_dir.prepare_folder(_FOLDER)
        if not os.access(place, os.W_OK | os.X_OK):
            raise PermissionError(13, "no right to write", str(place))


@contextmanager
def lock(run_id: str, target: str) -> Iterator[None]:
    """Keep other processes and threads of this machine from publishing the same delivery meanwhile; waits for them."""
    path = _path(run_id, target).with_suffix(".lock")
    with _writing(path):
        prepare()
        descriptor = _lock(path)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # or a fork that happened meanwhile would go on holding it
        os.close(descriptor)


def write(staged: Sequence[Staged], left: Sequence[StagedFile] = (), replaces: Mapping[str, str] | None = None) -> None:
    """Have the disk hold what is about to be published, and what is `left` of earlier tries; replaces their note."""
    path = _path(staged[0].run_id, staged[0].target)
    written = path.with_suffix(".partial")
    with _writing(path):
        prepare()
        try:
            _write(
                written,
                _adapter().dump_json(_Note(tuple(staged), tuple(left), None if replaces is None else dict(replaces))),
            )
            written.replace(path)
        except BaseException:
            written.unlink(missing_ok=True)
            raise
        with suppress(OSError):  # not every filesystem syncs folders
            _sync(path.parent)


def remove(staged: Sequence[Staged]) -> None:
    """Remove a note; what it was for is visible, or gone."""
    path = _path(staged[0].run_id, staged[0].target)
    for one in (path, path.with_suffix(".sent")):
        with suppress(OSError):
            one.unlink()


def note_sent(run: Staged, upload_id: str, state: Sent = "sent") -> None:
    """Note that an upload is about to be completed, or what came of it. The disk need not confirm it."""
    path = _path(run.run_id, run.target).with_suffix(".sent")
    with _writing(path):
        descriptor = state_dir.open_private(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        with open(descriptor, "a", encoding="utf-8") as opened:  # noqa: PTH123  a path has no mode of its own
            opened.write(json.dumps([upload_id, state]) + "\n")


def sent(run_id: str, target: str) -> dict[str, Sent]:
    """Return what is noted of a delivery's uploads, by their ids; nothing of those that no Complete was sent for."""
    path = _path(run_id, target).with_suffix(".sent")
    try:
        text, _ = state_dir.read_private(path)
        return dict(json.loads(line) for line in text.splitlines())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise _unreadable(path, error) from error


def holds(staged: Staged) -> bool:
    """Say whether what was staged is noted, and so is not to be thrown away; a note of another try is none of it."""
    try:
        found = find(staged.run_id, staged.target)
    except (ConfigurationError, UploadError):
        return False
    noted = _uploads(found.staged) if found else {}
    return any(noted.get(file.path) == file.upload for file in staged.all_files)


def find(run_id: str, target: str) -> Journal | None:
    """Give the journal of one delivery, if it waits."""
    return _read(_path(run_id, target))


def superseded(earlier: Journal | None, staged: Sequence[Staged]) -> tuple[StagedFile, ...]:
    """Give what earlier tries have stored and is no part of `staged`, which takes their place."""
    if earlier is None:
        return ()
    kept = _uploads(staged)
    noted = [*(file for part in earlier.staged for file in part.all_files), *earlier.superseded]
    stored = [file for file in noted if isinstance(file.upload, Multipart | Temporary)]
    return tuple(file for file in stored if kept.get(file.path) != file.upload)


def list_journals() -> _display.Listing[Journal]:
    """List the deliveries on this machine whose publishing began and is not known to have ended, oldest first."""
    return _in_order(folder().glob("*.json"))


def journals_of(run_id: str) -> _display.Listing[Journal]:
    """List those of one run, one for each target; one of another run that can't be read is none of their business."""
    named = re.compile(re.escape(run_id) + r"-[0-9a-f]{8}\.json")
    return _in_order(path for path in folder().glob("*.json") if named.fullmatch(path.name))


def _in_order(paths: Iterable[Path]) -> _display.Listing[Journal]:
    return _display.Listing(sorted(filter(None, map(_read, paths)), key=lambda journal: journal.noted_at))


def _path(run_id: str, target: str) -> Path:
    """Two deliveries of one run id, to two targets, are two notes."""
    return folder() / f"{run_id}-{hashlib.sha256(target.encode()).hexdigest()[:8]}.json"


def _uploads(staged: Sequence[Staged]) -> dict[str, Upload]:
    """Give what publishing needs, by the URL that it will have, but for what is there already."""
    files = [file for part in staged for file in part.all_files]
    return {file.path: file.upload for file in files if not isinstance(file.upload, Present)}


def _lock(path: Path) -> int:
    """Give the descriptor of a file that is locked and still has its name: who held it before may have removed it."""
    while True:
        descriptor = state_dir.open_private(path, os.O_RDWR | os.O_CREAT)
        try:
            _wait_for(descriptor, path)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _wait_for(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _log.warning("Somebody else on this machine is publishing this delivery: waiting for %s.", path)
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _write(path: Path, text: bytes) -> None:
    path.unlink(missing_ok=True)  # of a process that was killed while it wrote
    descriptor = state_dir.open_private(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    with open(descriptor, "wb") as opened:  # noqa: PTH123  a path has no mode of its own
        opened.write(text)
        opened.flush()
        os.fsync(descriptor)


def _sync(place: Path) -> None:
    """Have the disk hold the names in a folder."""
    descriptor = os.open(place, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> Journal | None:
    """Read a journal; None where it has been struck out."""
    try:
        text, written_at = state_dir.read_private(path)
        noted_at = datetime.fromtimestamp(written_at, UTC)
        note: _Note = _adapter().validate_json(text)
        run = note.staged[0]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, IndexError) as error:
        raise _unreadable(path, error) from error
    if _path(run.run_id, run.target).name != path.name:
        raise _unreadable(path, f"it is of run {run.run_id} to {run.target}")
    return Journal(run.run_id, run.target, str(path), noted_at, note.staged, note.superseded, note.replaces)


def _unreadable(path: Path, why: OSError | ValueError | TypeError | IndexError | str) -> SinkError:
    """Return the error for a journal that can't be read; a lack of descriptors says nothing of the journal itself."""
    if isinstance(why, OSError) and why.errno in _NO_DESCRIPTORS:
        return UploadError(
            f"The journal {path} could not be read: {why.strerror}. Raise the limit on open files (ulimit -n), or run "
            f"fewer deliveries at once."
        )
    told = why if isinstance(why, str) else getattr(why, "strerror", None) or type(why).__name__
    return ConfigurationError(
        f"1 journal can't be read: {path} ({told}). What it was for may be visible in part. Remove the file and rerun "
        "with the same run_id: what is there is compared, and only the rest is published."
    )


@contextmanager
def _writing(place: Path) -> Iterator[None]:
    try:
        yield
    except UploadError:
        raise
    except OSError as error:
        raise UploadError(
            f"The journal at {place} can't be written: {error.strerror}. Make room, or name another "
            f"folder in {STATE_DIR}."
        ) from error


@cache
def _adapter() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(_Note)
