"""A progress bar (rows, bytes, rate) where a person is looking: a terminal, or a notebook."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from mc_sink._printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Advance = Callable[[int, int], None]


@contextmanager
def watch(title: str, *, progress: bool | None) -> Iterator[Advance]:
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
