"""The keys of an encryption as plain text, which may travel to workers because nothing of them is secret."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mc_sink.encrypted import Encryption  # noqa: TC001  its type is read when JSON is
from mc_sink.encryption.age import Age
from mc_sink.encryption.cipher import CONTENT_TYPE, SUFFIX
from mc_sink.encryption.pgp import Pgp
from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from mc_sink.encryption.cipher import Cipher, Sink


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """The fingerprints of the receivers, and their public keys as text.

    As a `Cipher` it names files without any key, so that a delivery whose key has expired since can still be published
    or discarded. It reads and checks its keys where a file begins.
    """

    facts: Encryption
    keys: tuple[str, ...]

    @classmethod
    def of(cls, encrypt: Pgp | Age) -> Self:
        """Read and check the keys of an encryption. Raises `ConfigurationError` for one that signs."""
        if isinstance(encrypt, Pgp) and encrypt.signer is not None:
            raise ConfigurationError(
                "Pgp(signer=…) can't be used by several workers: the secret key would travel to them, in pickles, logs "
                "and plans. Leave signer= out, or deliver from one process."
            )
        return cls(encrypt.cipher().facts, tuple(encrypt.texts()))

    @property
    def suffix(self) -> str:
        """The suffix of an encrypted file."""
        return SUFFIX[self.facts.kind]

    @property
    def content_type(self) -> str:
        """The media type of an encrypted file."""
        return CONTENT_TYPE[self.facts.kind]

    def cipher(self) -> Cipher:
        """Return itself, with keys that were not read."""
        return self

    def checked(self) -> Cipher:
        """Read and check the keys in this process. Raises `ConfigurationError`."""
        return (Pgp if self.facts.kind == "pgp" else Age)(recipients=self.keys).cipher()

    def start(self, below: Sink) -> tuple[int, Callable[[], None], Callable[[], None]]:
        """Begin a file with keys that are read now; see `Cipher`."""
        return self.checked().start(below)
