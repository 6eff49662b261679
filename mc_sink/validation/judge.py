"""Judge a stream of batches by the compiled checks, and ask Pandera about suspect rows.

    batch ─► no check fails ────────────────────────────────► delivered unchanged
      ├─► suspect rows ─► gathered ─► Pandera ─► failures, rejects
      └─► other rows ───────────────────────────────────────► delivered, while the run may still succeed

Where a check is a Python function, or only Pandera can coerce, the other rows go through Pandera too, batch by batch.
"""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias, get_args

import polars as pl

from mc_sink._display import lines
from mc_sink._runtime.batches import BATCH_BYTES, most_bytes
from mc_sink._runtime.kept_rows import compact
from mc_sink.exceptions import ConfigurationError
from mc_sink.validation.failure_report import Failures, RejectedRows
from mc_sink.validation.row_checks import RowCheck, failing
from mc_sink.validation.unique import NUM_BUCKETS, ROW, Uniqueness

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from mc_sink.exceptions import ValidationError
    from mc_sink.validation.coercion import Coercion
    from mc_sink.validation.pandera_backend import Finding, PanderaSchema

OnInvalid = Literal["fail", "reject"]
Limit: TypeAlias = "int | float | None"
VERDICT = "__mc_sink_clean__"
QUIET = "__mc_sink_quiet__"
_DISAGREES = "the compiled check fails this row and Pandera passes it: this is a bug, please report it"


@dataclass(frozen=True, slots=True, eq=False)
class Tolerance:
    """What happens to bad rows: the run fails, or up to `max_rejects` of them (a count, or a fraction) are rejected.

    Raises `ConfigurationError` for values that are not supported, or contradict each other.
    """

    on_invalid: OnInvalid = "fail"
    max_rejects: Limit = None

    def __post_init__(self) -> None:
        most = self.max_rejects
        if self.on_invalid not in get_args(OnInvalid):
            raise ConfigurationError(f'on_invalid={self.on_invalid!r} is not supported. Use "fail" or "reject".')
        if most is None:
            return
        if self.on_invalid == "fail":
            raise ConfigurationError(f'max_rejects={most!r} has no effect without rejects. Add on_invalid="reject".')
        if isinstance(most, bool) or not 0 <= most <= (1 if isinstance(most, float) else math.inf):
            raise ConfigurationError(
                f"max_rejects={most!r} is out of range. Use a count of rows, or a fraction from 0.0 to 1.0."
            )

    def exceeded(self, num_rejected: int) -> bool:
        """Return True if so many rejects are too many for a run of any length."""
        return isinstance(self.max_rejects, int) and num_rejected > self.max_rejects

    def exceeded_in_total(self, num_rejected: int, num_rows: int) -> bool:
        """Return True if so many rejects are too many for a run of `num_rows`."""
        if isinstance(self.max_rejects, float):
            return num_rejected > self.max_rejects * num_rows
        return self.exceeded(num_rejected)


@dataclass(slots=True)
class SuspectRows:
    """Gathers rows for Pandera, because asking it takes milliseconds for any number of rows."""

    FULL: ClassVar[int] = 50_000

    num_rows: int = field(default=0, init=False)
    _num_bytes: int = field(default=0, init=False)
    _frames: list[pl.DataFrame] = field(default_factory=list, init=False)
    _rows: list[pl.Series] = field(default_factory=list, init=False)

    def add(self, batch: pl.DataFrame, rows: pl.Series, suspect: pl.Series) -> None:
        """Add the rows of `batch` where `suspect` is true; `rows` are the numbers of all its rows."""
        # A batch has these columns only if one of its rows failed, and frames are joined only if their columns agree.
        self._frames.append(compact(batch.filter(suspect).drop(VERDICT, QUIET, strict=False)))
        self._rows.append(rows.filter(suspect))
        self.num_rows += self._frames[-1].height
        self._num_bytes += most_bytes(self._frames[-1])

    @property
    def is_full(self) -> bool:
        """Whether enough rows are gathered, or rows that take enough memory."""
        return self.num_rows >= self.FULL or self._num_bytes >= BATCH_BYTES

    def take(self) -> tuple[pl.DataFrame, pl.Series]:
        """Return the gathered rows with their numbers, and start again with none."""
        frame, rows = pl.concat(self._frames), pl.concat(self._rows)
        self._frames, self._rows = [], []
        self.num_rows = self._num_bytes = 0
        return frame, rows


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """The findings on one frame of `height` rows."""

    findings: list[Finding]
    height: int

    @property
    def rowless(self) -> bool:
        """Whether something failed that belongs to no single row."""
        return any(finding.positions is None for finding in self.findings)

    @property
    def bad(self) -> pl.Series:
        """True where a row failed a check."""
        found = [finding.positions for finding in self.findings if finding.positions is not None]
        rows = pl.int_range(self.height, dtype=pl.UInt32, eager=True)
        return rows.is_in(pl.concat(found).unique().implode()) if found else pl.repeat(False, self.height, eager=True)

    def with_unconverted(self, unconverted: list[Finding]) -> Verdict:
        """Return this verdict with values that could not be converted, and without failures caused by their nulls."""
        failed = {finding.column: finding.positions for finding in unconverted}
        findings = list(unconverted)
        for finding in self.findings:
            converted = failed.get(finding.column)
            if converted is None or finding.positions is None:
                findings.append(finding)
            elif len(left := finding.positions.filter(~finding.positions.is_in(converted.implode()))):
                findings.append(finding.at(left))
        return Verdict(findings, self.height)

    def reasons(self) -> pl.Series:
        """Return, for each bad row in order, every check that it failed, as a JSON list of objects."""
        each = []
        for finding in self.findings:
            if finding.positions is not None:
                text = json.dumps({"column": finding.column, "check": finding.check}, ensure_ascii=False)
                each.append(finding.positions.alias("position").to_frame().with_columns(reason=pl.lit(text)))
        rows = pl.concat(each).group_by("position", maintain_order=True).agg(pl.col("reason").str.join(", "))
        return rows.sort("position").select(pl.format("[{}]", "reason")).to_series()


