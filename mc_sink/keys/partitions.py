r"""Convert values to Hive-style keys, and split rows into partitions.

    country=US/date=2026-11-22/            a folder for each column, in the order of partition_by
    country=__HIVE_DEFAULT_PARTITION__/    null, and the empty text: the same for Hive
    at=2026-11-22 10%3A15%3A30/            other characters are percent-encoded

Encoded are the characters that Hive encodes, U+0000 to U+001F, U+007F and ``" # % ' * / : = ? \ { [ ] ^`` (Apache Hive,
common/src/java/org/apache/hadoop/hive/common/FileUtils.java: `charToEscape` and `escapePathName`; Spark's
`ExternalCatalogUtils` follows it), and six besides that S3 advises against in keys and Hive leaves as they are:
``} ` < > ~ |`` (https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html). Each becomes "%" and two
capital hex digits, as in Hive, whose reader decodes any of them; so do those of Spark, DuckDB, Arrow and Polars.

U+0080 to U+009F are refused: S3 advises against them, Hive would write and read U+0085 as %85, and DuckDB, Arrow and
Polars take that for broken UTF-8 (measured) and then read no file at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl
from polars.selectors import by_name

from mc_sink._display import counted
from mc_sink._nested import dtype_shown
from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

HIVE_DEFAULT_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_ENCODED = re.compile(r"""[\x00-\x1f\x7f"#%'*/:=?\\{\[\]^}`<>~|]""")
# The last two are not characters, and an XML listing can't contain them.
_REFUSED = re.compile("[\x80-\x9f\ufffe\uffff]")
_TEXTS = (pl.String, pl.Categorical, pl.Enum)
_OTHERS = (pl.Boolean, pl.Date, pl.Datetime, pl.Time, pl.Null)
_CLOCK = "%H:%M:%S%.f"


@dataclass(frozen=True, slots=True)
class Partition:
    """The values that all rows of a partition share, as text, column by column; None is null or the empty text."""

    columns: tuple[str, ...]
    texts: tuple[str | None, ...]

    @property
    def values(self) -> dict[str, str | None]:
        """The text of each column, as it is."""
        return dict(zip(self.columns, self.texts, strict=True))

    @property
    def names(self) -> dict[str, str]:
        """The text of each column as it stands in a key."""
        return {column: encode(text) for column, text in self.values.items()}

    @property
    def folder(self) -> str:
        """The folders of the partition, `country=US/date=2026-11-22/`."""
        return "".join(f"{encode(column)}={name}/" for column, name in self.names.items())


