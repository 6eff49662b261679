"""What the tests expect differently of an older version of a library: a name for each difference, and nowhere else."""

from __future__ import annotations

import pyarrow as pa

_ARROW = tuple(map(int, pa.__version__.split(".")[:1]))

# A file with a null among fixed-size lists: pyarrow before 26 refuses to read it.
PYARROW_READS_NULL_ARRAYS = _ARROW >= (26,)

_RENAMED = {
    "dictionary<values=string, indices=uint32, ordered=0>": (20, "dictionary<values=string, indices=int32, ordered=0>"),
    "map<large_string, int64 ('x')>": (24, "map<string, int64 ('x')>"),
    "map<large_string, decimal128(38, 0) ('map')>": (24, "map<string, decimal128(38, 0) ('map')>"),
}


def pyarrow_finds(newest: str) -> str:
    """Return the type that this pyarrow reads from a Parquet file where the newest reads `newest`."""
    since, before = _RENAMED.get(newest, (0, newest))
    return newest if (since,) <= _ARROW else before
