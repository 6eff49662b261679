"""What the tests expect differently of an older version of a library: a name for each difference, and nowhere else."""

from __future__ import annotations

import re
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import aiobotocore
import pandera
import polars as pl
import pyarrow as pa
from aiobotocore.httpsession import AIOHTTPSession

if TYPE_CHECKING:
    from collections.abc import Iterator

E = TypeVar("E", bound=BaseException)
_POLARS = tuple(map(int, pl.__version__.split(".")[:2]))
_ARROW = tuple(map(int, pa.__version__.split(".")[:1]))
_AIOBOTOCORE = tuple(map(int, aiobotocore.__version__.split(".")[:1]))
_PANDERA = tuple(map(int, pandera.__version__.split(".")[:2]))

# A text that is not a number, in a column that is coerced to Decimal: Pandera 0.34 ends with an error of its own.
PANDERA_REPORTS_DECIMALS = _PANDERA >= (0, 35)
# A pattern that matches a column which the schema adds: Pandera 0.34 judges that column by both.
PANDERA_ADDS_AFTER_PATTERNS = _PANDERA >= (0, 35)
# A file with a null among fixed-size lists: pyarrow before 26 refuses to read it.
PYARROW_READS_NULL_ARRAYS = _ARROW >= (26,)

# Polars 1 keeps freed memory for up to 10 s. Measured on 1.40.1, csv by bytes: 1,100 MB, and 520 MB with these set.
FREED_AT_ONCE = {} if _POLARS >= (2,) else {"_RJEM_MALLOC_CONF": "dirty_decay_ms:0,muzzy_decay_ms:0"}
# A plan that selects or adds columns is counted from the footers of its Parquet files; Polars 1.40 would read a column.
POLARS_COUNTS_COLUMNS = _POLARS >= (1, 44)
# A time inside JSON: Polars 1.40 decodes its text and not the time.
POLARS_DECODES_TIMES = _POLARS >= (2,)
# The exception of a caller's own `register_io_source`: Polars 1 raises a ComputeError with its text.
POLARS_KEEPS_SOURCE_ERRORS = _POLARS >= (2,)
# True in a header: botocore before aiobotocore 3's writes it with a capital letter, which S3 takes.
TRUE_IN_HEADERS = "true" if _AIOBOTOCORE >= (3,) else "True"
# A store's certificates: aiobotocore 2.19 has no hook by which its clients could share what the first of them read.
AIOBOTOCORE_SHARES_CERTIFICATES = hasattr(AIOHTTPSession, "_build_verify_context")

_RENAMED = {
    "dictionary<values=string, indices=uint32, ordered=0>": (20, "dictionary<values=string, indices=int32, ordered=0>"),
    "map<large_string, int64 ('x')>": (24, "map<string, int64 ('x')>"),
    "map<large_string, decimal128(38, 0) ('map')>": (24, "map<string, decimal128(38, 0) ('map')>"),
}


def pyarrow_finds(newest: str) -> str:
    """Return the type that this pyarrow reads from a Parquet file where the newest reads `newest`."""
    since, before = _RENAMED.get(newest, (0, newest))
    return newest if (since,) <= _ARROW else before


def without_sizes(line: str) -> str:
    """Return a line without sizes of a file of some MB, where this Polars encodes the same rows in other bytes."""
    return line if _POLARS >= (2,) else re.sub(r"\d,\d{3},\d{3}", "", line)


def as_polars_reads(dtype: pl.DataType) -> pl.DataType:
    """Return the dtype that Polars finds in a Parquet file: Polars 1 reads an unregistered extension as its storage."""
    if not isinstance(dtype, pl.BaseExtension) or _POLARS >= (2,):
        return dtype
    storage = dtype.ext_storage()
    return storage if isinstance(storage, pl.DataType) else storage()


def raised_for(error: type[E]) -> type[E | pl.exceptions.ComputeError]:
    """Return what this Polars raises when `error` ends a caller's own `register_io_source`."""
    return error if POLARS_KEEPS_SOURCE_ERRORS else pl.exceptions.ComputeError


@contextmanager
def reading_extensions() -> Iterator[None]:
    """Ignore that Polars 1 warns when it reads an extension as its storage."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Extension type .* is not registered", UserWarning)
        yield
