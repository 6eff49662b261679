"""Sort a schema's checks by how they can run over a stream, and compile them; check uniqueness over all rows.

Pandera's built-in checks, and checks written in its documented style, are functions
`data -> data.lazyframe.select(expr)`. They are called with an object whose `select` records what it is given. An
expression is used only when the engine itself says that it looks at one row at a time; everything else is given back
with the reason.

    batches ─► keys in memory ─(over 32 MiB)─► partitions by hash, on disk ─► one partition at a time: equal keys

The hash only says in which partition a key lies; within a partition the keys themselves are compared, so two keys that
merely share a hash are never taken for duplicates, and equal keys always meet. Null equals null and NaN equals NaN, as
Pandera counts them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

from mc_sink._runtime.spill import Buckets, divide_by
from mc_sink.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pandera.polars import Check, Column, DataFrameSchema

_OUTPUT = "__mc_sink_verdict__"
FEW = 8
ROW = "__mc_sink_row__"
_PARTITIONS = 64
_MEMORY = 32 * 1024 * 1024  # keys kept before they are spilled, in bytes


@dataclass(slots=True)
class Checks:
    """`clean` fail a row, `quiet` only warn about it, `unique` hold over the whole delivery.

    `python` says whether some check must run as Python on every row; `read` are the columns that each whole-row check
    reads, by its number; `notes` say in words who runs what.
    """

    clean: list[pl.Expr] = field(default_factory=list)
    quiet: list[pl.Expr] = field(default_factory=list)
    unique: list[Uniqueness] = field(default_factory=list)
    read: dict[int, tuple[str, ...]] = field(default_factory=dict)
    python: bool = False
    notes: list[str] = field(default_factory=list)


def sort_checks(schema: DataFrameSchema, delivered: pl.Schema, added: Iterable[str], depth: Any) -> Checks:
    """Sort the checks of `schema` on a frame with columns `delivered`.

    Raises `ConfigurationError` for a check that no stream can judge. The columns that were `added` are not
    checked, as Pandera doesn't check them.
    """
    checks = Checks()
    if depth.name == "SCHEMA_ONLY":
        checks.notes.append("  only the columns are checked: Pandera's validation depth is SCHEMA_ONLY")
        return checks
    for column, name in _governed(schema, delivered, frozenset(added)):
        _refuse_nested_sets(column, name, delivered[name], depth)
        _sort_column(checks, column, name, delivered)
    for number, check in enumerate(schema.checks):
        _sort_check(checks, check, delivered, column=None, number=number)
    for columns in _unique_sets(schema, delivered):
        _note_unique(checks, columns, "multiple_fields_uniqueness")
    return checks


def _governed(schema: DataFrameSchema, delivered: pl.Schema, added: frozenset[str]) -> Iterator[tuple[Column, str]]:
    """Pair each of Pandera's column schemas with the columns it governs; it says itself which a regex may have."""
    from pandera.polars import DataFrameSchema as Schema

    frame = delivered.to_frame().lazy()
    backend: Any = Schema.get_backend(frame)
    found = backend.collect_column_info(frame, schema)
    for column in backend.collect_schema_components(frame, schema, found):
        names = backend_columns(column, frame)
        yield from ((column, name) for name in names if name not in added or column.regex)


def backend_columns(column: Column, frame: pl.LazyFrame) -> list[str]:
    """Name the columns of `frame` that a column schema selects."""
    names = frame.collect_schema().names()
    if column.regex:
        return frame.select(pl.col(str(column.selector))).collect_schema().names()
    return [str(column.name)] if column.name in names else []


def _refuse_nested_sets(column: Column, name: str, dtype: pl.DataType, depth: Any) -> None:
    """Refuse a schema inside a struct column where it asks for what Pandera would see of one batch only."""
    nested = getattr(column.dtype, "schema", None)
    if nested is None or not isinstance(dtype, pl.Struct):
        return
    inner = sort_checks(nested, pl.Schema({field.name: field.dtype for field in dtype.fields}), (), depth)
    if inner.unique:
        raise ConfigurationError(
            f"The schema inside column {name!r} asks for unique values, which is not kept track of within structs: "
            "unnest the column in the query, and ask for them there."
        )


