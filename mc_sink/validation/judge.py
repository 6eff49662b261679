"""Judge a stream of batches by the compiled checks; ask Pandera about suspect rows.

    batch ─► verdict all true ──────────────────────────────► delivered, untouched
      ├─► the rows in doubt ─► gathered ─► Pandera ─► failures, rejects
      └─► the other rows ───────────────────────────────────► delivered, while the run may still succeed

Where a check is Python, or only Pandera can coerce, the other rows go through Pandera too, batch by batch.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import polars as pl

from mc_sink._display import lines
from mc_sink.validation.checks import ROW, Uniqueness
from mc_sink.validation.failure_report import Failures, RejectedRows
from mc_sink.validation.pandera_backend import SuspectRows, Verdict

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from mc_sink.exceptions import ValidationError
    from mc_sink.validation.coercion import Coercion
    from mc_sink.validation.pandera_backend import Finding, PanderaSchema

OnInvalid = Literal["fail", "reject"]
Limit: TypeAlias = "int | float | None"
VERDICT = "__mc_sink_clean__"
QUIET = "__mc_sink_quiet__"
_DISAGREES = "the compiled checks doubt this row and Pandera does not: please report it"


@dataclass(frozen=True, slots=True, eq=False)
class Tolerance:
    """What happens to bad rows: the run fails, or up to `max_rejects` of them (a count, or a fraction) are rejected."""

    on_invalid: OnInvalid = "fail"
    max_rejects: Limit = None

    def exceeded(self, num_rejected: int) -> bool:
        """Return whether so many rejects are too many already, whatever comes."""
        return isinstance(self.max_rejects, int) and num_rejected > self.max_rejects

    def exceeded_in_the_end(self, num_rejected: int, num_rows: int) -> bool:
        """Return whether so many rejects are too many for a run of `num_rows`."""
        if isinstance(self.max_rejects, float):
            return num_rejected > self.max_rejects * num_rows
        return self.exceeded(num_rejected)


@dataclass(slots=True, kw_only=True)
class Validated:
    """A frame compiled against a schema; one per run, used once. See `Compiled` for what its members promise."""

    name: str
    frame: pl.LazyFrame
    delivered: pl.Schema
    validated: bool
    notes: Sequence[str]
    shape: Coercion
    doubts: PanderaSchema
    every_row: PanderaSchema | None
    unique: list[Uniqueness]
    tolerance: Tolerance
    failures: Failures
    num_rows: int = field(default=0, init=False)
    num_rejected: int = field(default=0, init=False)
    _warned: Failures = field(init=False)
    _spool: RejectedRows = field(init=False)
    _doubted: SuspectRows = field(default_factory=SuspectRows, init=False)
    _noisy: SuspectRows = field(default_factory=SuspectRows, init=False)
    _failed: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._warned = Failures(self.name, self.failures.personal, self.failures.read)
        self._spool = RejectedRows(self.shape.came)

    @property
    def has_unique(self) -> bool:
        """Return True if values must be unique over all rows of the run."""
        return bool(self.unique)

    def judge(self, batches: Iterable[pl.DataFrame]) -> Generator[pl.DataFrame, None, None]:
        """Yield what may be delivered, in order; raise `ValidationError` at the end if the run can't succeed."""
        for batch in batches:
            clean = self._judge(batch)
            if not self._failed and not clean.is_empty():
                yield clean
        self._conclude()

    def rejects(self) -> pl.LazyFrame | None:
        """Return the rejected rows with their numbers and reasons; None when none was rejected."""
        return self._spool.scan() if self.num_rejected else None

    def nothing_left(self) -> ValidationError | None:
        """Return what to raise where every row was rejected; None where some are left, or none came."""
        if self.num_rejected == 0 or self.num_rejected < self.num_rows:
            return None
        advice = "Every row was rejected, and nothing is left to deliver; no rejects were written"
        return self.failures.error(advice=advice)

    def explain(self) -> str:
        """Say which checks became expressions, which Pandera runs, and why."""
        return lines(*self.notes)

    def close(self) -> None:
        """Give the disk back; again and again if you like."""
        self._spool.close()
        for unique in self.unique:
            unique.close()

    def _judge(self, batch: pl.DataFrame) -> pl.DataFrame:
        first, self.num_rows = self.num_rows, self.num_rows + batch.height
        if self._is_proven(batch):
            return batch.select(*self.shape.schema)
        rows = _numbered(first, batch.height)
        if self._remembers_all:
            self._remember(batch, rows)
        batch, rows = self._without_doubts(batch, rows)
        clean, rows = self._by_pandera(batch, rows)
        if not self._remembers_all:
            self._remember(clean, rows)
        return clean

    def _is_proven(self, batch: pl.DataFrame) -> bool:
        """Return whether the plan has already said all there is to say of a batch; so it is for almost every one."""
        if self.unique or self.every_row is not None or batch.is_empty():
            return False
        return all(batch[verdict].all() for verdict in (VERDICT, QUIET) if verdict in batch.columns)

    @property
    def _remembers_all(self) -> bool:
        """Bad rows count as duplicates when they fail the run anyway; rejected ones leave the delivery and don't."""
        return self.tolerance.on_invalid == "fail" and not self.shape.opaque

    def _remember(self, batch: pl.DataFrame, rows: pl.Series) -> None:
        if self.unique and self.shape.casts and VERDICT in batch.columns and not batch[VERDICT].all():
            converted = batch.select(pl.all_horizontal(self.shape.convertible())).to_series()
            batch, rows = batch.filter(converted), rows.filter(converted)
        for unique in self.unique:
            unique.add(batch, rows)

    def _without_doubts(self, batch: pl.DataFrame, rows: pl.Series) -> tuple[pl.DataFrame, pl.Series]:
        if QUIET in batch.columns and not batch[QUIET].all():
            self._noisy.add(batch, rows, ~batch[QUIET])
            if self._noisy.is_full:
                self._hear(self._noisy)
        if VERDICT not in batch.columns or batch[VERDICT].all():
            return batch, rows
        self._doubted.add(batch, rows, ~batch[VERDICT])
        self._failed = self._failed or self.tolerance.on_invalid == "fail"
        if self._doubted.is_full:
            self._hear(self._doubted)
        return batch.filter(VERDICT), rows.filter(batch[VERDICT])

    def _by_pandera(self, batch: pl.DataFrame, rows: pl.Series) -> tuple[pl.DataFrame, pl.Series]:
        """Return the rows that Pandera passes; without Python checks that is all of them, untouched."""
        if batch.is_empty():
            return self.delivered.to_frame(), rows
        shaped = batch.select(*self.shape.schema)
        if self.every_row is None:
            return shaped, rows
        judged, findings = self.every_row.judge(shaped)
        self._warn([finding for finding in findings if finding.warns], shaped, rows)
        heard = Verdict([finding for finding in findings if not finding.warns], batch.height)
        if heard.findings:
            self._record(heard, batch, rows)
            # What Pandera could not shape is no longer of the delivery's schema; such a run has failed.
            judged = self.delivered.to_frame() if self.shape.opaque else shaped.filter(~heard.bad)
            rows = rows.head(0) if self.shape.opaque else rows.filter(~heard.bad)
        elif findings and self.shape.opaque:  # with findings, though they only warn, nothing was shaped
            judged, _ = self.every_row.unchecked().judge(shaped)
        return judged, rows

    def _hear(self, docket: SuspectRows) -> None:
        """Put the gathered rows before Pandera, if there are any."""
        if not docket.num_rows:
            return
        frame, rows = docket.take()
        shaped = frame.select(*self.shape.schema)
        _, findings = self.doubts.judge(shaped)
        if docket is self._noisy:
            self._warn([finding for finding in findings if finding.warns], shaped, rows)
            return
        unconverted = self.shape.findings(frame)
        heard = Verdict([finding for finding in findings if not finding.warns], frame.height).given(unconverted)
        self._record(heard, frame, rows)
        if not heard.rowless and not heard.bad.all():
            self._disagree(rows.filter(~heard.bad))

    def _record(self, heard: Verdict, frame: pl.DataFrame, rows: pl.Series) -> None:
        bad = rows.filter(heard.bad)
        _note(self.failures, heard.findings, self.shape.to_show(frame), rows)
        self.failures.add_rows(bad)
        self.num_rejected += len(bad)
        too_many = self.tolerance.on_invalid == "fail" or self.tolerance.exceeded(self.num_rejected)
        self._failed = self._failed or heard.rowless or too_many
        if not self._failed:
            self._spool.add(self.shape.as_came(frame.filter(heard.bad)), bad, heard.reasons())

    def _disagree(self, rows: pl.Series) -> None:
        self._failed = True
        self.failures.add(None, _DISAGREES, ((row, None) for row in rows), count=len(rows))
        self.failures.add_rows(rows)

    def _warn(self, findings: list[Finding], frame: pl.DataFrame, rows: pl.Series) -> None:
        _note(self._warned, findings, frame, rows)

    def _conclude(self) -> None:
        self._hear(self._doubted)
        self._hear(self._noisy)
        for unique in self.unique:
            self._report_duplicates(unique)
        if self.tolerance.on_invalid == "fail":
            self.num_rejected = 0
        too_many = self.tolerance.exceeded_in_the_end(self.num_rejected, self.num_rows)
        if self._failed or too_many:
            raise self.failures.error(advice=self._advice(too_many=too_many))
        self._announce()

    def _report_duplicates(self, unique: Uniqueness) -> None:
        column = unique.columns[0] if len(unique.columns) == 1 else None
        for keys in unique.duplicates():
            self._failed = True
            first = keys.head(self.failures.room)
            shown = self.failures.shown(first, unique.columns)
            self.failures.add(column, unique.check, zip(first[ROW], shown, strict=True), count=keys.height)
            self.failures.add_rows(keys[ROW])

    def _advice(self, *, too_many: bool) -> str:
        if too_many:
            allowed = f"max_rejects={self.tolerance.max_rejects!r}"
            return f"{self.num_rejected:,} of {self.num_rows:,} rows were rejected, more than {allowed} allows"
        if self.tolerance.on_invalid == "reject":
            return "These can't be rejected row by row: see what `unique` and failing checks mean in docs/validation.md"
        return 'Correct these rows in the query, or deliver the others with on_invalid="reject"'

    def _announce(self) -> None:
        if self._warned:
            from pandera.errors import SchemaWarning

            headline = f"Rows were delivered that checks of schema {self.name!r} warn about:"
            warnings.warn(lines(headline, *self._warned.lines()), SchemaWarning, stacklevel=2)


def _numbered(start: int, length: int) -> pl.Series:
    return pl.int_range(start, start + length, dtype=pl.UInt64, eager=True)


def _note(failures: Failures, findings: list[Finding], frame: pl.DataFrame, rows: pl.Series) -> None:
    for finding in findings:
        if finding.positions is None:
            detail = None if failures.hides(finding.column) else finding.detail
            failures.add(finding.column, finding.check, [(None, detail)], count=1)
            continue
        positions = finding.positions.head(failures.room)
        shown = failures.values(frame[positions], finding.column, finding.number)
        failures.add(
            finding.column, finding.check, zip(rows[positions], shown, strict=True), count=len(finding.positions)
        )
