"""Report failures: exact counts, a bounded number of masked examples, and the rejected rows."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import polars as pl

from mc_sink._display import counted, lines
from mc_sink._frames import from_batches
from mc_sink._runtime.spill import Slot, Spill
from mc_sink.exceptions import ValidationError
from mc_sink.validation.python_values import shown_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from mc_sink.validation.pandera_backend import Finding

MASK = "(personal data)"
CAP = 10_000  # failure cases kept; counts are of all failures
_CASES_BYTES = 32 * 2**20  # characters of the cases beyond which no more are kept
_ROWS = 5_000_000  # row numbers kept to count each failing row once; beyond them, the message says "at least"
_EXAMPLES = 3
_LINES = 40  # lines of a report of several shares
_WIDTH = 60
_CASES: dict[str, Any] = {"row": pl.UInt64, "column": pl.String, "check": pl.String, "failure_case": pl.String}
_CHECKS: dict[str, Any] = {"column": pl.String, "check": pl.String, "failures": pl.UInt64, "examples": pl.String}


@dataclass(slots=True)
class CheckCounts:
    """How often one check failed, with the first few cases as `(row, value)`."""

    count: int = 0
    examples: list[tuple[int | None, str | None]] = field(default_factory=list)


@dataclass(slots=True)
class Failures:
    """The failures of one run.

    `personal` are the columns whose values never appear here. `read` maps the number of a whole-row check to the
    columns that it reads; its report shows only these.
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
        """Count `count` failures of a check and keep its `(row, value)` cases up to the limit."""
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

    def add_findings(self, findings: list[Finding], frame: pl.DataFrame, rows: pl.Series) -> None:
        """Count findings on a frame whose rows have the numbers `rows`, and keep their values as cases."""
        for finding in findings:
            column, check = finding.column, finding.check
            if finding.positions is None:
                hidden = bool(self.personal) if column is None else column in self.personal
                self.add(column, check, [(None, None if hidden else finding.detail)], count=1)
                continue
            positions = finding.positions.head(self.room)
            shown = self._values(frame[positions], column, finding.number)
            self.add(column, check, zip(rows[positions], shown, strict=True), count=len(finding.positions))

    def add_rows(self, rows: pl.Series) -> None:
        """Record the numbers of rows that failed a check, so that each row is counted once."""
        self._num_rows += len(rows)
        if self._num_rows <= _ROWS:
            self._rows.append(rows)

    def _values(self, frame: pl.DataFrame, column: str | None, number: int | None) -> list[str | None]:
        """Return, for each row of `frame`, the value to show for a failure of `column`, or of a whole-row check."""
        read = self.read.get(-1 if number is None else number, ()) if column is None else (column,)
        columns = tuple(name for name in read if name in frame.columns)
        return self.shown(frame, columns) if columns else [None] * frame.height

    def shown(self, frame: pl.DataFrame, columns: tuple[str, ...]) -> list[str | None]:
        """Return, for each row of `frame`, its values in `columns` as one text."""
        if len(columns) == 1:
            return [None if value is None else str(value) for value in self._shown(frame, columns[0])]
        shown = zip(*(self._shown(frame, name) for name in columns), strict=True)
        return [json.dumps(dict(zip(columns, row, strict=True)), default=str, ensure_ascii=False) for row in shown]

    @property
    def room(self) -> int:
        """How many more cases can be kept."""
        return max(0, CAP - self._num_cases) if self._num_characters < _CASES_BYTES else 0

    def error(self, *, advice: str) -> ValidationError:
        """Return the error to raise: how many rows failed, which checks, where, and what to do next."""
        total = sum(tally.count for tally in self.tallies.values())
        kept = f"the first {self._num_cases:,} of {total:,} failures" if total > self._num_cases else "all failures"
        advice = f"{advice}. `.failure_cases` has {kept}."
        message = lines(self._headline(), *self.lines(), advice)
        cases = pl.concat([pl.DataFrame(schema=_CASES), *self._cases]).sort("row", maintain_order=True)
        table = [
            (column, check, tally.count, _examples(tally).removeprefix(" (").removesuffix(")"))
            for (column, check), tally in self.tallies.items()
        ]
        checks = pl.DataFrame(table, schema=_CHECKS, orient="row")
        return ValidationError(message, schema_name=self.schema_name, failure_cases=cases, checks=checks, advice=advice)

    def _shown(self, frame: pl.DataFrame, column: str) -> list[Any]:
        values = shown_values(frame[column])
        return [value if value is None else MASK for value in values] if column in self.personal else values

    def _headline(self) -> str:
        checks = f"{counted(len(self.tallies), 'check')} of schema {self.schema_name!r}"
        if not self._num_rows:
            return f"The frame fails {checks}."
        if self._num_rows > _ROWS:
            return f"At least {_ROWS:,} rows failed {checks}."
        return f"{counted(pl.concat(self._rows).n_unique(), 'row')} failed {checks}."

    def lines(self) -> Iterator[str]:
        """Yield a line for each check that failed, with its examples."""
        for (column, check), tally in self.tallies.items():
            where = "whole rows" if column is None else column
            count = "" if tally.examples == [(None, None)] else f": {tally.count:,}"  # a failure without rows
            yield f"  {where}: {_short(check)}{count}{_examples(tally)}"


