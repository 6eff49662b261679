"""Keep rows beyond their batch: in memory of their own, or on the local disk, where no crash leaves them behind."""

from __future__ import annotations

import io
import sys
import tempfile
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, NamedTuple, cast

import polars as pl

from mc_sink._polars import GATHER_COPIES_NESTED, BaseExtension, Map
from mc_sink.exceptions import UploadError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from polars.datatypes import DataTypeClass

    AnyType = pl.DataType | DataTypeClass

# What a nested column may hold on to beside its own rows before it is copied.
_SLACK = 1.25


def owned(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the same rows in memory of their own, which nothing else can change.

    Measured on batches of 100,000 rows: 12 to 13 GB/s for numbers, 0.2 to 2 GB/s for texts.
    """
    return pl.DataFrame([_owned(values) for values in frame.get_columns()]) if frame.height else frame


def _owned(values: pl.Series) -> pl.Series:
    if isinstance(values.dtype, pl.Object):  # refused by every format
        return values
    # Two pieces become one, which is new; only the bytes of texts stay shared. Nested values are gathered instead:
    # beside one row with an empty list, the values inside the lists would stay shared as well.
    if values.dtype.is_nested() or isinstance(values.dtype, BaseExtension):
        if not GATHER_COPIES_NESTED:
            return _through_ipc(values)
        fresh = values.gather(pl.int_range(len(values), eager=True))
    else:
        fresh = pl.concat([values, values.head(1)], rechunk=True).head(len(values))
    return _with_own_bytes(fresh) if has_bytes(values.dtype) else fresh


def _with_own_bytes(values: pl.Series) -> pl.Series:
    """Return texts and binaries with bytes of their own: Arrow's older layout has them in one buffer, which is new."""
    import pyarrow as pa

    if not has_nul(values.dtype):
        try:
            copied = pl.Series(values.name, values.to_arrow(compat_level=pl.CompatLevel.oldest()))
        except (pa.ArrowException, pl.exceptions.PolarsError):  # such as 128-bit integers beside a text
            pass
        else:
            if copied.dtype == values.dtype:
                return copied
    return _through_ipc(values)


def _through_ipc(values: pl.Series) -> pl.Series:
    """Return the values as they are read back from Arrow's IPC format."""
    encoded = io.BytesIO()
    values.to_frame().write_ipc_stream(encoded)
    encoded.seek(0)
    return pl.read_ipc_stream(encoded).to_series()


def has_bytes(dtype: AnyType) -> bool:
    """Return whether there are texts or binaries at any depth, whose bytes slices and copies share."""
    return dtype.base_type() in {pl.String, pl.Binary} or any(map(has_bytes, _inner(dtype)))


def has_nul(dtype: AnyType) -> bool:
    """Return whether the name of a field has a NUL, at which Polars' export to Arrow panics."""
    named = isinstance(dtype, pl.Struct) and any("\x00" in field.name for field in dtype.fields)
    return named or any(map(has_nul, _inner(dtype)))


def _inner(dtype: AnyType) -> list[AnyType]:
    """Return the types that a type is made of."""
    if isinstance(dtype, (pl.List, pl.Array)):
        return [dtype.inner]
    if isinstance(dtype, pl.Struct):
        return [field.dtype for field in dtype.fields]
    if isinstance(dtype, Map):
        return [dtype.key, dtype.value]
    return [dtype.ext_storage()] if isinstance(dtype, BaseExtension) else []


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
                f"there. Check the disk, or name another folder in TMPDIR."
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
                f"bytes are: {error.strerror}. Make room there, or name another folder in TMPDIR."
            ) from error
