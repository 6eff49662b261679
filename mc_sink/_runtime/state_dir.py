"""The folder for state on this machine: its place, its permissions and its private files.

`$MC_SINK_STATE_DIR`, or else the user's folder for state. Locks are emptied and journals are acted upon, so a file
there is opened by what it is: a regular file of this user's, with one name. A link in its place is refused.
"""

from __future__ import annotations

import errno
import os
import stat
from functools import cache
from pathlib import Path

STATE_DIR = "MC_SINK_STATE_DIR"
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def state_folder() -> Path:
    """Return the folder, which need not exist; a relative one begins where this program first asked for it."""
    if asked := os.environ.get(STATE_DIR):
        return _absolute(asked)
    from platformdirs import user_state_path

    return user_state_path("mc_sink", appauthor=False)


@cache
def _absolute(asked: str) -> Path:
    return Path(asked).absolute()


def prepare_folder(name: str) -> Path:
    """Return the folder `name` within, which exists now, for its owner alone, or raise `OSError` with the reason."""
    place = state_folder() / name
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # else its parents have the umask's mode
    place.mkdir(mode=0o700, exist_ok=True)
    found = place.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise OSError(errno.ENOTDIR, "it is a link, and not a folder. Remove it", str(place))
    _refuse_another_owner(found, place)
    if found.st_mode & _OTHERS_WRITE:
        place.chmod(0o700)
    return place


def open_private(path: Path, flags: int) -> int:
    """Open a file in the state folder, or raise `OSError` where it is a link, no regular file, or another user's.

    Returns a descriptor. With `os.O_CREAT` in `flags` a new file has mode 0600. Nothing is emptied: a caller that does
    so has the file that it was given here.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise OSError(errno.ELOOP, "it is a symbolic link, which isn't followed. Remove it", str(path)) from None
    try:
        found = os.fstat(descriptor)
        _check(found, path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_private(path: Path) -> tuple[bytes, float]:
    """Return what a file in the state folder holds, and when it was written; raises as `open_private` does."""
    with open(open_private(path, os.O_RDONLY), "rb") as opened:
        return opened.read(), os.fstat(opened.fileno()).st_mtime


def _check(found: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it isn't a regular file. Remove it", str(path))
    if found.st_nlink > 1:
        raise OSError(errno.EMLINK, "it is a hard link to a file elsewhere. Remove it", str(path))
    _refuse_another_owner(found, path)


def _refuse_another_owner(found: os.stat_result, path: Path) -> None:
    if found.st_uid != os.geteuid():
        raise OSError(errno.EPERM, f"it belongs to user {found.st_uid}, and not to you", str(path))
