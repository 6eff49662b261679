"""S3's sums over bodies: what a part's and an object's checksum are, and how they are put together."""

from __future__ import annotations

import base64
import binascii
import hashlib
from functools import cache
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from isal import isal_zlib

from tests.servers.rules import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.servers.rules import Rules

PREFIX: Final = "x-amz-checksum-"
ALGORITHMS: Final = ("crc32", "crc32c", "crc64nvme", "sha1", "sha256")
_REFLECTED: Final = {"crc32": 0xEDB88320, "crc32c": 0x82F63B78, "crc64nvme": 0x9A6C9329AC4BC9B5}
_WIDTH: Final = {"crc32": 32, "crc32c": 32, "crc64nvme": 64}


class Summing(Protocol):
    """What a body is fed to."""

    def update(self, data: memoryview, /) -> None:
        """Add bytes."""

    def digest(self) -> bytes:
        """Return the sum so far."""


class _Crc32:
    """CRC-32 by instructions made for it."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: memoryview, /) -> None:
        self._value = isal_zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


class _TableCrc:
    """The sums that nothing here has in C: a byte at a time, some 10 MB/s, for small bodies only."""

    def __init__(self, algorithm: str) -> None:
        self._table = _table(_REFLECTED[algorithm])
        self._bytes = _WIDTH[algorithm] // 8
        self._mask = self._value = (1 << _WIDTH[algorithm]) - 1

    def update(self, data: memoryview, /) -> None:
        value, table = self._value, self._table
        for byte in data:
            value = table[(value ^ byte) & 0xFF] ^ (value >> 8)
        self._value = value

    def digest(self) -> bytes:
        return (self._value ^ self._mask).to_bytes(self._bytes, "big")


_SUMMING: Final[dict[str, Callable[[], Summing]]] = {
    "md5": lambda: hashlib.md5(usedforsecurity=False),
    "crc32": _Crc32,
    "crc32c": lambda: _TableCrc("crc32c"),
    "crc64nvme": lambda: _TableCrc("crc64nvme"),
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "sha256": hashlib.sha256,
}


def summing(algorithm: str) -> Summing:
    """Return a new, empty sum by S3's name for it in small letters."""
    return _SUMMING[algorithm]()


def encode(digest: bytes) -> str:
    """Write a sum the way S3's headers do."""
    return base64.b64encode(digest).decode("ascii")


def claimed(headers: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the algorithm and the sum that the headers claim, if any."""
    return next(((name, headers[PREFIX + name]) for name in ALGORITHMS if PREFIX + name in headers), None)


def refusals(rules: Rules) -> list[Refusal]:
    """Return what a store refuses because it doesn't know the checksum, wherever that is named."""
    unknown = [name for name in ALGORITHMS if name.upper() not in rules.sums]
    bodies = [Refusal(("Put", "Part", "Complete"), PREFIX + name, answer=rules.no_sum) for name in unknown]
    trailers = [Refusal(("Put", "Part"), "x-amz-trailer", PREFIX + name, rules.no_sum) for name in unknown]
    known = "|".join(rules.sums)
    return [*bodies, *trailers, Refusal(("Create",), f"{PREFIX}algorithm", f"(?!({known})$).*", rules.no_sum)]


def etag_of_parts(etags: Sequence[str]) -> str:
    """Return the multipart ETag: the MD5 of the parts' MD5s, a dash and their number."""
    joined = b"".join(binascii.unhexlify(etag) for etag in etags)
    return f"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(etags)}"


def md5_of(pieces: Sequence[bytes]) -> str:
    """Return the MD5 of a whole object in hex."""
    whole = hashlib.md5(usedforsecurity=False)
    for piece in pieces:
        whole.update(piece)
    return whole.hexdigest()


def composite(algorithm: str, sums: Sequence[str]) -> str:
    """Return the composite checksum: the sum of the parts' sums, a dash and their number."""
    whole = summing(algorithm)
    for part in sums:
        whole.update(memoryview(base64.b64decode(part)))
    return f"{encode(whole.digest())}-{len(sums)}"


def full_object(algorithm: str, parts: Sequence[tuple[str, int]]) -> str:
    """Return the checksum of the whole from the parts' sums and sizes; for the CRCs only."""
    width = _WIDTH[algorithm]
    value = 0
    for text, size in parts:
        value = _shift(algorithm, value, size) ^ int.from_bytes(base64.b64decode(text), "big")
    return encode(value.to_bytes(width // 8, "big"))


Matrix: TypeAlias = tuple[int, ...]


def _shift(algorithm: str, value: int, num_bytes: int) -> int:
    """Return the sum of the same bytes with `num_bytes` zeroes behind them, before their own sum is added."""
    for bit in range(num_bytes.bit_length()):
        if num_bytes >> bit & 1:
            value = _times(_zeroes(algorithm, bit), value)
    return value


@cache
def _zeroes(algorithm: str, bit: int) -> Matrix:
    """Return the matrix that puts 2**bit zero bytes behind a sum."""
    if bit:
        half = _zeroes(algorithm, bit - 1)
        return tuple(_times(half, row) for row in half)
    one_bit: Matrix = (_REFLECTED[algorithm], *(1 << row for row in range(_WIDTH[algorithm] - 1)))
    for _ in range(3):
        one_bit = tuple(_times(one_bit, row) for row in one_bit)
    return one_bit


def _times(matrix: Matrix, vector: int) -> int:
    total = row = 0
    while vector:
        if vector & 1:
            total ^= matrix[row]
        vector >>= 1
        row += 1
    return total


@cache
def _table(polynomial: int) -> Matrix:
    rows = list(range(256))
    for row in rows:
        value = row
        for _ in range(8):
            value = (value >> 1) ^ (polynomial if value & 1 else 0)
        rows[row] = value
    return tuple(rows)
