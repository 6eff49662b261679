"""Open stores: S3, local files, and every fsspec filesystem that can rename. Uploads stay invisible until published.

The only home of s3fs and fsspec, both loaded when a store is first opened.
"""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mc_sink.exceptions import ConfigurationError, SinkError, UploadError
from mc_sink.object_options import ObjectOptions
from mc_sink.secret import Sealed, Unpicklable, seal, seals_options
from mc_sink.storage.local import LocalStore, not_a_file, odd_kind
from mc_sink.storage.quiet_logs import silence
from mc_sink.storage.renaming import RenamingStore
from mc_sink.storage.s3 import (
    UNKEPT,
    Answer,
    Probes,
    Role,
    S3Store,
    StoreWays,
    Trial,
    WaysMemory,
    check_options,
    check_owner,
    is_aws,
    not_aborted,
    session_in,
    wrong_sum,
)
from mc_sink.storage.store import Published, Store, Writer, already_exists
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mc_sink.target import Target

__all__ = [
    "UNKEPT",
    "Answer",
    "Probes",
    "Published",
    "Role",
    "Store",
    "StoreWays",
    "Stores",
    "Trial",
    "WaysMemory",
    "Writer",
    "already_exists",
    "check_owner",
    "is_aws",
    "is_visible",
    "not_a_file",
    "not_aborted",
    "odd_kind",
    "session_in",
    "wrong_sum",
]

_USED_UP = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


class Stores(Unpicklable):
    """The stores of one delivery, its target's and its rejects', opened when first needed and kept open."""

    @seals_options
    def __init__(
        self,
        storage_options: Mapping[str, Any] | None = None,
        object_options: ObjectOptions | None = None,
        memory: WaysMemory | None = None,
    ) -> None:
        self._storage_options, self._object_options = seal(storage_options).checked(), object_options
        self._memory = memory
        self._opened: dict[tuple[str, str], Store] = {}

    def of(self, target: Target) -> Store:
        """Give the store that a target lies in, or raise what makes that impossible."""
        local = target.protocol == "file"
        place = (target.protocol, "" if local else target.bucket or target.path.partition("/")[0])
        if place not in self._opened:
            self._opened[place] = store = open_store(target, self._storage_options, self._object_options)
            if self._memory and isinstance(store, S3Store):
                store.ways.recall(self._memory.recall(store.endpoint, target.bucket))
        return self._opened[place]

    @contextmanager
    def learning(self) -> Iterator[None]:
        """Keep what is learnt of the stores within, whatever the end, where there is a memory."""
        try:
            yield
        finally:
            for (_, bucket), store in self._opened.items():
                if self._memory and isinstance(store, S3Store):
                    self._memory.keep(store.endpoint, bucket, store.ways.facts())

    def unkept(self, target: Target) -> tuple[str, ...]:
        """Return a sentence for each promise that a target's store is known not to keep its part of; sends nothing."""
        store = self.of(target)
        return store.ways.unkept() if isinstance(store, S3Store) else ()

    def most_bytes(self, target: Target) -> int | None:
        """Return the most that a file may have where parts are all of one size; None elsewhere. Sends nothing."""
        store = self.of(target)
        return store.cut.most_bytes if isinstance(store, S3Store) else None


@seals_options
def open_store(
    target: Target, storage_options: Mapping[str, Any] | None = None, object_options: ObjectOptions | None = None
) -> Store:
    """Open the store that a target lies in, or raise what makes that impossible; sends nothing.

    Local files have no use for options, and only S3 has for `object_options`. What a library raises while it holds the
    plain secrets is told without its frames, and with the secrets cut out of its words.
    """
    if target.protocol == "file":
        return LocalStore()
    options = seal(storage_options)
    failed: BaseException
    try:
        with silence():
            return _open(target, options, object_options or ObjectOptions())
    except SinkError as error:
        failed = error
        failed.args = (options.scrubbed(error.message),) if target.protocol != "s3" else error.args
    except Exception as error:  # noqa: BLE001  every library has its own
        said = options.scrubbed(f"{type(error).__name__}: {error}")
        failed = ConfigurationError(f"{target.url} can't be opened with these storage_options: {said}")
        if isinstance(error, OSError) and error.errno in _USED_UP:
            failed = UploadError(f"{target.url} can't be opened: {said}. Rerun when it is mended.")
    except BaseException as error:  # noqa: BLE001  raised again below
        failed = error
    failed.__cause__ = failed.__context__ = None
    raise failed.with_traceback(None)


def _open(target: Target, options: Sealed, object_options: ObjectOptions) -> Store:
    """Reveal the options to the library that opens the store, and to nobody else."""
    if target.protocol != "s3":
        return RenamingStore(target, options.checked().reveal())
    check_options(options)
    return S3Store(options, object_options)


def is_visible(stores: Stores, url: str) -> bool:
    """Return whether something is visible at this URL."""
    place = parse_target(url)
    return bool(stores.of(place).listing(place, exact=True))
