"""What is about to be published, noted on this machine first, so that a crash part way can be rolled forward.

    staged ──► noted ──► publish, publish, … manifest ──► struck out

One JSON file for each delivery, mode 0600, in the folder `journals` of `$MC_SINK_STATE_DIR`, or else of the user's
folder for state (`~/.local/state/mc_sink` on Linux). It holds what `Staged` holds: no credentials, but a file smaller
than a part is in it as its bytes. It is removed as soon as everything is visible.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mc_sink.exceptions import NOTHING_VISIBLE, ConfigurationError, UploadError
from mc_sink.staged import Staged

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

STATE_DIR = "MC_SINK_STATE_DIR"


@dataclass(frozen=True, slots=True)
class Journal:
    """A delivery whose publishing began and is not known to have ended; `recover(run_id)` ends it."""

    run_id: str
    target: str
    path: str
    noted_at: datetime
    staged: tuple[Staged, ...]

    @property
    def num_files(self) -> int:
        """Files of the delivery, visible or not, its rejects' included."""
        return sum(len(part.all_files) for part in self.staged)


def folder() -> Path:
    """Give the folder of journals, which need not exist."""
    if asked := os.environ.get(STATE_DIR):
        return Path(asked) / "journals"
    from platformdirs import user_state_path

    return user_state_path("mc_sink", appauthor=False) / "journals"


def prepare() -> None:
    """Make the folder, for its owner alone, or raise what makes that impossible before any work is done."""
    place = folder()
    with _writing(place):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(place, os.W_OK | os.X_OK):
            raise PermissionError(13, "no right to write", str(place))


def note(staged: Sequence[Staged]) -> None:
    """Have the disk hold what is about to be published; replaces the note of an earlier try of the same run."""
    path = _path(staged[0].run_id, staged[0].target)
    written = path.with_suffix(f".{os.getpid()}.partial")
    with _writing(path):
        prepare()
        try:
            _write(written, _adapter().dump_json(tuple(staged)))
            written.replace(path)
        except BaseException:
            written.unlink(missing_ok=True)
            raise


def strike(staged: Sequence[Staged]) -> None:
    """Remove a note; what it was for is visible, or gone."""
    with suppress(OSError):
        _path(staged[0].run_id, staged[0].target).unlink()


def waits(staged: Staged) -> bool:
    """Say whether there is a note of this delivery."""
    return _path(staged.run_id, staged.target).exists()


def find(run_id: str, target: str) -> Journal | None:
    """Give the journal of one delivery, if it waits."""
    path = _path(run_id, target)
    return _read(path) if path.exists() else None


def list_journals() -> list[Journal]:
    """List the deliveries on this machine whose publishing began and is not known to have ended, oldest first."""
    found = [_read(path) for path in folder().glob("*.json")]
    return sorted(found, key=lambda journal: journal.noted_at)


def _path(run_id: str, target: str) -> Path:
    """Two deliveries of one run id, to two targets, are two notes."""
    return folder() / f"{run_id}-{hashlib.sha256(target.encode()).hexdigest()[:8]}.json"


def _write(path: Path, text: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as opened:  # noqa: PTH123  a path has no mode of its own
        opened.write(text)
        opened.flush()
        os.fsync(descriptor)


def _read(path: Path) -> Journal:
    try:
        staged = _adapter().validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"1 journal can't be read: {path} ({type(error).__name__}). What it was for may be visible in part. Remove "
            "the file and rerun with the same run_id: what is there is compared, and only the rest is published."
        ) from error
    noted_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return Journal(staged[0].run_id, staged[0].target, str(path), noted_at, staged)


@contextmanager
def _writing(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UploadError(
            f"The journal at {place} can't be written: {error.strerror}. {NOTHING_VISIBLE} Make room, or name another "
            f"folder in {STATE_DIR}."
        ) from error


@cache
def _adapter() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(tuple[Staged, ...])
