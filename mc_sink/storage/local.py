"""Deliver local files: write them under a hidden name beside their final place, publish by a hard link.

A hard link can't replace a file.
"""

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
from mc_sink._runtime.state_dir import sync_folder
from mc_sink.exceptions import CommitError, PermissionDenied, TargetError, UploadError
from mc_sink.receipt import WrittenFile
from mc_sink.staged import Present, Temporary
from mc_sink.storage.store import (
    FileComparison,
    Holds,
    Match,
    Published,
    already_exists,
    differs,
    not_published,
    size_and_checksum,
    sizes,
)
from mc_sink.target import Target, parse_target

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from io import FileIO

    from mc_sink.staged import IfExists, NoteHidden, StagedFile

# Filesystems take names of 255 bytes: the part of them that a hidden name leaves for the name itself.
_STEM_BYTES = 255 - len("..12345678.partial")
_HIDDEN = re.compile(r"\..*\.[0-9a-f]{8}\.partial")
_ATTEMPTS = 20
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
# The path is right, but the disk is full or the program has too many files open.
_NO_RESOURCES = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE}
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
    """Return the hidden name beside `path` under which it is written, no longer than filesystems allow."""
    folder, _, name = path.rpartition("/")
    stem = name.encode()[:_STEM_BYTES].decode(errors="ignore")
    return f"{folder}/.{stem}.{secrets.token_hex(4)}.partial"


def is_hidden(name: str) -> bool:
    """Return True if a name, without its folder, is that of a file that is being written."""
    return _HIDDEN.fullmatch(name) is not None


def odd_kind(path: str) -> str | None:
    """Return the kind of a path that isn't a regular file; None for a file, a free path, or one that can't be read."""
    try:
        mode = Path(path).lstat().st_mode
    except (OSError, ValueError):
        return None
    kind = next((words for of_kind, words in _KINDS.items() if of_kind(mode)), "not a regular file")
    return None if stat.S_ISREG(mode) else kind


def not_a_file(path: str, kind: str) -> str:
    """Return the message for a path that isn't a regular file, and so can't be replaced."""
    advice = f"Write {path}/ for a new file in it each run" if kind == "a folder" else "Choose another name"
    return f"{path} is {kind}, and a delivery writes only regular files. {advice}."


class LocalFile:
    """Writes one file under a hidden name, and makes sure that the disk holds it."""

    def __init__(self, path: str, made: set[str], note: NoteHidden) -> None:
        """Open the file. `made` are the folders that the delivery has made so far; those of this file are added."""
        self._path, self.crc = path, 0
        with _opening(path):
            above = list(map(str, Path(path).parents))
            made |= (new := {folder for folder in above if not os.path.lexists(folder)})
            self._upload = Temporary(path, hidden_name(path), tuple(folder for folder in above if folder in made))
            note(Target("file", "", path).url, self._upload)
            try:
                self._file = _create(Path(self._upload.temporary), new)
            except BaseException:
                _remove_folders(self._upload)
                raise

    def write(self, data: bytes) -> None:
        """Write all of `data`."""
        left = memoryview(data)
        self.crc = isal_zlib.crc32(data, self.crc)
        with self._storing():
            while left:
                left = left[self._file.write(left) :]

    def finish(self) -> Temporary:
        """Wait until the disk holds everything."""
        with self._storing():
            os.fsync(self._file.fileno())
            self._file.close()
        return self._upload

    def stop(self) -> None:
        """Ignore the request to stop: a write to a disk ends by itself."""

    def abort(self) -> str | None:
        """Remove the file and the folders that were made for it; returns a message if that failed."""
        with suppress(OSError):  # the disk is full, but what it holds is removed anyway
            self._file.close()
        return _discard(self._upload)

    @contextmanager
    def _storing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UploadError(
                f"The disk did not take the bytes of {self._path}: {error.strerror}. "
                "Free disk space, or choose another path, and rerun."
            ) from error


