"""The state folder of this machine: its location, its permissions, its locks and its private files.

It is `$MC_SINK_STATE_DIR`, which may be relative to the folder in which the program was started, or else the user's
folder for state (`~/.local/state/mc_sink` on Linux). Locks are emptied and journals are acted upon, so a file is judged
by what was opened: a regular file of this user, with a single name. Links are refused. Every lock of the package is a
`Lock`, and every file but the database is written by `write_private`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mc_sink._display import logger
from mc_sink.exceptions import ConfigurationError, SinkError, UploadError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

STATE_DIR = "MC_SINK_STATE_DIR"
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_FULL, _DENIED = {errno.ENOSPC, errno.EDQUOT}, {errno.EROFS, errno.EACCES, errno.EPERM}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
_NO_DESCRIPTORS = {errno.EMFILE, errno.ENFILE}
# Filesystems on the disk of another machine, by their names in /proc/self/mountinfo.
_REMOTE = {
    "9p",
    "afs",
    "ceph",
    "cifs",
    "fuse.s3fs",
    "fuse.sshfs",
    "glusterfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "smb3",
}
_MOUNTS = "/proc/self/mountinfo"
_log = logger(__name__)


def _working_folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109  None where it has been removed
    except OSError:
        return None


# This module is imported with the package: a source, a hook or a caller may change the working directory later.
_STARTED_IN = _working_folder()


def state_folder() -> Path:
    """Return the folder, which need not exist; raises `ConfigurationError` where nothing says where it is."""
    return _folder_of(os.environ.get(STATE_DIR), os.environ.get("HOME"), os.environ.get("XDG_STATE_HOME"))


@cache
def _folder_of(asked: str | None, home: str | None, state_home: str | None) -> Path:
    """Return the folder that is asked for, or else the user's, which depends on the other two variables."""
    if asked:
        found = Path(_STARTED_IN or "", asked)
        if found.is_absolute():
            return found
        raise ConfigurationError(
            f"{STATE_DIR} is a relative path, and the folder in which this program was started is gone. Set it to an "
            "absolute path."
        )
    from platformdirs import user_state_path

    found = Path()
    with suppress(RuntimeError):  # newer versions raise where no home is known
        found = user_state_path("mc_sink", appauthor=False)
    if found.is_absolute() and (state_home or home != ""):  # without HOME, the system knows the user's home
        return found
    raise ConfigurationError(
        f"The folder for the state of this user isn't known: HOME is not set to an absolute path. Set HOME, or set "
        f"{STATE_DIR} to a folder."
    )


def prepare_folder(name: str = "") -> Path:
    """Create the state folder, or the folder `name` in it, for its owner alone, and return it.

    Raises `OSError` with the reason where it can't be created or written to, or isn't this user's own.
    """
    root = state_folder()
    root.mkdir(mode=0o700, parents=True, exist_ok=True)  # by itself, because parents get the umask's mode
    place = root / name
    if name:
        place.mkdir(mode=0o700, exist_ok=True)
        found = place.lstat()
        if not stat.S_ISDIR(found.st_mode):
            raise OSError(errno.ENOTDIR, "it is a link, and not a folder. Remove it", str(place))
        _refuse_another_owner(found, place)
        if found.st_mode & _OTHERS_WRITE:
            place.chmod(0o700)
    if not os.access(place, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "no right to write", str(place))
    return place


def check_folder(name: str) -> None:
    """Prepare the folder `name`, and raise `OSError` if it has no locks, or no space for a small file.

    Logs a warning for a folder on the disk of another machine, once.
    """
    place = prepare_folder(name)
    with Lock(place / f"{secrets.token_hex(8)}.lock").held() as lock:
        os.pwrite(lock.descriptor, bytes(4096), 0)
    _warn_of_remote(place)


@cache
def _warn_of_remote(place: Path) -> None:
    if (kind := remote_kind(place)) is not None:
        _log.warning(
            "The state folder %s is on the disk of another machine (%s). Its locks may not keep two runs apart, and "
            "its history may be damaged. Set %s to a folder on a local disk.",
            place.parent,
            kind,
            STATE_DIR,
        )


def remote_kind(place: Path, mounts: str = _MOUNTS) -> str | None:
    """Return the kind of filesystem a folder is on if it is on another machine's disk; None elsewhere, or if unknown.

    `mounts` is the file in which Linux lists what is mounted where; other systems have none.
    """
    kinds: dict[str, str] = {}
    with suppress(OSError, IndexError), open(mounts, encoding="utf-8", errors="surrogateescape") as lines:  # noqa: PTH123
        for line in lines:
            before, _, after = line.partition(" - ")
            kinds[before.split(" ")[4].replace("\\040", " ")] = after.split(" ")[0]
    above = next((str(one) for one in (place, *place.parents) if str(one) in kinds), None)
    kind = kinds.get(above or "")
    return kind if kind in _REMOTE else None


def advice(error: OSError) -> str:
    """Return what to do about a state folder that can't be used."""
    if error.errno in _FULL:
        return f"Free disk space, or set {STATE_DIR} to a folder on another disk."
    if error.errno in _DENIED:
        return f"Grant this user the permission to write there, or set {STATE_DIR} to another folder."
    if error.errno in _NO_LOCKS:
        return f"Its filesystem has no locks. Set {STATE_DIR} to a folder on a local disk."
    if error.errno in _NO_DESCRIPTORS:
        return "Raise the limit on open files (ulimit -n), or run fewer deliveries at once."
    return f"Set {STATE_DIR} to a folder on a local disk that this user may write."


