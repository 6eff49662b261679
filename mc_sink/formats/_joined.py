"""Several runs of an encoder → one Parquet file: the row groups of all of them, and one footer.

    run 1   PAR1 groups │footer│        kept back, and joined:   PAR1 groups groups groups footer
    run 2   PAR1 groups │footer│

Polars' encoder gathers as many rows as a row group was asked to have, whatever they take, and ends a smaller one only
where its rows end. So its rows end where a row group would take too much memory, and it is run again for those that
follow. A file of one run is passed on as it is.

The footer's fields: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from mc_sink.exceptions import NOTHING_VISIBLE, UploadError
from mc_sink.formats._thrift import I16, Struct, read_struct, write_struct

if TYPE_CHECKING:
    from mc_sink.formats._format import BinaryFile, Runs

_MAGIC = b"PAR1"
_TAIL = 8  # the footer's length, and the magic bytes again
# FileMetaData
_NUM_ROWS, _ROW_GROUPS = 3, 4
# RowGroup
_COLUMNS, _GROUP_OFFSET, _ORDINAL = 1, 5, 7
# ColumnChunk: where it lies, what is in it, where its page indexes lie, and how long they are
_COLUMN_OFFSET, _METADATA, _INDEX_OFFSETS, _INDEXES = 2, 3, (4, 6), (4, 5, 6, 7)
# ColumnMetaData: where its data, index and dictionary pages begin, and its Bloom filter
_PAGE_OFFSETS = (9, 10, 11, 14)


class Joined:
    """Takes what an encoder writes, run by run, and passes on the bytes of one file.

    Memory: what comes after the rows of a run have ended, which is the last row groups and a footer. The page indexes,
    which name the places of pages and which no reader needs, are left out of a file of several runs.
    """

    def __init__(self, file: BinaryFile, runs: Runs) -> None:
        self._file, self._runs = file, runs
        self._passed = self._taken = 0
        self._held: list[bytes] = []
        self._footer: Struct | None = None

    def write(self, data: bytes) -> int:
        """Take bytes of the run under way."""
        # The encoder writes no footer before it has seen the end of its rows.
        if self._runs.ended and (self._runs.more or self._footer is not None):
            self._held.append(data)
        else:
            self._pass_on(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing: what is held back has its own end."""

    def tell(self) -> int:
        """Bytes of the run under way."""
        return self._taken + sum(map(len, self._held))

    def end_run(self) -> bool:
        """Keep the footer of a run that has been written, and return whether another run follows."""
        if not self._runs.more and self._footer is None:
            return False
        end = self._tail(_TAIL)
        length = int.from_bytes(end[:4], "little")
        footer = read_struct(self._tail(_TAIL + length)[:length])
        end_of_groups = _indexes_begin(footer, self.tell() - _TAIL - length)
        held, self._held = self._held, []
        for piece in held:
            self._pass_on(piece[: max(0, end_of_groups - self._taken)])
        self._join(footer, self._passed - self._taken)
        self._taken = 0
        if not self._runs.more:
            self._finish(self._footer or footer)
        return self._runs.more

    def _tail(self, size: int) -> bytes:
        """Return the last bytes that are held back, which must end as a Parquet file does."""
        pieces, missing = deque[bytes](), size
        for piece in reversed(self._held):
            if missing <= 0:
                break
            pieces.appendleft(piece[-missing:])
            missing -= len(pieces[0])
        tail = b"".join(pieces)
        if missing > 0 or not tail.endswith(_MAGIC):
            raise UploadError(
                f"Row groups came without a footer. {NOTHING_VISIBLE} This should not happen: please report it."
            )
        return tail

    def _pass_on(self, data: bytes) -> None:
        """Pass bytes on, without the magic ones that a further run begins with."""
        skipped = max(0, len(_MAGIC) - self._taken) if self._footer is not None else 0
        self._taken += len(data)
        if kept := data[skipped:] if skipped else data:
            self._file.write(kept)
            self._passed += len(kept)

    def _join(self, footer: Struct, moved: int) -> None:
        """Add the row groups of a run to those before, at the places where they are now."""
        groups = _items(footer, _ROW_GROUPS)
        for group in groups:
            _move(group, (_GROUP_OFFSET,), moved)
            for column in _items(group, _COLUMNS):
                _move(column, (_COLUMN_OFFSET,), moved)
                _move(column[_METADATA][1], _PAGE_OFFSETS, moved)
                for number in _INDEXES:
                    column.pop(number, None)
        if self._footer is None:
            self._footer = footer
            return
        before = _items(self._footer, _ROW_GROUPS)
        for group in groups:
            group[_ORDINAL] = I16, len(before)
            before.append(group)
        kind, num_rows = self._footer[_NUM_ROWS]
        self._footer[_NUM_ROWS] = kind, num_rows + footer[_NUM_ROWS][1]

    def _finish(self, footer: Struct) -> None:
        if footer[_NUM_ROWS][1] != self._runs.num_rows:
            raise UploadError(
                f"The encoder wrote {footer[_NUM_ROWS][1]:,} of {self._runs.num_rows:,} rows. {NOTHING_VISIBLE} "
                "This should not happen: please report it."
            )
        encoded = write_struct(footer)
        self._file.write(encoded + len(encoded).to_bytes(4, "little") + _MAGIC)


def _indexes_begin(footer: Struct, end: int) -> int:
    """Return where the page indexes of a run begin, which lie behind all row groups; `end` where it has none."""
    columns = [column for group in _items(footer, _ROW_GROUPS) for column in _items(group, _COLUMNS)]
    return min([column[number][1] for column in columns for number in _INDEX_OFFSETS if number in column], default=end)


def _items(struct: Struct, number: int) -> list[Any]:
    items: list[Any] = struct[number][1][1]
    return items


def _move(struct: Struct, numbers: tuple[int, ...], by: int) -> None:
    for number in numbers:
        if number in struct:
            kind, offset = struct[number]
            struct[number] = kind, offset + by
