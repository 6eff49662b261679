"""A feed of sample data: how its columns are computed from a row's number, and the values that its schema refuses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ROW = "row"
BEGIN = pl.lit("2026-01-01").str.to_datetime(time_unit="us", time_zone="UTC")
DAYS = 365
ZERO_DEVICE = "00000000-0000-0000-0000-000000000000"
Columns: TypeAlias = "dict[str, pl.Expr]"


@dataclass(frozen=True, slots=True)
class Feed:
    """The sample data of one shipped schema.

    columns
        Returns the expressions of the columns for a seed; they read the row's number.
    wrong
        Values of the first row that break one rule each, by a description of the violation.
    required
        The columns that have no nulls.
    duplicates
        Descriptions of the violation when the last row equals the first.
    """

    columns: Callable[[int], Columns]
    wrong: Mapping[str, Mapping[str, object]]
    required: Sequence[str]
    duplicates: Sequence[str] = field(default=())


def draw(seed: int, stream: int) -> pl.Expr:
    """Return pseudo-random whole numbers from 0 to 2**31, computed from the row's number."""
    return (random_word(seed, stream) % 2**31).cast(pl.Int64)


def random_word(seed: int, stream: int, word: int = 0) -> pl.Expr:
    """Return a pseudo-random number of 64 bits, computed from the row's number."""
    return pl.col(ROW).hash(seed * 1000 + stream * 10 + word)


def hexadecimal(seed: int, stream: int, *, digits: int) -> pl.Expr:
    """Return up to 96 hexadecimal digits, by decoding decimal digits as base64."""
    words = [random_word(seed, stream, word).cast(pl.String).str.zfill(20) for word in range(-(-digits // 30))]
    return pl.concat_str(*words).str.decode("base64").bin.encode("hex").str.slice(0, digits)


def as_uuid(digits: pl.Expr) -> pl.Expr:
    """Return 32 hexadecimal digits in the form of a UUID."""
    parts = [digits.str.slice(start, length) for start, length in ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))]
    return pl.concat_str(*parts, separator="-")


def one_of(seed: int, stream: int, values: Sequence[str]) -> pl.Expr:
    """Return one of the values, drawn by the row's number."""
    number = draw(seed, stream) % len(values)
    return number.replace_strict(list(range(len(values))), values, return_dtype=pl.String)
