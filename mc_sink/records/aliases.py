"""Replace the path of a partition's file, which contains values of rows, by an alias that finds the file again.

    s3://bucket/p/mail=ann@example.com/r-1.csv  ──►  s3://bucket/p/…4f2a9c01d3e58b76

An alias is a keyed digest. Its key lies in a file of its own in the state folder, so that the history alone doesn't
let anyone guess values until one fits.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

from mc_sink._runtime import state_dir
from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from mc_sink.receipt import WrittenFile

FILE = "history.key"
_KEY_BYTES, _DIGITS = 32, 16


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