def _sort_column(checks: Checks, column: Column, name: str, delivered: pl.Schema) -> None:
    if not column.nullable:
        checks.clean.append(_present(name, delivered[name]))
        checks.notes.append(f"  {name}: not_nullable: in the query")
    if column.unique:
        _note_unique(checks, (name,), "field_uniqueness")
    # A column found by a regex is alone before its checks, the others are among all.
    visible = pl.Schema({name: delivered[name]}) if column.regex else delivered
    for number, check in enumerate(column.checks):
        _sort_check(checks, check, visible, column=name, number=number)


def _present(name: str, dtype: pl.DataType) -> pl.Expr:
    present = pl.col(name).is_not_null()
    return present & pl.col(name).is_not_nan() if dtype in {pl.Float32, pl.Float64} else present


def _sort_check(checks: Checks, check: Check, visible: pl.Schema, *, column: str | None, number: int) -> None:
    words = f"{column or 'whole rows'}: {check.error or check.name}"
    if check.element_wise:
        checks.python = True
        checks.notes.append(f"  {words}: by Pandera on every batch, because it is a Python function of one value")
        return
    try:
        expr = captured(check, visible, column=column)
    except NotRowWise as why:
        raise ConfigurationError(_refusal(words, why)) from why
    (checks.quiet if check.raise_warning else checks.clean).append(expr)
    checks.notes.append(f"  {words}: in the query{', and only warns' if check.raise_warning else ''}")
    if column is None:
        checks.read[number] = tuple(dict.fromkeys(expr.meta.root_names()))


def _refusal(words: str, why: NotRowWise) -> str:
    return (
        f"Check {words} can't be judged in a stream: {why}. Write it as `lambda data: data.lazyframe.select(expr)` "
        "with an expression of single rows, or with element_wise=True; or check the whole frame before delivering it."
    )


def _unique_sets(schema: DataFrameSchema, delivered: pl.Schema) -> Iterator[tuple[str, ...]]:
    declared: Any = schema.unique or []
    for columns in [declared] if all(isinstance(name, str) for name in declared) else declared:
        names = tuple(name for name in columns if name in delivered)
        if names:
            yield names


def _note_unique(checks: Checks, columns: tuple[str, ...], check: str) -> None:
    checks.unique.append(Uniqueness(columns, check))
    checks.notes.append(f"  {', '.join(columns)}: {check}: over the whole delivery")


class NotRowWise(Exception):  # noqa: N818  it says what the check is, and the caller decides what that means
    """The check can't be written as an expression that looks at one row at a time; the message says why."""


@dataclass(frozen=True, slots=True, eq=False)
class _Selected:
    exprs: tuple[Any, ...]
    named: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Recorder:
    """Stands where the check expects a LazyFrame: it knows the schema and remembers a `select`, and nothing else."""

    schema: pl.Schema

    def select(self, *exprs: Any, **named: Any) -> _Selected:
        return _Selected(exprs, named)

    def collect_schema(self) -> pl.Schema:
        return self.schema


def captured(check: Check, schema: pl.Schema, *, column: str | None) -> pl.Expr:
    """Return the expression that is true where a row passes `check`, never null, or raise `NotRowWise`.

    `schema` is that of the frame the check would be given; `column` is None for a check of the whole frame.
    """
    if check.groupby is not None:
        raise NotRowWise("it groups rows, and a group can span the whole delivery")
    selected = _recorded(check, schema, column)
    expr = _one_column(selected, schema) if (few := _one_of_few(check, schema, column)) is None else few
    if not _looks_at_one_row(expr, schema):
        raise NotRowWise("it compares rows with each other, and a stream never holds all of them")
    # Pandera lets an unknown result pass when the check ignores nulls, and fails it otherwise.
    return expr.fill_null(check.ignore_na)


def _one_of_few(check: Check, schema: pl.Schema, column: str | None) -> pl.Expr | None:
    """Write "is one of a few texts" as comparisons, which take less than half the time (measured); None elsewhere."""
    values = check._check_kwargs.get("allowed_values", ())  # noqa: SLF001  Pandera's own name for them
    few = check.is_builtin_check("isin") and check.name == "isin" and 0 < len(values) <= FEW
    if not few or column is None or schema[column] != pl.String or not all(isinstance(value, str) for value in values):
        return None
    return pl.any_horizontal(pl.col(column) == value for value in values)