class LocalStore:
    """The local filesystem. It makes missing folders, because a key in a bucket needs none."""

    at_once = 8
    publishes_at_once = 8
    is_blind = False

    def __init__(self, note: NoteHidden = lambda _url, _place: None) -> None:
        self._note, self._made = note, set[str]()

    def check(self, target: Target, if_exists: IfExists) -> None:
        """Raise where no file can be made, or where none can be published because the filesystem has no hard links."""
        above = Path(target.path, "x" if target.is_prefix else "").parents
        place = next(folder for folder in above if os.path.lexists(folder))
        made, linked = hidden_name(f"{place}/check"), hidden_name(f"{place}/check")
        with _opening(str(place)):
            Path(made).open("xb").close()
        try:
            if if_exists == "fail":
                os.link(made, linked)
        except OSError as error:
            if error.errno in _NO_LINKS:
                raise TargetError(
                    f"Files can't be published in {place}: its filesystem has no hard links, and without them a file "
                    "could be replaced by mistake. Deliver to a folder on another filesystem, or use "
                    'if_exists="overwrite".'
                ) from error
        finally:
            for path in (made, linked):
                _remove(path)

    def listing(self, stem: Target, *, exact: bool) -> frozenset[str]:
        """List the files that begin with `stem`, or that file alone; raises for a folder in the place of a file."""
        path = Path(stem.path)
        with _opening(stem.path):
            is_folder, paths = exact and path.is_dir(), list[Path]()
            if not exact and (above := Path(f"{stem.path.rpartition('/')[0]}/")).is_dir():
                found = [entry for entry in above.iterdir() if entry.name.startswith(stem.path.rpartition("/")[2])]
                files = (file for entry in found for file in (entry.rglob("*") if entry.is_dir() else [entry]))
                paths = [file for file in files if not (is_hidden(file.name) or file.is_dir())]
            if exact:
                with suppress(FileNotFoundError):
                    path.lstat()  # a dangling link takes the name too
                    paths = [path]
        if is_folder:
            raise TargetError(not_a_file(str(path), "a folder"))
        return frozenset(Target("file", "", str(file)).url for file in paths)

    def listed(self, stem: Target) -> Iterator[str]:
        """Yield the URLs of the files that begin with `stem`."""
        yield from self.listing(stem, exact=False)

    def open(self, target: Target, content_type: str, *, several: bool) -> LocalFile:  # noqa: ARG002  all to the disk
        """Open one file for writing."""
        return LocalFile(target.path, self._made, self._note)

    def compare(self, target: Target) -> FileComparison:
        """Open a comparison with the file at the target."""
        return FileComparison(target.url, lambda: _size_and_checksum(Path(target.path)))

    def publish(self, file: StagedFile, if_exists: IfExists, *, repeatable: bool, was_sent: bool = False) -> Published:  # noqa: ARG002  a file is settled by its bytes
        """Publish the file by a link, which fails if the name is taken, or by a rename, if it may replace a file."""
        if isinstance(file.upload, Present):
            return Published(None, None, from_prior_attempt=True)
        upload = _temporary(file)
        try:
            if (found := Path(upload.temporary).lstat().st_size) != file.num_bytes:
                raise not_published(file.path, f"its hidden file changed: {sizes(found, file.num_bytes)}")
            if if_exists == "overwrite":
                if kind := odd_kind(upload.path):  # it came while the file was written
                    raise TargetError(not_a_file(upload.path, kind))
                Path(upload.temporary).replace(upload.path)
            else:
                os.link(upload.temporary, upload.path)
        except (FileExistsError, FileNotFoundError) as error:
            return self._settle(file, upload, error, repeatable=repeatable)
        except OSError as error:
            no_links = ". This filesystem has no hard links" * (error.errno in _NO_LINKS)
            raise not_published(file.path, f"{error}{no_links}") from error
        _tidy(upload)
        return Published(None, None, create_only="condition" if if_exists == "fail" else None)

    def _settle(self, file: StagedFile, upload: Temporary, error: OSError, *, repeatable: bool) -> Published:
        """Check whether an earlier attempt of the same run has published it, and raise if it has not."""
        gone, path = isinstance(error, FileNotFoundError), Path(upload.path)
        if (gone or repeatable) and path.is_file():
            num_bytes, checksum = _size_and_checksum(path)
            if (num_bytes, checksum) == (file.num_bytes, file.checksum):
                _tidy(upload)
                return Published(None, None, from_prior_attempt=True)
            raise differs(file.path, num_bytes, file.num_bytes) from error
        if gone:
            raise not_published(file.path, f"{upload.temporary} is gone") from error
        raise already_exists(file.path) from error

    def interrupt(self) -> None:
        """Ignore the request to stop: publishing ends by itself."""

    def may_show(self, file: StagedFile) -> bool:  # noqa: ARG002  a renamed file is not under its hidden name
        """Return False: a file under a hidden name is never visible."""
        return False

    def discard(self, file: StagedFile, *, look: bool = False) -> str | None:  # noqa: ARG002  as above
        """Remove the hidden file, and the folders that were made for it; returns a message if that failed."""
        return None if isinstance(file.upload, Present) else _discard(_temporary(file))

    def standing(self, files: Sequence[StagedFile]) -> dict[str, str]:
        """Return size, time and inode of the file at each path."""
        found: dict[str, str] = {}
        for file in files:
            with suppress(FileNotFoundError):
                seen = Path(parse_target(file.path).path).lstat()
                found[file.path] = f"{seen.st_size} {seen.st_mtime_ns} {seen.st_ino}"
        return found

    def holds(self, file: StagedFile) -> Holds:
        """Read the file at the path, and compare size and CRC32."""
        facts = WrittenFile(file.path, 0, file.num_bytes, None, None, file.checksum)
        return "yes" if self.match(facts) == "same" else "no"

    def match(self, file: WrittenFile) -> Match:
        """Compare size and, if known, CRC32 with the file at the path."""
        path = Path(parse_target(file.path).path)
        try:
            if not path.is_file():
                return "missing"
            found = _size_and_checksum(path)
        except UploadError:
            return "missing"
        return "same" if found == (file.num_bytes, file.checksum or found[1]) else "changed"


