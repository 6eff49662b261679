"""Everything that depends on Pandera's internals: its settings, its steps for a frame's shape, its checks and findings.

No other file names Pandera's private modules or attributes.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import polars as pl

from mc_sink._dtype_text import parse_dtype
from mc_sink.exceptions import ConfigurationError
from mc_sink.validation.python_values import blanked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pandera.backends.base import CoreCheckResult
    from pandera.config import ValidationDepth
    from pandera.errors import FailureCaseMetadata, SchemaError
    from pandera.polars import Check, Column, DataFrameSchema

_WARNS = "mc_sink_warns"
# Failures that Pandera attributes to the frame, with the column's name as the case.
_ABOUT_COLUMNS = ("column_in_dataframe", "column_in_schema", "column_ordered", "add_missing_has_default")


def configured_depth() -> ValidationDepth | None:
    """Return the depth to which Pandera is configured to validate, or None where it is switched off."""
    from pandera.config import ValidationDepth, get_config_context, get_config_global

    settings = get_config_context(validation_depth_default=None)
    if not settings.validation_enabled:
        return None
    if getattr(settings, "use_narwhals_backend", False):  # older Pandera has none
        raise ConfigurationError(
            "Validation is not possible with Pandera's Narwhals backend: checks are compiled for its Polars backend. "
            "Switch the Narwhals backend off."
        )
    return settings.validation_depth or get_config_global().validation_depth or ValidationDepth.SCHEMA_AND_DATA


# --- Judging a frame


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """One check that failed on one frame.

    `positions` are the failing rows (UInt32, counted in that frame), or None where the failure belongs to no single
    row; `detail` then describes it. `column` is None for a check of whole rows. `number` is the check's index in its
    list. `warns` is true for a check that was declared to warn only.
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
    depth: ValidationDepth

    def judge(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, list[Finding]]:
        """Return the frame as Pandera delivers it, and its findings; with findings, the frame is unchanged."""
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

    def without_checks(self) -> PanderaSchema:
        """Return a copy that judges the columns and shapes the frame, but judges no value."""
        twin = copy.deepcopy(self)
        for component in (twin.schema, *twin.schema.columns.values()):
            component.checks = []
        return twin

    def shaped(self, added: Iterable[str]) -> PanderaSchema:
        """Return a copy for frames that the plan has already shaped: nothing is coerced, filled in or dropped.

        The columns that were `added` are not judged; Pandera doesn't judge them either.
        """
        twin = copy.deepcopy(self)
        schema = twin.schema
        schema.columns = {name: column for name, column in schema.columns.items() if name not in set(added)}
        schema.coerce = schema.add_missing_columns = schema.strict = schema.ordered = False
        for column in schema.columns.values():
            column.coerce = False
            column.default = None
        return twin

    def python_only(self) -> PanderaSchema:
        """Return a copy with only the checks that run as Python; the others always pass, so that numbers stay."""
        from pandera.polars import Check

        twin = copy.deepcopy(self)
        for component in (twin.schema, *twin.schema.columns.values()):
            component.checks = [one if one.element_wise else Check(lambda _data: True) for one in component.checks]
        for column in twin.schema.columns.values():
            column.nullable = True
        return twin


def row_wise(schema: DataFrameSchema, depth: ValidationDepth) -> PanderaSchema:
    """Return a copy of the schema that judges each row for itself and reports every failure.

    Uniqueness is judged over the whole delivery, and we drop rows ourselves. A check that only warns is reported like
    any other, with a mark: Pandera's own warning would contain values, once for each batch.
    """
    twin = copy.deepcopy(schema)
    twin.__class__, column_class = _silent_classes()
    twin.unique = None
    for column in twin.columns.values():
        column.__class__ = column_class
        column.unique = False
    for component in (twin, *twin.columns.values()):
        component.drop_invalid_rows = False
        for check in component.checks:
            setattr(check, _WARNS, check.raise_warning)
            check.raise_warning = False
    return PanderaSchema(twin, depth)


