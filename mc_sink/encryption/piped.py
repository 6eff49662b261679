"""Write into an encryption: clear bytes go through a pipe, encrypted ones come out on a thread, in bounded memory.

The pipe holds at most 1 MiB and the library or its process less, so a slow store slows the query down.

A child of a fork has copies of all pipes of its parent. While one of them is open, the encryption doesn't see the end
of the file. So a child closes them at once; a fork waits while a pipe is made or closed.
"""

from __future__ import annotations

import os
import threading
import zlib
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from mc_sink.encrypted import ClearBytes
from mc_sink.exceptions import UploadError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mc_sink.encryption.cipher import Cipher, Sink

_PIPE_BYTES = 2**20
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ of Linux, which Python 3.11 names on Linux only


class _Pipes:
    """The ends of pipes that are open in this process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # reentrant: what runs while it is held may fork
        self._open = set[int]()

    def pair(self) -> tuple[int, int]:
        """Open a pipe, and return its reading and its writing end."""
        with self.lock:
            ends = os.pipe()
            self._open.update(ends)
        return ends

    def close(self, end: int) -> None:
        """Close an end."""
        with self.lock:
            self._open.discard(end)
            os.close(end)

    def after_fork(self) -> None:
        """Close the parent's ends in a child, and release the lock that the fork acquired."""
        for end in self._open:
            with suppress(OSError):
                os.close(end)
        self._open.clear()
        self.lock.release()


pipes = _Pipes()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=pipes.lock.acquire, after_in_parent=pipes.lock.release, after_in_child=pipes.after_fork)


class _Below:
    """Passes encrypted bytes on and counts them, until the file fails or the encryption is ended early."""

    def __init__(self, file: Sink) -> None:
        self._file = file
        self.failure: BaseException | None = None
        self.ended = False
        self.num_bytes = 0

    def write(self, data: bytes) -> int:
        if self.ended:
            raise OSError("The encryption was ended early.")
        try:
            self._file.write(data)
        except BaseException as error:
            self.failure = error
            raise
        self.num_bytes += len(data)
        return len(data)

    def flush(self) -> None:
        """Ignore the call, as the writer does."""


class ClearFile:
    """Passes clear bytes into the pipe of an encryption, and sums them."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self.num_bytes = self._crc = 0
        self.is_broken = False

    def write(self, data: bytes) -> int:
        """Write clear bytes; waits while the encrypted ones are being stored."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._pipe, rest) :]
        except OSError:
            self.is_broken = True
            raise
        self._crc = zlib.crc32(data, self._crc)
        self.num_bytes += len(data)
        return len(data)

    def tell(self) -> int:
        """Return the number of clear bytes so far."""
        return self.num_bytes

    def flush(self) -> None:
        """Ignore the call: the pipe is read as it fills."""

    @property
    def clear(self) -> ClearBytes:
        """The size and the checksum of the bytes so far."""
        return ClearBytes(self.num_bytes, f"crc32:{self._crc:08x}")


@contextmanager
def encrypt_into(file: Sink, cipher: Cipher) -> Iterator[ClearFile]:
    """Yield a file that writes encrypted bytes into `file`; all of them are written when the block ends.

    The error of `file` is raised as it is. Raises `UploadError` if the encryption failed. If the block raises, the
    encryption is ended and nothing more is written.
    """
    below, failures = _Below(file), list[BaseException]()
    pipe, work, end = cipher.start(below)
    _widen(pipe)

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  raised in the thread that encodes
            failures.append(error)

    thread = threading.Thread(target=run, name="mc_sink encryption", daemon=True)
    above, is_complete = ClearFile(pipe), False
    try:
        thread.start()
        yield above
        is_complete = True
    finally:
        below.ended = not is_complete
        pipes.close(pipe)
        if not is_complete:
            end()
        if thread.ident is not None:
            thread.join()
        if below.failure is not None:
            raise below.failure from below.failure.__cause__
        if above.is_broken or (is_complete and (failures or below.num_bytes <= above.num_bytes)):
            raise UploadError(
                f"The encryption with {cipher.facts.kind} failed before the end of the file. Rerun; if it fails again, "
                "check that the library's version is supported, and that the machine has memory and processes left."
            ) from (failures[0] if failures else None)


def _widen(pipe: int) -> None:
    """Set the size of a pipe to more than its 64 KiB, where the system can."""
    with suppress(ImportError, OSError):
        import fcntl

        fcntl.fcntl(pipe, getattr(fcntl, "F_SETPIPE_SZ", _SET_PIPE_SIZE), _PIPE_BYTES)


def pipe_of(read: Callable[[int], None]) -> tuple[int, Callable[[], None]]:
    """Return the writing end of a new pipe, and what calls `read` with its reading end and closes that."""
    out, into = pipes.pair()

    def work() -> None:
        try:
            read(out)
        finally:
            pipes.close(out)

    return into, work
