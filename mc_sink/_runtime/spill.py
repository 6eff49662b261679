"""Park rows on the local disk, in a file that no crash leaves behind, one frame at a time or divided by a key."""

from __future__ import annotations

import io
import tempfile
from array import array
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Generic, NamedTuple, TypeVar, cast

import polars as pl

from mc_sink._runtime.kept_rows import compact, dense
from mc_sink.exceptions import UploadError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Self

K = TypeVar("K")


class Slot(NamedTuple):
    """Where parked rows lie in their file, in bytes."""

    offset: int
    length: int


class _Tail:
    """Writes encoded bytes to a file without a copy. It keeps the error of the disk, whose type Polars changes."""

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
        """Ignore the call: the file has no buffer."""


class Spill:
    """An append-only store of frames in Arrow's IPC format, in `folder` or else where temporary files go.

    It takes no disk until the first frame, and returns all of it on `close`, after which it can be used again. The file
    has mode 0600 and no name (it is unlinked before it is written), so that only this program can read it, and the
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
        """Write `frame`, and return where it lies."""
        with self._explaining(frame.height):
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="mc_sink-", dir=self._folder, buffering=0)  # noqa: SIM115  it lives until `close`
            self._file.seek(self.num_bytes)
            tail = _Tail(self._file)
            try:
                dense(frame).write_ipc_stream(cast("IO[bytes]", tail))
            except Exception:
                if tail.failure is not None:
                    raise tail.failure from None
                raise
        slot = Slot(self.num_bytes, tail.num_bytes)
        self.num_bytes += slot.length
        return slot

    def read(self, slot: Slot) -> pl.DataFrame:
        """Return the frame that was parked at `slot`; raise `ValueError` after `close`.

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
                f"Parked rows could not be read back from {self._place}: {len(data):,} of {slot.length:,} bytes are "
                f"left. Check the disk, or set TMPDIR to another folder."
            )
        return pl.read_ipc_stream(io.BytesIO(data))

    def close(self) -> None:
        """Return the disk to the system; further calls do nothing."""
        if self._file is not None:
            self._file.close()
        self._file, self.num_bytes = None, 0

    def __del__(self) -> None:
        self.close()

    @property
    def _place(self) -> str:
        return self._folder or tempfile.gettempdir()

    @contextmanager
    def _explaining(self, num_rows: int) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UploadError(
                f"{num_rows:,} {'row' if num_rows == 1 else 'rows'} could not be parked in {self._place}, after "
                f"{self.num_bytes:,} bytes: {error.strerror}. Free disk space there, or set TMPDIR to another folder."
            ) from error


class Buckets(Generic[K]):
    """Rows divided by a key: held in memory while they fit into one lot, and on disk, a bucket per key, beyond that.

    `divide` splits a frame by key. A lot is divided and parked as soon as it has more than `lot_bytes`, so that each
    write of a bucket is worth it: of a lot of 32 MiB and a thousand keys, 32 KiB.

    Memory: one lot and one batch (twice their bytes where rows beside them were filtered away), a copy of them while
    they are divided, and 16 bytes for each lot of each key.
    Disk: the rows once, as Arrow has them. Within a key, rows stay in the order in which they were added.
    """

    def __init__(
        self,
        divide: Callable[[pl.DataFrame], Iterable[tuple[K, pl.DataFrame]]],
        lot_bytes: int,
        folder: str | None = None,
    ) -> None:
        self._divide, self._lot_bytes, self._spill = divide, lot_bytes, Spill(folder)
        self._lot: list[pl.DataFrame] = []
        self._num_lot = 0
        self._slots: dict[K, array[int]] = {}
        self.num_rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, rows: pl.DataFrame) -> None:
        """Add rows, in memory of their own."""
        self.num_rows += rows.height
        self._lot.append(compact(rows))
        self._num_lot += int(rows.estimated_size())
        if self._num_lot > self._lot_bytes:
            self.park()

    @property
    def num_bytes(self) -> int:
        """Bytes of all rows, about."""
        return self._spill.num_bytes + self._num_lot

    @property
    def is_parked(self) -> bool:
        """Whether any rows are on disk; else `take_lot` returns all of them."""
        return bool(self._slots)

    def take_lot(self) -> pl.DataFrame | None:
        """Remove the rows in memory and return them, in the order in which they were added; None without any."""
        lot, self._lot, self._num_lot = self._lot, [], 0
        return pl.concat(lot, rechunk=False) if lot else None

    def park(self) -> None:
        """Divide the rows in memory, and write them to disk."""
        if (lot := self.take_lot()) is not None:
            for key, rows in self._divide(lot):
                self._slots.setdefault(key, array("Q")).extend(self._spill.append(rows))

    @property
    def keys(self) -> list[K]:
        """The keys that have a bucket on disk."""
        return list(self._slots)

    def size(self, key: K) -> int:
        """Return the bytes of a bucket on disk."""
        return sum(self._slots.get(key, array("Q"))[1::2])

    def read(self, key: K) -> Iterator[pl.DataFrame]:
        """Yield the rows of a bucket on disk, a lot at a time."""
        places = self._slots.get(key, array("Q"))
        for offset, length in zip(places[::2], places[1::2], strict=True):
            yield self._spill.read(Slot(offset, length))

    def close(self) -> None:
        """Drop all rows, and return the disk to the system."""
        self._lot, self._num_lot = [], 0
        self._slots.clear()
        self._spill.close()


def divide_by(key: pl.Expr) -> Callable[[pl.DataFrame], Iterator[tuple[int, pl.DataFrame]]]:
    """Return a way to divide rows by an expression that gives an integer for each of them."""

    def divide(rows: pl.DataFrame) -> Iterator[tuple[int, pl.DataFrame]]:
        name = "_" + max(rows.columns, key=len)  # longer than every name, so that it is new
        for (number,), part in rows.with_columns(key.alias(name)).partition_by(name, as_dict=True).items():
            yield int(number), part.drop(name)

    return divide
