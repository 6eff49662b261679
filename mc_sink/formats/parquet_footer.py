"""Join several runs of an encoder into one Parquet file: their row groups, and one footer, read and written as Thrift.

    run 1   PAR1 groups │footer│        held back, and joined:   PAR1 groups groups groups footer
    run 2   PAR1 groups │footer│

Polars' encoder gathers as many rows as a row group was asked to have, however large they are, and ends a smaller one
only where its rows end. So we end its rows where a row group would take too much memory, and run it again for the rows
that follow. A file of one run is passed on unchanged, unless its footer has to be amended.

The footer's fields: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
The protocol: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
Fields that have no meaning here are kept.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mc_sink.exceptions import UploadError

if TYPE_CHECKING:
    from mc_sink.formats.format import BinaryFile, Runs

_MAGIC = b"PAR1"
_TAIL = 8  # the footer's length, and the magic bytes again
# FileMetaData
_NUM_ROWS, _ROW_GROUPS = 3, 4
# RowGroup
_COLUMNS, _GROUP_OFFSET, _ORDINAL = 1, 5, 7
# ColumnChunk: its offset, its metadata, and the offsets and lengths of its page indexes
_COLUMN_OFFSET, _METADATA, _INDEX_OFFSETS, _INDEXES = 2, 3, (4, 6), (4, 5, 6, 7)
# RowGroup: the columns that sort its rows. ColumnMetaData: its type, path and statistics
_SORTING, _TYPE, _PATH, _STATISTICS = 4, 1, 3, 12
# Statistics: the least and greatest values, in the old and the new form, and whether they are exact
_LEAST_AND_GREATEST = (1, 2, 5, 6, 7, 8)
# The physical types of floats: FLOAT, DOUBLE, and FIXED_LEN_BYTE_ARRAY of two bytes
_FLOATS = {4, 5, 7}
# ColumnMetaData: the offsets of its data, index and dictionary pages, and of its Bloom filter
_PAGE_OFFSETS = (9, 10, 11, 14)
# A struct maps the number of each field to its type and value. A list is the type of its items, and the items.
Struct = dict[int, tuple[int, Any]]
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
_NUMBERS = (I16, I32, I64)
_LONG = 15  # marks a size or a step that doesn't fit in four bits, and follows in its own bytes
_DOUBLE_BYTES = 8


@dataclass(slots=True, eq=False)
class Amendments:
    """What a footer has to contain otherwise than the encoder writes it.

    with_nan
        Columns with NaN. The encoder leaves NaN out of the least and greatest value, and readers that skip row groups
        by them miss its rows: measured, DuckDB 2.0 and Spark 4.0. So those values are left out, as by DuckDB's writer.
    without_statistics
        Columns without statistics.
    sorted_by
        The columns by which the rows of each row group are sorted, ascending and without nulls.
    """

    with_nan: set[str] = field(default_factory=set)
    without_statistics: frozenset[str] = frozenset()
    sorted_by: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.with_nan or self.sorted_by or self.without_statistics)

    def apply(self, footer: Struct) -> None:
        """Rewrite the row groups of a footer."""
        for group in _items(footer, _ROW_GROUPS):
            places: dict[str, int] = {}
            for number, column in enumerate(_items(group, _COLUMNS)):
                metadata: Struct = column[_METADATA][1]
                name = _items(metadata, _PATH)[0].decode()
                places[name] = number
                if name in self.without_statistics:
                    metadata.pop(_STATISTICS, None)
                if name in self.with_nan and metadata[_TYPE][1] in _FLOATS and _STATISTICS in metadata:
                    for each in _LEAST_AND_GREATEST:
                        metadata[_STATISTICS][1].pop(each, None)
            if self.sorted_by:
                columns = [{1: (I32, places[name]), 2: (FALSE, False), 3: (FALSE, False)} for name in self.sorted_by]
                group[_SORTING] = LIST, (STRUCT, columns)


class Joined:
    """A file that an encoder writes run by run, and that passes on the bytes of one Parquet file.

    It holds in memory what is written after the rows of a run have ended: the last row groups and a footer. Page
    indexes, which contain offsets and which no reader needs, are left out of a file of several runs, and of a file with
    amendments, which are known once the rows of a run have ended.
    """

    def __init__(self, file: BinaryFile, runs: Runs, amendments: Amendments) -> None:
        self._file, self._runs, self._amendments = file, runs, amendments
        self._passed = self._taken = 0
        self._held: list[bytes] = []
        self._footer: Struct | None = None

    def write(self, data: bytes) -> int:
        """Write bytes of the current run."""
        # The encoder writes a footer only after it has seen the end of its rows.
        if self._runs.ended and self._is_rewritten:
            self._held.append(data)
        else:
            self._pass_on(data)
        return len(data)

    def flush(self) -> None:
        """Leave bytes that are held back to `end_run`."""

    def tell(self) -> int:
        """Return the number of bytes of the current run."""
        return self._taken + sum(map(len, self._held))

    def end_run(self) -> bool:
        """Join a run that has been written to those before, and return True if another run follows."""
        if not self._is_rewritten:
            return False
        end = self._tail(_TAIL)
        length = int.from_bytes(end[:4], "little")
        footer = read_struct(self._tail(_TAIL + length)[:length])
        columns = [column for group in _items(footer, _ROW_GROUPS) for column in _items(group, _COLUMNS)]
        indexes = [column[number][1] for column in columns for number in _INDEX_OFFSETS if number in column]
        end_of_groups = min(indexes, default=self.tell() - _TAIL - length)  # page indexes follow all row groups
        held, self._held = self._held, []
        for piece in held:
            self._pass_on(piece[: max(0, end_of_groups - self._taken)])
        self._join(footer, self._passed - self._taken)
        self._taken = 0
        if not self._runs.more:
            self._finish(self._footer or footer)
        return self._runs.more

    @property
    def _is_rewritten(self) -> bool:
        return self._runs.more or self._footer is not None or bool(self._amendments)

    def _tail(self, size: int) -> bytes:
        """Return the last bytes that are held back; raise if they don't end like a Parquet file."""
        pieces, missing = deque[bytes](), size
        for piece in reversed(self._held):
            if missing <= 0:
                break
            pieces.appendleft(piece[-missing:])
            missing -= len(pieces[0])
        tail = b"".join(pieces)
        if missing > 0 or not tail.endswith(_MAGIC):
            raise UploadError("The encoder wrote row groups without a footer. This is a bug; please report it.")
        return tail

    def _pass_on(self, data: bytes) -> None:
        """Write bytes to the file, without the magic bytes at the start of a further run."""
        skipped = max(0, len(_MAGIC) - self._taken) if self._footer is not None else 0
        self._taken += len(data)
        if kept := data[skipped:] if skipped else data:
            self._file.write(kept)
            self._passed += len(kept)

    def _join(self, footer: Struct, moved: int) -> None:
        """Add the row groups of a run to those before, with their offsets moved."""
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
                f"The encoder wrote {footer[_NUM_ROWS][1]:,} of {self._runs.num_rows:,} rows. "
                "This is a bug; please report it."
            )
        self._amendments.apply(footer)
        encoded = write_struct(footer)
        self._file.write(encoded + len(encoded).to_bytes(4, "little") + _MAGIC)


