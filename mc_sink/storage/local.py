"""Local files: written beside their final place under a hidden name, shown by a hard link that can't overwrite."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from isal import isal_zlib

from mc_sink._display import logger
from mc_sink.exceptions import CommitError, PermissionDenied, TargetError, UploadError
from mc_sink.receipt import WrittenFile
from mc_sink.staged import Present, Temporary
from mc_sink.storage.store import FileComparison, Holds, Match, Published, already_exists, differs
from mc_sink.target import Target, parse_target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mc_sink.staged import IfExists, StagedFile

_READ_SIZE = 2**20
# Filesystems take names of 255 bytes: what a hidden name leaves of them for the name itself.
_STEM_BYTES = 255 - len("..12345678.partial")
_HIDDEN = re.compile(r"\..*\.[0-9a-f]{8}\.partial")
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
# The place would do: the machine has no more room, or no more descriptors.
_NOT_THE_PLACE = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE}
_KINDS: dict[Callable[[int], bool], str] = {
    stat.S_ISDIR: "a folder",
    stat.S_ISLNK: "a symbolic link",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
    stat.S_ISFIFO: "a named pipe",
    stat.S_ISSOCK: "a socket",
}
_log = logger(__name__)


def hidden_name(path: str) -> str:
    """Give the hidden name beside `path` under which it is written, no longer than a filesystem takes."""
    folder, _, name = path.rpartition("/")
    stem = name.encode()[:_STEM_BYTES].decode(errors="ignore")
    return f"{folder}/.{stem}.{secrets.token_hex(4)}.partial"


def is_hidden(name: str) -> bool:
    """Return True for a name, without its folder, that a file has while it is written."""
    return _HIDDEN.fullmatch(name) is not None


def odd_kind(path: str) -> str | None:
    """Return what is at a path that isn't a regular file, in words; None for a file, nothing, or what can't be seen."""
    try:
        mode = Path(path).lstat().st_mode
    except (OSError, ValueError):
        return None
    kind = next((words for of_kind, words in _KINDS.items() if of_kind(mode)), "not a regular file")
    return None if stat.S_ISREG(mode) else kind


def not_a_file(path: str, kind: str) -> str:
    """Return the message for a place that only a regular file could be replaced at, and that holds something else."""
    advice = f"Write {path}/ for a new file in it each run" if kind == "a folder" else "Choose another name"
    return f"{path} is {kind}, and a delivery makes regular files alone. {advice}."


class LocalFile:
    """Takes the bytes of one file under a hidden name, and makes sure they are on the disk."""

    def __init__(self, path: str) -> None:
        self._path, self._temporary = path, hidden_name(path)
        self._made: list[Path] = []
        try:
            with _looking(path):
                self._make_folder()
                self._file = Path(self._temporary).open("xb", buffering=0)  # noqa: SIM115  lives as long as the delivery
        except BaseException:
            _remove_folders(self._made)
            raise

    def write(self, data: bytes) -> None:
        """Write all of `data`."""
        left = memoryview(data)
        with self._storing():
            while left:
                left = left[self._file.write(left) :]

    def finish(self) -> Temporary:
        """Have the disk hold everything."""
        with self._storing():
            os.fsync(self._file.fileno())
            self._file.close()
        return Temporary(self._path, self._temporary)

    def stop(self) -> None:
        """Do nothing: a write to a disk ends by itself."""

    def abort(self) -> str | None:
        """Remove what was written, and the folders that were made for it; a sentence on what would not go."""
        with suppress(OSError):  # the disk is full, but what it holds is removed anyway
            self._file.close()
        left = _remove(self._temporary)
        _remove_folders(self._made)
        return left

    def _make_folder(self) -> None:
        self._made = [folder for folder in Path(self._path).parents if not folder.exists()]
        Path(self._path).parent.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def _storing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UploadError(
                f"The disk did not take the bytes of {self._path}: {error.strerror}. "
                "Make room, or choose another place, and rerun."
            ) from error


class LocalStore:
    """The local filesystem. Missing folders are made, as keys make theirs in a bucket."""

    at_once = 8
    is_blind = False

    def listing(self, stem: Target, *, exact: bool) -> frozenset[str]:
        """Look for files that begin so, or for that one; refuses a folder in the place of a file."""
        path = Path(stem.path)
        with _looking(stem.path):
            if exact:
                is_folder, paths = path.is_dir(), [path] if _is_taken(path) else []
            else:
                is_folder, paths = False, _beginning_with(stem.path)
        if is_folder:
            raise TargetError(not_a_file(str(path), "a folder"))
        return frozenset(Target("file", "", str(found)).url for found in paths)

    def open(self, target: Target, content_type: str, *, several: bool) -> LocalFile:  # noqa: ARG002  all to the disk
        """Take bytes for one file."""
        return LocalFile(target.path)

    def compare(self, target: Target) -> FileComparison:
        """Take bytes to compare with the file that is there."""
        return FileComparison(target.url, lambda: _read_again(Path(target.path)))

    def publish(self, file: StagedFile, if_exists: IfExists, *, repeatable: bool) -> Published:
        """Link the file to its name, which fails where the name is taken; or replace, where that was asked for."""
        if isinstance(file.upload, Present):
            return Published(None, None, found=True)
        upload = _temporary(file)
        try:
            if if_exists == "overwrite":
                if kind := odd_kind(upload.path):  # it came while the file was written
                    raise TargetError(not_a_file(upload.path, kind))
                Path(upload.temporary).replace(upload.path)
            else:
                os.link(upload.temporary, upload.path)
        except (FileExistsError, FileNotFoundError) as error:
            return self._settle(file, upload, error, repeatable=repeatable)
        except OSError as error:
            advice = " This filesystem has no hard links." if error.errno in _NO_LINKS else ""
            message = f"{file.path} could not be published: {error}.{advice}"
            raise CommitError(message, uncommitted=[file.path]) from error
        _tidy(upload)
        return Published(None, None, create_only="condition" if if_exists == "fail" else None)

    def _settle(self, file: StagedFile, upload: Temporary, error: OSError, *, repeatable: bool) -> Published:
        """Find out whether an earlier try of the same run has published it."""
        gone, path = isinstance(error, FileNotFoundError), Path(upload.path)
        if (gone or repeatable) and path.is_file():
            num_bytes, crc = _read_again(path)
            if (num_bytes, f"crc32:{crc:08x}") == (file.num_bytes, file.checksum):
                _tidy(upload)
                return Published(None, None, found=True)
            raise differs(file.path, num_bytes, file.num_bytes) from error
        if gone:
            message = f"{file.path} could not be published: {upload.temporary} is gone. Rerun."
            raise CommitError(message, uncommitted=[file.path]) from error
        raise already_exists(file.path) from error

    def may_show(self, file: StagedFile) -> bool:  # noqa: ARG002  a renamed file is not under its hidden name
        """Return False: what is under a hidden name is never visible."""
        return False

    def discard(self, file: StagedFile, *, look: bool = False) -> str | None:  # noqa: ARG002  as above
        """Remove the hidden file; a sentence where that was refused."""
        return None if isinstance(file.upload, Present) else _remove(_temporary(file).temporary)

    def standing(self, files: Sequence[StagedFile]) -> dict[str, str]:
        """Return size, time and inode of what is at each path."""
        found: dict[str, str] = {}
        for file in files:
            with suppress(FileNotFoundError):
                seen = Path(parse_target(file.path).path).lstat()
                found[file.path] = f"{seen.st_size} {seen.st_mtime_ns} {seen.st_ino}"
        return found

    def holds(self, file: StagedFile) -> Holds:
        """Read the file that is there, and compare size and CRC32."""
        return (
            "yes"
            if self.match(WrittenFile(file.path, 0, file.num_bytes, None, None, file.checksum)) == "same"
            else "no"
        )

    def match(self, file: WrittenFile) -> Match:
        """Compare size and, where that is known, CRC32 with the file that is there."""
        path = Path(parse_target(file.path).path)
        try:
            if not path.is_file():
                return "missing"
            num_bytes, crc = _read_again(path)
        except UploadError:
            return "missing"
        found = f"crc32:{crc:08x}"
        return "same" if (num_bytes, found) == (file.num_bytes, file.checksum or found) else "changed"


def _temporary(file: StagedFile) -> Temporary:
    if not isinstance(file.upload, Temporary):
        raise CommitError(f"{file.path} was not staged on a filesystem.")
    return file.upload


@contextmanager
def _looking(path: str) -> Iterator[None]:
    """Say what is wrong with a place before the first byte."""
    try:
        yield
    except PermissionError as error:
        raise PermissionDenied(
            f"{path} can't be written: {error.strerror}. Allow it, or choose another place."
        ) from error
    except OSError as error:
        message = f"{path} can't be written: {error.strerror} ({error.filename})."
        if error.errno in _NOT_THE_PLACE:
            raise UploadError(f"{message} Rerun when it is mended, or choose another place.") from error
        raise TargetError(f"{message} Choose another place.") from error


def _is_taken(path: Path) -> bool:
    """Whether anything has this name, a link that leads nowhere too; raises where it can't be a name."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def _beginning_with(path: str) -> list[Path]:
    """List the files, in whatever folder below, whose paths begin so."""
    folder, _, start = path.rpartition("/")
    if not Path(f"{folder}/").is_dir():
        return []
    found = [entry for entry in Path(f"{folder}/").iterdir() if entry.name.startswith(start)]
    files = (file for entry in found for file in (entry.rglob("*") if entry.is_dir() else [entry]))
    return [file for file in files if not (is_hidden(file.name) or file.is_dir())]


