"""Look at what was delivered, with no more than the right to list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mc_sink.receipt import Receipt, Verification
from mc_sink.secret import seal
from mc_sink.storage import Stores
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Mapping


def verify(receipt: Receipt, *, storage_options: Mapping[str, Any] | None = None) -> Verification:
    """List the store and compare: every file there, with its size and ETag (locally: size and CRC32)."""
    storage_options = seal(storage_options)
    return verify_with(receipt, Stores(storage_options))


def verify_with(receipt: Receipt, stores: Stores) -> Verification:
    files = [*receipt.files, *(receipt.rejects.files if receipt.rejects else ())]
    matches = {file.path: stores.of(parse_target(file.path)).match(file) for file in files}
    missing = [path for path, match in matches.items() if match == "missing"]
    changed = tuple(path for path, match in matches.items() if match == "changed")
    closing = [url for url in (receipt.manifest, receipt.success_marker) if url]
    missing += [url for url in closing if not is_visible(stores, url)]
    return Verification(len(matches) + len(closing), tuple(missing), changed)


def is_visible(stores: Stores, url: str) -> bool:
    place = parse_target(url)
    return bool(stores.of(place).listing(place, exact=True))
