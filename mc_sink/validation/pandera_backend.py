"""All that touches Pandera's own parts: its schemas, and what it answers about suspect rows, gathered before."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import polars as pl

from mc_sink._runtime.batches import BATCH_BYTES, most_bytes
from mc_sink._runtime.kept_rows import compact
from mc_sink.validation.failure_report import fits_python

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pandera.backends.base import CoreCheckResult
    from pandera.errors import FailureCaseMetadata, SchemaError
    from pandera.polars import Check, Column, DataFrameSchema

_WARNS = "mc_sink_warns"
# Failures that Pandera files under the frame, with the column's name as the case.
_ABOUT_COLUMNS = ("column_in_dataframe", "column_in_schema", "column_ordered", "add_missing_has_default")


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """One check that failed on one frame.

    `positions` are the failing rows (UInt32, counted in that frame), or None where the failure belongs to no single
    row. `column` is None for a check of whole rows; `number` is the check's place in its list. `warns` is true for a
    check that was declared to warn only. `detail` says what was found where there is no row to show.
    """

    column: str | None
    check: str
    number: int | None
    positions: pl.Series | None
    warns: bool = False
    detail: str | None = None

    def at(self, positions: pl.Series) -> Finding:
        """Return the same failure at other rows."""
        return replace(self, positions=positions)


@dataclass(frozen=True, slots=True, eq=False)
class PanderaSchema:
    """A Pandera schema and the depth to which it validates, as they were when the run was compiled."""

    schema: DataFrameSchema
    depth: Any

    def unchecked(self) -> PanderaSchema:
        """Return the authority that only shapes, and judges no value."""
        return PanderaSchema(without_checks(self.schema), self.depth)

    def judge(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, list[Finding]]:
        """Return the frame as Pandera delivers it, and what it found; with findings, the frame as it was given."""
        from pandera.config import config_context
        from pandera.errors import SchemaError, SchemaErrors

        # The engine's thread does not inherit the settings of the thread that started the run.
        with config_context(validation_enabled=True, validation_depth=self.depth):
            try:
                return self.schema.validate(frame, lazy=True), []
            except SchemaErrors as errors:
                return frame, [_finding(error) for error in errors.schema_errors]
            except SchemaError as error:  # a regex that matches no column is raised at once
                return frame, [_finding(error)]


@cache
def _silent() -> tuple[type[DataFrameSchema], type[Column]]:
    """Return Pandera's classes without its report, which is costly and breaks down over some types and mixtures."""
    from pandera.backends.polars.components import ColumnBackend
    from pandera.backends.polars.container import DataFrameSchemaBackend
    from pandera.polars import Column, DataFrameSchema

    class SilentSchema(DataFrameSchema):
        """Judges as its parent does."""

    class SilentColumn(Column):
        """Judges as its parent does."""

    class SilentSchemaBackend(_NoReport, DataFrameSchemaBackend):
        """Reports nothing."""

    class SilentColumnBackend(_NoReport, ColumnBackend):
        """Reports nothing."""

    SilentSchema.register_backend(pl.DataFrame, SilentSchemaBackend)
    SilentSchema.register_backend(pl.LazyFrame, SilentSchemaBackend)
    SilentColumn.register_backend(pl.LazyFrame, SilentColumnBackend)
    return SilentSchema, SilentColumn


class _NoReport:
    def run_check(self, check_obj: Any, _schema: Any, check: Check, number: int, *args: Any) -> CoreCheckResult:
        """Run one check without making examples of failures, which Python can't hold for every moment.

        A row whose value can't be given to a check in Python fails that check.
        """
        from pandera.backends.base import CoreCheckResult
        from pandera.errors import SchemaErrorReason

        check_obj, fits = _for_python(check_obj, *args) if check.element_wise else (check_obj, None)
        result: Any = check(check_obj, *args)
        passed, output = result.check_passed.collect().item(), result.check_output.collect()
        return CoreCheckResult(
            passed=passed and fits is None,
            check=check,
            check_index=number,
            check_output=output if fits is None else output.select(pl.all() & fits),
            reason_code=SchemaErrorReason.DATAFRAME_CHECK,
        )

    def failure_cases_metadata(self, schema_name: str, _schema_errors: list[SchemaError]) -> FailureCaseMetadata:
        from pandera.errors import FailureCaseMetadata

        return FailureCaseMetadata(failure_cases=None, message={"schema": schema_name}, error_counts={})


