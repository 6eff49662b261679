"""The rows of a delivery: validate them, compare them with the previous delivery, and count them."""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mc_sink import validation
from mc_sink._display import counted
from mc_sink._lazy import load_part
from mc_sink._runtime.batches import check_num_rows, pull
from mc_sink.exceptions import ConfigurationError, UploadError, ValidationError
from mc_sink.formats import Csv

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    import polars as pl

    from mc_sink.comparison import Comparison
    from mc_sink.delivery_spec import DeliverySpec
    from mc_sink.receipt import Changes
    from mc_sink.staged import Staged
    from mc_sink.validation import Compiled


@dataclass(frozen=True, slots=True)
class RowCountGuard:
    """The largest accepted change in the number of rows since the last delivery, as a fraction, up or down.

    `last_rows` is the number of rows of the last delivery, None before the first one. For a run with `previous`, the
    rows of `previous` count instead.
    """

    max_change: float
    last_rows: int | None

    def check(self, num_rows: int, last_rows: int | None) -> None:
        """Raise `ValidationError` if the number of rows changed by more than `max_change`."""
        last = self.last_rows if last_rows is None else last_rows
        if last and abs(num_rows - last) > self.max_change * last:
            raise ValidationError(
                f"{counted(num_rows, 'row')} would be delivered after {counted(last, 'row')} the last time: a change "
                f"of {(num_rows - last) / last:+.1%}, and max_change allows {self.max_change:.1%}. Look at the source. "
                "If the change is right, raise max_change for one run."
            )


@dataclass(frozen=True, slots=True, eq=False)
class DeliveryRows:
    """The rows to deliver: all valid rows, or with `previous` the valid rows that changed.

    `expected` is the number of rows of the frame where it is known beforehand. `over_all_rows` names the options that
    can be checked only over all rows of a run together.
    """

    compiled: Compiled
    comparison: Comparison | None
    expected: int | None = None
    over_all_rows: tuple[str, ...] = ()

    @property
    def delivered(self) -> pl.Schema:
        """The columns of the delivered rows."""
        return self.comparison.delivered if self.comparison else self.compiled.delivered

    @property
    def changes(self) -> Changes | None:
        """The counted changes, complete after the last batch; None without `previous`."""
        return self.comparison.counts if self.comparison else None

    def batches(self, row_group_size: int) -> Generator[pl.DataFrame, None, None]:
        """Yield the rows in batches of at most `row_group_size`. The query ends when this generator ends."""
        with closing(self.compiled.judge(pull(self.compiled.frame, row_group_size))) as judged:
            yield from self.comparison.changed(judged, row_group_size) if self.comparison else judged

    def check_number(self, min_rows: int | None, guard: RowCountGuard | None) -> None:
        """Raise `ValidationError` if no row is valid, too few are, or their number changed more than `guard` allows.

        With `previous`, all valid rows of this run count, changed or not.
        """
        if (error := self.compiled.nothing_left()) is not None:
            raise error
        found = self.changes
        num_rows = found.num_rows_now if found else self.compiled.num_rows - self.compiled.num_rejected
        if min_rows is not None and num_rows < min_rows:
            raise ValidationError(
                f"Only {counted(num_rows, 'row')} can be delivered, fewer than min_rows={min_rows}. Look at the "
                "source. If so few rows are right, lower min_rows=."
            )
        if guard is not None:
            guard.check(num_rows, found.num_rows_before if found else None)

    def account_for(self, staged: Staged) -> None:
        """Raise `UploadError` unless rows in = rows staged + rows rejected, or, with `previous`, the counted changes.

        The rows in must also be as many as the frame was known to have.
        """
        check_num_rows(self.compiled.num_rows, self.expected)
        rejected = staged.rejects.num_rows if staged.rejects else 0
        found, valid = self.changes, self.compiled.num_rows - rejected
        if staged.num_rows != (found.num_rows if found else valid) or (found and found.num_rows_now != valid):
            raise UploadError(
                f"Rows are missing: the query returned {self.compiled.num_rows:,}, but {staged.num_rows:,} were staged "
                f"and {rejected:,} rejected{f' ({found})' if found else ''}. This is a fault of mc_sink. Report it."
            )


@contextmanager
def open_rows(plan: pl.LazyFrame, spec: DeliverySpec, expected: int | None = None) -> Iterator[DeliveryRows]:
    """Prepare the validation and comparison of a plan's rows, `expected` of them. Runs nothing.

    Raises `ConfigurationError` where schema, columns and options contradict each other.
    """
    with closing(
        validation.compile(
            spec.schema, plan, on_invalid=spec.on_invalid, max_rejects=spec.max_rejects, share=spec.names.share
        )
    ) as compiled:
        if shown := [column for column in spec.partition_by if column in compiled.personal]:
            raise ConfigurationError(
                f"Cannot partition by {shown[0]!r}: schema {compiled.name!r} marks it as personal data, and names of "
                "folders and files are seen in listings, manifests, logs and messages. Partition by another column, "
                "such as a keyed hash that you add to the query."
            )
        comparison = None
        if spec.previous is not None:
            dialect = spec.format if isinstance(spec.format, Csv) else None
            compare = load_part("comparison").compare
            comparison = compare(
                spec.previous, compiled.delivered, keys=spec.keys, action=spec.action_column, dialect=dialect
            )
        used = {
            "max_rejects=": spec.max_rejects is not None,
            "previous=": spec.previous is not None,
            "unique in the schema": bool(compiled.unique),
        }
        over_all_rows = tuple(name for name, is_used in used.items() if is_used)
        yield DeliveryRows(compiled, comparison, expected, over_all_rows)
