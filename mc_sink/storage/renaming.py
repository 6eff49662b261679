"""Deliver to any fsspec filesystem that renames within itself: write under a hidden name, publish by a rename.

Filesystems that publish while they write (`memory`) are refused, and so are those whose rename is a copy that can be
cut short (object stores): their files can't be kept whole or invisible. These filesystems can't be asked to rename
without replacing. So "fail" lists the path just before the rename, and two writers of one file at the same moment are
not kept apart.

Their answers prove little: an FTP server may ignore where in a file a block belongs, WebHDFS answers 200 to a rename
that it refused. So sizes are compared, before and after the rename. Some FTP servers don't list hidden names.
"""

from __future__ import annotations

import errno
import re
from contextlib import suppress
from functools import partial
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
from mc_sink.target import RENAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mc_sink.receipt import WrittenFile
    from mc_sink.staged import IfExists, NoteHidden, StagedFile
    from mc_sink.target import Target

T = TypeVar("T")
_log = logger(__name__)
_CHECKS_ITS_OWN_NAMES = {"sftp", "ssh"}  # they pass every name on to paramiko, which refuses unknown ones
_NOT_FOR_CALLERS = {"self", "args", "kwargs", "storage_options"}
# Replies to wrong credentials: FTP's 530 and 532, HTTP's 401 and 403.
_DENIED = re.compile(r"(530|532|401|403)\b")


class RenamedFile(Unpicklable):
    """Writes one file under a hidden name."""

    def __init__(self, filesystem: Any, upload: Temporary, seen: Callable[[], tuple[bool, int | None]]) -> None:
        """Open the file. `seen` returns what the store shows of it."""
        self._filesystem, self._upload, self._seen = filesystem, upload, seen
        self._file = filesystem.open(upload.temporary, "wb")
        self.crc = self._num_bytes = 0

    def write(self, data: bytes) -> None:
        """Write all of `data`."""
        _translating(lambda: self._file.write(data), self._not_stored)
        self.crc = isal_zlib.crc32(data, self.crc)
        self._num_bytes += len(data)

    def finish(self) -> Temporary:
        """Close the file, and check that the store holds all of it."""
        _translating(self._file.close, self._not_stored)
        if (found := self._seen()[1]) not in {None, self._num_bytes}:
            raise UploadError(
                f"The store did not keep the bytes of {self._upload.path}: {sizes(found, self._num_bytes)}. Look at "
                "its free space and quota, or choose another protocol: an FTP server may not continue a file."
            )
        return self._upload

    def stop(self) -> None:
        """Ignore the request to stop: the filesystem's own timeout ends a write."""

    def abort(self) -> str | None:
        """Remove the file; returns a message if that was refused."""
        try:
            self._file.close()
        except Exception:  # noqa: BLE001  the cause of the abort matters more
            with suppress(AttributeError):  # or it would try to send the rest again when it is collected
                self._file.closed = True
        return _remove(self._filesystem, self._upload.temporary)

    def _not_stored(self, error: Exception) -> UploadError:
        return UploadError(
            f"The store did not take the bytes of {self._upload.path}: {_text_of(error)}. Rerun once the reason is "
            "fixed."
        )


