"""age: encrypted by pyrage, the Python binding of rage, which streams."""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mc_sink.encrypted import Encryption
from mc_sink.encryption.cipher import CONTENT_TYPE, SUFFIX, missing, read_key, refuse_no_recipients
from mc_sink.encryption.piped import pipe_of
from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mc_sink.encryption.cipher import Sink

_X25519, _SSH, _SECRETS = "age1", ("ssh-ed25519 ", "ssh-rsa "), ("AGE-SECRET-KEY-", "-----BEGIN ")
_READ_BYTES = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Age:
    """Encryption by age for everyone who has the secret key of one of `recipients`; files get the suffix `.age`.

    Arguments:
        recipients: Public keys: `age1…`, `ssh-ed25519 …` or `ssh-rsa …`, or paths of files with one of them a line.

    age has no signatures, and its keys neither expire nor are revoked. Raises `ConfigurationError`.
    """

    recipients: Sequence[str | os.PathLike[str]] = field(repr=False)

    def __post_init__(self) -> None:
        refuse_no_recipients("Age", self.recipients)

    def cipher(self) -> AgeCipher:
        """Read and check the keys. Raises `ConfigurationError`."""
        try:
            import pyrage
        except ImportError as error:
            raise missing("pyrage") from error
        texts = self.texts()
        keys = [_parsed(pyrage, text) for text in texts]
        return AgeCipher(Encryption("age", tuple(map(_named, texts))), tuple(keys))

    def texts(self) -> list[str]:
        """Return the public keys as text."""
        return [text for key in self.recipients for text in _lines(key)]


@dataclass(frozen=True, slots=True, eq=False)
class AgeCipher:
    """age with keys that were read."""

    facts: Encryption
    keys: tuple[Any, ...] = field(repr=False)
    suffix: str = SUFFIX["age"]
    content_type: str = CONTENT_TYPE["age"]

    def start(self, below: Sink) -> tuple[int, Callable[[], None], Callable[[], None]]:
        """Begin a file; see `Cipher`."""
        import pyrage

        def encrypt(pipe: int) -> None:
            with os.fdopen(pipe, "rb", _READ_BYTES, closefd=False) as clear:
                pyrage.encrypt_io(clear, below, [*self.keys])

        into, work = pipe_of(encrypt)
        return into, work, lambda: None


def _lines(key: object) -> list[str]:
    """Return the public keys of a text or a file, without blank lines and comments."""
    data, label = read_key("Age", key, (_X25519, *_SSH, *_SECRETS))
    lines = [line.strip() for line in data.decode("utf-8", "replace").splitlines()]
    found = [line for line in lines if line and not line.startswith("#")]
    if not found or any(line.startswith(_SECRETS) for line in found):
        reason = "it holds a secret key" if found else "it holds none"
        raise ConfigurationError(f"Age can't use {label}: {reason}. Pass public keys, such as age1….")
    return found


def _parsed(pyrage: Any, text: str) -> Any:
    try:
        return (
            pyrage.x25519.Recipient.from_str(text) if text.startswith(_X25519) else pyrage.ssh.Recipient.from_str(text)
        )
    except pyrage.RecipientError:
        raise ConfigurationError(
            "Age can't read a recipient: it is not a public key of age (age1…) or SSH (ssh-ed25519 …, ssh-rsa …). "
            "Check that it is whole."
        ) from None


def _named(text: str) -> str:
    """Return an age key as it is, and the fingerprint of a key of SSH as ssh-keygen shows it."""
    if text.startswith(_X25519):
        return text
    digest = hashlib.sha256(base64.b64decode(text.split()[1])).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"
