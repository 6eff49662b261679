"""The last delivery in the columns and dtypes of this run, without loss, or refused with a count for each column."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

from mc_sink.changes._text import has_text, parsed
from mc_sink.exceptions import NOTHING_VISIBLE, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mc_sink.formats import Csv

_CAST, _CAME = "cast", "came"


@dataclass(slots=True)
class Recast:
    """Casts batches with the columns `found` to those that are `wanted`; they come out called by their places.

    `dialect` is that of a file of text, where every column is found as text; else None. `lost` counts, by column, the
    values that can't be cast as they are.
    """

    found: pl.Schema
    wanted: pl.Schema
    dialect: Csv | None
    lost: dict[str, int] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        missing = [name for name in self.wanted if name not in self.found]
        more = [name for name in self.found if name not in self.wanted]
        if missing or more:
            told = [f"{len(missing)} column(s) are missing: {missing}"] * bool(missing)
            told += [f"{len(more)} column(s) are not in this run: {more}"] * bool(more)
            raise ConfigurationError(
                f"previous= has other columns than this run: {'; '.join(told)}. Give the whole rows of the last "
                f"delivery, and add or drop columns there (a file of changes alone won't do). {NOTHING_VISIBLE}"
            )
        self._check_dtypes()

    def batches(self, batches: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Cast batch after batch, and at their end raise `ConfigurationError` for what was lost."""
        for batch in batches:
            yield self._batch(batch)
        if self.lost:
            told = ", ".join(f"{count:,} of {name!r} ({self._told(name)})" for name, count in self.lost.items())
            raise ConfigurationError(
                f"{sum(self.lost.values()):,} value(s) of previous= are not what this run's dtypes can hold: {told}. "
                f"Cast them in previous=, or give this run's columns wider dtypes. {NOTHING_VISIBLE}"
            )

    def _batch(self, batch: pl.DataFrame) -> pl.DataFrame:
        columns = (self._column(batch.get_column(name).alias(_CAME), name) for name in self.wanted)
        return pl.DataFrame([values.alias(str(place)) for place, values in enumerate(columns)])

    def _column(self, values: pl.Series, name: str) -> pl.Series:
        wanted = self.wanted[name]
        if values.dtype == wanted:
            return values
        came, text = pl.col(_CAME), self.dialect is not None or values.dtype == pl.String
        cast = parsed(came, wanted, self.dialect) if self.dialect else came.cast(wanted, strict=False)
        back = pl.col(_CAST).is_null() if text else pl.col(_CAST).cast(values.dtype, strict=False).ne_missing(came)
        result = values.to_frame().with_columns(cast.alias(_CAST))
        if lost := int(result.select((came.is_not_null() & back).sum()).item()):
            self.lost[name] = self.lost.get(name, 0) + lost
        return result.get_column(_CAST)

    def _check_dtypes(self) -> None:
        wrong = [
            f"{name!r} ({self._told(name)})" for name, wanted in self.wanted.items() if not self._casts(name, wanted)
        ]
        if wrong:
            raise ConfigurationError(
                f"{len(wrong)} column(s) of previous= may not mean what this run's do: {', '.join(wrong)}. "
                f"Cast them in previous=, or keep the last delivery as Parquet. {NOTHING_VISIBLE}"
            )

    def _casts(self, name: str, wanted: pl.DataType) -> bool:
        found = self.found[name]
        if found in (wanted, pl.Null):
            return True
        if self.dialect is not None:
            return has_text(wanted)
        zones = [dtype.time_zone is None for dtype in (found, wanted) if isinstance(dtype, pl.Datetime)]
        if len(set(zones)) > 1:
            return False  # nobody knows in which zone a naive clock ran
        # A number can be seconds or nanoseconds, and text can be in any format.
        return found.is_temporal() == wanted.is_temporal() and not (found == pl.String and wanted.is_nested())

    def _told(self, name: str) -> str:
        found = "text" if self.dialect is not None else str(self.found[name])
        return f"{found}, wanted {self.wanted[name]}"