def _temporary(file: StagedFile) -> Temporary:
    if not isinstance(file.upload, Temporary):
        raise CommitError(f"{file.path} was not staged on a filesystem.")
    return file.upload


@contextmanager
def _opening(path: str) -> Iterator[None]:
    """Raise this library's error for a path that can't be written, before the first byte."""
    try:
        yield
    except PermissionError as error:
        raise PermissionDenied(
            f"{path} can't be written: {error.strerror}. Grant the permission, or choose another path."
        ) from error
    except OSError as error:
        message = f"{path} can't be written: {error.strerror} ({error.filename})."
        if error.errno in _NO_RESOURCES:
            raise UploadError(f"{message} Free disk space or close files and rerun, or choose another path.") from error
        raise TargetError(f"{message} Choose another path.") from error


def _size_and_checksum(path: Path) -> tuple[int, str]:
    """Return size and CRC32 of a file; raises `UploadError` if it is gone."""
    try:
        with path.open("rb") as opened:
            return size_and_checksum(opened)
    except FileNotFoundError as error:
        raise UploadError(f"{path} was present a moment ago and is gone. Rerun.") from error
    except OSError as error:
        advice = "Grant the permission to read it, and rerun."
        raise PermissionDenied(f"{path} could not be read: {error.strerror}. {advice}") from error


def _remove(path: str) -> str | None:
    try:
        Path(path).unlink(missing_ok=True)
    except OSError as error:
        return f"{path} could not be removed: {error.strerror}. Remove it."
    return None


def _create(temporary: Path, new: Collection[str]) -> FileIO:
    """Create a hidden file and the folders above it; another delivery, which failed, may remove an empty one again."""
    for _ in range(_ATTEMPTS):
        with suppress(FileNotFoundError):
            temporary.parent.mkdir(parents=True, exist_ok=True)
            for folder in new:  # or a loss of power could take it, with the files whose own names are synced
                with suppress(OSError):
                    sync_folder(Path(folder).parent)
            return temporary.open("xb", buffering=0)  # it lives as long as the delivery
    return temporary.open("xb", buffering=0)


def _discard(upload: Temporary) -> str | None:
    """Remove a hidden file, and the folders that its delivery made; returns a message if the file stays."""
    left = _remove(upload.temporary)
    _remove_folders(upload)
    return left


def _remove_folders(upload: Temporary) -> None:
    """Remove the folders that the delivery made above a file, up to one that still has something in it."""
    with suppress(OSError):
        for folder in upload.folders:
            with suppress(FileNotFoundError):
                Path(folder).rmdir()


def _tidy(upload: Temporary) -> None:
    """Remove the hidden name and sync the new one; failures are only logged, because the file is visible."""
    if left := _remove(upload.temporary):
        _log.warning("%s is published. %s", upload.path, left)
    try:
        sync_folder(Path(upload.path).parent)
    except OSError as error:
        _log.warning("%s is published, but the disk did not confirm its name: %s.", upload.path, error.strerror)
