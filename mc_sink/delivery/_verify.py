"""Look at what was delivered, with no more than the right to list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mc_sink._aliases import is_aliased, located
from mc_sink.delivery._stores import stores_for
from mc_sink.receipt import Receipt, Verification
from mc_sink.secret import seal
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mc_sink.platforms import Platform
    from mc_sink.storage import Stores


def verify(
    receipt: Receipt, *, platform: str | Platform | None = None, storage_options: Mapping[str, Any] | None = None
) -> Verification:
    """List the store and compare: every file there, with its size and ETag (locally: size and CRC32)."""
    storage_options = seal(storage_options)
    return verify_with(receipt, stores_for(receipt.target, platform, storage_options))


def verify_with(receipt: Receipt, stores: Stores) -> Verification:
    files = [*receipt.files, *(receipt.rejects.files if receipt.rejects else ()), *receipt.closing]
    if any(map(is_aliased, files)):
        target = parse_target(receipt.target)
        files = located(files, stores.of(target).listing(target, exact=False))
    matches = {file.path: stores.of(parse_target(file.path)).match(file) for file in files}
    missing, changed, alike = (
        tuple(path for path, match in matches.items() if match == wanted) for wanted in ("missing", "changed", "alike")
    )
    # A receipt out of the history has no more of these than their URLs.
    closing = [url for url in (receipt.manifest, receipt.success_marker) if url and url not in matches]
    missing += tuple(url for url in closing if not is_visible(stores, url))
    return Verification(len(matches) + len(closing), missing, changed, alike)


def is_visible(stores: Stores, url: str) -> bool:
    place = parse_target(url)
    return bool(stores.of(place).listing(place, exact=True))
