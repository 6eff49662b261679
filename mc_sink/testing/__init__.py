"""Sample data for the shipped schemas: any number of valid rows, and one frame for each kind of violation.

Values are computed from the row's number and the seed only. So any number of rows streams in bounded memory, and the
same call always returns the same rows. No value belongs to a person.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from mc_sink._frames import from_batches
from mc_sink.exceptions import ConfigurationError
from mc_sink.testing.feed import ROW, Columns, Feed
from mc_sink.testing.own_feeds import OWN
from mc_sink.testing.receiver_feeds import RECEIVERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["sample", "violations"]

_FEEDS: dict[str, Feed] = OWN | RECEIVERS
_BATCH = 100_000
_ROWS = 40
_FIRST = pl.int_range(pl.len()) == 0


def sample(name: str, rows: int, *, seed: int = 0) -> pl.LazyFrame:
    """Return `rows` valid rows of the shipped schema `name`, computed as they are read.

    - `name`: one of `list_schemas()`.
    - `rows`: their number.
    - `seed`: another one gives other rows.

    Raises `ConfigurationError` for the name of any other schema.

        >>> sample("report", 50_000_000).head(2).collect().height
        2
    """
    columns = _shipped(name).columns(seed)

    def batches() -> Iterator[pl.DataFrame]:
        for start in range(0, rows, _BATCH):
            yield _computed(columns, start, min(start + _BATCH, rows))

    return from_batches(batches, _computed(columns, 0, 0).schema)


def _shipped(name: str) -> Feed:
    if name not in _FEEDS:
        names = ", ".join(sorted(_FEEDS))
        raise ConfigurationError(f"Sample data is not available for the schema {name!r}. Pass one of {names}.")
    return _FEEDS[name]


def _computed(columns: Columns, start: int, end: int) -> pl.DataFrame:
    numbers = pl.int_range(start, end, dtype=pl.Int64, eager=True).alias(ROW).to_frame()
    return numbers.lazy().select(**columns).collect()


def violations(name: str) -> dict[str, pl.DataFrame]:
    """Return frames of 40 rows that the shipped schema `name` refuses, by a description of the violation.

    Where values are wrong, they are those of the first row. In `duplicate …`, the last row equals the first. Raises
    `ConfigurationError` for the name of any other schema.

        >>> violations("report")["clicks are negative"]["clicks"][0]
        -1
    """
    feed = _shipped(name)
    valid = sample(name, _ROWS).collect()
    first, *others = valid.columns
    return {
        **{violation: _changed(valid, values) for violation, values in feed.wrong.items()},
        **{f"no {column}": _changed(valid, {column: None}) for column in feed.required},
        **{violation: pl.concat([valid.head(-1), valid.head(1)]) for violation in feed.duplicates},
        "a column is missing": valid.drop(first),
        "a column is unexpected": valid.with_columns(unexpected=pl.lit(1)),
        "the columns are in another order": valid.select(*others, first),
        "a column has another type": valid.with_columns(
            pl.col(first).cast(pl.Categorical) if valid.schema[first] == pl.String else pl.col(first).cast(pl.String)
        ),
    }


def _changed(valid: pl.DataFrame, values: Mapping[str, object]) -> pl.DataFrame:
    """Return the rows with other values in the first."""
    first = {name: pl.when(_FIRST).then(pl.lit(value, dtype=valid.schema[name])) for name, value in values.items()}
    return valid.with_columns(value.otherwise(pl.col(name)).alias(name) for name, value in first.items())
