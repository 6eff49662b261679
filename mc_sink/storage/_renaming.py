"""Any fsspec filesystem that renames within itself: written under a hidden name, shown by a rename.

Filesystems that publish while they write (`memory`), or whose rename is a copy that can be cut short (object stores),
are refused: there is no way to keep them whole or invisible. A rename can't be told not to overwrite on these, so
"fail" is a look just before it: two writers on one file at the same moment are not kept apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mc_sink.exceptions import CommitError, TargetError
from mc_sink.staged import Temporary
from mc_sink.storage._local import hidden_name
from mc_sink.storage._s3_options import check_names
from mc_sink.storage._store import Match, Published, already_exists

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mc_sink.receipt import WrittenFile
    from mc_sink.staged import IfExists, StagedFile
    from mc_sink.target import Target

RENAMES = ("sftp", "ssh", "ftp", "smb", "hdfs", "arrow_hdfs", "webhdfs")
_CHECKS_ITS_OWN_NAMES = {"sftp", "ssh"}  # these hand every name on to paramiko, which refuses unknown ones


class RenamedFile:
    """Takes the bytes of one file under a hidden name."""

    def __init__(self, filesystem: Any, path: str) -> None:
        self._filesystem, self._path, self._temporary = filesystem, path, hidden_name(path)
        self._file = filesystem.open(self._temporary, "wb")

    def write(self, data: bytes) -> None:
        """Write all of `data`."""
        self._file.write(data)

    def finish(self) -> Temporary:
        """Close the file, so that the store holds all of it."""
        self._file.close()
        return Temporary(self._path, self._temporary)

    def stop(self) -> None:
        """Do nothing: the filesystem's own timeout ends a write."""

    def abort(self) -> str | None:
        """Remove what was written; a sentence where that was refused."""
        try:
            self._file.close()
        except Exception as error:  # noqa: BLE001  the cause of the abort matters more
            return f"{self._temporary} could not be closed ({error}): remove it."
        return _remove(self._filesystem, self._temporary)


class RenamingStore:
    """One filesystem of fsspec's, private to the delivery."""

    def __init__(self, target: Target, storage_options: Mapping[str, Any] | None) -> None:
        import fsspec

        if target.protocol not in RENAMES:
            raise TargetError(
                f"{target.protocol}:// can't be written without publishing, so a failed delivery could be seen there. "
                f"Deliver to s3://, a local path, or one of {', '.join(RENAMES)}."
            )
        implementation = fsspec.get_filesystem_class(target.protocol)
        if target.protocol not in _CHECKS_ITS_OWN_NAMES:
            check_names(storage_options or {}, _parameters(implementation), target.protocol)
        self._filesystem, _ = fsspec.url_to_fs(target.url, skip_instance_cache=True, **(storage_options or {}))

    def check(self, target: Target, if_exists: IfExists) -> None:
        """Refuse a file that is already there."""
        if if_exists == "fail" and self._filesystem.exists(self._path(target.url)):
            raise already_exists(target.url)

    def open(self, target: Target, content_type: str) -> RenamedFile:  # noqa: ARG002  files have no content type
        """Take bytes for one file, making the folder that it stands in."""
        path = self._path(target.url)
        self._filesystem.makedirs(path.rpartition("/")[0] or "/", exist_ok=True)
        return RenamedFile(self._filesystem, path)

    def publish(self, file: StagedFile, if_exists: IfExists) -> Published:
        """Rename the file to its name."""
        if not isinstance(file.upload, Temporary):
            raise CommitError(f"{file.path} was not staged on a filesystem. Nothing became visible.")
        if if_exists == "fail" and self._filesystem.exists(file.upload.path):
            raise already_exists(file.path)
        try:
            self._filesystem.mv(file.upload.temporary, file.upload.path)
        except OSError as error:
            raise CommitError(f"{file.path} could not be published: {error}.", uncommitted=[file.path]) from error
        return Published(None, None)

    def discard(self, file: StagedFile) -> str | None:
        """Remove the hidden file; a sentence where that was refused."""
        return _remove(self._filesystem, file.upload.temporary) if isinstance(file.upload, Temporary) else None

    def match(self, file: WrittenFile) -> Match:
        """Compare the size with the file that is there."""
        path = self._path(file.path)
        if not self._filesystem.exists(path):
            return "missing"
        self._filesystem.invalidate_cache()
        return "same" if self._filesystem.size(path) == file.num_bytes else "changed"

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
        return f"{path} could not be removed ({error}): remove it."
    return None
