"""gzip into a file object on threads of its own: one member, without a name or a time."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mc_sink.formats._format import BinaryFile

DEFAULT_LEVEL = 2
# One thread keeps up with Polars' encoder on the cores that are left; blocks bound what waits for it.
THREADS, BLOCK_SIZE = 1, 2**20


@contextmanager
def gzip_into(file: BinaryFile, level: int | None) -> Iterator[BinaryFile]:
    """Give a file whose bytes arrive in `file` compressed; the trailer is written when the block ends."""
    from isal import igzip_threaded

    compressed = igzip_threaded.open(
        file, "wb", compresslevel=DEFAULT_LEVEL if level is None else level, threads=THREADS, block_size=BLOCK_SIZE
    )
    with compressed:
        yield cast("BinaryFile", compressed)