def _for_python(check_obj: pl.LazyFrame, selector: str = "*") -> tuple[pl.LazyFrame, pl.Series | None]:
    """Return the frame with null for what Python can't hold in the columns of a check, and which rows it can hold."""
    frame = check_obj.collect()
    columns = frame.select(pl.col(selector)).get_columns()
    each = {values.name: fits_python(values) for values in columns}
    unfit = {name: fits for name, fits in each.items() if not fits.all()}
    if not unfit:
        return check_obj, None
    blanked = [pl.select(pl.when(fits).then(frame[name])).to_series().alias(name) for name, fits in unfit.items()]
    all_fit = pl.select(pl.all_horizontal(*unfit.values())).to_series()
    return frame.with_columns(blanked).lazy(), all_fit


def without_sets(schema: DataFrameSchema) -> DataFrameSchema:
    """Return a copy that judges each row for itself and reports everything.

    Uniqueness is judged over the whole delivery, rows are dropped by us, and a check that only warns is reported like
    any other but marked: Pandera's own warning would carry values, once for each batch.
    """
    twin = copy.deepcopy(schema)
    twin.__class__, silent_column = _silent()
    twin.unique = None
    twin.drop_invalid_rows = False
    _mark(twin.checks)
    for column in twin.columns.values():
        column.__class__ = silent_column
        column.unique = False
        column.drop_invalid_rows = False
        _mark(column.checks)
    return twin


def without_checks(schema: DataFrameSchema) -> DataFrameSchema:
    """Return a copy that judges the columns and none of their values."""
    twin = without_sets(schema)
    for component in (twin, *twin.columns.values()):
        component.checks = []
    return twin


def shaped_already(schema: DataFrameSchema, added: Iterable[str]) -> DataFrameSchema:
    """Return a copy for frames that the plan has already given their shape: nothing is coerced, filled in or dropped.

    The columns that were `added` are not judged, as Pandera doesn't judge them either.
    """
    twin = copy.deepcopy(schema)
    twin.columns = {name: column for name, column in twin.columns.items() if name not in set(added)}
    twin.coerce = False
    twin.add_missing_columns = False
    twin.strict = False
    twin.ordered = False
    for column in twin.columns.values():
        column.coerce = False
        column.default = None
    return twin


def python_only(schema: DataFrameSchema) -> DataFrameSchema:
    """Return a copy whose only checks are those that run as Python; the others pass, so that their places are kept."""
    from pandera.polars import Check

    twin = copy.deepcopy(schema)
    for component in (twin, *twin.columns.values()):
        component.checks = [check if check.element_wise else Check(_passes) for check in component.checks]
    for column in twin.columns.values():
        column.nullable = True
    return twin


def _passes(_data: Any) -> bool:
    return True


def _mark(checks: list[Check]) -> None:
    for check in checks:
        setattr(check, _WARNS, check.raise_warning)
        check.raise_warning = False


def _finding(error: SchemaError) -> Finding:
    output = error.check_output
    return Finding(
        column=_column(error),
        check="coerce_dtype" if _is_coercion(error) else _name(error.check),
        number=error.check_index,
        positions=None if output is None else output.to_series().fill_null(value=True).not_().arg_true(),
        warns=getattr(error.check, _WARNS, False),
        detail=None if output is not None or error.check in _ABOUT_COLUMNS else str(error.failure_cases),
    )


def _column(error: SchemaError) -> str | None:
    from pandera.polars import Column

    if isinstance(error.column_name, str):
        return error.column_name
    if error.check in _ABOUT_COLUMNS:
        return str(error.failure_cases)
    if _is_coercion(error) and isinstance(error.failure_cases, pl.DataFrame) and error.failure_cases.width == 1:
        return error.failure_cases.columns[0]
    return str(error.schema.name) if isinstance(error.schema, Column) else None


def _is_coercion(error: SchemaError) -> bool:
    """Whether values could not be converted; Pandera's own name for that lists the types of all columns."""
    return str(error.check).startswith("coerce_dtype(")


def _name(check: Any) -> str:
    """Return the words by which Pandera's own report calls a check."""
    return check if isinstance(check, str) else str(check.error or check.name)


@dataclass(slots=True)
class SuspectRows:
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
class Verdict:
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

    def given(self, unconverted: list[Finding]) -> Verdict:
        """Return this with the values that could not be converted, and without what followed from their being null."""
        bad = {finding.column: finding.positions for finding in unconverted}
        return Verdict(
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
