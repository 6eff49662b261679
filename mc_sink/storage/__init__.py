"""Where bytes go, invisible until they are published: S3, local files, and what else fsspec can rename in.

The only home of s3fs and fsspec, both loaded when a store is first opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mc_sink.storage._local import LocalStore
from mc_sink.storage._options import ObjectOptions
from mc_sink.storage._renaming import RenamingStore
from mc_sink.storage._s3 import S3Store
from mc_sink.storage._store import Match, Published, Store
from mc_sink.storage._writer import Writer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mc_sink.target import Target

__all__ = ["Match", "ObjectOptions", "Published", "Store", "Stores", "Writer", "open_store"]


class Stores:
    """The stores of one delivery, its target's and its rejects', opened when first needed and kept open."""

    def __init__(
        self, storage_options: Mapping[str, Any] | None = None, object_options: ObjectOptions | None = None
    ) -> None:
        self._storage_options, self._object_options = storage_options, object_options
        self._opened: dict[tuple[str, str], Store] = {}

    def of(self, target: Target) -> Store:
        """Give the store that a target lies in, or raise what makes that impossible."""
        local = target.protocol == "file"
        place = (target.protocol, "" if local else target.bucket or target.path.partition("/")[0])
        if place not in self._opened:
            self._opened[place] = open_store(target, self._storage_options, self._object_options)
        return self._opened[place]


def open_store(
    target: Target, storage_options: Mapping[str, Any] | None = None, object_options: ObjectOptions | None = None
) -> Store:
    """Open the store that a target lies in, or raise what makes that impossible; sends nothing.

    Local files have no use for options, and only S3 has for `object_options`.
    """
    if target.protocol == "s3":
        return S3Store(storage_options, object_options or ObjectOptions())
    return LocalStore() if target.protocol == "file" else RenamingStore(target, storage_options)
