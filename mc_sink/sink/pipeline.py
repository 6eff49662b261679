"""The rows of a delivery: compared with the previous delivery, validated, counted, and shown as they go."""

from __future__ import annotations

import sys
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from mc_sink import validation
from mc_sink._display import printable
from mc_sink._runtime.batches import check_num_rows, pull
from mc_sink.exceptions import UploadError, ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    import polars as pl

    from mc_sink.comparison import Comparison
    from mc_sink.formats import Format
    from mc_sink.receipt import Changes
    from mc_sink.sink.options import SinkOptions
    from mc_sink.staged import Staged
    from mc_sink.validation import Compiled

    Advance = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class RowCountGuard:
    """How much the number of rows may differ from the last delivery's: a fraction, up and down alike.

    `last_rows` is that number, None where nothing was delivered yet. A run that is compared with `previous` is held to
    the rows of that, which is the last delivery.
    """

    max_change: float
    last_rows: int | None

    def check(self, num_rows: int, last_rows: int | None) -> None:
        """Raise `ValidationError` where the number of rows differs more than it may."""
        last = self.last_rows if last_rows is None else last_rows
        if last and abs(num_rows - last) > self.max_change * last:
            raise ValidationError(
                f"{_rows(num_rows)} would be delivered, and {_rows(last)} the last time: a change of "
                f"{(num_rows - last) / last:+.1%}, and max_change allows {self.max_change:.1%}. Look "
                "at the source; if the change is right, raise max_change for one run."
            )


@dataclass(frozen=True, slots=True, eq=False)
class DeliveryRows:
    """What comes out of a plan: rows that are valid, or those of them that differ from the last delivery.

    `over_all_rows` names the options that can be kept only where all rows of a run are seen together.
    """

    compiled: Compiled
    comparison: Comparison | None
    expected: int | None = None
    over_all_rows: tuple[str, ...] = ()

    @property
    def delivered(self) -> pl.Schema:
        """The columns of what is delivered."""
        return self.comparison.delivered if self.comparison else self.compiled.delivered

    @property
    def changes(self) -> Changes | None:
        """What differed, counted, when all batches have come."""
        return self.comparison.counts if self.comparison else None

    def batches(self, row_group_size: int) -> Generator[pl.DataFrame, None, None]:
        """Pull the rows, in batches of at most so many; whatever ends this ends the query too."""
        with closing(self.compiled.judge(pull(self.compiled.frame, row_group_size))) as judged:
            yield from self.comparison.changed(judged, row_group_size) if self.comparison else judged

    def check_number(self, min_rows: int | None, guard: RowCountGuard | None) -> None:
        """Raise `ValidationError` where no row of those that came is valid, too few are, or far from the last time's.

        Of a change set, the rows that this run has are counted, and not those that differ.
        """
        if (error := self.compiled.nothing_left()) is not None:
            raise error
        found = self.changes
        num_rows = found.num_rows_now if found else self.compiled.num_rows - self.compiled.num_rejected
        if min_rows is not None and num_rows < min_rows:
            raise ValidationError(
                f"{_rows(num_rows)} came that could be delivered, and min_rows is {min_rows:,}. Look "
                "at the source; if so few are right, lower min_rows."
            )
        if guard is not None:
            guard.check(num_rows, found.num_rows_before if found else None)

    def account_for(self, staged: Staged) -> None:
        """Hold a delivery to its count: rows in are rows staged and rows rejected, or, of changes, as many as were.

        Where the number of rows that a frame holds was known beforehand, as many must have come.
        """
        check_num_rows(self.compiled.num_rows, self.expected)
        rejected = staged.rejects.num_rows if staged.rejects else 0
        found, valid = self.changes, self.compiled.num_rows - rejected
        if staged.num_rows != (found.num_rows if found else valid) or (found and found.num_rows_now != valid):
            raise UploadError(
                f"{self.compiled.num_rows:,} rows came, and {staged.num_rows:,} were staged and {rejected:,} rejected"
                f"{f' ({found})' if found else ''}. This should not happen: please report it."
            )


def _rows(number: int) -> str:
    return f"{number:,} row" if number == 1 else f"{number:,} rows"


@contextmanager
def open_rows(
    plan: pl.LazyFrame, order: SinkOptions, format: Format, expected: int | None = None
) -> Iterator[DeliveryRows]:
    """Prepare to judge and compare the rows of a plan, `expected` of them; raises what contradicts in it.

    Runs nothing.
    """
    with closing(
        validation.compile(order.schema, plan, on_invalid=order.on_invalid, max_rejects=order.max_rejects)
    ) as compiled:
        asked = {
            "max_rejects=": order.max_rejects is not None,
            "previous=": order.previous is not None,
            "unique in the schema": compiled.has_unique,
        }
        told = tuple(name for name, is_asked in asked.items() if is_asked)
        yield DeliveryRows(compiled, order.comparison(compiled.delivered, format), expected, told)


@contextmanager
def show_progress(title: str, *, progress: bool | None) -> Iterator[Advance]:
    """Give a function to call with rows passed and total bytes so far; None shows a bar only to a person."""
    if not _somebody_looks() if progress is None else not progress:
        yield lambda _rows, _num_bytes: None
        return
    with _bar_class()(desc=printable(title), unit=" rows", unit_scale=True, dynamic_ncols=True) as bar:

        def advance(rows: int, num_bytes: int) -> None:
            bar.set_postfix_str(f"{num_bytes / 2**20:,.1f} MiB", refresh=False)
            bar.update(rows)

        yield advance


def _in_notebook() -> bool:
    """Whether this interpreter is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and "IPKernelApp" in getattr(shell, "config", {})


def _somebody_looks() -> bool:
    return _in_notebook() or (sys.stderr is not None and sys.stderr.isatty())


def _bar_class() -> type:
    """Choose widgets in a notebook that can show them, else characters."""
    if _in_notebook() and find_spec("ipywidgets"):
        from tqdm.notebook import tqdm as widgets

        return widgets
    from tqdm.std import tqdm

    return tqdm
