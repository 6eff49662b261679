"""Frames parked on the local disk, in a file that nobody else can open and that no crash leaves behind."""

from __future__ import annotations

import io
import tempfile
from dataclasses import dataclass, field
from typing import IO, NamedTuple

import polars as pl


class Slot(NamedTuple):
    """Where a parked frame lies in its file, in bytes."""

    offset: int
    length: int


@dataclass(slots=True)
class Spill:
    """An append-only store of frames; it takes no disk until the first frame, and gives everything back on `close`.

    The file has no name (it is unlinked before it is written), so only this program can read it, and the system
    frees it even when the program is killed. A full disk raises `OSError`.
    """

    _file: IO[bytes] | None = field(default=None, init=False)
    _end: int = field(default=0, init=False)

    def append(self, frame: pl.DataFrame) -> Slot:
        """Park `frame` and return where it lies."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="mc_sink-")  # noqa: SIM115  it lives until `close`
        encoded = io.BytesIO()
        frame.write_ipc_stream(encoded)
        self._file.seek(self._end)
        length = self._file.write(encoded.getbuffer())
        slot = Slot(self._end, length)
        self._end += length
        return slot

    def read(self, slot: Slot) -> pl.DataFrame:
        """Return the frame that was parked at `slot`; `ValueError` after `close`."""
        if self._file is None:
            raise ValueError("The spilled rows are gone: this run is closed.")
        self._file.seek(slot.offset)
        return pl.read_ipc_stream(io.BytesIO(self._file.read(slot.length)))

    def close(self) -> None:
        """Give the disk back; again and again if you like."""
        if self._file is not None:
            self._file.close()
        self._file = None

    def __del__(self) -> None:
        self.close()
