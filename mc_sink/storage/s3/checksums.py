"""The checksums that requests can carry: S3's names, how each is computed, and how those of parts combine.

    sums         algorithm    of an upload    checksum of the whole object, sent with Complete
    full         CRC32        FULL_OBJECT     the CRC32 of the file, computed while it is written
    composite    CRC32        COMPOSITE       none
    sha256       SHA256       COMPOSITE       none
    crc64nvme    CRC64NVME    FULL_OBJECT     combined from the checksums of the parts
    none         no checksum; bodies are signed with their SHA-256 instead

Create and Complete name the type only where it differs from S3's default, because some stores refuse that header.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
"""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from isal import isal_zlib

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from mc_sink.receipt import Integrity
    from mc_sink.staged import Part, Sums

# botocore's name of an algorithm, and the checksums that use it. A store is offered them in this order.
ALGORITHMS: Final[Mapping[str, tuple[Sums, ...]]] = {
    "CRC32": ("full", "composite"),
    "SHA256": ("sha256",),
    "CRC64NVME": ("crc64nvme",),
}


@dataclass(frozen=True, slots=True, eq=False)
class Checksum:
    """One kind of checksum.

    - `algorithm`: botocore's name of it.
    - `num_bytes`: length of its digest.
    - `proves`: what a reply proves that echoes the checksum.
    - `digest`: computes it.
    - `typed`: a Create has to name its type.
    """

    algorithm: str
    num_bytes: int
    proves: Integrity
    digest: Callable[[Iterable[memoryview]], bytes]
    typed: bool = False

    @property
    def parameter(self) -> str:
        """The parameter of a request, and of its reply, that holds the checksum."""
        return f"Checksum{self.algorithm}"

    @property
    def of_create(self) -> dict[str, str]:
        """The parameters with which an upload is created."""
        return {"ChecksumAlgorithm": self.algorithm} | ({"ChecksumType": "FULL_OBJECT"} if self.typed else {})

    def of(self, pieces: Iterable[memoryview], crc32: int | None = None) -> str:
        """Return the checksum of a body in base64, as a request carries it; `crc32` if its CRC32 is known."""
        if crc32 is not None and self.algorithm == "CRC32":
            return b64encode(crc32.to_bytes(4, "big")).decode()
        return b64encode(self.digest(pieces)).decode()


def _crc32(pieces: Iterable[memoryview]) -> bytes:
    crc = 0
    for piece in pieces:
        crc = isal_zlib.crc32(piece, crc)
    return crc.to_bytes(4, "big")


def _sha256(pieces: Iterable[memoryview]) -> bytes:
    sha256 = hashlib.sha256()
    for piece in pieces:
        sha256.update(piece)
    return sha256.digest()


def _crc64nvme(pieces: Iterable[memoryview]) -> bytes:
    from awscrt import checksums

    crc = 0
    for piece in pieces:
        crc = checksums.crc64nvme(piece, crc)
    return crc.to_bytes(8, "big")


SUMS: Final[Mapping[Sums, Checksum]] = {
    "full": Checksum("CRC32", 4, "crc32", _crc32, typed=True),
    "composite": Checksum("CRC32", 4, "crc32", _crc32),
    "sha256": Checksum("SHA256", 32, "sha256", _sha256),
    "crc64nvme": Checksum("CRC64NVME", 8, "crc64", _crc64nvme),
}
PROOFS: Final[Mapping[str, Integrity]] = {one.parameter: one.proves for one in SUMS.values()}


def can_sum(sums: Sums) -> bool:
    """Return False for a checksum whose library is not installed."""
    return sums != "crc64nvme" or find_spec("awscrt") is not None


def of_whole(sums: Sums, parts: Sequence[Part], crc32: str) -> dict[str, str]:
    """Return the parameters of a Complete that hold the checksum of the whole object; empty if the store combines it.

    `crc32`: that of the file as it was written, in hex.
    """
    if sums == "full":
        return {"ChecksumCRC32": b64encode(bytes.fromhex(crc32)).decode(), "ChecksumType": "FULL_OBJECT"}
    if sums != "crc64nvme" or not can_sum(sums):
        return {}
    from awscrt import checksums

    crc = 0
    for part in parts:
        one = int.from_bytes(b64decode(part.checksum or ""), "big")
        crc = checksums.combine_crc64nvme(crc, one, part.num_bytes)
    return {"ChecksumCRC64NVME": b64encode(crc.to_bytes(8, "big")).decode()}


def wrong_sum(sums: Sums) -> dict[str, str]:
    """Return a checksum of zeros as a request parameter, for a body that has another one; CRC32 for "none"."""
    one = SUMS.get(sums, SUMS["full"])
    return {one.parameter: b64encode(bytes(one.num_bytes)).decode()}


def sums_in(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return the checksums that a request carries, by parameter."""
    return {name: value for name, value in parameters.items() if name in PROOFS}