class RenamingStore(Unpicklable):
    """One fsspec filesystem, private to the delivery."""

    at_once = 1  # FTP carries one transfer at a time on a connection, and waits for ever for a second
    publishes_at_once = 1
    is_blind = False

    def __init__(
        self,
        target: Target,
        storage_options: Mapping[str, Any] | None,
        note: NoteHidden = lambda _url, _place: None,
    ) -> None:
        from inspect import signature

        import fsspec

        self._note = note
        if target.protocol not in RENAMES:
            raise TargetError(
                f"{target.protocol}:// can't be written without publishing, so a failed delivery could be visible. "
                f"Deliver to s3://, a local path, or one of {', '.join(RENAMES)}."
            )
        implementation = _reach(f"{target.protocol}://", lambda: fsspec.get_filesystem_class(target.protocol))
        if target.protocol not in _CHECKS_ITS_OWN_NAMES:
            makers = [vars(base)["__init__"] for base in implementation.__mro__ if "__init__" in vars(base)]
            known = {name for make in makers for name in signature(make).parameters}
            check_names(storage_options or {}, known - _NOT_FOR_CALLERS, target.protocol)
        options = {} if storage_options is None else storage_options
        self._filesystem, _ = _reach(
            target.url, lambda: fsspec.url_to_fs(target.url, skip_instance_cache=True, **options)
        )

    def listing(self, stem: Target, *, exact: bool) -> frozenset[str]:
        """List the files that begin with `stem`, or that file alone."""
        path = self._path(stem.url)
        if exact:
            return frozenset([stem.url] if self._exists(path, stem.url) else [])
        above, _, start = stem.url.rpartition("/")
        if not self._exists(self._path(f"{above}/") or "/", stem.url):
            return frozenset()
        return frozenset(self._beginning_with(f"{above}/", start))

    def listed(self, stem: Target) -> Iterator[str]:
        """Yield the URLs of the files that begin with `stem`."""
        yield from self.listing(stem, exact=False)

    def open(self, target: Target, content_type: str, *, several: bool) -> RenamedFile:  # noqa: ARG002  all to disk
        """Open one file for writing, and make its folder."""
        path = self._path(target.url)
        _reach(target.url, lambda: self._filesystem.makedirs(path.rpartition("/")[0] or "/", exist_ok=True))
        upload = Temporary(path, hidden_name(path))
        self._note(target.url, upload)
        seen = partial(self._seen, upload.temporary, target.url)
        return _reach(target.url, lambda: RenamedFile(self._filesystem, upload, seen))

    def compare(self, target: Target) -> FileComparison:
        """Open a comparison with the file at the target."""
        return FileComparison(target.url, lambda: self._size_and_checksum(target.url))

    def publish(self, file: StagedFile, if_exists: IfExists, *, repeatable: bool, was_sent: bool = False) -> Published:  # noqa: ARG002  a file is settled by its bytes
        """Publish the file by a rename."""
        if isinstance(file.upload, Present):
            return Published(None, None, from_prior_attempt=True)
        if not isinstance(file.upload, Temporary):
            raise CommitError(f"{file.path} was not staged on a filesystem.")
        is_listed, size = self._seen(file.upload.temporary, file.path)
        if (not is_listed or if_exists == "fail") and self._exists(file.upload.path, file.path):
            return self._settle(file, repeatable=repeatable or not is_listed)
        if size not in {None, file.num_bytes}:
            raise not_published(file.path, f"its hidden file changed: {sizes(size, file.num_bytes)}")
        self._rename(file, file.upload, is_listed=is_listed)
        return Published(None, None, create_only="listing" if if_exists == "fail" else None)

    def _rename(self, file: StagedFile, upload: Temporary, *, is_listed: bool) -> None:
        """Rename the hidden file, which the store may not list, and raise unless the file is seen to be there then."""
        failed: CommitError | None = None
        try:
            _translating(
                lambda: self._filesystem.mv(upload.temporary, upload.path), lambda error: _not_renamed(error, file.path)
            )
        except CommitError as error:
            failed = error
        try:
            _, size = self._seen(upload.path, file.path)
            is_hidden = self._exists(upload.temporary, file.path)
        except SinkError as blind:
            raise failed if isinstance(failed, CommitUnknown) else _unknown(file.path, blind.message) from blind
        if is_hidden:
            raise failed or not_published(file.path, "the store answered that it was renamed, and it wasn't")
        if failed and not is_listed and size != file.num_bytes:
            raise failed
        if size != file.num_bytes or (failed and not is_listed):
            raise _unknown(file.path, f"after its rename, {sizes(size, file.num_bytes)}") from failed

    def _settle(self, file: StagedFile, *, repeatable: bool) -> Published:
        """Check whether an earlier attempt of the same run has published the file at the path; raise if not."""
        if not repeatable:
            raise already_exists(file.path)
        num_bytes, checksum = self._size_and_checksum(file.path)
        if (num_bytes, checksum) != (file.num_bytes, file.checksum):
            raise differs(file.path, num_bytes, file.num_bytes)
        if left := self.discard(file):
            _log.warning("%s is published. %s", file.path, left)
        return Published(None, None, from_prior_attempt=True)

    def interrupt(self) -> None:
        """Ignore the request to stop: publishing ends by itself."""

    def may_show(self, file: StagedFile) -> bool:  # noqa: ARG002  a renamed file is not under its hidden name
        """Return False: a file under a hidden name is never visible."""
        return False

    def discard(self, file: StagedFile, *, look: bool = False) -> str | None:  # noqa: ARG002  as above
        """Remove the hidden file, unless it has been renamed already; returns a message if that was refused."""
        if not isinstance(file.upload, Temporary):
            return None
        hidden = file.upload.temporary
        with suppress(SinkError):  # a file that can't be looked for is removed, or reported
            if not self._exists(hidden, file.path):
                return None
        return _remove(self._filesystem, hidden)

    def standing(self, files: Sequence[StagedFile]) -> dict[str, str]:
        """Return the size of the file at each path, and its time if the filesystem has one."""
        seen = {file.path: self._info(self._path(file.path), file.path) for file in files}
        facts = ("size", "mtime", "modify", "modified", "last_modified")
        return {url: " ".join(str(info[name]) for name in facts if name in info) for url, info in seen.items() if info}

    def holds(self, file: StagedFile) -> Holds:
        """Read the file at the path, and compare size and CRC32."""
        return "yes" if self._size_and_checksum(file.path) == (file.num_bytes, file.checksum) else "no"

    def match(self, file: WrittenFile) -> Match:
        """Compare the size with the file at the path."""
        is_listed, size = self._seen(self._path(file.path), file.path)
        return "missing" if not is_listed else "same" if size == file.num_bytes else "changed"

    def _size_and_checksum(self, url: str) -> tuple[int, str]:
        def read() -> tuple[int, str]:
            with self._filesystem.open(self._path(url), "rb") as opened:
                return size_and_checksum(opened)

        return _reach(url, read)

    def _exists(self, path: str, url: str) -> bool:
        return self._info(path, url) is not None

    def _seen(self, path: str, url: str) -> tuple[bool, int | None]:
        """Return whether a file is listed, and its size, if that is known."""
        found = self._info(path, url)
        return found is not None, (found or {}).get("size")

    def _info(self, path: str, url: str) -> Mapping[str, Any] | None:
        """Return the facts of a path, past any cached listing; raises where fsspec's `exists` would return False."""

        def look() -> Mapping[str, Any] | None:
            self._filesystem.invalidate_cache()
            try:
                found: Mapping[str, Any] = self._filesystem.info(path)
            except OSError as error:
                if isinstance(error, FileNotFoundError) or error.errno == errno.ENOENT:
                    return None
                raise
            return found

        return _reach(url, look)

    def _beginning_with(self, above: str, start: str) -> Iterator[str]:
        """Yield the URLs of the files in a folder, at any depth, whose paths in it begin with `start`."""
        for found in _reach(above, lambda: self._filesystem.ls(self._path(above) or "/", detail=True)):
            name = str(found["name"]).rstrip("/").rpartition("/")[2]
            if name.startswith(start) and found["type"] == "directory":
                yield from self._beginning_with(f"{above}{name}/", "")
            elif name.startswith(start) and not is_hidden(name):
                yield above + name

    def _path(self, url: str) -> str:
        return str(self._filesystem._strip_protocol(url))  # noqa: SLF001  fsspec's documented hook for URLs


