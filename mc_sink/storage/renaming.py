"""Any fsspec filesystem that renames within itself: written under a hidden name, shown by a rename.

Filesystems that publish while they write (`memory`), or whose rename is a copy that can be cut short (object stores),
are refused: there is no way to keep them whole or invisible. A rename can't be told not to overwrite on these, so
"fail" is a look just before it: two writers on one file at the same moment are not kept apart.
"""

from __future__ import annotations

import errno
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from isal import isal_zlib

from mc_sink._display import logger
from mc_sink.exceptions import (
    CommitError,
    CommitUnknown,
    ConfigurationError,
    PermissionDenied,
    SinkError,
    TargetError,
    UploadError,
)
from mc_sink.secret import Unpicklable
from mc_sink.staged import Present, Temporary
from mc_sink.storage.local import hidden_name, is_hidden
from mc_sink.storage.quiet_logs import silence
from mc_sink.storage.s3 import check_names
from mc_sink.storage.store import FileComparison, Holds, Match, Published, already_exists, differs
from mc_sink.target import RENAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mc_sink.receipt import WrittenFile
    from mc_sink.staged import IfExists, StagedFile
    from mc_sink.target import Target

T = TypeVar("T")
_READ_SIZE = 2**20
_log = logger(__name__)
_CHECKS_ITS_OWN_NAMES = {"sftp", "ssh"}  # these hand every name on to paramiko, which refuses unknown ones
# Replies that mean "who are you": FTP's 530 and 532, HTTP's 401 and 403.
_DENIED = re.compile(r"(530|532|401|403)\b")


class RenamedFile(Unpicklable):
    """Takes the bytes of one file under a hidden name."""

    def __init__(self, filesystem: Any, path: str) -> None:
        self._filesystem, self._path, self._temporary = filesystem, path, hidden_name(path)
        self._file = filesystem.open(self._temporary, "wb")

    def write(self, data: bytes) -> None:
        """Write all of `data`."""
        _told(lambda: self._file.write(data), self._not_stored)

    def finish(self) -> Temporary:
        """Close the file, so that the store holds all of it."""
        _told(self._file.close, self._not_stored)
        return Temporary(self._path, self._temporary)

    def stop(self) -> None:
        """Do nothing: the filesystem's own timeout ends a write."""

    def abort(self) -> str | None:
        """Remove what was written; a sentence where that was refused."""
        try:
            self._file.close()
        except Exception:  # noqa: BLE001  the cause of the abort matters more
            with suppress(AttributeError):  # or it would try to send the rest again when it is collected
                self._file.closed = True
        return _remove(self._filesystem, self._temporary)

    def _not_stored(self, error: Exception) -> UploadError:
        return UploadError(
            f"The store did not take the bytes of {self._path}: {_said(error)}. Rerun when it is mended."
        )


