"""Check cells on their way into Parquet, where an option or the statistics require it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from mc_sink._display import counted, nearest
from mc_sink._nested import dtype_shown, leaf_dtypes, leaves
from mc_sink.exceptions import ConfigurationError
from mc_sink.formats.csv_cells import Refusal, Rewrite, find_non_finite, null_where

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from mc_sink.formats.csv_cells import CellCounts, Step
    from mc_sink.formats.parquet_footer import Amendments

_SORTABLE = (pl.String, pl.Binary, pl.Boolean, pl.Date, pl.Time, pl.Datetime, pl.Duration, pl.Decimal)


def check_columns(schema: pl.Schema, options: Mapping[str, Sequence[str]], *, sets_null: bool) -> None:
    """Raise for columns in the options that the frame doesn't have, or whose dtype an option can't be used for."""
    for option, names in options.items():
        if unknown := [name for name in names if name not in schema]:
            meant = nearest(unknown[0], list(schema))
            raise ConfigurationError(
                f"Parquet({option}=) names {unknown[0]!r}, which is not a column of the files.{meant}"
            )
    for name in options["sorted_by"]:
        if not (schema[name].is_integer() or isinstance(schema[name], _SORTABLE)):
            raise ConfigurationError(
                f"Parquet(sorted_by=) names {name!r} ({dtype_shown(schema[name])}): readers don't agree on an order of "
                "that dtype. Leave it out."
            )
    nested = [name for name, dtype in schema.items() if dtype.is_nested() and _has_floats(dtype)]
    if sets_null and nested:
        raise ConfigurationError(
            f"Parquet(non_finite='null') can't change floats inside {', '.join(map(repr, nested))}. "
            "Replace them in the query, or use non_finite='raise'."
        )


def arrow_schema(schema: pl.Schema, required: Sequence[str]) -> pa.Schema:
    """Return the Arrow schema in which the required columns can't be null."""
    import pyarrow as pa

    fields = pl.DataFrame(schema=schema).to_arrow().schema
    return pa.schema([field.with_nullable(field.name not in required) for field in fields])


@dataclass(frozen=True, slots=True, eq=False)
class ParquetRules:
    """What the options of a Parquet file, and its statistics, require of the cells."""

    non_finite: str
    required: tuple[str, ...]
    sorted_by: tuple[str, ...]
    keeps_bounds: bool

    def steps(self, schema: pl.Schema, counts: CellCounts, amendments: Amendments) -> list[Step]:
        """Return the steps that every batch has to pass."""
        floats = [name for name, dtype in schema.items() if _has_floats(dtype)]
        steps: list[Step] = []
        if floats and self.non_finite == "null":
            steps.append(Rewrite(floats, find_non_finite, counts, "nulled", null_where))
        elif floats and self.non_finite == "raise":
            advice = "Correct them in the query, or use Parquet(non_finite='null') or Parquet(non_finite='write')."
            steps.append(Refusal(floats, find_non_finite, "are", "NaN or infinite", advice, "Parquet"))
        elif floats and self.keeps_bounds:
            steps.append(_note_nan(floats, amendments))
        if self.required:
            steps.append(_refuse_nulls(self.required, "required"))
        if self.sorted_by:
            steps += [_refuse_nulls(self.sorted_by, "sorted_by"), _refuse_disorder(self.sorted_by)]
        return steps


def _has_floats(dtype: pl.DataType) -> bool:
    return any(leaf.is_float() for leaf in leaf_dtypes(dtype))


def _note_nan(floats: list[str], amendments: Amendments) -> Step:
    """Return a step that notes the columns with NaN; each is looked at until one is found."""

    def note(batch: pl.DataFrame, _rows: pl.Series | None) -> pl.DataFrame:
        for name in floats:
            if name not in amendments.with_nan and any(map(_has_nan, leaves(batch.get_column(name)))):
                amendments.with_nan.add(name)
        return batch

    return note


def _has_nan(values: pl.Series) -> bool:
    return values.dtype.is_float() and bool(values.is_nan().any())


def _refuse_nulls(columns: Sequence[str], option: str) -> Step:
    """Return a step that refuses a null in the columns of an option."""

    def refuse(batch: pl.DataFrame, rows: pl.Series | None) -> pl.DataFrame:
        for name in columns:
            if nulls := batch.get_column(name).null_count():
                where = _row(rows, batch.get_column(name).is_null())
                raise ConfigurationError(
                    f"A batch can't be written as Parquet: {counted(nulls, 'null')} in {name!r}{where}, a column of "
                    f"Parquet({option}=). Drop or fill nulls in the query, or leave the column out of the option."
                )
        return batch

    return refuse


def _refuse_disorder(columns: Sequence[str]) -> Step:
    """Return a step that refuses rows that aren't sorted by the columns, within a batch and from one to the next."""
    last: list[pl.DataFrame] = []

    def refuse(batch: pl.DataFrame, rows: pl.Series | None) -> pl.DataFrame:
        keys = batch.select(columns) if batch.height else None
        if keys is None:
            return batch
        keys = pl.concat([*last, keys])
        falls: Any = pl.zeros(keys.height - 1, pl.Boolean, eager=True)
        equal: Any = ~falls
        for column in keys.get_columns():
            before, after = column.alias("")[:-1], column.alias("")[1:]
            falls |= equal & (after < before)
            equal &= after == before
        if falls.any():
            first = rows[falls.arg_true()[0] + 1 - len(last)] if rows is not None else None
            raise ConfigurationError(
                f"The rows are not sorted by {', '.join(map(repr, columns))}, as Parquet(sorted_by=) states: row "
                f"{first:,}, counted from 0, comes before the one above it. Sort them in the query, or leave it out."
            )
        last[:] = [keys.tail(1)]
        return batch

    return refuse


def _row(rows: pl.Series | None, mask: pl.Series) -> str:
    return "" if rows is None else f" (first in row {rows.filter(mask)[0]:,}, counted from 0)"
