"""Locks that go with whoever holds them, however that ends."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from mc_sink import _state, journal
from mc_sink.exceptions import NOTHING_VISIBLE, ConfigurationError, SinkError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCKS = "locks"


class Busy(SinkError):  # noqa: N818  named like what it says
    """Somebody else on this machine is at it; nothing was done, and later it may be free."""


def state_folder() -> Path:
    """Return the folder for all that this machine keeps, which exists now, for its owner alone.

    Raises `UploadError` where it can't be written to.
    """
    journal.prepare()
    return _state.state_folder()


@contextmanager
def hold(name: str, what: str) -> Iterator[None]:
    """Hold the lock `name` of this machine, or raise `Busy` with `what` is going on and who does it."""
    descriptor = lock_file(LOCKS, name, os.O_RDWR | os.O_CREAT)
    try:
        if not take(descriptor):
            raise Busy(f"{what} already, by pid {_holder(descriptor)}. {NOTHING_VISIBLE} Wait for it, or end it.")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)  # and the file stays: removing it would let two hold a lock of one name


def lock_file(folder: str, name: str, flags: int) -> int:
    """Return the descriptor of a lock's file, or raise `ConfigurationError` where it can't be opened."""
    state_folder()
    try:
        return _state.open_private(_state.prepare(folder) / f"{name}.lock", flags)
    except OSError as error:
        raise ConfigurationError(
            f"The lock {error.filename} can't be opened: {error.strerror}. {NOTHING_VISIBLE} Make room, or name "
            f"another folder in {_state.STATE_DIR}."
        ) from error


def take(descriptor: int) -> bool:
    """Take the lock of an open file; False where somebody else has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_free(path: Path) -> bool:
    """Say whether nobody holds the lock of a file, which may be gone."""
    with suppress(FileNotFoundError):
        descriptor = _state.open_private(path, os.O_RDWR)
        try:
            return take(descriptor)
        finally:
            os.close(descriptor)
    return True


def _holder(descriptor: int) -> str:
    return os.pread(descriptor, 20, 0).decode("ascii", "replace") or "?"