class RenamingStore(Unpicklable):
    """One filesystem of fsspec's, private to the delivery."""

    at_once = 1  # FTP carries one transfer at a time on a connection, and waits for ever for a second
    is_blind = False

    def __init__(self, target: Target, storage_options: Mapping[str, Any] | None) -> None:
        import fsspec

        if target.protocol not in RENAMES:
            raise TargetError(
                f"{target.protocol}:// can't be written without publishing, so a failed delivery could be seen there. "
                f"Deliver to s3://, a local path, or one of {', '.join(RENAMES)}."
            )
        implementation = _reach(f"{target.protocol}://", lambda: fsspec.get_filesystem_class(target.protocol))
        if target.protocol not in _CHECKS_ITS_OWN_NAMES:
            check_names(storage_options or {}, _parameters(implementation), target.protocol)
        options = {} if storage_options is None else storage_options
        self._filesystem, _ = _reach(
            target.url, lambda: fsspec.url_to_fs(target.url, skip_instance_cache=True, **options)
        )

    def listing(self, stem: Target, *, exact: bool) -> frozenset[str]:
        """Look for files that begin so, or for that one."""
        path = self._path(stem.url)
        if exact:
            return frozenset([stem.url] if self._exists(path, stem.url) else [])
        above, _, start = stem.url.rpartition("/")
        if not self._exists(self._path(f"{above}/") or "/", stem.url):
            return frozenset()
        return frozenset(self._beginning_with(f"{above}/", start))

    def open(self, target: Target, content_type: str, *, several: bool) -> RenamedFile:  # noqa: ARG002  all to disk
        """Take bytes for one file, making the folder that it stands in."""
        path = self._path(target.url)
        _reach(target.url, lambda: self._filesystem.makedirs(path.rpartition("/")[0] or "/", exist_ok=True))
        return _reach(target.url, lambda: RenamedFile(self._filesystem, path))

    def compare(self, target: Target) -> FileComparison:
        """Take bytes to compare with the file that is there."""
        return FileComparison(target.url, lambda: self._size_and_crc(target.url))

    def publish(self, file: StagedFile, if_exists: IfExists, *, repeatable: bool) -> Published:
        """Rename the file to its name."""
        if isinstance(file.upload, Present):
            return Published(None, None, found=True)
        if not isinstance(file.upload, Temporary):
            raise CommitError(f"{file.path} was not staged on a filesystem.")
        gone = not self._exists(file.upload.temporary, file.path)
        if (gone or if_exists == "fail") and self._exists(file.upload.path, file.path):
            return self._settle(file, repeatable=repeatable or gone)
        hidden, shown = file.upload.temporary, file.upload.path
        _told(lambda: self._filesystem.mv(hidden, shown), lambda error: _not_renamed(error, file.path))
        return Published(None, None, create_only="listing" if if_exists == "fail" else None)

    def _settle(self, file: StagedFile, *, repeatable: bool) -> Published:
        """Find out whether what is there was published by an earlier try of the same run."""
        if not repeatable:
            raise already_exists(file.path)
        num_bytes, crc = self._size_and_crc(file.path)
        if (num_bytes, f"crc32:{crc:08x}") != (file.num_bytes, file.checksum):
            raise differs(file.path, num_bytes, file.num_bytes)
        if left := self.discard(file):
            _log.warning("%s is published. %s", file.path, left)
        return Published(None, None, found=True)

    def may_show(self, file: StagedFile) -> bool:  # noqa: ARG002  a renamed file is not under its hidden name
        """Return False: what is under a hidden name is never visible."""
        return False

    def discard(self, file: StagedFile, *, look: bool = False) -> str | None:  # noqa: ARG002  as above
        """Remove the hidden file, unless it has been renamed already; a sentence where that was refused."""
        if not isinstance(file.upload, Temporary):
            return None
        hidden = file.upload.temporary
        with suppress(SinkError):  # what can't be looked for is removed, or told
            if not self._exists(hidden, file.path):
                return None
        return _remove(self._filesystem, hidden)

    def standing(self, files: Sequence[StagedFile]) -> dict[str, str]:
        """Return the size of what is at each path, and its time where the filesystem has one."""
        seen = {file.path: self._info(self._path(file.path), file.path) for file in files}
        facts = ("size", "mtime", "modify", "modified", "last_modified")
        return {url: " ".join(str(info[name]) for name in facts if name in info) for url, info in seen.items() if info}

    def holds(self, file: StagedFile) -> Holds:
        """Read the file that is there, and compare size and CRC32."""
        num_bytes, crc = self._size_and_crc(file.path)
        return "yes" if (num_bytes, f"crc32:{crc:08x}") == (file.num_bytes, file.checksum) else "no"

    def match(self, file: WrittenFile) -> Match:
        """Compare the size with the file that is there."""
        found = self._info(self._path(file.path), file.path)
        if found is None:
            return "missing"
        return "same" if found["size"] == file.num_bytes else "changed"

    def _size_and_crc(self, url: str) -> tuple[int, int]:
        return _reach(url, lambda: self._sum(self._path(url)))

    def _sum(self, path: str) -> tuple[int, int]:
        with self._filesystem.open(path, "rb") as opened:
            num_bytes = crc = 0
            while data := opened.read(_READ_SIZE):
                num_bytes += len(data)
                crc = isal_zlib.crc32(data, crc)
        return num_bytes, crc

    def _exists(self, path: str, url: str) -> bool:
        return self._info(path, url) is not None

    def _info(self, path: str, url: str) -> Mapping[str, Any] | None:
        """Look now, past any listing that is remembered; raises where fsspec's `exists` would say "no"."""
        return _reach(url, lambda: self._look(path))

    def _look(self, path: str) -> Mapping[str, Any] | None:
        self._filesystem.invalidate_cache()
        try:
            found: Mapping[str, Any] = self._filesystem.info(path)
        except OSError as error:
            if isinstance(error, FileNotFoundError) or error.errno == errno.ENOENT:
                return None
            raise
        return found

    def _beginning_with(self, above: str, start: str) -> Iterator[str]:
        """Give the URLs of the files under a folder's, at any depth, that go on so."""
        for found in _reach(above, lambda: self._filesystem.ls(self._path(above) or "/", detail=True)):
            name = str(found["name"]).rstrip("/").rpartition("/")[2]
            if name.startswith(start) and found["type"] == "directory":
                yield from self._beginning_with(f"{above}{name}/", "")
            elif name.startswith(start) and not is_hidden(name):
                yield above + name

    def _path(self, url: str) -> str:
        return str(self._filesystem._strip_protocol(url))  # noqa: SLF001  fsspec's documented hook for URLs


