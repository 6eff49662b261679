"""Paths that have cell values in them → aliases that have none, by which the same paths are found again in a listing.

    s3://bucket/p/mail=ann@example.com/r-1.csv  ──►  s3://bucket/p/…4f2a9c01d3e58b76

An alias is a keyed digest. Its key lies in a file of its own in the state folder, so who has the history alone can't
try values until one fits.
"""

from __future__ import annotations

import fcntl
import hmac
import os
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

from mc_sink import _state
from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mc_sink.receipt import WrittenFile

FILE = "history.key"
_KEY_BYTES, _DIGITS = 32, 16


def aliased(file: WrittenFile, target: str) -> WrittenFile:
    """Return a partition's file under an alias within its target; any other file as it is."""
    return replace(file, path=f"{target}…{_alias(file.path)}", partition={}) if file.partition else file


def is_aliased(file: WrittenFile) -> bool:
    """Return whether the path is an alias."""
    return file.partition == {}


def located(files: Iterable[WrittenFile], urls: Iterable[str]) -> list[WrittenFile]:
    """Return files with the paths that their aliases stand for, as far as these are among `urls`."""
    by_alias = {_alias(url): url for url in urls}
    return [
        replace(file, path=by_alias.get(file.path[-_DIGITS:], file.path)) if is_aliased(file) else file
        for file in files
    ]


def _alias(path: str) -> str:
    return hmac.new(_key(), path.encode(errors="surrogatepass"), "sha256").hexdigest()[:_DIGITS]


def _key() -> bytes:
    """Return this machine's key, which is made when it is first needed."""
    path = _state.state_folder() / FILE
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(_state.open_private(path, os.O_RDWR | os.O_CREAT), "r+b") as opened:  # noqa: PTH123  a descriptor
            fcntl.flock(opened, fcntl.LOCK_EX)  # or two processes would make two
            key = opened.read()
            if len(key) != _KEY_BYTES:
                key = secrets.token_bytes(_KEY_BYTES)
                opened.seek(0)
                opened.write(key)
            return key
    except OSError as error:
        raise ConfigurationError(f"The key of the history at {path} can't be used: {error.strerror}.") from error