@dataclass(frozen=True, slots=True, eq=False)
class Partitioning:
    """The partition columns of a frame with this schema, and whether the files keep them.

    Raises `ConfigurationError` for columns that are missing, unnamed, repeated or of a dtype without a text form for
    keys (floats, binary, durations, nested), and if the files would have no column. Without columns, all rows are one
    partition.
    """

    columns: tuple[str, ...]
    schema: pl.Schema
    include_key: bool = False

    def __post_init__(self) -> None:
        self._check_names()
        dtypes = {name: self.schema[name] for name in self.columns}
        fits = {
            name
            for name, dtype in dtypes.items()
            if isinstance(dtype, (*_TEXTS, *_OTHERS)) or dtype.is_integer() or dtype.is_decimal()
        }
        if refused := [f"{name!r} ({dtype_shown(dtype)})" for name, dtype in dtypes.items() if name not in fits]:
            raise ConfigurationError(
                f"{counted(len(refused), 'column')} of partition_by can't be part of a key: {', '.join(refused)}. Cast "
                "to text, whole numbers, booleans, dates or times in the query."
            )
        if self.columns and not self.file_schema:
            raise ConfigurationError(
                "Every column is in partition_by, so the files would have none. Use include_key=True, or fewer columns."
            )

    @property
    def file_schema(self) -> pl.Schema:
        """The columns of the files: without those of the key, unless they are kept."""
        left_out = () if self.include_key else self.columns
        return pl.Schema({name: dtype for name, dtype in self.schema.items() if name not in left_out})

    def runs(self, frame: pl.DataFrame) -> list[tuple[Partition, pl.DataFrame]] | None:
        """Return the rows as runs of one partition each, in order; None if a partition has more than one run."""
        keys = frame.select(self._keys())
        changed = keys.select(pl.any_horizontal(pl.all().ne_missing(pl.all().shift())).alias("changed"))["changed"]
        changed[0] = True
        starts = changed.arg_true()
        firsts = keys[starts]
        if firsts.is_duplicated().any():
            return None
        rows = frame.select(map(_column, self.file_schema))
        ends = [*starts[1:].to_list(), frame.height]
        runs = [rows.slice(start, end - start) for start, end in zip(starts.to_list(), ends, strict=True)]
        return list(zip(self._partitions(firsts), runs, strict=True))

    def groups(self, frame: pl.DataFrame) -> list[tuple[Partition, pl.DataFrame]]:
        """Return the rows of each partition together, in order."""
        free = "\x00" * (1 + max(map(len, self.schema)))  # longer than any name of the frame
        keys = [f"{free}{number}" for number in range(len(self.columns))]
        keyed = frame.with_columns(key.alias(name) for key, name in zip(self._keys(), keys, strict=True))
        groups = keyed.partition_by(keys, maintain_order=True)
        firsts = pl.concat([group[:1, keys] for group in groups])
        firsts.columns = list(self.columns)
        names = list(map(_column, self.file_schema))
        return list(zip(self._partitions(firsts), (group.select(names) for group in groups), strict=True))

    def _keys(self) -> list[pl.Expr]:
        """Return the key columns: null for the empty text, and the text of instants, which two of them may share."""
        return [
            pl.when(_column(name).cast(pl.String) != "").then(_column(name)).alias(name)
            if isinstance(self.schema[name], _TEXTS)
            else _text(name, self.schema[name])
            if self._are_instants(name)
            else _column(name)
            for name in self.columns
        ]

    def _are_instants(self, name: str) -> bool:
        """Return True for datetimes with a zone. Some zones had offsets with seconds, which the text leaves out."""
        return getattr(self.schema[name], "time_zone", None) is not None

    def _partitions(self, keys: pl.DataFrame) -> list[Partition]:
        """Return the partition of each row."""
        texts = keys.select(
            _column(name) if self._are_instants(name) else _text(name, self.schema[name]) for name in self.columns
        ).rows()
        return [_checked(Partition(self.columns, row)) for row in texts]

    def _check_names(self) -> None:
        if unknown := [name for name in self.columns if name not in self.schema]:
            raise ConfigurationError(
                f"The frame lacks {counted(len(unknown), 'column')} of partition_by: "
                f"{unknown}. It has {self.schema.names()}."
            )
        if twice := sorted({name for name in self.columns if self.columns.count(name) > 1}):
            raise ConfigurationError(f"partition_by has {twice} twice. Name each column once.")
        if odd := [name for name in self.columns if not name or _REFUSED.search(name)]:
            raise ConfigurationError(f"The names {odd} of partition_by can't be part of a key. Rename in the query.")


def column_names(partition_by: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the columns of an argument that takes one name, several or none."""
    if partition_by is None:
        return ()
    return (partition_by,) if isinstance(partition_by, str) else tuple(partition_by)


def encode(text: str | None) -> str:
    """Encode a value or a column's name for a key, as Hive does; see above."""
    if not text:
        return HIVE_DEFAULT_PARTITION
    return _ENCODED.sub(lambda found: f"%{ord(found.group()):02X}", text)


def _column(name: str) -> pl.Expr:
    """Return the column with exactly that name; `pl.col` reads "*" and "^a$" as patterns."""
    return by_name(name).as_expr()


def _text(name: str, dtype: pl.DataType) -> pl.Expr:
    """Return a column as text: times as in Spark, with the fewest digits of a second, and with any offset."""
    column = _column(name)
    if isinstance(dtype, pl.Datetime):
        offset = "" if dtype.time_zone is None else "%:z"
        column = _short(column.dt.to_string(f"%Y-%m-%d {_CLOCK}{offset}"))
    elif isinstance(dtype, pl.Time):
        column = _short(column.dt.to_string(_CLOCK))
    return column.cast(pl.String)


def _short(clock: pl.Expr) -> pl.Expr:
    """Remove the zeros at the end of a fraction of a second."""
    return clock.str.replace(r"(\.[0-9]*[1-9])0+", "${1}")


def _checked(partition: Partition) -> Partition:
    """Return the partition. Raises for values that readers would read back as others."""
    for column, text in partition.values.items():
        if text == HIVE_DEFAULT_PARTITION:
            raise ConfigurationError(
                f"A value of {column!r} is the text {text!r}, which every reader reads as null. Change it in the query."
            )
        if text and (found := _REFUSED.search(text)):
            raise ConfigurationError(
                f"A value of {column!r} is {text!r}, and readers don't agree on how U+{ord(found.group()):04X} is "
                f"written in a key. Change it in the query."
            )
    return partition
