"""Verify that the files of a receipt or a record are still visible, by their paths or the aliases that a record has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mc_sink.platforms import stores_for
from mc_sink.receipt import Receipt, Verification
from mc_sink.records import is_aliased, located
from mc_sink.secret import seals_options
from mc_sink.storage import is_visible
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mc_sink.platforms import Platform
    from mc_sink.storage import Stores


@seals_options
def verify(
    receipt: Receipt, *, platform: str | Platform | None = None, storage_options: Mapping[str, Any] | None = None
) -> Verification:
    """List the store and compare every file of a receipt: its size and ETag, or locally its size and CRC32.

    - `receipt`: that of a delivery from Python; `mc-sink verify` does it for a recorded run.
    - `platform`, `storage_options`: as in `sink_madconnect`.
    """
    return verify_with(receipt, stores_for(receipt.target, platform, storage_options))


def verify_with(receipt: Receipt, stores: Stores) -> Verification:
    """Verify through stores that are already open; see `verify`."""
    files = [*receipt.files, *(receipt.rejects.files if receipt.rejects else ()), *receipt.closing]
    if any(map(is_aliased, files)):
        target = parse_target(receipt.target)
        files = located(files, stores.of(target).listing(target, exact=False))
    matches = {file.path: stores.of(parse_target(file.path)).match(file) for file in files}
    missing, changed, alike = (
        tuple(path for path, match in matches.items() if match == wanted) for wanted in ("missing", "changed", "alike")
    )
    # A receipt from the history has only the URLs of these.
    closing = [url for url in (receipt.manifest, receipt.success_marker) if url and url not in matches]
    missing += tuple(url for url in closing if not is_visible(stores, url))
    return Verification(len(matches) + len(closing), missing, changed, alike)
