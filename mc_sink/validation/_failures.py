"""What failed: exact counts, a bounded number of cases, and the words for it. Personal data is masked on the way in."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import polars as pl

from mc_sink._printable import lines
from mc_sink.exceptions import NOTHING_VISIBLE, ValidationError
from mc_sink.validation._python_values import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MASK = "(personal data)"
CAP = 10_000  # failure cases kept; the counts go on
_CASES_BYTES = 32 * 2**20  # no more cases are kept when those that are have so many characters
_ROWS = 5_000_000  # row numbers kept to count each failing row once; beyond, the message says "at least"
_EXAMPLES = 3
_WIDTH = 60
_CASES: dict[str, Any] = {"row": pl.UInt64, "column": pl.String, "check": pl.String, "failure_case": pl.String}


@dataclass(slots=True)
class Tally:
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
    tallies: dict[tuple[str | None, str], Tally] = field(default_factory=dict, init=False)
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
        tally = self.tallies.setdefault((column, check), Tally())
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
        """Return what to raise: how many, what, where, what to do next, and that nothing became visible."""
        cases = pl.concat([pl.DataFrame(schema=_CASES), *self._cases]).sort("row", maintain_order=True)
        return ValidationError(
            self._message(advice), schema_name=self.schema_name, failure_cases=cases, checks=self._table()
        )

    def summary(self) -> str:
        """Return one line for each check that failed."""
        return lines(*self.lines())

    def _shown(self, frame: pl.DataFrame, column: str) -> list[Any]:
        values = shown(frame[column])
        return [value if value is None else MASK for value in values] if column in self.personal else values

    def _message(self, advice: str) -> str:
        total = sum(tally.count for tally in self.tallies.values())
        kept = (
            "every failure is"
            if total <= self._num_cases
            else f"the first {self._num_cases:,} of {total:,} failures are"
        )
        return lines(self._headline(), *self.lines(), f"{advice}; {kept} in `.failure_cases`.", NOTHING_VISIBLE)

    def _headline(self) -> str:
        checks = f"{_count(len(self.tallies), 'check')} of schema {self.schema_name!r}"
        if not self._num_rows:
            return f"The frame fails {checks}."
        if self._num_rows > _ROWS:
            return f"At least {_ROWS:,} rows fail {checks}."
        return f"{_count(pl.concat(self._rows).n_unique(), 'row')} failed {checks}."

    def lines(self) -> Iterator[str]:
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


def _examples(tally: Tally) -> str:
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
