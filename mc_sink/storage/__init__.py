"""Open stores: S3, local files, and every fsspec filesystem that can rename. Uploads stay invisible until published.

Only this folder uses s3fs and fsspec, and loads them when a store is first opened.
"""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mc_sink._runtime.progress import Progress
from mc_sink.exceptions import ConfigurationError, SinkError, UploadError
from mc_sink.object_options import ObjectOptions
from mc_sink.secret import Unpicklable, seal, seals_options
from mc_sink.storage.local import LocalStore, is_hidden, not_a_file, odd_kind
from mc_sink.storage.quiet_logs import silence
from mc_sink.storage.renaming import RenamingStore
from mc_sink.storage.s3 import (
    UNKEPT,
    Answer,
    Probes,
    Role,
    S3Store,
    StoreSupport,
    SupportMemory,
    Trial,
    check_owner,
    is_aws,
    not_aborted,
    session_in,
    wrong_sum,
)
from mc_sink.storage.store import Holds, Published, Store, Writer, already_exists, short_listing
from mc_sink.sweep import Sweep
from mc_sink.target import parse_target

if TYPE_CHECKING:
    import re
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from mc_sink.staged import IfExists, NoteHidden, Report
    from mc_sink.target import Target

__all__ = [
    "UNKEPT",
    "Answer",
    "Holds",
    "Probes",
    "Published",
    "Role",
    "Store",
    "StoreSupport",
    "Stores",
    "SupportMemory",
    "Trial",
    "Writer",
    "already_exists",
    "check_owner",
    "is_aws",
    "is_hidden",
    "is_visible",
    "not_a_file",
    "not_aborted",
    "odd_kind",
    "session_in",
    "short_listing",
    "wrong_sum",
]

_NO_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


class Stores(Unpicklable):
    """The stores of one delivery, for its target and its rejects, opened when first needed and kept open."""

    @seals_options
    def __init__(
        self,
        storage_options: Mapping[str, Any] | None = None,
        object_options: ObjectOptions | None = None,
        memory: SupportMemory | None = None,
        report: Report | None = None,
        note: NoteHidden = lambda _url, _place: None,
    ) -> None:
        self._storage_options, self._object_options = seal(storage_options).checked(), object_options
        self._memory, self._report, self._note = memory, report, note
        self._opened: dict[tuple[str, str], Store] = {}
        self.progress = Progress()

    def of(self, target: Target) -> Store:
        """Return the store of a target, or raise if it can't be opened."""
        local = target.protocol == "file"
        place = (target.protocol, "" if local else target.bucket or target.path.partition("/")[0])
        if place not in self._opened:
            self._opened[place] = store = open_store(target, self._storage_options, self._object_options, self._note)
            if isinstance(store, S3Store):
                store.report, store.stored = self._report, self.progress.upload
                if self._memory:
                    store.support.recall(self._memory.recall(store.endpoint, target.bucket))
        return self._opened[place]

    @contextmanager
    def learning(self) -> Iterator[None]:
        """Save the facts that are learnt of the stores inside, also after a failure, if a memory was passed."""
        try:
            yield
        finally:
            for (_, bucket), store in self._opened.items():
                if self._memory and isinstance(store, S3Store):
                    self._memory.keep(store.endpoint, bucket, store.support.facts())

    def unkept(self, target: Target) -> tuple[str, ...]:
        """Return a sentence for each promise that rests on less at a target's store, as far as known; sends nothing."""
        store = self.of(target)
        return store.support.unkept() if isinstance(store, S3Store) else ()

    def sweep(
        self, stem: Target, own: Sequence[re.Pattern[str]], known: Collection[str], settled: Collection[str]
    ) -> Sweep:
        """Abort uploads of lost workers of a run; see `S3Store.sweep`. Other stores have none."""
        store = self.of(stem)
        return store.sweep(stem, own, known, settled) if isinstance(store, S3Store) else Sweep("none")

    def abort_reported(self, where: Target, upload_id: str, settled: Collection[str]) -> str | None:
        """Abort an upload that a worker has reported; returns a sentence if it stays. Only S3 has such uploads."""
        store = self.of(where)
        return store.abort_reported(where, upload_id, settled) if isinstance(store, S3Store) else None

    def check(self, target: Target, if_exists: IfExists) -> None:
        """Open the store of a target, and raise for a local folder in which files can't be published; sends nothing."""
        store = self.of(target)
        if isinstance(store, LocalStore):
            store.check(target, if_exists)

    def most_bytes(self, target: Target) -> int | None:
        """Return the largest file, in bytes, if all parts must have one size, else None; sends nothing."""
        store = self.of(target)
        return store.cut.most_bytes if isinstance(store, S3Store) else None


@seals_options
def open_store(
    target: Target,
    storage_options: Mapping[str, Any] | None = None,
    object_options: ObjectOptions | None = None,
    note: NoteHidden = lambda _url, _place: None,
) -> Store:
    """Open the store of a target, or raise if that is impossible; sends nothing.

    Local files use no options, and only S3 uses `object_options`. `note` is called before a hidden file is made. A
    library holds the plain secrets, so its exceptions are raised without their frames, and with the secrets cut out of
    their texts.
    """
    if target.protocol == "file":
        return LocalStore(note)
    options = seal(storage_options)
    failed: BaseException
    try:
        with silence():
            if target.protocol != "s3":
                return RenamingStore(target, options.checked().reveal(), note)
            return S3Store(options, object_options or ObjectOptions())
    except SinkError as error:
        failed = error
        failed.args = (options.scrubbed(error.message),) if target.protocol != "s3" else error.args
    except Exception as error:  # noqa: BLE001  every library has its own
        reason = options.scrubbed(f"{type(error).__name__}: {error}")
        failed = ConfigurationError(f"{target.url} can't be opened with these storage_options: {reason}")
        if isinstance(error, OSError) and error.errno in _NO_RESOURCES:
            failed = UploadError(
                f"{target.url} can't be opened: {reason}. Free memory or close files of this program, and rerun."
            )
    except BaseException as error:  # noqa: BLE001  raised again below
        failed = error
    failed.__cause__ = failed.__context__ = None
    raise failed.with_traceback(None)


def is_visible(stores: Stores, url: str) -> bool:
    """Return True if an object is visible at this URL."""
    place = parse_target(url)
    return bool(stores.of(place).listing(place, exact=True))