def _items(struct: Struct, number: int) -> list[Any]:
    items: list[Any] = struct[number][1][1]
    return items


def _move(struct: Struct, numbers: tuple[int, ...], by: int) -> None:
    for number in numbers:
        if number in struct:
            kind, offset = struct[number]
            struct[number] = kind, offset + by


def read_struct(data: bytes) -> Struct:
    """Parse a struct; raise `ValueError` for bytes that aren't exactly one struct."""
    reader = _Reader(data)
    struct = reader.struct()
    if reader.at != len(data):
        raise ValueError(f"A struct ends after {reader.at:,} of {len(data):,} bytes.")
    return struct


def write_struct(struct: Struct) -> bytes:
    """Encode a struct in the compact protocol."""
    out = bytearray()
    before = 0
    for number, (kind, value) in sorted(struct.items()):
        step = number - before
        out += bytes([step << 4 | kind]) if 0 < step <= _LONG else bytes([kind]) + _signed(number)
        if kind not in {TRUE, FALSE}:
            out += _value(kind, value)
        before = number
    return bytes(out + b"\0")


class _Reader:
    """Reads values in order."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def struct(self) -> Struct:
        fields: Struct = {}
        number = 0
        while (head := self._byte()) != 0:
            step, kind = head >> 4, head & 0xF
            number = number + step if step else self._signed()
            fields[number] = kind, kind == TRUE if kind in {TRUE, FALSE} else self._value(kind)
        return fields

    def _value(self, kind: int) -> Any:
        if kind in _NUMBERS:
            return self._signed()
        if kind == STRUCT:
            return self.struct()
        if kind == BINARY:
            return self._take(self._varint())
        if kind in {LIST, SET}:
            head = self._byte()
            size = head >> 4 if head >> 4 < _LONG else self._varint()
            return head & 0xF, [self._item(head & 0xF) for _ in range(size)]
        if kind == DOUBLE:
            return self._take(_DOUBLE_BYTES)
        if kind == BYTE:
            return self._byte()
        raise ValueError(f"A value of type {kind} is unknown here.")

    def _item(self, kind: int) -> Any:
        return self._byte() if kind in {TRUE, FALSE} else self._value(kind)

    def _signed(self) -> int:
        number = self._varint()
        return number >> 1 ^ -(number & 1)

    def _varint(self) -> int:
        number = shift = 0
        while True:
            byte = self._byte()
            number |= (byte & 0x7F) << shift
            if byte < 0x80:  # noqa: PLR2004  the bit that says whether more follows
                return number
            shift += 7

    def _byte(self) -> int:
        return self._take(1)[0]

    def _take(self, size: int) -> bytes:
        taken = self._data[self.at : self.at + size]
        if len(taken) != size:
            raise ValueError("A struct is cut off.")
        self.at += size
        return taken


def _value(kind: int, value: Any) -> bytes:
    if kind in _NUMBERS:
        return _signed(value)
    if kind == STRUCT:
        return write_struct(value)
    if kind == BINARY:
        return _varint(len(value)) + bytes(value)
    if kind in {LIST, SET}:
        inner, items = value
        size = len(items)
        head = bytes([size << 4 | inner]) if size < _LONG else bytes([_LONG << 4 | inner]) + _varint(size)
        return head + b"".join(bytes([item]) if inner in {TRUE, FALSE} else _value(inner, item) for item in items)
    return bytes(value) if kind == DOUBLE else bytes([value])


def _signed(number: int) -> bytes:
    return _varint(number << 1 if number >= 0 else (-number << 1) - 1)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:  # noqa: PLR2004
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])