@contextmanager
def writing(what: str, place: Path) -> Iterator[None]:
    """Raise an `OSError` of the block as an `UploadError` that names the file or folder and what to do."""
    try:
        yield
    except SinkError:
        raise
    except OSError as error:
        raise UploadError(f"The {what} at {place} can't be written: {error.strerror}. {advice(error)}") from error


def open_private(path: Path, flags: int) -> int:
    """Open a file in the state folder and return its descriptor.

    Raises `OSError` for a link, for anything but a regular file, and for another user's file. With `os.O_CREAT` in
    `flags` a new file has mode 0600. Nothing is truncated: a caller truncates the file that it was given.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise OSError(errno.ELOOP, "it is a symbolic link, which isn't followed. Remove it", str(path)) from None
    try:
        _check_file(os.fstat(descriptor), path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_private(path: Path) -> tuple[bytes, float]:
    """Return the bytes of a file in the state folder and when it was written; raises as `open_private` does."""
    with open(open_private(path, os.O_RDONLY), "rb") as opened:
        return opened.read(), os.fstat(opened.fileno()).st_mtime


def write_private(path: Path, data: bytes | Callable[[], bytes]) -> None:
    """Replace a file in the state folder, so that the disk holds either the old bytes or all of the new ones.

    No other user can read it at any moment: it is written with mode 0600 under another name, and then renamed. A
    secret is given as a function, so that no frame of the caller has its text.
    """
    partial = path.with_suffix(".partial")
    with Lock(partial).held() as lock:  # two writers take turns; what a killed one left is overwritten
        with open(os.dup(lock.descriptor), "wb") as opened:  # noqa: PTH123  a descriptor is not a path
            opened.truncate(0)
            opened.write(data() if callable(data) else data)
            opened.flush()
            os.fsync(opened.fileno())
        partial.replace(path)
    with suppress(OSError):  # not every filesystem syncs folders
        sync_folder(path.parent)


class Lock:
    """An exclusive lock on a file of the state folder, which holds the process id of its holder.

    The system releases it when its holder's process ends. `release` removes the file, unless it was renamed. Another
    process that waited for it notices that the file has lost its name, and locks the new one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.holder = "?"
        self._descriptor: int | None = None

    @property
    def descriptor(self) -> int:
        """The descriptor of the locked file; `ValueError` where it isn't held."""
        if self._descriptor is None:
            raise ValueError(f"The lock {self.path} isn't held.")
        return self._descriptor

    def acquire(self, wait: Callable[[], None] | None = None) -> bool:
        """Lock the file and return True; without `wait`, return False if another one holds it.

        `wait` is called once if another one holds it; then this waits until it is released.
        """
        while self._descriptor is None:
            descriptor = open_private(self.path, os.O_RDWR | os.O_CREAT)
            try:
                if not _try_lock(descriptor):
                    if wait is None:
                        self.holder = os.pread(descriptor, 20, 0).decode("ascii", "replace") or "?"
                        return False
                    wait()
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(descriptor), self.path.stat()):
                        self._descriptor, descriptor = descriptor, -1
                        self._write_holder()
            finally:
                if descriptor != -1:
                    os.close(descriptor)
        return True

    def _write_holder(self) -> None:
        with suppress(OSError):  # a full disk; the process id is only shown
            os.ftruncate(self.descriptor, 0)
            os.pwrite(self.descriptor, str(os.getpid()).encode(), 0)

    @contextmanager
    def held(self, wait: Callable[[], None] = lambda: None) -> Iterator[Self]:
        """Hold the lock for a block; waits for it, as `acquire` does."""
        try:
            self.acquire(wait)
            yield self
        finally:
            self.release()

    @contextmanager
    def held_if_free(self) -> Iterator[bool]:
        """Hold the lock for a block if no other one holds it; yields whether it is held."""
        try:
            yield self.acquire()
        finally:
            self.release()

    def release(self) -> None:
        """Remove the file and release the lock, if it is held."""
        if self._descriptor is None:
            return
        try:
            with suppress(OSError):
                if os.path.samestat(os.fstat(self._descriptor), self.path.lstat()):
                    self.path.unlink()
            with suppress(OSError):
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # or a process forked meanwhile would go on holding it
        finally:  # also when interrupted: no later run of this process could ever lock it
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def is_free(self) -> bool:
        """Return whether no process holds it; its file need not exist."""
        with suppress(FileNotFoundError):
            descriptor = open_private(self.path, os.O_RDWR)
            try:
                return _try_lock(descriptor)
            finally:
                os.close(descriptor)
        return True


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sync_folder(folder: Path) -> None:
    """Wait until the disk holds the names in a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_file(found: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it isn't a regular file. Remove it", str(path))
    if found.st_nlink > 1:
        raise OSError(errno.EMLINK, "it is a hard link to a file elsewhere. Remove it", str(path))
    _refuse_another_owner(found, path)


def _refuse_another_owner(found: os.stat_result, path: Path) -> None:
    if found.st_uid != os.geteuid():
        raise OSError(errno.EPERM, f"it belongs to user {found.st_uid}, and not to you", str(path))
