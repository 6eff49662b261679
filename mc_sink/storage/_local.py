"""Local files: written beside their final place under a hidden name, shown by a hard link that can't overwrite."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from isal import isal_zlib

from mc_sink.exceptions import CommitError, TargetError
from mc_sink.staged import Temporary
from mc_sink.storage._store import Match, Published, already_exists

if TYPE_CHECKING:
    from mc_sink.receipt import WrittenFile
    from mc_sink.staged import IfExists, StagedFile
    from mc_sink.target import Target

_READ_SIZE = 2**20


def hidden_name(path: str) -> str:
    """Give the hidden name beside `path` under which it is written."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/.{name}.{secrets.token_hex(4)}.partial"


class LocalFile:
    """Takes the bytes of one file under a hidden name, and makes sure they are on the disk."""

    def __init__(self, path: str) -> None:
        self._path, self._temporary = path, hidden_name(path)
        self._made = [folder for folder in Path(path).parents if not folder.exists()]
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._file = Path(self._temporary).open("xb", buffering=0)  # noqa: SIM115  lives as long as the delivery

    def write(self, data: bytes) -> None:
        """Write all of `data`."""
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]

    def finish(self) -> Temporary:
        """Have the disk hold everything."""
        os.fsync(self._file.fileno())
        self._file.close()
        return Temporary(self._path, self._temporary)

    def stop(self) -> None:
        """Do nothing: a write to a disk ends by itself."""

    def abort(self) -> str | None:
        """Remove what was written, and the folders that were made for it."""
        self._file.close()
        Path(self._temporary).unlink(missing_ok=True)
        with suppress(OSError):  # somebody else put something there
            for folder in self._made:
                folder.rmdir()
        return None


class LocalStore:
    """The local filesystem. Missing folders are made, as keys make theirs in a bucket."""

    def check(self, target: Target, if_exists: IfExists) -> None:
        """Refuse a folder, and a file that is already there."""
        path = Path(target.path)
        if path.is_dir():
            raise TargetError(f"{path} is a folder. Write {path}/ for a new file in it each run.")
        if if_exists == "fail" and os.path.lexists(path):
            raise already_exists(target.path)

    def open(self, target: Target, content_type: str) -> LocalFile:  # noqa: ARG002  files have no content type
        """Take bytes for one file."""
        return LocalFile(target.path)

    def publish(self, file: StagedFile, if_exists: IfExists) -> Published:
        """Link the file to its name, which fails where the name is taken; or replace, where that was asked for."""
        temporary = Path(_temporary(file).temporary)
        try:
            if if_exists == "overwrite":
                temporary.replace(file.path)
            else:
                os.link(temporary, file.path)
                temporary.unlink()
        except FileExistsError as error:
            raise already_exists(file.path) from error
        except OSError as error:
            advice = " This filesystem has no hard links." if error.errno in {errno.EPERM, errno.ENOTSUP} else ""
            message = f"{file.path} could not be published: {error}.{advice} Nothing became visible."
            raise CommitError(message, uncommitted=[file.path]) from error
        _sync_folder(Path(file.path).parent)
        return Published(None, None)

    def discard(self, file: StagedFile) -> str | None:
        """Remove the hidden file."""
        Path(_temporary(file).temporary).unlink(missing_ok=True)
        return None

    def match(self, file: WrittenFile) -> Match:
        """Compare size and CRC32 with the file that is there."""
        path, crc = Path(file.path), 0
        if not path.is_file():
            return "missing"
        with path.open("rb") as opened:
            while data := opened.read(_READ_SIZE):
                crc = isal_zlib.crc32(data, crc)
        return "same" if (path.stat().st_size, f"crc32:{crc:08x}") == (file.num_bytes, file.checksum) else "changed"


def _temporary(file: StagedFile) -> Temporary:
    if not isinstance(file.upload, Temporary):
        raise CommitError(f"{file.path} was not staged on a filesystem. Nothing became visible.")
    return file.upload


def _sync_folder(folder: Path) -> None:
    """Have the disk hold the new name too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
