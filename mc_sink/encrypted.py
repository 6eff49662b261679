"""The facts of an encrypted delivery: for whom it was encrypted, and the bytes of its files before that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Encryption:
    """The keys of an encrypted delivery, by their fingerprints; an age key is named by itself, which is public.

    `signer` is the fingerprint of the key that signed the files, or None.
    """

    kind: Literal["pgp", "age"]
    recipients: tuple[str, ...]
    signer: str | None = None

    def __str__(self) -> str:
        signed = f", signed by {self.signer}" if self.signer else ""
        return f"{self.kind} for {', '.join(self.recipients)}{signed}"


@dataclass(frozen=True, slots=True)
class ClearBytes:
    """The size and the checksum of a file before it was encrypted: what its receiver has after decrypting it."""

    num_bytes: int
    checksum: str
