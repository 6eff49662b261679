"""Rows in doubt, gathered before Pandera is asked, and what it answered."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import polars as pl

from mc_sink._regroup import BATCH_BYTES, most_bytes
from mc_sink._spill import compact

if TYPE_CHECKING:
    from mc_sink.validation._pandera import Finding


@dataclass(slots=True)
class Docket:
    """Gathers rows, because asking Pandera costs milliseconds however few rows it is asked about."""

    FULL: ClassVar[int] = 50_000

    num_rows: int = field(default=0, init=False)
    _num_bytes: int = field(default=0, init=False)
    _frames: list[pl.DataFrame] = field(default_factory=list, init=False)
    _rows: list[pl.Series] = field(default_factory=list, init=False)

    def add(self, batch: pl.DataFrame, rows: pl.Series, doubted: pl.Series) -> None:
        """Gather the rows of `batch` where `doubted` is true."""
        self._frames.append(compact(batch.filter(doubted)))
        self._rows.append(rows.filter(doubted))
        self.num_rows += self._frames[-1].height
        self._num_bytes += most_bytes(self._frames[-1])

    @property
    def is_full(self) -> bool:
        """Whether enough rows wait, or rows that take enough memory."""
        return self.num_rows >= self.FULL or self._num_bytes >= BATCH_BYTES

    def take(self) -> tuple[pl.DataFrame, pl.Series]:
        """Return the gathered rows with their numbers, and begin anew."""
        frame, rows = pl.concat(self._frames), pl.concat(self._rows)
        self._frames, self._rows = [], []
        self.num_rows = self._num_bytes = 0
        return frame, rows


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """What was found on one frame of `height` rows."""

    findings: list[Finding]
    height: int

    @property
    def rowless(self) -> bool:
        """Whether something failed that belongs to no single row."""
        return any(finding.positions is None for finding in self.findings)

    @property
    def bad(self) -> pl.Series:
        """True where a row failed anything."""
        found = [finding.positions for finding in self.findings if finding.positions is not None]
        rows = pl.int_range(self.height, dtype=pl.UInt32, eager=True)
        return rows.is_in(pl.concat(found).unique().implode()) if found else pl.repeat(False, self.height, eager=True)

    def given(self, unconverted: list[Finding]) -> Heard:
        """Return this with the values that could not be converted, and without what followed from their being null."""
        bad = {finding.column: finding.positions for finding in unconverted}
        return Heard(
            [*unconverted, *(kept for f in self.findings if (kept := _minus(f, bad.get(f.column))))], self.height
        )

    def reasons(self) -> pl.Series:
        """Return, for each bad row in order, every check that it failed, as a JSON list of objects."""
        each = [_reason(finding, finding.positions) for finding in self.findings if finding.positions is not None]
        rows = pl.concat(each).group_by("position", maintain_order=True).agg(pl.col("reason").str.join(", "))
        return rows.sort("position").select(pl.format("[{}]", "reason")).to_series()


def _reason(finding: Finding, positions: pl.Series) -> pl.DataFrame:
    text = json.dumps({"column": finding.column, "check": finding.check}, ensure_ascii=False)
    return positions.alias("position").to_frame().with_columns(reason=pl.lit(text))


def _minus(finding: Finding, positions: pl.Series | None) -> Finding | None:
    if positions is None or finding.positions is None:
        return finding
    left = finding.positions.filter(~finding.positions.is_in(positions.implode()))
    return finding.at(left) if len(left) else None