def _examples(tally: CheckCounts) -> str:
    shown = []
    for row, value in tally.examples:
        text = "null" if value is None else _short(value)
        if (row, value) != (None, None):
            shown.append(text if row is None else f"row {row:,}: {text}")
    more = ", …" if tally.count > len(shown) else ""
    return f" ({', '.join(shown)}{more})" if shown else ""


def _short(text: str) -> str:
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"


def merged(reports: Sequence[tuple[int, ValidationError]], *, advice: str = "") -> ValidationError:
    """Return one report of those of several shares, each with its share's number, which precedes the row's.

    The counts are exact. A report without a table of checks, such as that of an empty source, is repeated as it is.
    """
    tables = [
        error.checks.select(pl.lit(number, pl.UInt32).alias("share"), *_CHECKS)
        for number, error in reports
        if error.checks is not None
    ]
    cases = [
        error.failure_cases.select(pl.lit(number, pl.UInt32).alias("share"), *_CASES)
        for number, error in reports
        if error.failure_cases is not None
    ]
    schema = {"share": pl.UInt32, **_CHECKS}
    checks = pl.concat([pl.DataFrame(schema=schema), *tables])
    shown = [
        f"  share {share:,}, {column or 'whole rows'}: {_short(check)}: {failures:,}{f' ({text})' if text else ''}"
        for share, column, check, failures, text in checks.head(_LINES).iter_rows()
    ]
    shown += [f"  share {number:,}: {error.message}" for number, error in reports if error.checks is None]
    shown += [f"  … and {checks.height - _LINES:,} more"] if checks.height > _LINES else []
    name, advice = reports[0][1].schema_name, advice or reports[0][1].advice
    shares, number = counted(len(reports), "share"), checks.select(pl.struct("column", "check").n_unique()).item()
    headline = f"{shares} failed {counted(number, 'check')} of schema {name!r}." if number else f"{shares} failed."
    kept = pl.concat([pl.DataFrame(schema={"share": pl.UInt32, **_CASES}), *cases])
    return ValidationError(
        lines(headline, *shown, advice), schema_name=name, failure_cases=kept, checks=checks, advice=advice
    )


@dataclass(slots=True)
class RejectedRows:
    """Rejected rows in the order in which they were judged.

    A rejected row keeps the values it came with, personal data included, so that it can be corrected. Two columns are
    added: `row`, its number (UInt64, counted from 0 over the whole run), and `reasons`, a JSON list of
    `{"column", "check"}`. The rows of one of several shares are counted within it, and have a column `share` with its
    number in front. An underscore is put before these names where the input already has them.
    """

    schema: pl.Schema
    share: int | None = None
    _spill: Spill = field(default_factory=Spill, init=False)
    _slots: list[Slot] = field(default_factory=list, init=False)

    def add(self, frame: pl.DataFrame, rows: pl.Series, reasons: pl.Series) -> None:
        """Keep the rows of `frame`, whose numbers are `rows`, with the reasons of each as text."""
        own = [] if self.share is None else [pl.repeat(self.share, len(rows), dtype=pl.UInt32, eager=True)]
        added = [column.alias(name) for column, name in zip([*own, rows, reasons], self.added, strict=True)]
        self._slots.append(self._spill.append(frame.select(*added, *self.schema)))

    @property
    def added(self) -> dict[str, pl.DataType]:
        """The added columns: their names and dtypes."""
        added: dict[str, pl.DataType] = {} if self.share is None else {"share": pl.UInt32()}
        return {
            self._free(name): dtype for name, dtype in {**added, "row": pl.UInt64(), "reasons": pl.String()}.items()
        }

    def _free(self, name: str) -> str:
        while name in self.schema:
            name = f"_{name}"
        return name

    def scan(self) -> pl.LazyFrame:
        """Return the rejected rows as a plan that reads them back a batch at a time; it is usable until `close`."""
        return from_batches(lambda: map(self._spill.read, self._slots), pl.Schema({**self.added, **self.schema}))

    def close(self) -> None:
        """Free the disk."""
        self._spill.close()
