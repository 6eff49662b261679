"""Bodies on their way into the test server: taken out of S3's own framing, summed, checked, and kept or dropped."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.servers import checksums
from tests.servers.rules import S3Error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tests.servers.checksums import Summing
    from tests.servers.operations import Request
    from tests.servers.rules import Rules

_HEX_SHA256 = 64


@dataclass(frozen=True, slots=True)
class Taken:
    """A body that was checked; `data` is empty where bodies are not kept, `sums` are by algorithm."""

    size: int
    etag: str
    sums: Mapping[str, str]
    data: tuple[bytes, ...] = field(default=(), repr=False)


class AwsChunked:
    """Pieces of a body without S3's `aws-chunked` framing; the trailers are there when all pieces are."""

    def __init__(self, pieces: Iterable[memoryview]) -> None:
        self.trailers: dict[str, str] = {}
        self._pieces = iter(pieces)
        self._left = memoryview(b"")

    def __iter__(self) -> Iterator[memoryview]:
        while size := int(self._line().partition(b";")[0] or b"0", 16):
            while size and self._refill():
                piece, self._left = self._left[:size], self._left[size:]
                size -= len(piece)
                yield piece
            self._line()
        while line := self._line().decode("latin-1"):
            name, _, value = line.partition(":")
            self.trailers[name.lower()] = value.strip()

    def _refill(self) -> bool:
        if not self._left:
            self._left = next(self._pieces, self._left)
        return bool(self._left)

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n") and self._refill():
            start = bytes(self._left[:1024])
            taken = start.find(b"\n") + 1 or len(start)
            line += start[:taken]
            self._left = self._left[taken:]
        return line.strip(b"\r\n")


def take_in(request: Request, pieces: Iterable[memoryview], rules: Rules, *, algorithm: str | None = None) -> Taken:
    """Read a whole body, check every sum that the client claims and the store knows, and sum `algorithm` too."""
    headers = _heeded(request.headers, rules)
    algorithm, bodies = algorithm if rules.checksums == "honoured" else None, rules.bodies
    framed = AwsChunked(pieces) if "aws-chunked" in headers.get("content-encoding", "") else None
    source = pieces if framed is None else framed
    if bodies == "count":
        return _count(request, source, headers)
    sums = _sums_for(headers, algorithm)
    data: list[bytes] = []
    size = 0
    for piece in source:
        size += len(piece)
        for one in sums.values():
            one.update(piece)
        if bodies == "keep":
            data.append(bytes(piece))
    if framed is not None:
        headers = _heeded(headers | framed.trailers, rules)
    _check(headers, sums, size)
    wanted = {
        name: checksums.encode(one.digest()) for name, one in sums.items() if name in {algorithm, _claim(headers)}
    }
    return Taken(size, sums["md5"].digest().hex(), wanted, tuple(data))


def _heeded(headers: Mapping[str, str], rules: Rules) -> dict[str, str]:
    """Return the headers that this store doesn't read over."""
    ignored = {"x-amz-trailer", *(checksums.PREFIX + name for name in checksums.ALGORITHMS)}
    ignored = ignored if rules.checksums == "ignored" else set()
    ignored |= {"x-amz-content-sha256"} if rules.signed_bodies == "ignored" else set()
    ignored |= {"content-md5"} if rules.content_md5 == "ignored" else set()
    return {name: value for name, value in headers.items() if name not in ignored}


def _count(request: Request, pieces: Iterable[memoryview], headers: Mapping[str, str]) -> Taken:
    size = sum(map(len, pieces))
    made_up = hashlib.md5(f"{request.target} {size}".encode(), usedforsecurity=False).hexdigest()
    claim = checksums.claimed(headers)
    return Taken(size, made_up, dict([claim]) if claim else {})


def _claim(headers: Mapping[str, str]) -> str | None:
    """Return the algorithm that the client uses, which a trailer only announces."""
    announced = headers.get("x-amz-trailer", "").removeprefix(checksums.PREFIX)
    claim = checksums.claimed(headers)
    return claim[0] if claim else announced or None


def _sums_for(headers: Mapping[str, str], algorithm: str | None) -> dict[str, Summing]:
    names = {name for name in (algorithm, _claim(headers)) if name}
    if len(headers.get("x-amz-content-sha256", "")) == _HEX_SHA256:
        names.add("sha256")
    return {name: checksums.summing(name) for name in {"md5", *names}}


def _check(headers: Mapping[str, str], sums: Mapping[str, Summing], size: int) -> None:
    """Raise what S3 answers when a body is not what the client says it is."""
    signed = headers.get("x-amz-content-sha256", "")
    if len(signed) == _HEX_SHA256 and signed != sums["sha256"].digest().hex():
        raise S3Error(400, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' does not match.")
    if headers.get("content-md5", md5 := checksums.encode(sums["md5"].digest())) != md5:
        raise S3Error(400, "BadDigest", "The Content-MD5 you specified did not match what we received.")
    if claim := checksums.claimed(headers):
        name, value = claim
        if checksums.encode(sums[name].digest()) != value:
            raise S3Error(400, "BadDigest", f"The {name.upper()} you specified did not match the calculated checksum.")
    if int(headers.get("x-amz-decoded-content-length", size)) != size:
        raise S3Error(400, "IncompleteBody", "You did not provide the number of bytes that you announced.")
