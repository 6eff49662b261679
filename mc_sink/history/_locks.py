"""Locks that go with whoever holds them, however that ends."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from mc_sink import journal
from mc_sink.exceptions import NOTHING_VISIBLE, SinkError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Busy(SinkError):  # noqa: N818  named like what it says
    """Somebody else on this machine is at it; nothing was done, and later it may be free."""


def state_folder() -> Path:
    """Give the folder for all that this machine keeps, which is there now, for its owner alone.

    Raises `UploadError` where it can't be written to.
    """
    place = journal.folder().parent
    with suppress(OSError):  # said in words by what follows
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    journal.prepare()
    return place


@contextmanager
def hold(name: str, what: str) -> Iterator[None]:
    """Hold the lock `name` of this machine, or raise `Busy` with `what` is going on and who does it."""
    folder = state_folder() / "locks"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{name}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not take(descriptor):
            raise Busy(f"{what} already, by pid {_holder(descriptor)}. {NOTHING_VISIBLE} Wait for it, or end it.")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)  # and the file stays: removing it would let two hold a lock of one name


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
        descriptor = os.open(path, os.O_RDWR)
        try:
            return take(descriptor)
        finally:
            os.close(descriptor)
    return True


def _holder(descriptor: int) -> str:
    return os.pread(descriptor, 20, 0).decode("ascii", "replace") or "?"
