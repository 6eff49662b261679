"""The bytes of a part as the engine wrote them: joined in small groups on their way out, and never as a whole.

Measured: joining a part of 8 MiB into one object costs as much as sending it, nearly all of it for fresh memory.
"""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

# A connection copies what it can't send at once, so large pieces go out in parts. Engines write 1 MiB at a time, or,
# where rows are wide, tens of them.
GROUP_SIZE, MOST = 2**16, 2**20


class PartBody:
    """A body that botocore takes for a file: whoever signs it reads it piece by piece."""

    def __init__(self, pieces: Sequence[memoryview]) -> None:
        self._pieces = pieces
        self._ends = list(accumulate(map(len, pieces)))
        self._size = self._ends[-1] if self._ends else 0
        self._position = 0

    def __len__(self) -> int:
        return self._size

    @property
    def pieces(self) -> Sequence[memoryview]:
        """What it is made of, in order."""
        return self._pieces

    def free(self) -> None:
        """Drop the bytes, once the store has them.

        Whatever still knows this body then keeps nothing alive. Measured: tenacity's retrying object, and the traceback
        of a failed try, are in reference cycles that know it. Python collected those so rarely that an upload of 600 MB
        kept up to 400 MB of bodies that the store had taken.
        """
        self._pieces, self._ends, self._size = (), [], 0

    def md5(self) -> str:
        """Return the MD5 of all of it, in hex."""
        md5 = hashlib.md5(usedforsecurity=False)
        for piece in self._pieces:
            md5.update(piece)
        return md5.hexdigest()

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
        missing = self._size - self._position
        missing = missing if size < 0 else min(size, missing)
        at = bisect_right(self._ends, self._position)
        taken: list[memoryview] = []
        while missing:
            taken.append(self._pieces[at][self._position - self._ends[at] :][:missing])
            self._position += len(taken[-1])
            missing -= len(taken[-1])
            at += 1
        return b"".join(taken)

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position as in a file."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = min(max(start + position, 0), self._size)
        return self._position

    def tell(self) -> int:
        """Say where in the file the next read begins."""
        return self._position
