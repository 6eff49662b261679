"""Verify that the files of a receipt or a record are still visible, by their paths or the aliases that a record has.

    s3://bucket/p/mail=ann@example.com/r-1.csv  ──►  s3://bucket/p/…4f2a9c01d3e58b76

An alias is a keyed digest. Its key lies in a file of its own in the state folder, so that the history alone doesn't
let anyone guess values until one fits.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mc_sink._runtime import state_dir
from mc_sink.exceptions import ConfigurationError
from mc_sink.platforms import stores_for
from mc_sink.receipt import Receipt, Verification
from mc_sink.secret import seals_options
from mc_sink.storage import is_visible
from mc_sink.target import parse_target

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from mc_sink.platforms import Platform
    from mc_sink.receipt import WrittenFile
    from mc_sink.storage import Stores

FILE = "history.key"
_KEY_BYTES, _DIGITS = 32, 16


@seals_options
def verify(
    receipt: Receipt, *, platform: str | Platform | None = None, storage_options: Mapping[str, Any] | None = None
) -> Verification:
    """List the store and compare every file of a receipt: its size and ETag, or locally its size and CRC32."""
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


def aliased(file: WrittenFile, target: str) -> WrittenFile:
    """Return a partition's file under an alias within its target, and any other file unchanged."""
    return replace(file, path=f"{target}…{_alias(file.path)}", partition={}) if file.partition else file


def is_aliased(file: WrittenFile) -> bool:
    """Return whether the path is an alias."""
    return file.partition == {}


def located(files: Iterable[WrittenFile], urls: Iterable[str]) -> list[WrittenFile]:
    """Return files with the paths that their aliases stand for, where these are among `urls`."""
    by_alias = {_alias(url): url for url in urls}
    return [
        replace(file, path=by_alias.get(file.path[-_DIGITS:], file.path)) if is_aliased(file) else file
        for file in files
    ]


def _alias(path: str) -> str:
    """Return the digits that stand for a path, by this machine's key, which is made when it is first needed."""
    place = state_dir.state_folder() / FILE
    try:
        if not (key := _stored_key(place)):
            state_dir.prepare_folder()
            with state_dir.Lock(place.with_suffix(".lock")).held():  # or two processes would make two
                if not (key := _stored_key(place)):
                    key = secrets.token_bytes(_KEY_BYTES)
                    state_dir.write_private(place, key)
        return hmac.new(key, path.encode(errors="surrogatepass"), "sha256").hexdigest()[:_DIGITS]
    except OSError as error:
        raise ConfigurationError(
            f"The key of the history at {place} can't be used: {error.strerror}. Free disk space, or set "
            f"{state_dir.STATE_DIR} to another folder."
        ) from error


def _stored_key(path: Path) -> bytes | None:
    """Return the key, or None where the file is missing or was cut."""
    try:
        key, _ = state_dir.read_private(path)
    except FileNotFoundError:
        return None
    return key if len(key) == _KEY_BYTES else None
