"""The protocol of an encryption with checked keys, and how keys are read from what a caller passes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mc_sink.encrypted import Encryption


# By the kind of an encryption: the suffix of its files, and their media type.
SUFFIX = {"pgp": ".pgp", "age": ".age"}
CONTENT_TYPE = {"pgp": "application/pgp-encrypted", "age": "application/octet-stream"}


class Sink(Protocol):
    """What encrypted bytes are written to."""

    def write(self, data: bytes) -> int:
        """Write bytes and return their number."""

    def flush(self) -> None:
        """Write out buffered bytes, where the file has a buffer."""


class Cipher(Protocol):
    """An encryption whose keys were read and checked."""

    @property
    def suffix(self) -> str:
        """The suffix of an encrypted file, after that of its format."""

    @property
    def content_type(self) -> str:
        """The media type to store with a file."""

    @property
    def facts(self) -> Encryption:
        """The fingerprints of the keys."""

    def start(self, below: Sink) -> tuple[int, Callable[[], None], Callable[[], None]]:
        """Begin a file whose encrypted bytes go to `below`.

        Returns a file descriptor for the clear bytes; a function that encrypts them until it is closed, called on a
        thread of its own, which raises if that fails; and a function that ends that early.
        """


def refuse_no_recipients(kind: str, recipients: object) -> None:
    """Raise unless the recipients are a list with at least one key."""
    if isinstance(recipients, str | bytes | os.PathLike) or not isinstance(recipients, list | tuple) or not recipients:
        raise ConfigurationError(
            f"{kind}(recipients=…) needs a list with the public key of at least one receiver, or the path of its file."
        )


def read_key(kind: str, key: object, begins: Sequence[str]) -> tuple[bytes, str]:
    """Return the bytes of a key and a label for messages. A text that begins like a key is one, any other is a path.

    Messages name a file, and never repeat a key.
    """
    if isinstance(key, bytes):
        return key, "a key of bytes"
    if isinstance(key, str) and key.lstrip().startswith(tuple(begins)):
        return key.encode(), "a key of text"
    if not isinstance(key, str | os.PathLike):
        raise ConfigurationError(f"{kind} can't read a key from a {type(key).__name__}. Pass text, bytes or a path.")
    path = Path(os.fspath(key))
    try:
        return path.read_bytes(), str(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "the path is not valid"
        raise ConfigurationError(
            f"Cannot read a key for {kind}: {reason}. Check the path of the key's file, or pass the key itself."
        ) from None


def key_text(key: str) -> str:
    """Return the text of a public key that is given as itself or as the path of its file. Raises for a binary one."""
    data, label = read_key("A platform", key, ("-----BEGIN PGP", "age1", "ssh-"))
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ConfigurationError(
            f"A platform can't keep {label}: the key is binary. Export it as text (gpg --armor --export)."
        ) from None


def missing(library: str) -> ConfigurationError:
    """Return the error for a library that isn't installed."""
    return ConfigurationError(f"encrypt= needs the library {library}. Install it: pip install 'mc-sink[encryption]'.")
