"""Report failures: exact counts, a bounded number of masked examples, and the rejected rows.

A Polars moment may be of any year; Python's years end at 9999, and Polars raises or panics where such a value becomes a
Python object. Out of range, the number that is stored is shown.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import polars as pl

from mc_sink._display import lines
from mc_sink._frames import from_batches
from mc_sink._polars import BaseExtension, Map
from mc_sink._runtime.kept_rows import Slot, Spill
from mc_sink.exceptions import ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MASK = "(personal data)"
CAP = 10_000  # failure cases kept; the counts go on
_CASES_BYTES = 32 * 2**20  # no more cases are kept when those that are have so many characters
_ROWS = 5_000_000  # row numbers kept to count each failing row once; beyond, the message says "at least"
_EXAMPLES = 3
_WIDTH = 60
_CASES: dict[str, Any] = {"row": pl.UInt64, "column": pl.String, "check": pl.String, "failure_case": pl.String}
_PER_SECOND = {"ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_DAY = 86_400
# The days of Python's first and last date from 1970, and of its longest timedelta. A moment keeps a day's distance: its
# zone may move it.
_FIRST_DAY, _LAST_DAY, _MOST_DAYS = -719_162, 2_932_896, 999_999_998


@dataclass(slots=True)
class CheckCounts:
    """How often one check failed, with the first few cases as `(row, value)`."""

    count: int = 0
    examples: list[tuple[int | None, str | None]] = field(default_factory=list)


@dataclass(slots=True)
class Failures:
    """The failures of one run.

    `personal` are the columns whose values never appear here. `read` maps the number of a whole-row check to the
    columns it reads, so that its report shows those and no others.
    """

    schema_name: str
    personal: frozenset[str] = frozenset()
    read: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    tallies: dict[tuple[str | None, str], CheckCounts] = field(default_factory=dict, init=False)
    _cases: list[pl.DataFrame] = field(default_factory=list, init=False)
    _num_cases: int = field(default=0, init=False)
    _num_characters: int = field(default=0, init=False)
    _rows: list[pl.Series] = field(default_factory=list, init=False)
    _num_rows: int = field(default=0, init=False)

    def __bool__(self) -> bool:
        return bool(self.tallies)

    def add(
        self, column: str | None, check: str, cases: Iterable[tuple[int | None, str | None]], *, count: int
    ) -> None:
        """Count `count` failures of a check and keep its `(row, value)` cases while there is room."""
        tally = self.tallies.setdefault((column, check), CheckCounts())
        tally.count += count
        kept = list(islice(cases, self.room))
        tally.examples.extend(kept[: _EXAMPLES - len(tally.examples)])
        if kept:
            rows, values = zip(*kept, strict=True)
            case = {"row": rows, "column": [column] * len(kept), "check": [check] * len(kept), "failure_case": values}
            self._cases.append(pl.DataFrame(case, schema=_CASES))
            self._num_cases += len(kept)
            self._num_characters += sum(len(value) for value in values if value is not None)

    def add_rows(self, rows: pl.Series) -> None:
        """Note the numbers of rows that failed something, so that each is counted once."""
        self._num_rows += len(rows)
        if self._num_rows <= _ROWS:
            self._rows.append(rows)

    def values(self, frame: pl.DataFrame, column: str | None, number: int | None) -> list[str | None]:
        """Return, for each row of `frame`, the value to show for a failure of `column`, or of a whole-row check."""
        read = self.read.get(-1 if number is None else number, ()) if column is None else (column,)
        columns = tuple(name for name in read if name in frame.columns)
        return self.shown(frame, columns) if columns else [None] * frame.height

    def shown(self, frame: pl.DataFrame, columns: tuple[str, ...]) -> list[str | None]:
        """Return, for each row of `frame`, its values in `columns` as one text."""
        if len(columns) == 1:
            return [_text(value) for value in self._shown(frame, columns[0])]
        shown = zip(*(self._shown(frame, name) for name in columns), strict=True)
        return [json.dumps(dict(zip(columns, row, strict=True)), default=str, ensure_ascii=False) for row in shown]

    @property
    def room(self) -> int:
        """How many more cases can be kept."""
        return max(0, CAP - self._num_cases) if self._num_characters < _CASES_BYTES else 0

    def hides(self, column: str | None) -> bool:
        """Return whether a text about this column, or about whole rows, could carry personal data."""
        return bool(self.personal) if column is None else column in self.personal

    def error(self, *, advice: str) -> ValidationError:
        """Return what to raise: how many, what, where, and what to do next."""
        cases = pl.concat([pl.DataFrame(schema=_CASES), *self._cases]).sort("row", maintain_order=True)
        return ValidationError(
            self._message(advice), schema_name=self.schema_name, failure_cases=cases, checks=self._table()
        )

    def summary(self) -> str:
        """Return one line for each check that failed."""
        return lines(*self.lines())

    def _shown(self, frame: pl.DataFrame, column: str) -> list[Any]:
        values = shown_values(frame[column])
        return [value if value is None else MASK for value in values] if column in self.personal else values

    def _message(self, advice: str) -> str:
        total = sum(tally.count for tally in self.tallies.values())
        kept = (
            "every failure is"
            if total <= self._num_cases
            else f"the first {self._num_cases:,} of {total:,} failures are"
        )
        return lines(self._headline(), *self.lines(), f"{advice}; {kept} in `.failure_cases`.")

    def _headline(self) -> str:
        checks = f"{_count(len(self.tallies), 'check')} of schema {self.schema_name!r}"
        if not self._num_rows:
            return f"The frame fails {checks}."
        if self._num_rows > _ROWS:
            return f"At least {_ROWS:,} rows fail {checks}."
        return f"{_count(pl.concat(self._rows).n_unique(), 'row')} failed {checks}."

    def lines(self) -> Iterator[str]:
        """Yield a line for each check that failed, with its examples."""
        for (column, check), tally in self.tallies.items():
            where = "whole rows" if column is None else column
            count = "" if tally.examples == [(None, None)] else f": {tally.count:,}"  # about no row: nothing to count
            yield f"  {where}: {_short(check)}{count}{_examples(tally)}"

    def _table(self) -> pl.DataFrame:
        tallies = self.tallies.items()
        table = [
            (column, check, tally.count, _examples(tally).removeprefix(" (").removesuffix(")"))
            for (column, check), tally in tallies
        ]
        schema: dict[str, Any] = {"column": pl.String, "check": pl.String, "failures": pl.UInt64, "examples": pl.String}
        return pl.DataFrame(table, schema=schema, orient="row")


def _examples(tally: CheckCounts) -> str:
    shown = [_example(row, value) for row, value in tally.examples if (row, value) != (None, None)]
    more = ", …" if tally.count > len(shown) else ""
    return f" ({', '.join(shown)}{more})" if shown else ""


def _example(row: int | None, value: str | None) -> str:
    text = "null" if value is None else _short(value)
    return text if row is None else f"row {row:,}: {text}"


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _short(text: str) -> str:
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


@dataclass(slots=True)
class RejectedRows:
    """Rejected rows in the order in which they were judged.

    A rejected row keeps the values it came with, personal data included: that is what a reject is for. Its number
    (UInt64, counted from 0 over the whole run) stands in `row`, and `reasons` is a JSON list of `{"column", "check"}`.
    Where the input already has such a name, ours gets an underscore in front.
    """

    schema: pl.Schema
    num_rows: int = field(default=0, init=False)
    _spill: Spill = field(default_factory=Spill, init=False)
    _slots: list[Slot] = field(default_factory=list, init=False)

    def add(self, frame: pl.DataFrame, rows: pl.Series, reasons: pl.Series) -> None:
        """Keep the rows of `frame`, numbered `rows`, with the reasons of each as text."""
        row, reason = self.names
        self._slots.append(self._spill.append(frame.select(rows.alias(row), reasons.alias(reason), *self.schema)))
        self.num_rows += frame.height

    @property
    def names(self) -> tuple[str, str]:
        """The names of the two columns that are ours."""
        row, reasons = "row", "reasons"
        while row in self.schema:
            row = f"_{row}"
        while reasons in self.schema:
            reasons = f"_{reasons}"
        return row, reasons

    def scan(self) -> pl.LazyFrame:
        """Return the rejected rows as a plan that reads them back a batch at a time; it ends with `close`."""
        row, reasons = self.names
        schema = pl.Schema({row: pl.UInt64(), reasons: pl.String(), **self.schema})
        return from_batches(lambda: map(self._spill.read, self._slots), schema)

    def close(self) -> None:
        """Give the disk back."""
        self._spill.close()


def fits_python(values: pl.Series) -> pl.Series:
    """Return, for each value, whether Python can hold it; a null it can."""
    if not values.dtype.is_nested() and not isinstance(values.dtype, BaseExtension):
        bounds = _bounds(values.dtype)
        if bounds is None:
            return pl.repeat(value=True, n=len(values), eager=True)
        first, last = bounds
        return values.to_physical().is_between(max(first, -(2**63)), min(last, 2**63 - 1)).fill_null(value=True)
    if all(fits_python(leaf).all() for leaf in _leaves(values)):
        return pl.repeat(value=True, n=len(values), eager=True)
    rows = (values.slice(row, 1) for row in range(len(values)))
    return pl.Series([all(fits_python(leaf).all() for leaf in _leaves(row)) for row in rows], dtype=pl.Boolean)


def shown_values(values: pl.Series) -> list[Any]:
    """Return the values as Python has them; a value that it can't hold as text, with the number that is stored."""
    fits = fits_python(values)
    if fits.all():
        return values.to_list()
    held = iter(values.filter(fits).to_list())
    stored = iter(_stored(values.filter(~fits)).to_list())
    unit = _unit(values.dtype)
    return [next(held) if fit else f"{next(stored)}{unit}" for fit in fits]


