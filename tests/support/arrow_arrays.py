"""Arrow arrays of four values, the second a null, of every type that Arrow has, and the same inside other types."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tests.support.dtypes import HAS_MAP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CODES = pa.array([0, None, 1, 0], pa.int8())
PRICES = [Decimal("1.5"), None, Decimal("2.5"), Decimal("3.5")]
NUMBERS = [1, None, 3, 4]
VECTORS = [[1, 2], None, [3, 4], [5, 6]]
OFFSETS = ("+05:30", "+05:45", "-03:30", "+0530", "+05", "+05:30:30", "UTC+05:30", "GMT-3", "+15:00", "Z")
ZONES = ("UTC", "Europe/Berlin", "GMT", "+05:00", "-12:00", "+00:00")


class Label(pa.ExtensionType):  # type: ignore[misc]
    """A type of a user's own."""

    def __init__(self, storage: pa.DataType) -> None:
        super().__init__(storage, "tests.label")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pa.DataType, _serialized: bytes) -> Label:
        return cls(storage)


def coded(values: pa.Array) -> pa.Array:
    """Return a dictionary of two values."""
    return pa.DictionaryArray.from_arrays(CODES, values)


def labelled(storage: pa.Array) -> pa.Array:
    """Return an extension array."""
    return pa.ExtensionArray.from_storage(Label(storage.type), storage)


LEAVES: dict[str, pa.Array] = {
    "null": pa.nulls(4),
    "bool": pa.array([True, None, False, True]),
    "int8": pa.array(NUMBERS, pa.int8()),
    "uint64": pa.array([2**64 - 1, None, 0, 1], pa.uint64()),
    "float16": pa.array(np.array([1.5, 0, 3, 4], np.float16), mask=np.array([False, True, False, False])),
    "float64": pa.array([1.5, None, 3, 4]),
    "date32": pa.array(NUMBERS, pa.date32()),
    "time32": pa.array(NUMBERS, pa.time32("s")),
    "time64": pa.array(NUMBERS, pa.time64("us")),
    "timestamp": pa.array(NUMBERS, pa.timestamp("s")),
    **{f"timestamp {zone}": pa.array(NUMBERS, pa.timestamp("us", zone)) for zone in (*ZONES, *OFFSETS)},
    "duration": pa.array(NUMBERS, pa.duration("s")),
    **{
        str(dtype): pa.array(PRICES, dtype) for dtype in (pa.decimal32(4, 1), pa.decimal64(12, 1), pa.decimal128(38, 1))
    },
    "decimal256 of 38 digits": pa.array(PRICES, pa.decimal256(38, 1)),
    "decimal of whole hundreds": pa.array([Decimal(1200), None, Decimal(1300), Decimal(400)], pa.decimal128(20, -2)),
    **{
        str(dtype): pa.array(["a", None, "b", ""], dtype)
        for dtype in (pa.string(), pa.large_string(), pa.string_view())
    },
    **{
        str(dtype): pa.array([b"a", None, b"b", b""], dtype)
        for dtype in (pa.binary(), pa.large_binary(), pa.binary_view())
    },
    "fixed binary": pa.array([b"ab", None, b"bc", b"cd"], pa.binary(2)),
    "fixed binary of nothing": pa.array([b"", None, b"", b""], pa.binary(0)),
    "dictionary of texts": coded(pa.array(["a", "b"])),
    "dictionary of numbers": coded(pa.array([7, 8])),
    "dictionary of decimal32": coded(pa.array([Decimal("1.5"), Decimal("2.5")], pa.decimal32(4, 1))),
    "dictionary of an offset": coded(pa.array([1, 2], pa.timestamp("us", "+05:30"))),
    "fixed-size list": pa.array(VECTORS, pa.list_(pa.int64(), 2)),
    "fixed-size list of texts": pa.array([["a", "b"], None, ["c", None], ["", "e"]], pa.list_(pa.string(), 2)),
    "fixed-size list of such": pa.array(
        [[[1], [2]], None, [[3], None], [[5], [6]]], pa.list_(pa.list_(pa.int64(), 1), 2)
    ),
    "large list": pa.array([[1], None, [], [1, None]], pa.large_list(pa.int64())),
    "struct": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": None}, {"a": 2, "b": ""}]),
    "map": pa.array([[("a", 1)], None, [], [("b", 2), ("c", None)]], pa.map_(pa.string(), pa.int64())),
    "map of decimals": pa.array(
        [[(Decimal(1), 1)], None, [], [(Decimal(2), 2)]], pa.map_(pa.decimal32(3, 0), pa.int64())
    ),
    "extension": labelled(pa.array(NUMBERS)),
    "extension over a vector": labelled(pa.array(VECTORS, pa.list_(pa.int64(), 2))),
}
# What Polars can't hold, each with the words that the error says why in.
REFUSED: dict[str, tuple[pa.Array, str]] = {
    "decimal256": (pa.array(PRICES, pa.decimal256(50, 1)), "a decimal of more than 38 digits"),
    "decimal of millions": (pa.array([Decimal(0)] * 4, pa.decimal128(36, -6)), "a decimal of more than 38 digits"),
    "unknown zone": (pa.array(NUMBERS, pa.timestamp("us", "Mars/Base")), "an unknown time zone"),
    "months": (pa.array([(1, 2, 3)] * 4, pa.month_day_nano_interval()), "a type that Polars lacks"),
    "run-end encoded": (pa.RunEndEncodedArray.from_arrays([2, 4], ["a", "b"]), "a type that Polars lacks"),
    "list view": (pa.array(VECTORS, pa.list_view(pa.int64())), "a type that Polars lacks"),
    "union": (
        pa.UnionArray.from_sparse(pa.array([0, 1, 0, 1], pa.int8()), [pa.array([1, 2, 3, 4]), pa.array(list("abcd"))]),
        "a type that Polars lacks",
    ),
    "vector of nothing": (pa.array([[], None, [], []], pa.list_(pa.int64(), 0)), "a fixed-size list of no values"),
    "field twice": (
        pa.StructArray.from_arrays([pa.array([1, 2, 3, 4])] * 2, names=["x", "x"]),
        "a struct with the field 'x' twice",
    ),
    "name with NUL": (pa.StructArray.from_arrays([pa.array([1, 2, 3, 4])], names=["x\x00y"]), "a name with NUL"),
    "extension over a dictionary": (labelled(coded(pa.array(["a", "b"]))), "an extension type over a dictionary"),
    "extension over decimal32": (labelled(pa.array(PRICES, pa.decimal32(4, 1))), "an extension type over a type"),
    "dictionary of vectors of decimal32": (
        coded(pa.array([[Decimal(1)], [Decimal(2)]], pa.list_(pa.decimal32(4, 0), 1))),
        "a dictionary of nested values",
    ),
}
AROUND: dict[str, Callable[[pa.Array], pa.Array]] = {
    "alone": lambda values: values,
    "in a list": lambda values: pa.ListArray.from_arrays(pa.array([0, 1, 2, 4, 4], pa.int32()), values),
    "in a list after none": lambda values: pa.ListArray.from_arrays(pa.array([0, 0, 2, 4, 4], pa.int32()), values),
    "in a vector": lambda values: pa.FixedSizeListArray.from_arrays(values, 1),
    "in a struct": lambda values: pa.StructArray.from_arrays(
        [values], names=["f"], mask=pa.array([False, True, False, False])
    ),
    "in a map": lambda values: pa.MapArray.from_arrays(
        pa.array([0, 1, 2, 4, 4], pa.int32()), pa.array(list("abcd")), values
    ),
}