def _remove(filesystem: Any, path: str) -> str | None:
    try:
        filesystem.rm_file(path)
    except Exception as error:  # noqa: BLE001  the cause of the abort matters more
        return f"{path} could not be removed: {_text_of(error)}. Remove it."
    return None


def _translating(do: Callable[[], T], translate: Callable[[Exception], SinkError]) -> T:
    """Return the result of `do`, or raise the translated error of a library without its frames: they hold secrets."""
    try:
        with silence():
            return do()
    except SinkError:
        raise
    except Exception as error:  # noqa: BLE001  every filesystem has its own
        failed = translate(error)
    raise failed


def _reach(url: str, do: Callable[[], T]) -> T:
    """Return the result of `do`, which happens before anything is published, or raise this library's error."""

    def unreachable(error: Exception) -> SinkError:
        if isinstance(error, ImportError | TypeError | ValueError):
            return ConfigurationError(
                f"{url} can't be opened: {_text_of(error)}. Install the library that it names, or "
                "correct storage_options."
            )
        by_name = isinstance(error, PermissionError) or "Authentication" in type(error).__name__
        if by_name or _DENIED.match(str(error)):
            return PermissionDenied(
                f"{url}: the store refused ({_text_of(error)}). Check the credentials in storage_options and the "
                "rights of this user."
            )
        return TargetError(f"{url} can't be reached: {_text_of(error)}. Check the host, the port and the folder.")

    return _translating(do, unreachable)


def _not_renamed(error: Exception, url: str) -> CommitError:
    """Return the error for a failed rename: after a broken connection it may be done, or be done yet."""
    is_lost = isinstance(error, (ConnectionError, TimeoutError, EOFError))
    return (_unknown if is_lost else not_published)(url, f"its rename failed ({_text_of(error)})")


def _unknown(url: str, reason: str) -> CommitUnknown:
    return CommitUnknown(
        f"The file at {url} may or may not be visible: {reason.rstrip('.')}. Look for it before you rerun.",
        uncommitted=[url],
    )


def _text_of(error: Exception) -> str:
    """Return the text of an error without the queries of URLs, which carry tokens."""
    text = re.sub(r"\?\S+", "?…", str(error)).rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
