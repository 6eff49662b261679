"""Validation: a frame compiled against a schema, judged as a stream, true for the whole delivery.

Nothing of Pandera is loaded until a schema is given.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, get_args

from mc_sink.exceptions import ConfigurationError
from mc_sink.validation.compiler import compiled
from mc_sink.validation.judge import Limit, OnInvalid, Tolerance
from mc_sink.validation.schemas import SchemaLike, list_schemas, load_schema, resolve_schema

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    import polars as pl

    from mc_sink.exceptions import ValidationError

__all__ = ["Compiled", "OnInvalid", "SchemaLike", "compile", "list_schemas", "load_schema"]


class Compiled(Protocol):
    """A frame compiled against a schema (or none): one per run, used once, closed at the end."""

    @property
    def name(self) -> str | None:
        """The schema's name, or None without one."""

    @property
    def frame(self) -> pl.LazyFrame:
        """The plan to pull batches from: the input in the schema's shape, with columns of our own for the verdict."""

    @property
    def delivered(self) -> pl.Schema:
        """The schema of every batch that `judge` yields."""

    @property
    def validated(self) -> bool:
        """Whether rows are really checked: False without a schema, or where Pandera is told to do less."""

    @property
    def has_unique(self) -> bool:
        """Return True if values must be unique over all rows of the run."""

    @property
    def num_rows(self) -> int:
        """Rows judged so far."""

    @property
    def num_rejected(self) -> int:
        """Rows rejected; true once `judge` has ended."""

    def judge(self, batches: Iterable[pl.DataFrame]) -> Generator[pl.DataFrame, None, None]:
        """Yield what may be delivered, in order; raise `ValidationError` at the end if the run can't succeed.

        After the first failure nothing more is yielded, and the rest is read only to report on it. What holds over the
        whole delivery is decided before this returns.
        """

    def rejects(self) -> pl.LazyFrame | None:
        """Return the rejected rows with `row`, `reasons` and their columns as they came; None when there are none."""

    def nothing_left(self) -> ValidationError | None:
        """Return what to raise where every row was rejected; None where some are left, or none came."""

    def explain(self) -> str:
        """Say which checks became expressions, which Pandera runs, and why."""

    def close(self) -> None:
        """Give memory and disk back; harmless when repeated."""


def compile(
    schema: SchemaLike | None,
    frame: pl.LazyFrame,
    *,
    on_invalid: OnInvalid = "fail",
    max_rejects: Limit = None,
) -> Compiled:
    """Prepare to judge `frame` by `schema`, without reading any of it.

    `max_rejects` is how many rows may be rejected before the run fails: a count, or a fraction between 0.0 and 1.0.
    Raises `ConfigurationError` for a schema that can't be judged in a stream, naming the check, and `ValidationError`
    where columns are missing or of the wrong type.
    """
    tolerance = _tolerance(on_invalid, max_rejects)
    if schema is None:
        return NoSchema(frame)
    resolved = resolve_schema(schema)
    from pandera.config import get_config_context, get_config_global

    settings = get_config_context(validation_depth_default=None)
    if not settings.validation_enabled:
        warnings.warn(
            f"Nothing is validated by schema {resolved.name!r}: Pandera is switched off (PANDERA_VALIDATION_ENABLED).",
            stacklevel=2,
        )
        return NoSchema(frame, resolved.name)
    return compiled(resolved, frame, tolerance, _depth(settings, get_config_global()))


def _tolerance(on_invalid: OnInvalid, max_rejects: Limit) -> Tolerance:
    if on_invalid not in get_args(OnInvalid):
        raise ConfigurationError(f'on_invalid is "fail" or "reject", not {on_invalid!r}.')
    if max_rejects is None:
        return Tolerance(on_invalid)
    if on_invalid == "fail":
        raise ConfigurationError('max_rejects says how many rows may be rejected: it needs on_invalid="reject".')
    highest = 1 if isinstance(max_rejects, float) else math.inf
    if isinstance(max_rejects, bool) or not 0 <= max_rejects <= highest:
        raise ConfigurationError(f"max_rejects is a count, or a fraction from 0.0 to 1.0, not {max_rejects!r}.")
    return Tolerance(on_invalid, max_rejects)


def _depth(settings: Any, defaults: Any) -> Any:
    """Return how deep Pandera is told to validate, and warn where that is less than everything."""
    from pandera.config import ValidationDepth

    if getattr(settings, "use_narwhals_backend", False):  # older Pandera has none
        raise ConfigurationError(
            "Pandera's Narwhals backend is switched on, and checks compile for its Polars backend only."
        )
    depth = settings.validation_depth or defaults.validation_depth or ValidationDepth.SCHEMA_AND_DATA
    if depth is not ValidationDepth.SCHEMA_AND_DATA:
        words = f"Only part of the schema is validated: Pandera's validation depth is {depth.name}."
        warnings.warn(words, stacklevel=3)
    return depth


@dataclass(slots=True)
class NoSchema:
    """See `Compiled`; here every row is delivered as it came. `name` is that of a schema which is switched off."""

    frame: pl.LazyFrame
    name: str | None = None
    num_rows: int = field(default=0, init=False)
    num_rejected: int = field(default=0, init=False)
    validated: bool = field(default=False, init=False)
    has_unique: bool = field(default=False, init=False)

    @property
    def delivered(self) -> pl.Schema:
        """The schema of the frame."""
        return self.frame.collect_schema()

    def judge(self, batches: Iterable[pl.DataFrame]) -> Generator[pl.DataFrame, None, None]:
        """Yield every batch."""
        for batch in batches:
            self.num_rows += batch.height
            yield batch

    def rejects(self) -> None:
        """Return None: nothing is rejected."""

    def nothing_left(self) -> None:
        """Return None: every row is left."""

    def explain(self) -> str:
        """Say that nothing is checked."""
        return (
            "No schema: rows are counted, not checked."
            if self.name is None
            else f"Schema {self.name!r} is switched off."
        )

    def close(self) -> None:
        """Hold nothing, so give nothing back."""