def nested(arrays: dict[str, pa.Array]) -> Iterator[tuple[str, pa.Array]]:
    """Yield each array alone and inside every other type."""
    for name, values in arrays.items():
        for where, around in AROUND.items():
            yield f"{name} {where}", around(values)


def plain(value: Any) -> Any:
    """Return a value of Python's so that those of pyarrow and Polars can be compared: maps, and moments in UTC."""
    if isinstance(value, list):
        if value and all(isinstance(pair, tuple) for pair in value):
            pairs = {key: plain(each) for key, each in value}
            return pairs if HAS_MAP else [{"key": key, "value": each} for key, each in pairs.items()]
        return [plain(each) for each in value] or {}
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return value


def in_utc(values: pa.Array) -> pa.Array:
    """Return the values with moments in UTC in place of those in zones that Python may not know."""
    return values if (dtype := _utc(values.type)) == values.type else values.cast(dtype)


def _utc(dtype: Any) -> Any:
    if pa.types.is_timestamp(dtype) and dtype.tz:
        return pa.timestamp(dtype.unit, "UTC")
    if pa.types.is_dictionary(dtype):
        return dtype if (value := _utc(dtype.value_type)) == dtype.value_type else value
    if pa.types.is_fixed_size_list(dtype):
        return pa.list_(_utc(dtype.value_type), dtype.list_size)
    if pa.types.is_list(dtype):
        return pa.list_(_utc(dtype.value_type))
    if pa.types.is_struct(dtype):
        return pa.struct([field.with_type(_utc(field.type)) for field in dtype])
    return pa.map_(dtype.key_type, _utc(dtype.item_type)) if pa.types.is_map(dtype) else dtype
