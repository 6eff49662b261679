"""The progress bar of a delivery, from the first row until everything is visible.

    rows, of a total where it is known ─► the bytes that are still to be uploaded ─► files published ─► "delivered"
                                                                      an error ─► "failed", and the bar stays

Several threads report. A bar that can't be drawn any more, because its pipe broke or its terminal is gone, is dropped:
it never fails a delivery.
"""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from mc_sink._display import counted, printable, size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


_SECONDS_APART = 0.1  # between two drawings; `tqdm` itself keeps as much between rows


class Progress:
    """The progress of one delivery. `make` makes its bar when the first row is about to come; None makes none."""

    def __init__(self, make: Callable[[int | None], Any] | None = None) -> None:
        self._make = make
        self._bars: list[Any] = []  # empty once the bar can't be drawn
        self._lock = threading.Lock()
        self._num_rows = self._encoded = self._uploaded = self._published = 0
        self._drawn_at = 0.0

    def begin(self, num_rows: Callable[[], int | None]) -> None:
        """Draw the bar. `num_rows` returns how many rows will come, None where that isn't known."""
        if self._make is not None:
            total = None
            with suppress(Exception):  # the query will raise it
                total = num_rows()
            with suppress(Exception):
                self._bars = [self._make(total)]

    def advance(self, num_rows: int, num_bytes: int) -> None:
        """Count the rows that were encoded since the last call, and show the bytes of all files so far."""
        with self._lock:
            self._num_rows += num_rows
            self._encoded = num_bytes
        self._show(self._bytes_so_far(), num_rows)

    def upload(self, num_bytes: int) -> None:
        """Count bytes that the store has acknowledged."""
        with self._lock:
            self._uploaded += num_bytes
        self._show(self._bytes_so_far())

    def finish_rows(self, num_rows: int, num_bytes: int) -> None:
        """Show that all rows were judged, rejected and unchanged ones included, and that their files are staged."""
        rest, self._num_rows, self._encoded = num_rows - self._num_rows, num_rows, num_bytes
        self._show(f"{size(num_bytes)} staged", max(0, rest), at_once=True)

    def publish(self, num_files: int) -> None:
        """Count a published file, of `num_files`."""
        with self._lock:
            self._published += 1
        self._show(f"published {self._published:,} of {counted(num_files, 'file')}")

    def end(self, outcome: str, *, is_good: bool = True) -> None:
        """Close the bar, which stays with its outcome. In a notebook, that of a failed delivery is red."""
        self._show(outcome, at_once=True)
        self._draw(lambda bar: bar.close())
        if not is_good:
            self._draw(lambda bar: bar.disp(bar_style="danger") if hasattr(bar, "disp") else None)
        self._bars = []

    def _bytes_so_far(self) -> str:
        """Return how many bytes are encoded, and how many of them the store has, where it takes them in parts."""
        encoded = size(self._encoded)
        return f"{size(min(self._uploaded, self._encoded))} of {encoded} uploaded" if self._uploaded else encoded

    def _show(self, text: str, num_rows: int = 0, *, at_once: bool = False) -> None:
        def draw(bar: Any) -> None:
            bar.set_postfix_str(text, refresh=False)
            bar.update(num_rows)
            if at_once or (not num_rows and time.monotonic() - self._drawn_at > _SECONDS_APART):
                self._drawn_at = time.monotonic()
                bar.refresh()

        self._draw(draw)

    def _draw(self, change: Callable[[Any], object]) -> None:
        try:
            for bar in self._bars:
                with self._lock:
                    change(bar)
        except Exception:  # noqa: BLE001  whatever the library raises
            self._bars = []


@contextmanager
def show_progress(title: str, *, progress: bool | None, done: str = "delivered") -> Iterator[Progress]:
    """Yield the progress of a delivery within the `with`. Its bar ends as `done`, "failed" or "interrupted".

    `progress=None` shows a bar only in a terminal or a notebook.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    in_notebook = shell is not None and "IPKernelApp" in getattr(shell, "config", {})  # a notebook's kernel
    is_drawable = in_notebook or sys.stderr is not None
    if not is_drawable or not (in_notebook or _is_terminal() if progress is None else progress):
        yield Progress()
        return
    has_widgets = in_notebook and find_spec("ipywidgets")
    bars = import_module("tqdm.notebook" if has_widgets else "tqdm.std")
    found = Progress(
        lambda total: bars.tqdm(desc=printable(title), total=total, unit=" rows", unit_scale=True, dynamic_ncols=True)
    )
    try:
        yield found
    except BaseException as error:
        found.end(f"failed: {type(error).__name__}" if isinstance(error, Exception) else "interrupted", is_good=False)
        raise
    else:
        found.end(done)


def _is_terminal() -> bool:
    with suppress(ValueError):  # standard error was closed by the program
        return sys.stderr is not None and sys.stderr.isatty()
    return False