def _read_again(path: Path) -> tuple[int, int]:
    """Give size and CRC32 of a file that is there; raises `UploadError` where it has gone meanwhile."""
    num_bytes = crc = 0
    try:
        with path.open("rb") as opened:
            while data := opened.read(_READ_SIZE):
                num_bytes += len(data)
                crc = isal_zlib.crc32(data, crc)
    except FileNotFoundError as error:
        raise UploadError(f"{path} was there a moment ago and is gone. Rerun.") from error
    except OSError as error:
        raise PermissionDenied(
            f"{path} could not be read again: {error.strerror}. It stays as it is. Allow reading it, and rerun."
        ) from error
    return num_bytes, crc


def _remove(path: str) -> str | None:
    try:
        Path(path).unlink(missing_ok=True)
    except OSError as error:
        return f"{path} could not be removed ({error.strerror}): remove it."
    return None


def _remove_folders(made: Sequence[Path]) -> None:
    with suppress(OSError):  # somebody else put something there
        for folder in made:
            if folder.exists():
                folder.rmdir()


def _tidy(upload: Temporary) -> None:
    """Remove the hidden name, and have the disk hold the new one; the file is visible, so no failure is an error."""
    if left := _remove(upload.temporary):
        _log.warning("%s is published. %s", upload.path, left)
    try:
        _sync_folder(Path(upload.path).parent)
    except OSError as error:
        _log.warning("%s is published, but the disk did not confirm its name: %s.", upload.path, error.strerror)


def _sync_folder(folder: Path) -> None:
    """Have the disk hold the new name too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