def _recorded(check: Check, schema: pl.Schema, column: str | None) -> _Selected:
    from pandera.api.polars.types import PolarsData

    data = PolarsData(_Recorder(schema), column or "*")  # type: ignore[arg-type]
    try:
        result = _function(check)(data)
    except Exception as error:
        raise NotRowWise(f"it does more than `data.lazyframe.select(...)` ({type(error).__name__})") from error
    if not isinstance(result, _Selected):
        raise NotRowWise(f"it gives one {type(result).__name__} for all rows, not a verdict for each row")
    return result


def _function(check: Check) -> Callable[..., Any]:
    """Return what Pandera would call. It takes a built-in from its registry, for a copied check knows no Polars."""
    import pandera.backends.polars.builtin_checks  # noqa: F401  its import fills the registry

    function = check._check_fn  # noqa: SLF001  as Pandera's own backend reads it
    name = getattr(function, "__name__", "")
    found = check.get_builtin_check_fn(name) if check.is_builtin_check(name) else function
    return partial(found, **check._check_kwargs)  # noqa: SLF001  the same


def _one_column(selected: _Selected, schema: pl.Schema) -> pl.Expr:
    try:
        outputs = schema.to_frame().select(*selected.exprs, **selected.named)
    except Exception as error:
        raise NotRowWise(f"it can't be applied to these columns ({type(error).__name__})") from error
    if outputs.is_empty() and set(outputs.dtypes) == {pl.Boolean}:
        return pl.all_horizontal(*selected.exprs, *selected.named.values())
    raise NotRowWise("it does not give one boolean for each row")


def _looks_at_one_row(expr: pl.Expr, schema: pl.Schema) -> bool:
    """Ask the engine: it moves a slice below an expression only if each row's value depends on that row alone."""
    plan = schema.to_frame().lazy().with_columns(expr.alias(_OUTPUT)).slice(1, 1).explain()
    return not plan.startswith("SLICE")


@dataclass(slots=True)
class Uniqueness:
    """One promise of uniqueness: the values of `columns`, taken together, occur once in the whole delivery.

    `check` is Pandera's word for it. `memory` is how many bytes of keys are held before they are spilled; deciding
    takes about a 64th of all the keys at a time.
    """

    columns: tuple[str, ...]
    check: str
    memory: int = _MEMORY
    _buckets: Buckets[int] = field(init=False)

    def __post_init__(self) -> None:
        self._buckets = Buckets(divide_by(_hashed(self.columns) % _PARTITIONS), self.memory)

    def add(self, batch: pl.DataFrame, rows: pl.Series) -> None:
        """Remember the keys of `batch`, whose rows are numbered `rows` in the delivery."""
        self._buckets.add(batch.select(*self.columns, rows.alias(ROW)))

    def duplicates(self) -> Iterator[pl.DataFrame]:
        """Yield every row whose key occurs more than once, as frames of the key columns and the row number (`ROW`)."""
        for keys in self._partitions():
            repeated = _repeated(keys, self.columns)
            if repeated.any():
                yield keys.filter(repeated)

    def close(self) -> None:
        """Forget the keys and give the disk back."""
        self._buckets.close()

    def _partitions(self) -> Iterator[pl.DataFrame]:
        if self._buckets.is_parked:
            self._buckets.park()
            yield from (pl.concat(self._buckets.read(key)) for key in self._buckets.keys)
        elif (keys := self._buckets.take_lot()) is not None:
            yield keys


def _hashed(columns: tuple[str, ...]) -> pl.Expr:
    return pl.col(columns[0]).hash(seed=7) if len(columns) == 1 else pl.struct(*columns).hash(seed=7)


def _repeated(keys: pl.DataFrame, columns: tuple[str, ...]) -> pl.Series:
    if len(columns) == 1:
        return keys[columns[0]].is_duplicated()
    return keys.select(*columns).is_duplicated()
