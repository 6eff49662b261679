"""The bytes of a part as the engine wrote them: joined in small groups on their way out, and never as a whole.

Measured: joining a part of 8 MiB into one object costs as much as sending it, nearly all of it for fresh memory.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from isal import isal_zlib

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

# A connection copies what it can't send at once, so large pieces go out in parts. Engines write 1 MiB at a time, or,
# where rows are wide, tens of them.
GROUP_SIZE, MOST = 2**16, 2**20


class PartBody:
    """A body that botocore takes for a file. It is joined only if somebody reads it, as signing a body does."""

    def __init__(self, pieces: Sequence[memoryview]) -> None:
        self._pieces = pieces
        self._size = sum(map(len, pieces))
        self._joined: BytesIO | None = None

    def __len__(self) -> int:
        return self._size

    def crc32(self) -> int:
        """Sum all of it."""
        crc = 0
        for piece in self._pieces:
            crc = isal_zlib.crc32(piece, crc)
        return crc

    async def groups(self) -> AsyncIterator[bytes | memoryview]:
        """Yield the bytes in order, small pieces together and large ones in parts, each time from the beginning."""
        group: list[memoryview] = []
        slices = (piece[at : at + MOST] for piece in self._pieces for at in range(0, len(piece), MOST))
        for piece in slices:
            group.append(piece)
            if sum(map(len, group)) >= GROUP_SIZE:
                yield piece if len(group) == 1 else b"".join(group)
                group.clear()
        if group:
            yield b"".join(group)

    def read(self, size: int = -1) -> bytes:
        """Read as a file."""
        return self._file().read(size)

    def seek(self, position: int, whence: int = 0) -> int:
        """Go to a position as in a file."""
        return self._file().seek(position, whence)

    def tell(self) -> int:
        """Say where in the file the next read begins."""
        return self._file().tell()

    def _file(self) -> BytesIO:
        self._joined = self._joined or BytesIO(b"".join(self._pieces))
        return self._joined
