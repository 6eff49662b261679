"""Where bytes go, invisible until they are published: S3, local files, and what else fsspec can rename in.

The only home of s3fs and fsspec, both loaded when a store is first opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mc_sink.exceptions import ConfigurationError
from mc_sink.storage._local import LocalStore
from mc_sink.storage._options import ObjectOptions
from mc_sink.storage._renaming import RenamingStore
from mc_sink.storage._s3 import S3Store
from mc_sink.storage._store import Match, Published, Store
from mc_sink.storage._writer import Writer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mc_sink.target import Target

__all__ = ["Match", "ObjectOptions", "Published", "Store", "Writer", "open_store"]


def open_store(
    target: Target, storage_options: Mapping[str, Any] | None = None, object_options: ObjectOptions | None = None
) -> Store:
    """Open the store that a target lies in, or raise what makes that impossible; sends nothing."""
    if target.protocol == "s3":
        return S3Store(storage_options, object_options or ObjectOptions())
    if object_options is not None:
        raise ConfigurationError(f"object_options are for S3; {target.url} has no ACLs, tags or storage classes.")
    if target.protocol != "file":
        return RenamingStore(target, storage_options)
    if storage_options:
        raise ConfigurationError(f"A local target takes no storage_options, but got {', '.join(storage_options)}.")
    return LocalStore()