@cache
def _silent_classes() -> tuple[type[DataFrameSchema], type[Column]]:
    """Return Pandera's classes without its report, which is slow, and fails for some dtypes and mixtures of checks."""
    from pandera.backends.polars.components import ColumnBackend
    from pandera.backends.polars.container import DataFrameSchemaBackend
    from pandera.polars import Column, DataFrameSchema

    class SilentSchema(DataFrameSchema):
        """Judges like its parent."""

    class SilentColumn(Column):
        """Judges like its parent."""

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
        """Run one check without collecting failing values, which Python can't hold for every moment.

        A row whose value can't be passed to a check in Python fails that check.
        """
        from pandera.backends.base import CoreCheckResult
        from pandera.errors import SchemaErrorReason

        fits = None
        if check.element_wise:
            frame = check_obj.collect()
            frame, fits = blanked(frame, frame.lazy().select(pl.col(*args or "*")).collect_schema().names())
            check_obj = frame.lazy()
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


def _finding(error: SchemaError) -> Finding:
    from pandera.polars import Column

    output, check, cases = error.check_output, error.check, error.failure_cases
    # Pandera's own name for a failed coercion lists the types of all columns.
    is_coercion = str(check).startswith("coerce_dtype(")
    if isinstance(error.column_name, str):
        column: str | None = error.column_name
    elif check in _ABOUT_COLUMNS:
        column = str(cases)
    elif is_coercion and isinstance(cases, pl.DataFrame) and cases.width == 1:
        column = cases.columns[0]
    else:
        column = str(error.schema.name) if isinstance(error.schema, Column) else None
    name = check if isinstance(check, str) else str(check.error or check.name)
    return Finding(
        column=column,
        check="coerce_dtype" if is_coercion else name,
        number=error.check_index,
        positions=None if output is None else output.to_series().fill_null(value=True).not_().arg_true(),
        warns=getattr(check, _WARNS, False),
        detail=None if output is not None or check in _ABOUT_COLUMNS else str(cases),
    )


# --- The shape of a frame: Pandera's own steps, where they are lazy


def matching(column: Any, schema: pl.Schema) -> list[str]:
    """Return the columns of `schema` that a Pandera column describes; it can be several for a regex."""
    if column.regex:
        return pl.DataFrame(schema=schema).select(pl.col(column.selector)).columns
    return [column.name] if column.name in schema else []


def governed(schema: DataFrameSchema, delivered: pl.Schema) -> Iterator[tuple[Column, str]]:
    """Yield each of Pandera's column schemas with each column that it describes, as Pandera pairs them."""
    frame = delivered.to_frame().lazy()
    backend: Any = schema.get_backend(frame)
    for column in backend.collect_schema_components(frame, schema, backend.collect_column_info(frame, schema)):
        yield from ((column, name) for name in matching(column, delivered))


def arranged(schema: DataFrameSchema, frame: pl.LazyFrame) -> pl.LazyFrame:
    """Return the frame with the columns that Pandera would add and drop added and dropped, in its order."""
    backend: Any = schema.get_backend(frame)
    info = backend.collect_column_info(frame, schema)
    return backend.strict_filter_columns(backend.add_missing_columns(frame, schema, info), schema, info)  # type: ignore[no-any-return]


def coerced_types(schema: DataFrameSchema, before: pl.Schema) -> dict[str, pl.DataType]:
    """Return the columns whose dtype Pandera would change, with the new dtypes."""
    from pandera.config import config_context

    backend: Any = schema.get_backend(before.to_frame().lazy())
    with config_context(validation_enabled=True, validation_depth="SCHEMA_ONLY"):
        after = backend.coerce_dtype(before.to_frame().lazy(), schema).collect_schema()
    return {name: dtype for name, dtype in after.items() if dtype != before[name]}


