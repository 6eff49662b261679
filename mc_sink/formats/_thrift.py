"""Thrift's compact protocol, as far as the footer of a Parquet file needs it: read, changed and written again.

Every field is kept, those without a meaning here too. The protocol:
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from typing import Any

# A struct is its fields by number, each with its type; a list is the type of its items, and the items.
Struct = dict[int, tuple[int, Any]]
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
_NUMBERS = (I16, I32, I64)
_LONG = 15  # a size or a step that doesn't fit in four bits has its own bytes
_DOUBLE_BYTES = 8


def read_struct(data: bytes) -> Struct:
    """Parse a struct; raises `ValueError` for what isn't one and nothing else."""
    reader = _Reader(data)
    struct = reader.struct()
    if reader.at != len(data):
        raise ValueError(f"A struct ends after {reader.at:,} of {len(data):,} bytes.")
    return struct


def write_struct(struct: Struct) -> bytes:
    """Encode a struct as the compact protocol does."""
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
    """Reads values one after the other."""

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
