"""Rows parked on the local disk, in a file that nobody else can open and that no crash leaves behind."""

from __future__ import annotations

import io
import sys
import tempfile
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, NamedTuple, cast

import polars as pl

from mc_sink._owned import has_bytes, has_nul, owned
from mc_sink.exceptions import NOTHING_VISIBLE, UploadError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

# What a nested column may hold on to beside its own rows before it is copied.
_SLACK = 1.25


def compact(frame: pl.DataFrame) -> pl.DataFrame:
    """Give the frame in memory of its own: texts of a few rows that were filtered keep the texts of all rows alive.

    A frame that keeps no more than twice its own rows alive is given as it is: measured, a copy takes a hundred times
    as long as looking.
    """
    return frame if kept_alive(frame) <= 2 * frame.estimated_size() else copied(frame)


def copied(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame in memory of its own."""
    encoded = io.BytesIO()
    _dense(frame).write_ipc_stream(encoded)
    encoded.seek(0)
    return pl.read_ipc_stream(encoded)


def _dense(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame as Arrow's IPC is to have it: without the texts inside nested values that no row has any more.

    Measured, Polars 2.1.0: its writer leaves such bytes out of columns of texts, and writes all of those in lists,
    arrays and structs, which for one partition of three is three times what its rows take.
    """
    return pl.DataFrame([_without_others(values) if values.dtype.is_nested() else values for values in frame])


def _without_others(values: pl.Series) -> pl.Series:
    column = values.to_frame()
    if not has_bytes(values.dtype) or kept_alive(column) <= _SLACK * column.estimated_size():
        return values
    return owned(column).to_series()


def kept_alive(frame: pl.DataFrame) -> int:
    """Return the bytes of all buffers that a frame holds on to; as many as can be where Arrow has no such dtype."""
    import pyarrow as pa

    if has_nul(pl.Struct(frame.schema)):
        return sys.maxsize
    try:
        return int(frame.to_arrow(compat_level=pl.CompatLevel.newest()).get_total_buffer_size())
    except pa.ArrowInvalid:  # 128-bit integers
        return sys.maxsize


class Slot(NamedTuple):
    """Where parked rows lie in their file, in bytes."""

    offset: int
    length: int


class _Tail:
    """Writes what is encoded to a file, without a copy, and keeps what the disk raised: Polars changes its type."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = file
        self.failure: OSError | None = None
        self.num_bytes = 0

    def write(self, data: bytes) -> int:
        left = memoryview(data)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            self.failure = error
            raise
        self.num_bytes += len(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing: the file has no buffer."""


class Spill:
    """An append-only store of frames in Arrow's IPC format, in `folder` or else where temporary files go.

    It takes no disk until the first frame, and gives everything back on `close`, after which it can be used anew. The
    file has mode 0600 and no name (it is unlinked before it is written), so that only this program can read it, and the
    system frees it even when the program is killed. A full disk raises `UploadError`.
    """

    def __init__(self, folder: str | None = None) -> None:
        self._folder = folder
        self._file: io.FileIO | None = None
        self.num_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, frame: pl.DataFrame) -> Slot:
        """Park `frame` and give where it lies."""
        with self._telling(frame.height):
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="mc_sink-", dir=self._folder, buffering=0)  # noqa: SIM115  it lives until `close`
            self._file.seek(self.num_bytes)
            tail = _Tail(self._file)
            try:
                _dense(frame).write_ipc_stream(cast("IO[bytes]", tail))
            except Exception:
                if tail.failure is not None:
                    raise tail.failure from None
                raise
        slot = Slot(self.num_bytes, tail.num_bytes)
        self.num_bytes += slot.length
        return slot

    def read(self, slot: Slot) -> pl.DataFrame:
        """Return the frame that was parked at `slot`; `ValueError` after `close`.

        Raises `UploadError` where the disk has fewer bytes than were written.
        """
        if self._file is None:
            raise ValueError("The parked rows are gone: this spill is closed.")
        self._file.seek(slot.offset)
        # One read of the system's returns 2 GiB less 4 KiB at most; a BufferedReader reads on until it has all of it.
        reader = io.BufferedReader(self._file)
        data = reader.read(slot.length)
        reader.detach()
        if len(data) != slot.length:
            raise UploadError(
                f"Parked rows could not be read back from {self._where}: {len(data):,} of {slot.length:,} bytes are "
                f"there. Check the disk, or name another folder in TMPDIR. {NOTHING_VISIBLE}"
            )
        return pl.read_ipc_stream(io.BytesIO(data))

    def close(self) -> None:
        """Give the disk back; again and again if you like."""
        if self._file is not None:
            self._file.close()
        self._file, self.num_bytes = None, 0

    def __del__(self) -> None:
        self.close()

    @property
    def _where(self) -> str:
        return self._folder or tempfile.gettempdir()

    @contextmanager
    def _telling(self, num_rows: int) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UploadError(
                f"{num_rows:,} rows could not be parked in {self._where}, where {self.num_bytes:,} "
                f"bytes are: {error.strerror}. Make room there, or name another folder in TMPDIR. {NOTHING_VISIBLE}"
            ) from error
