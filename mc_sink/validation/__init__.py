"""Validate a frame by a schema while it streams, with a verdict on the whole delivery.

Pandera is loaded only when a schema is given.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from mc_sink.validation.compiler import compiled
from mc_sink.validation.failure_report import merged
from mc_sink.validation.judge import Limit, OnInvalid, Tolerance
from mc_sink.validation.pandera_backend import configured_depth
from mc_sink.validation.schemas import (
    SchemaLike,
    list_schemas,
    load_schema,
    read_schema,
    resolve_schema,
    schema_from_yaml,
)
from mc_sink.validation.unique import bucket_check, buckets_of, check_bucketed

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    import polars as pl

    from mc_sink.exceptions import ValidationError
    from mc_sink.validation.unique import Uniqueness

__all__ = [
    "Compiled",
    "OnInvalid",
    "SchemaLike",
    "Tolerance",
    "bucket_check",
    "buckets_of",
    "check_bucketed",
    "compile",
    "list_schemas",
    "load_schema",
    "merged",
    "read_schema",
    "schema_from_yaml",
]


class Compiled(Protocol):
    """A frame compiled against a schema, or without one, for one run. Close it at the end."""

    @property
    def name(self) -> str | None:
        """The schema's name, or None without one."""

    @property
    def frame(self) -> pl.LazyFrame:
        """The plan to pull batches from: the input as the schema shapes it, with reserved columns for `judge`."""

    @property
    def delivered(self) -> pl.Schema:
        """The schema of every batch that `judge` yields."""

    @property
    def validated(self) -> bool:
        """Whether rows are checked: False without a schema, or where Pandera is configured to check less."""

    @property
    def unique(self) -> Sequence[Uniqueness]:
        """The keys that must be unique over all rows of the run."""

    @property
    def personal(self) -> frozenset[str]:
        """The columns that the schema marks as personal data."""

    @property
    def num_rows(self) -> int:
        """Rows judged so far."""

    @property
    def num_rejected(self) -> int:
        """Rows rejected; final once `judge` has ended."""

    def judge(self, batches: Iterable[pl.DataFrame]) -> Generator[pl.DataFrame, None, None]:
        """Yield the rows that may be delivered, in order; raise `ValidationError` at the end if the run has failed.

        After the first failure nothing more is yielded, and the remaining batches are read for the report only.
        Requirements on the whole delivery, such as uniqueness, are judged before this ends.
        """

    def rejects(self) -> pl.LazyFrame | None:
        """Return the rejected rows with `row`, `reasons` and their columns as they came; None if none was rejected."""

    def nothing_left(self) -> ValidationError | None:
        """Return the error for a run whose rows were all rejected; None if rows are left, or none came."""

    def rejected(self) -> ValidationError | None:
        """Return the report on the rejected rows; None if none was rejected."""

    def explain(self) -> str:
        """Return a text that states which checks run as expressions, which Pandera runs, and why."""

    def close(self) -> None:
        """Free memory and disk; may be called again."""


def compile(
    schema: SchemaLike | None,
    frame: pl.LazyFrame,
    *,
    on_invalid: OnInvalid = "fail",
    max_rejects: Limit = None,
    share: int | None = None,
) -> Compiled:
    """Compile `frame` against `schema`, without reading any rows.

    `max_rejects` is how many rows may be rejected before the run fails: a count, or a fraction between 0.0 and 1.0.
    `share` is the number of the share that these rows are, where others are judged elsewhere.
    Raises `ConfigurationError` for a schema that can't be judged in a stream, naming the check, and `ValidationError`
    where columns are missing or of the wrong type.
    """
    tolerance = Tolerance(on_invalid, max_rejects)
    if schema is None:
        return NoSchema(frame)
    resolved = resolve_schema(schema)
    depth = configured_depth()
    if depth is None:
        reason = "Pandera is switched off (PANDERA_VALIDATION_ENABLED)"
        warnings.warn(f"Nothing is validated by schema {resolved.name!r}: {reason}.", stacklevel=2)
        return NoSchema(frame, resolved.name)
    if depth.name != "SCHEMA_AND_DATA":
        reason = f"Pandera's validation depth is {depth.name}"
        warnings.warn(f"Only part of the schema is validated: {reason}.", stacklevel=2)
    return compiled(resolved, frame, tolerance, depth, share)


@dataclass(slots=True)
class NoSchema:
    """A frame whose rows are all delivered unchanged. `name` is that of a schema which is switched off."""

    frame: pl.LazyFrame
    name: str | None = None
    num_rows: int = field(default=0, init=False)
    num_rejected: int = field(default=0, init=False)
    validated: bool = field(default=False, init=False)
    unique: tuple[Uniqueness, ...] = field(default=(), init=False)
    personal: frozenset[str] = field(default=frozenset(), init=False)

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
        """Return None: no row is rejected."""

    def rejected(self) -> None:
        """Return None: no row is rejected."""

    def explain(self) -> str:
        """Return a text that states that nothing is checked."""
        return (
            "Without a schema, rows are counted and not checked."
            if self.name is None
            else f"Schema {self.name!r} is switched off."
        )

    def close(self) -> None:
        """Return at once: no memory or disk is held."""
