"""The memory that parts are cut in: blocks that are used again once the store has the part.

Engines hand over bytes that were allocated for one `write`. Measured, 8 million rows as CSV over https: bytes that are
kept until the store has them take 215 MB in the allocator's arenas, which grow with each thread that writes, and 0.2 s
of processor time for fresh memory. Copied into blocks, they take what is in flight, and a part being cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# As much as a connection is given at once; see `request.py`.
BLOCK_SIZE = 2**20


class PartMemory:
    """Collects the bytes of one part after another. `num_blocks`: how many blocks have been allocated so far."""

    def __init__(self, part_size: int) -> None:
        self._size = min(part_size, BLOCK_SIZE)
        self._free: list[bytearray] = []
        self._filled: list[memoryview] = []
        self._room = memoryview(b"")
        self.num_blocks = 0

    def add(self, data: memoryview) -> None:
        """Copy bytes to the end of the current part."""
        while data:
            if not self._room:
                self._room = memoryview(self._free.pop() if self._free else self._allocate())
                self._filled.append(self._room)
            size = min(len(data), len(self._room))
            self._room[:size] = data[:size]
            self._room, data = self._room[size:], data[size:]

    def take(self) -> list[memoryview]:
        """Return the bytes of the current part, in order, and begin the next one."""
        if self._room:
            self._filled[-1] = self._filled[-1][: -len(self._room)]
        taken, self._filled, self._room = self._filled, [], memoryview(b"")
        return taken

    def give_back(self, blocks: Sequence[object], most: int) -> None:
        """Use the blocks of a part again, of which up to `most` bytes are kept.

        A block that is still referred to, for one by a connection that hasn't sent all of it, is never used again.
        """
        for block in blocks:
            is_kept = len(self._free) * self._size < most
            if is_kept and isinstance(block, bytearray) and _is_unused(block):
                self._free.append(block)

    def _allocate(self) -> bytearray:
        self.num_blocks += 1
        block = bytearray(self._size + 1)
        block.pop()  # so that `_is_unused` doesn't move it
        return block


def _is_unused(block: bytearray) -> bool:
    """Return True if no view of a block is left: Python refuses to resize it otherwise, and leaves it as it is."""
    try:
        block.append(0)
    except BufferError:
        return False
    block.pop()
    return True