@dataclass(slots=True, kw_only=True)
class Validated:
    """A frame compiled against a schema, for one run. `Compiled` documents its members."""

    name: str
    frame: pl.LazyFrame
    delivered: pl.Schema
    validated: bool
    notes: Sequence[str]
    coercion: Coercion
    clean: Sequence[RowCheck]
    quiet: Sequence[RowCheck]
    doubts: PanderaSchema
    every_row: PanderaSchema | None
    unique: list[Uniqueness]
    tolerance: Tolerance
    failures: Failures
    share: int | None = None
    num_rows: int = field(default=0, init=False)
    num_rejected: int = field(default=0, init=False)
    _warned: Failures = field(init=False)
    _rejected: RejectedRows = field(init=False)
    _suspect: SuspectRows = field(default_factory=SuspectRows, init=False)
    _noisy: SuspectRows = field(default_factory=SuspectRows, init=False)
    _failed: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._warned = Failures(self.name, self.failures.personal, self.failures.read)
        self._rejected = RejectedRows(self.coercion.came, self.share)
        for unique in self.unique if self.share is not None else ():
            unique.seen = bytearray(NUM_BUCKETS // 8)

    @property
    def personal(self) -> frozenset[str]:
        """The columns that the schema marks as personal data."""
        return self.failures.personal

    def judge(self, batches: Iterable[pl.DataFrame]) -> Generator[pl.DataFrame, None, None]:
        """Yield what may be delivered, in order; raise `ValidationError` at the end if the run can't succeed."""
        for batch in batches:
            clean = self._judge(batch)
            if not self._failed and not clean.is_empty():
                yield clean
        self._conclude()

    def rejects(self) -> pl.LazyFrame | None:
        """Return the rejected rows with their numbers and reasons; None when none was rejected."""
        return self._rejected.scan() if self.num_rejected else None

    def nothing_left(self) -> ValidationError | None:
        """Return the error for a run whose rows were all rejected; None if rows are left, or none came."""
        if self.num_rejected == 0 or self.num_rejected < self.num_rows:
            return None
        return self.failures.error(
            advice="Every row was rejected. Nothing is left to deliver, and no rejects were written"
        )

    def rejected(self) -> ValidationError | None:
        """Return the report on the rejected rows; None if none was rejected."""
        return self.failures.error(advice="These rows were rejected") if self.num_rejected else None

    def explain(self) -> str:
        """Return a text that states which checks run as expressions, which Pandera runs, and why."""
        return lines(*self.notes)

    def close(self) -> None:
        """Free memory and disk; may be called again."""
        self._rejected.close()
        for unique in self.unique:
            unique.close()

    def _judge(self, batch: pl.DataFrame) -> pl.DataFrame:
        first, self.num_rows = self.num_rows, self.num_rows + batch.height
        for name, checks in ((VERDICT, self.clean), (QUIET, self.quiet)):
            if failed := failing(checks, batch):
                batch = batch.with_columns(pl.all_horizontal(failed).alias(name))
        is_clean = VERDICT not in batch.columns and QUIET not in batch.columns
        if is_clean and not self.unique and self.every_row is None:
            return batch.select(*self.coercion.schema)
        rows = pl.int_range(first, first + batch.height, dtype=pl.UInt64, eager=True)
        if self._remembers_all:
            self._remember(batch, rows)
        batch, rows = self._without_suspects(batch, rows)
        clean, rows = self._by_pandera(batch, rows)
        if not self._remembers_all:
            self._remember(clean, rows)
        return clean

    @property
    def _remembers_all(self) -> bool:
        """Whether bad rows count as duplicates: they do where they fail the run, and not where they are rejected."""
        return self.tolerance.on_invalid == "fail" and not self.coercion.opaque

    def _remember(self, batch: pl.DataFrame, rows: pl.Series) -> None:
        if self.unique and self.coercion.casts and VERDICT in batch.columns:
            converted = batch.select(pl.all_horizontal(self.coercion.convertible())).to_series()
            batch, rows = batch.filter(converted), rows.filter(converted)
        for unique in self.unique:
            unique.add(batch, rows)

    def _without_suspects(self, batch: pl.DataFrame, rows: pl.Series) -> tuple[pl.DataFrame, pl.Series]:
        if QUIET in batch.columns:
            warned = ~batch[QUIET]
            self._noisy.add(batch, rows, warned & batch[VERDICT] if VERDICT in batch.columns else warned)
            if self._noisy.is_full:
                self._judge_gathered(self._noisy)
        if VERDICT not in batch.columns:
            return batch, rows
        self._suspect.add(batch, rows, ~batch[VERDICT])
        self._failed = self._failed or self.tolerance.on_invalid == "fail"
        if self._suspect.is_full:
            self._judge_gathered(self._suspect)
        return batch.filter(VERDICT), rows.filter(batch[VERDICT])

    def _by_pandera(self, batch: pl.DataFrame, rows: pl.Series) -> tuple[pl.DataFrame, pl.Series]:
        """Return the rows that Pandera passes; without Python checks, all rows unchanged."""
        if batch.is_empty():
            return self.delivered.to_frame(), rows
        shaped = batch.select(*self.coercion.schema)
        if self.every_row is None:
            return shaped, rows
        judged, findings = self.every_row.judge(shaped)
        self._warned.add_findings([finding for finding in findings if finding.warns], shaped, rows)
        verdict = Verdict([finding for finding in findings if not finding.warns], batch.height)
        if verdict.findings:
            self._record(verdict, batch, rows)
            # A frame that Pandera could not shape doesn't have the delivery's schema; such a run has failed.
            judged = self.delivered.to_frame() if self.coercion.opaque else shaped.filter(~verdict.bad)
            rows = rows.head(0) if self.coercion.opaque else rows.filter(~verdict.bad)
        elif findings and self.coercion.opaque:  # Pandera shapes nothing where it has findings, even if they only warn
            judged, _ = self.every_row.without_checks().judge(shaped)
        return judged, rows

    def _judge_gathered(self, suspects: SuspectRows) -> None:
        """Pass the gathered rows to Pandera, and record its findings."""
        if not suspects.num_rows:
            return
        frame, rows = suspects.take()
        shaped = frame.select(*self.coercion.schema)
        _, findings = self.doubts.judge(shaped)
        if suspects is self._noisy:
            self._warned.add_findings([finding for finding in findings if finding.warns], shaped, rows)
            return
        failed = [finding for finding in findings if not finding.warns]
        verdict = Verdict(failed, frame.height).with_unconverted(self.coercion.findings(frame))
        self._record(verdict, frame, rows)
        if not verdict.rowless and not verdict.bad.all():
            passed = rows.filter(~verdict.bad)
            self._failed = True
            self.failures.add(None, _DISAGREES, ((row, None) for row in passed), count=len(passed))
            self.failures.add_rows(passed)

    def _record(self, verdict: Verdict, frame: pl.DataFrame, rows: pl.Series) -> None:
        bad, raw = rows.filter(verdict.bad), self.coercion.with_raw_values(frame)
        self.failures.add_findings(verdict.findings, raw, rows)
        self.failures.add_rows(bad)
        self.num_rejected += len(bad)
        too_many = self.tolerance.on_invalid == "fail" or self.tolerance.exceeded(self.num_rejected)
        self._failed = self._failed or verdict.rowless or too_many
        if not self._failed:
            self._rejected.add(raw.filter(verdict.bad).select(*self.coercion.came), bad, verdict.reasons())

    def _conclude(self) -> None:
        """Judge what is gathered, and raise or warn."""
        self._judge_gathered(self._suspect)
        self._judge_gathered(self._noisy)
        for unique in self.unique:
            self._report_duplicates(unique)
        if self.tolerance.on_invalid == "fail":
            self.num_rejected = 0
        too_many = self.tolerance.exceeded_in_total(self.num_rejected, self.num_rows)
        if self._failed or too_many:
            raise self.failures.error(advice=self._advice(too_many=too_many))
        if self._warned:
            from pandera.errors import SchemaWarning

            headline = f"Rows were delivered that checks of schema {self.name!r} warn about:"
            warnings.warn(lines(headline, *self._warned.lines()), SchemaWarning, stacklevel=2)

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
            return "These can't be rejected row by row: docs/validation.md says why. Correct them in the query"
        return 'Correct these rows in the query, or deliver the others with on_invalid="reject"'