def _parameters(implementation: type) -> set[str]:
    """Names that a filesystem takes, its bases' included."""
    from inspect import signature

    found: set[str] = set()
    for base in implementation.__mro__:
        if "__init__" in vars(base):
            found |= set(signature(vars(base)["__init__"]).parameters)
    return found - {"self", "args", "kwargs", "storage_options"}


def _remove(filesystem: Any, path: str) -> str | None:
    try:
        filesystem.rm_file(path)
    except Exception as error:  # noqa: BLE001  the cause of the abort matters more
        return f"{path} could not be removed ({_said(error)}): remove it."
    return None


def _told(do: Callable[[], T], tell: Callable[[Exception], SinkError]) -> T:
    """Do it, or raise what `tell` makes of a library's error, without the library's frames: they hold secrets."""
    try:
        with silence():
            return do()
    except SinkError:
        raise
    except Exception as error:  # noqa: BLE001  every filesystem has its own
        failed = tell(error)
    raise failed


def _reach(url: str, do: Callable[[], T]) -> T:
    """Do something before anything is published."""
    return _told(do, lambda error: _unreachable(error, url))


def _unreachable(error: Exception, url: str) -> SinkError:
    """Give this library's error for whatever a filesystem raises."""
    if isinstance(error, ImportError | TypeError | ValueError):
        return ConfigurationError(
            f"{url} can't be opened: {_said(error)}. Install what it names, or mend storage_options."
        )
    if _is_denied(error):
        return PermissionDenied(
            f"{url}: the store refused ({_said(error)}). Check the credentials in storage_options and the rights "
            f"of this user."
        )
    return TargetError(f"{url} can't be reached: {_said(error)}. Check the host, the port and the folder.")


def _is_denied(error: Exception) -> bool:
    """Whether the store knows no such user, or grants it too little, as FTP, HTTP, paramiko and the system say it."""
    said_so = isinstance(error, PermissionError) or "Authentication" in type(error).__name__
    return said_so or bool(_DENIED.match(str(error)))


def _not_renamed(error: Exception, url: str) -> CommitError:
    """Give the error of a rename: a refusal is certain, but after a broken connection it may have been done."""
    if isinstance(error, (ConnectionError, TimeoutError, EOFError)):
        return CommitUnknown(
            f"1 file may or may not be visible at {url}: the reply to its rename was lost ({_said(error)}). Look for "
            "it before you rerun.",
            uncommitted=[url],
        )
    return CommitError(f"{url} could not be published: {_said(error)}.", uncommitted=[url])


def _said(error: Exception) -> str:
    """Repeat an error without the queries of URLs in it, which carry tokens."""
    said = re.sub(r"\?\S+", "?…", str(error)).rstrip(".")
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