def _bounds(dtype: pl.DataType) -> tuple[int, int] | None:
    if isinstance(dtype, pl.Datetime):
        second = _PER_SECOND[dtype.time_unit]
        return (_FIRST_DAY + 1) * _DAY * second, _LAST_DAY * _DAY * second - 1
    if isinstance(dtype, pl.Duration):
        most = _MOST_DAYS * _DAY * _PER_SECOND[dtype.time_unit]
        return -most, most
    if isinstance(dtype, pl.Date):
        return _FIRST_DAY, _LAST_DAY
    return (0, _DAY * _PER_SECOND["ns"] - 1) if isinstance(dtype, pl.Time) else None


def _unit(dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.Datetime):
        return f" {dtype.time_unit} since 1970-01-01"
    if isinstance(dtype, pl.Duration):
        return f" {dtype.time_unit}"
    if isinstance(dtype, pl.Date):
        return " days since 1970-01-01"
    return " ns since midnight" if isinstance(dtype, pl.Time) else ""


def _stored(values: pl.Series) -> pl.Series:
    return (values.ext.storage() if isinstance(values.dtype, BaseExtension) else values).to_physical()


def _leaves(values: pl.Series) -> Iterator[pl.Series]:
    """Yield the values at the ends of a column; without their names, which its methods may take for patterns."""
    values = values.alias("")
    dtype = values.dtype
    if isinstance(dtype, BaseExtension):
        yield from _leaves(values.ext.storage())
    elif isinstance(dtype, Map):
        yield from _leaves(values.map.entries())
    elif isinstance(dtype, (pl.List, pl.Array)):
        yield from _leaves(values.explode(empty_as_null=False))
    elif isinstance(dtype, pl.Struct):
        for field in values.struct.unnest().get_columns():
            yield from _leaves(field)
    else:
        yield values