def filled(schema: DataFrameSchema, frame: pl.LazyFrame) -> pl.LazyFrame:
    """Return the frame with the schema's defaults in place of nulls."""
    backend: Any = schema.get_backend(frame)
    return backend.set_default(frame, schema)  # type: ignore[no-any-return]


def coerces_by_cast(dtype: Any) -> bool:
    """Return True if Pandera coerces to its dtype by a plain cast of Polars'."""
    from pandera.engines.polars_engine import DataType

    return type(dtype).coerce is DataType.coerce


def uses_pydantic(schema: DataFrameSchema) -> bool:
    """Return True if rows or columns are judged by a pydantic model."""
    from pandera.engines.polars_engine import PydanticModel

    return any(isinstance(component.dtype, PydanticModel) for component in (schema, *schema.columns.values()))


# --- Checks


def call_check(check: Check, frame: Any, column: str | None) -> Any:
    """Return what a check's function returns when called as Pandera calls it, with `frame` as the lazy frame."""
    import pandera.backends.polars.builtin_checks  # noqa: F401  its import fills the registry
    from pandera.api.polars.types import PolarsData

    function: Callable[..., Any] = check._check_fn  # noqa: SLF001  as Pandera's own backend reads it
    name = getattr(function, "__name__", "")
    if check.is_builtin_check(name):  # from the registry, because the function of a copied check knows no Polars
        function = check.get_builtin_check_fn(name)
    return function(PolarsData(frame, column or "*"), **check._check_kwargs)  # noqa: SLF001  the same


def argument_of(check: Check, builtin: str, argument: str) -> Any:
    """Return an argument of Pandera's own check `builtin`; None for any other check."""
    if check.name != builtin or not check.is_builtin_check(builtin):
        return None
    return check._check_kwargs.get(argument)  # noqa: SLF001  Pandera has no other access to them


def register_check(function: Callable[..., pl.LazyFrame]) -> None:
    """Register a check as `Check.<name>`; Pandera's own registration works for pandas only."""
    from pandera.polars import Check

    def build(**statistics: Any) -> Check:
        arguments = ", ".join(f"{name}={value!r}" for name, value in statistics.items())
        return Check(function, name=function.__name__, error=f"{function.__name__}({arguments})", **statistics)

    Check.REGISTERED_CUSTOM_CHECKS.setdefault(function.__name__, build)


# --- YAML


def deserialised(described: dict[str, Any], read_text: dict[str, Callable[[str], object]]) -> DataFrameSchema:
    """Return the schema that Pandera's YAML format describes; `read_text` parses the bounds of a type of column.

    Pandera needs pandas to parse the bounds of a typed column, so the types are set afterwards.
    """
    from pandera.engines.polars_engine import Engine
    from pandera.io import polars_io

    io: Any = polars_io  # it has no annotations
    columns: dict[str, dict[str, Any]] = described.get("columns") or {}
    dtypes = {name: column.pop("dtype", None) for name, column in columns.items()}
    schema: DataFrameSchema = io.deserialize_schema(described)
    for name, dtype in dtypes.items():
        column = schema.columns[name]
        column.metadata = columns[name].get("metadata")
        if dtype is not None:
            column.dtype = parse_dtype(dtype, Engine.dtype)
            kind = dtype.partition("(")[0].lower()
            for check in column.checks:
                kwargs = check._check_kwargs.items()  # noqa: SLF001  Pandera has no other access to them
                check._check_kwargs = {key: _typed(value, kind, read_text) for key, value in kwargs}  # noqa: SLF001  the same
    return schema


def _typed(value: Any, kind: str, read_text: dict[str, Callable[[str], object]]) -> Any:
    """Return a bound, written as text or as nanoseconds, in the type of its column."""
    if isinstance(value, (list, tuple, set, frozenset)):
        return type(value)(_typed(each, kind, read_text) for each in value)
    if isinstance(value, str) and kind in read_text:
        return read_text[kind](value)
    if isinstance(value, int) and kind in {"duration", "timedelta"}:
        return timedelta(microseconds=value / 1000)
    return value
