"""Every error that this library defines.

    SinkError
    ├── TargetError (ValueError)              the target can't be delivered to as written
    ├── ConfigurationError (ValueError)       frame, format, schema and options contradict each other
    │   └── LimitError                        the data break a limit that the receiver documents
    ├── ValidationError                       rows break the schema
    ├── QueryError                            the query engine broke down, or lost rows
    ├── AlreadyExistsError (FileExistsError)  the key is taken, and `if_exists` is "fail"
    │   └── AlreadyDelivered                  the run is complete; `manifest` is where it says so
    ├── PermissionDenied (PermissionError)    the store refused; `action` names what is missing
    ├── UploadError (OSError)                 bytes could not be stored
    └── CommitError (OSError)                 publishing stopped part way
        └── CommitUnknown                     it is unknown whether a file is visible

A message states what failed, where, why and what to do next. The base class adds whether anything became visible.
Exceptions of the caller's query or source are never wrapped: they arrive unchanged, with a note that nothing became
visible. Only a panic of an engine is wrapped: it is a `BaseException`, which `except Exception` misses, and becomes a
`QueryError`.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from mc_sink import _display
from mc_sink._display import printable
from mc_sink._polars import source_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import polars as pl

Visible: TypeAlias = Literal["nothing", "some", "unknown"]
NOTHING_VISIBLE = "Nothing became visible."
OUR_NOTE = "mc_sink: "
_OWN, _MAX_CALLERS = "mc_sink", 5
_SENTENCES: dict[Visible, str] = {
    "nothing": NOTHING_VISIBLE,
    "some": "Files of this run are visible from before; nothing more became visible.",
    "unknown": "It is not known whether anything became visible.",
}


class SinkError(Exception):
    """The base class of all errors of this library. All of them can be pickled.

    `visible` states what a receiver can see of the delivery: "nothing", "some" or "unknown". `str()` ends with a
    sentence that says so; `message` is the text without it. Control characters in the message and the notes are
    escaped; `mc_sink._display.lines` makes a message of several lines.
    """

    visible: Visible = "nothing"

    def __init__(self, message: str = "", *, visible: Visible | None = None) -> None:
        super().__init__(printable(message))
        if visible:
            self.visible = visible

    @property
    def message(self) -> str:
        """The text without the sentence on visibility, which is true of one delivery and not of what contains it."""
        return str(self.args[0])

    @property
    def visibility(self) -> str:
        """The sentence on visibility."""
        return _SENTENCES[self.visible]

    def __str__(self) -> str:
        if not self.message:
            return self.visibility
        # On a line of its own after several lines, and after a URL or path, which a person may copy.
        is_sentence = "\n" not in self.message and self.message.endswith((".", "?", "!"))
        return (" " if is_sentence else "\n").join([self.message, self.visibility])

    def add_note(self, note: str) -> None:
        """Add a line that is shown after the message."""
        super().add_note(printable(note))

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython shows of an uncaught error: the message first, then the caller's line.

        Its own form would show 200 lines of this package above the message (measured). Source code is left out: a
        call may have a secret in it.
        """
        text = [f"{type(self).__name__}: {self}", *getattr(self, "__notes__", ())]
        shown = [line for part in text for line in part.split("\n")]
        return [*shown, "", *_callers(self), "Whole: import sys, traceback; traceback.print_exception(sys.last_value)"]


def _callers(error: BaseException) -> Iterator[str]:
    """Yield a line for each place that led to a call of this package, the last few of them."""
    ipython = sys.modules.get("IPython")
    shell: Any = ipython.get_ipython() if ipython else None
    frames, trace = list[str](), error.__traceback__
    while trace is not None and (module := str(trace.tb_frame.f_globals.get("__name__"))).partition(".")[0] != _OWN:
        place = f"File {trace.tb_frame.f_code.co_filename}"
        with suppress(Exception):  # a cell has a name, and a file that the person never sees
            place = " ".join(shell.compile.format_code_name(trace.tb_frame.f_code.co_filename) or [place])
        if module.partition(".")[0] != "IPython":
            frames.append(printable(f"{place}, line {trace.tb_lineno}"))
        trace = trace.tb_next
    yield from frames[-_MAX_CALLERS:]


def add_note(error: BaseException, text: str) -> None:
    """Add a note of this library to an error, which may come from any library.

    An error that can't take a note stays as it is: what its class raises would hide it.
    """
    with suppress(Exception):
        error.add_note(printable(f"{OUR_NOTE}{text}"))


class TargetError(SinkError, ValueError):
    """The target is not valid. Raised before anything is opened."""


class ConfigurationError(SinkError, ValueError):
    """The frame, format, schema and options contradict each other. Raised before the first byte where possible."""


