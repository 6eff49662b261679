"""How a command ends: one message without a traceback, an exit code, and an orderly end on SIGTERM."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from contextlib import contextmanager, suppress
from enum import IntEnum
from typing import TYPE_CHECKING

import typer

from mc_sink._display import indented, lines, printable
from mc_sink.connector.cli.wording import for_command
from mc_sink.connector.history import Busy, TimedOut
from mc_sink.exceptions import (
    OUR_NOTE,
    AlreadyExistsError,
    CommitError,
    ConfigurationError,
    PermissionDenied,
    SinkError,
    TargetError,
    UploadError,
    ValidationError,
)
from mc_sink.scrub import masked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

# A source that blocks in a library's native code lets no Python run. Nothing is published then, so the exit is safe.
PATIENCE_SECONDS = 5.0


class Code(IntEnum):
    """Exit codes; docs/cli.md says what to do with each."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    CONFIGURATION = 3
    INVALID = 4
    DENIED = 5
    EXISTS = 6
    PARTLY = 7
    UPLOAD = 8
    DIFFERENT = 9
    BUSY = 75
    TIMED_OUT = 124
    INTERRUPTED = 130
    TERMINATED = 143


_CODES: dict[type[BaseException], Code] = {
    Busy: Code.BUSY,
    ConfigurationError: Code.CONFIGURATION,
    TargetError: Code.CONFIGURATION,
    ValidationError: Code.INVALID,
    PermissionDenied: Code.DENIED,
    AlreadyExistsError: Code.EXISTS,
    CommitError: Code.PARTLY,
    UploadError: Code.UPLOAD,
    KeyboardInterrupt: Code.INTERRUPTED,
    TimedOut: Code.TIMED_OUT,
}
_SIGNALS = {
    Code.INTERRUPTED: "Interrupted.",
    Code.TERMINATED: "Terminated by SIGTERM.",
    Code.TIMED_OUT: "Ended, because it took longer than its connection's [schedule] timeout.",
}


class Terminated(SystemExit):
    """The program received SIGTERM."""

    def __init__(self) -> None:
        super().__init__(int(Code.TERMINATED))


def code_of(error: BaseException) -> Code:
    """Return the exit code for an exception."""
    if isinstance(error, Terminated):
        return Code.TERMINATED
    return next((code for kind, code in _CODES.items() if isinstance(error, kind)), Code.FAILED)


@contextmanager
def reported(command: Callable[[], str | None], *, debug: bool) -> Iterator[None]:
    """Report an exception on standard error, with secrets removed, and exit with its code.

    `command` returns the command that ran, in whose words the message is. Typer's own usage errors and exits pass.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as error:  # a source that exits, even with 0, has delivered nothing
        raise typer.Exit(report(error, command(), debug=debug)) from None
    except Exception as error:
        if _is_typers(error):
            raise
        raise typer.Exit(report(error, command(), debug=debug)) from None


@contextmanager
def escaped_usage_errors() -> Iterator[None]:
    """Escape control characters in typer's usage errors, which repeat the arguments."""
    try:
        yield
    except Exception as error:
        if _is_typers(error) and isinstance(message := getattr(error, "message", None), str):
            error.message = printable(message)  # type: ignore[attr-defined]  # typer's own errors have one
        raise


def _is_typers(error: BaseException) -> bool:
    return isinstance(error, (typer.Exit, typer.Abort)) or any(
        kind.__name__ == "ClickException" for kind in type(error).__mro__
    )


def report(error: BaseException, command: str | None, *, debug: bool = False) -> Code:
    """Report an exception on standard error, in the words of a command, and return its exit code."""
    code = code_of(error)
    if debug:
        # Each piece is a frame, or an exception's text, whose own lines are indented.
        pieces = traceback.TracebackException.from_exception(error).format()
        say(lines(*(masked(line) for piece in pieces for line in indented(piece.rstrip("\n")).split("\n"))))
        return code
    own = for_command(str(error), command) if isinstance(error, SinkError) else indented(str(error))
    notes = [line for note in getattr(error, "__notes__", []) for line in indented(note).split("\n")]
    notes = [for_command(note, command) if note.startswith(OUR_NOTE) else note for note in notes]
    first, *more = own.split("\n")
    message = [_SIGNALS[code]] if code in _SIGNALS else [f"{type(error).__name__}: {first}", *more]
    say(lines(*map(masked, [*message, *notes])))
    if code is Code.FAILED:
        say("--debug shows where it was raised.")
    return code


def say(line: str) -> None:
    """Write a line to standard error, with control characters escaped."""
    print(printable(line), file=sys.stderr, flush=True)  # noqa: T201  the output of a command


@contextmanager
def ending_soon(timeout: int | None = None) -> Iterator[None]:
    """Raise `Terminated` on SIGTERM, and exit the interpreter seconds later if no Python code has run since.

    After `timeout` seconds the same happens with `TimedOut`.
    """

    def end(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one would interrupt the end that the first one began
        raise Terminated

    def end_late(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise TimedOut(int(Code.TIMED_OUT))

    read, write = os.pipe()
    os.set_blocking(write, False)
    threading.Thread(target=_watch, args=(read,), name="mc_sink watch", daemon=True).start()
    earlier = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    try:
        with calling(end), calling(end_late, signal.SIGALRM):
            signal.setitimer(signal.ITIMER_REAL, timeout or 0)
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.set_wakeup_fd(earlier)
        os.close(write)


@contextmanager
def calling(
    function: Callable[[int, FrameType | None], object], number: signal.Signals = signal.SIGTERM
) -> Iterator[None]:
    """Run a function on a signal, within the `with`."""
    before = signal.signal(number, function)
    try:
        yield
    finally:
        signal.signal(number, before)


def _watch(read: int) -> None:
    """Wait for SIGTERM and SIGALRM, by the bytes that Python's signal code in C writes for each signal."""
    codes = {int(signal.SIGTERM): Code.TERMINATED, int(signal.SIGALRM): Code.TIMED_OUT}
    with suppress(OSError), open(read, "rb", buffering=0) as signals:
        while received := signals.read(1):
            if received[0] in codes:
                time.sleep(PATIENCE_SECONDS)
                os._exit(int(codes[received[0]]))
