"""Print results: tables for people, JSON for programs, colour only on a terminal."""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import asdict
from io import BufferedWriter, RawIOBase, TextIOWrapper
from math import isfinite
from typing import TYPE_CHECKING, Any

from mc_sink._display import Printable, counted, labelled, lines, printable
from mc_sink._runtime.streams import lead_nowhere
from mc_sink.connector import history
from mc_sink.exceptions import SinkError
from mc_sink.formats import options_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TextIO

    from mc_sink.connector.connections import Rehearsal
    from mc_sink.connector.history import Run
    from mc_sink.publishing import Journal
    from mc_sink.publishing.hidden_files import LeftHidden
    from mc_sink.receipt import Verification

STDERR = 2
_WORDS = {
    "green": ("delivered", "yes", "documented", "Configured"),
    "red": ("failed", "no", "Failing"),
    "yellow": ("interrupted", "missed", "skipped", "unknown", "Unverified"),
    "cyan": ("running",),
    "dim": ("not needed",),
}
# The column that is never cut or broken.
_ID = "run id"
_COLOURS = {word: colour for colour, words in _WORDS.items() for word in words}


def out(text: str) -> None:
    """Print to standard output, with control characters escaped. A closed pipe is not an error."""
    try:
        print(printable(text), file=sys.stdout, flush=True)  # noqa: T201  the output of a command
    except OSError as error:
        # The interpreter would write the rest of the buffer at its exit, and report an error then.
        lead_nowhere(sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise


class _Lenient(RawIOBase):
    """Standard error that loses text rather than a run: where it can't be written any more, it leads nowhere."""

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the descriptor of standard error."""
        return STDERR

    def isatty(self) -> bool:
        """Return whether a person is looking."""
        return os.isatty(STDERR)

    def write(self, data: Any) -> int:
        """Write what can be written, and claim all of it."""
        try:
            return os.write(STDERR, data)
        except OSError:  # a broken pipe, a full disk, a terminal that is gone
            lead_nowhere(STDERR)
            return len(data)


def prepare_streams() -> None:
    """Open for Python the streams that were closed, and make standard error such that a write to it fails nothing."""
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  as long as the process
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  the same
    encoding = sys.stderr.encoding if sys.stderr else "utf-8"
    sys.stderr = TextIOWrapper(
        BufferedWriter(_Lenient()), encoding=encoding, errors="backslashreplace", line_buffering=True
    )
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error does with what its encoding lacks


@contextmanager
def reserved_stdout() -> Iterator[TextIO]:
    """Send prints of sources and hooks to standard error, and yield standard output for the command's result."""
    stdout = sys.stdout
    with redirect_stdout(sys.stderr):
        yield stdout


def ended(run: Run, stdout: TextIO, *, as_json: bool) -> None:
    """Print the result of a run. A failed one is printed only as JSON, because the error message follows."""
    with redirect_stdout(stdout):
        if as_json:
            with _alone(stdout):
                one_run(run, as_json=True)
        elif run.status in {"delivered", "skipped"}:
            out(str(run.receipt()))


@contextmanager
def _alone(stdout: TextIO) -> Iterator[None]:
    """Lock this file or pipe, so that one run at a time prints to it.

    A line that is longer than a page may be written in pieces. Without the lock it is printed all the same.
    """
    try:
        place = os.fstat(stdout.fileno())
    except (OSError, ValueError):  # not a file of the system
        yield
        return
    with ExitStack() as stack:
        with suppress(SinkError):
            stack.enter_context(history.in_turn(f"output-{place.st_dev}-{place.st_ino}"))
        yield


def one_run(run: Run, *, as_json: bool) -> None:
    """Print all facts of a record."""
    if as_json:
        print_json(run.as_json())
        return
    facts = run.shown() | {
        "connection": run.connection + (f"  ({run.file})" if run.file else ""),
        "to": run.target,
        "took": None if run.elapsed is None else f"{run.elapsed.total_seconds():.2f} s",
        "manifest": run.manifest,
        "error": f"{run.error.kind}: {run.error.text}" if run.error else None,
    }
    out(lines(*labelled(((name, cell(value)) for name, value in facts.items() if value is not None), 12)))
    for file in (*run.files, *run.rejects):
        amount = f"{counted(file.num_rows, 'row')}  {counted(file.num_bytes, 'byte')}"
        out(f"  {file.path}  {amount}  {file.checksum}")
    if run.details and run.details.cases:
        out("The first rows that failed, counted from 0; values are not recorded:")
        table(("row", "column", "check"), [(one.row, one.column, one.check) for one in run.details.cases])


def runs(found: Sequence[Run], *, as_json: bool) -> None:
    """Print records as a table, or as a line of JSON each."""
    if as_json:
        for run in found:
            print_json(run.as_json())
        return
    columns = ("run id", "connection", "started at", "status", "rows", "bytes", "error")
    table(columns, [[run.shown()[name] for name in columns] for run in found])


def journals(
    found: Sequence[Journal], hidden: Sequence[LeftHidden], unreadable: Sequence[SinkError], *, as_json: bool
) -> None:
    """Print the deliveries that stopped while they were published, and the hidden files of killed processes."""
    for error in unreadable:
        print(printable(error.message), file=sys.stderr, flush=True)  # noqa: T201  the output of a command
    if as_json:
        for one in found:
            print_json(
                {"run_id": one.run_id, "target": one.target, "noted_at": one.noted_at, "num_files": one.num_files}
            )
        for left in hidden:
            facts = {"run_id": left.run_id, "target": left.target, "noted_at": left.noted_at}
            print_json(facts | {"num_hidden_files": len(left.files)})
        return
    if not (found or hidden or unreadable):
        out("No delivery of this machine is unfinished.")
    if found:
        rows = [(one.run_id, one.target, f"{one.noted_at:%Y-%m-%d %H:%M:%S}", one.num_files) for one in found]
        table(("run id", "target", "noted at (UTC)", "files"), rows)
    if hidden:
        out("Hidden files of killed processes; a rerun with the run id, or mc-sink recover ID --discard, removes them:")
        rows = [(one.run_id, one.target, f"{one.noted_at:%Y-%m-%d %H:%M:%S}", len(one.files)) for one in hidden]
        table(("run id", "target", "noted at (UTC)", "hidden files"), rows)


def verification(found: Verification, *, as_json: bool) -> None:
    """Print the result of a comparison with the bucket's listing."""
    if as_json:
        print_json(asdict(found) | {"ok": found.ok})
    else:
        out(str(found))


def rehearsal(found: Rehearsal, *, as_json: bool) -> None:
    """Print what a run would deliver."""
    preview, sample = found.preview, found.sample
    if as_json:
        facts = {name: getattr(preview, name) for name in ("run_id", "target", "files", "num_files", "pattern")}
        facts |= {name: getattr(preview, name) for name in ("manifest", "rejects", "columns", "permissions", "preset")}
        facts |= {"format": preview.format.extension.removeprefix("."), "dialect": options_of(preview.format)}
        facts["lost"] = preview.lost
        facts |= {"judged": found.judged, "num_rejected": found.num_rejected}
        if sample is not None:
            facts["schema"] = {name: str(dtype) for name, dtype in sample.schema.items()}
            facts["sample"] = sample.rows()
        print_json(facts)
        return
    if sample is not None:
        out(lines(*(f"{name}: {dtype}" for name, dtype in sample.schema.items())))
        out(lines(*str(sample).split("\n"), ""))
    out(str(preview))
    if found.judged is not None:
        rejected = f", {found.num_rejected:,} would be rejected" if found.num_rejected else ""
        out(f"judged       {counted(found.judged, 'row')}{rejected}")


def table(head: Sequence[str], rows: Sequence[Sequence[object]], **options: Any) -> None:
    """Print a table; `options` are those of `rich.table.Table`. Words with a meaning, such as "failed", are coloured.

    A value of several lines has one of `_display.lines`.
    """
    from rich.markup import escape
    from rich.table import Table

    made = Table(**({"box": None, "pad_edge": False} | options))
    for name in head:  # an id that is cut can't be copied
        made.add_column(
            name, overflow="fold", no_wrap=name == _ID, min_width=_widest(head, rows) if name == _ID else None
        )
    for row in rows:
        texts = [(cell(value), _COLOURS.get(str(value))) for value in row]
        made.add_row(*(f"[{colour}]{text}[/]" if colour else escape(printable(text)) for text, colour in texts))
    _draw(made)


def _widest(head: Sequence[str], rows: Sequence[Sequence[object]]) -> int:
    at = head.index(_ID)
    return max((len(str(row[at])) for row in rows), default=0)


def coloured(word: str, text: str = "") -> None:
    """Print a word with a meaning in its colour, and a text after it."""
    from rich.markup import escape

    _draw(f"[{_COLOURS[word]}]{word}[/] {escape(printable(text))}")


def _draw(drawing: Any) -> None:
    """Print a table or a text of rich: as wide as the terminal, or as wide as it needs in a file or a pipe.

    Colour is for terminals, and for FORCE_COLOR, which rich obeys.
    """
    from rich.console import Console

    wide = Console() if sys.stdout.isatty() or os.environ.get("FORCE_COLOR") else Console(width=250)
    with wide.capture() as captured:
        wide.print(drawing, soft_wrap=isinstance(drawing, str))
    out(Printable(captured.get().rstrip("\n")))  # its cells are escaped; the other characters are colours


def cell(value: object) -> str:
    """Return a value as the text of a cell: thousands are separated, None is empty."""
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def print_json(facts: Any, *, indent: int | None = None) -> None:
    """Print JSON in ASCII, on one line or indented."""
    out(lines(*json.dumps(_finite(facts), default=str, allow_nan=False, indent=indent).split("\n")))


def _finite(value: Any) -> Any:
    """Replace the numbers that JSON lacks, NaN and the infinities, by their texts."""
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return str(value) if isinstance(value, float) and not isfinite(value) else value