class LimitError(ConfigurationError):
    """The data exceed a limit that the receiver documents. `preset` and `limit` are names. Nothing became visible."""

    def __init__(self, message: str, *, preset: str = "", limit: str = "") -> None:
        super().__init__(message)
        self.preset = preset
        self.limit = limit


class QueryError(SinkError):
    """The query engine failed, or lost rows without an error. Nothing became visible. The cause is attached.

    For a database that is read by its URI the cause is dropped, because it may repeat the URI.
    """


class AlreadyExistsError(SinkError, FileExistsError):
    """An object with this key exists and was not changed; `if_exists="overwrite"` would replace it."""


class AlreadyDelivered(AlreadyExistsError):  # noqa: N818  a scheduler counts it as a success
    """The run has been delivered: its manifest is visible at the URL `manifest`. Nothing was done."""

    def __init__(self, message: str = "", *, manifest: str = "") -> None:
        super().__init__(message, visible="some")
        self.manifest = manifest


class UploadError(SinkError, OSError):
    """Bytes could not be stored. Nothing became visible."""


class PermissionDenied(SinkError, PermissionError):  # noqa: N818  named like the answer that causes it
    """The store refused a request. `action` is the missing permission, such as `s3:PutObject`."""

    def __init__(self, message: str = "", *, action: str | None = None, visible: Visible | None = None) -> None:
        super().__init__(message, visible=visible)
        self.action = action


class CommitError(SinkError, OSError):
    """Publishing stopped part way: `committed` are the URLs that are visible, `uncommitted` those that are not."""

    def __init__(self, message: str = "", *, committed: Sequence[str] = (), uncommitted: Sequence[str] = ()) -> None:
        super().__init__(message, visible="some" if committed and self.visible == "nothing" else None)
        self.committed = tuple(committed)
        self.uncommitted = tuple(uncommitted)

    @property
    def visibility(self) -> str:
        """The sentence on visibility, with the number of files."""
        files = len(self.committed) + len(self.uncommitted)
        count = f"{len(self.committed)} of {files} {'file is' if files == 1 else 'files are'} visible."
        if self.visible == "unknown":
            return f"{count} It is not known whether another one is." if self.committed else super().visibility
        return count if self.committed else super().visibility


class CommitUnknown(CommitError):  # noqa: N818  it is not known to be an error
    """A reply was lost, and it is unknown whether the object is visible.

    `recover(run_id)`, or a rerun with the same run id, looks and completes the delivery.
    """

    visible = "unknown"


class ValidationError(SinkError):
    """Rows violate the schema. Nothing became visible.

    schema_name
        The name of the schema.
    failure_cases
        A frame with a row for each failure, up to the cap on collected failures: `row` (UInt64, counted from 0 over the
        whole run; null if the failure belongs to no row), `column` (null for a check of whole rows), `check` and
        `failure_case` (text).
    checks
        A frame with a row for each failed check and exact counts: `column`, `check`, `failures` (UInt64), `examples`.
    advice
        What to do next, and how many of the failures are kept. The message ends with it.

    Personal data is masked in both frames.
    """

    def __init__(
        self,
        message: str,
        *,
        schema_name: str = "",
        failure_cases: pl.DataFrame | None = None,
        checks: pl.DataFrame | None = None,
        advice: str = "",
    ) -> None:
        super().__init__(message)
        self.advice = advice
        self.schema_name = schema_name
        self.failure_cases = failure_cases
        self.checks = checks

    def _repr_html_(self) -> str:
        """Return the report as a table, for notebooks."""
        first, *rest = str(self).splitlines()
        table = ""
        if self.checks is not None:
            table, rest = _display.rows(self.checks.columns, self.checks.rows()), [self.advice, self.visibility]
        return _display.line(first, strong=True) + table + "".join(map(_display.line, filter(None, rest)))


@contextmanager
def panics_as_query_errors() -> Iterator[None]:
    """Raise a panic of the query engine, or of any other library written in Rust, as a `QueryError`.

    An exception of a Python source that an older Polars reports as an error of its own is raised as itself.
    """
    try:
        yield
    except BaseException as error:
        if (original := source_error(error)) is not None:
            raise original from original.__cause__
        # Each library written in Rust has a class of its own for panics.
        if not any(kind.__name__ == "PanicException" for kind in type(error).__mro__):
            raise
        raise QueryError(
            f"The query engine broke down (a Rust panic): {str(error) or 'it gave no reason'}. This is a fault of the "
            "engine that the data or the query triggered. Look in the query and its source for the cause that the "
            "reason names, such as a date out of range or a damaged file."
        ) from error
