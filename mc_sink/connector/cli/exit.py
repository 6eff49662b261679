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

from mc_sink._display import Printable, indented, lines, printable
from mc_sink.connector.history import Busy, masked
from mc_sink.exceptions import (
    AlreadyExistsError,
    CommitError,
    ConfigurationError,
    PermissionDenied,
    SinkError,
    TargetError,
    UploadError,
    ValidationError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

# A source that is deaf in a library's own code lets no Python run; nothing is published there, so it may be left.
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
}
_TOLD = {
    Code.INTERRUPTED: "Interrupted.",
    Code.TERMINATED: "Told to end by SIGTERM.",
}


class Terminated(SystemExit):
    """SIGTERM came."""

    def __init__(self) -> None:
        super().__init__(int(Code.TERMINATED))


def code_of(error: BaseException) -> Code:
    """Give the exit code for what was raised."""
    if isinstance(error, Terminated):
        return Code.TERMINATED
    return next((code for kind, code in _CODES.items() if isinstance(error, kind)), Code.FAILED)


@contextmanager
def told(*, debug: bool) -> Iterator[None]:
    """Tell what goes wrong inside on standard error, secrets cut out, and end with its code.

    What the command line itself raises for wrong words, and an exit with a code, pass.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as error:  # a source that exits, even with 0, has delivered nothing
        raise typer.Exit(_tell(error, debug=debug)) from None
    except Exception as error:
        if _is_the_command_lines(error):
            raise
        raise typer.Exit(_tell(error, debug=debug)) from None


@contextmanager
def escaped_text() -> Iterator[None]:
    """Escape control characters in what the command line itself raises for wrong words, which it repeats."""
    try:
        yield
    except Exception as error:
        if _is_the_command_lines(error) and isinstance(words := getattr(error, "message", None), str):
            error.message = printable(words)  # type: ignore[attr-defined]  # typer's own kind has one
        raise


def _is_the_command_lines(error: BaseException) -> bool:
    """Whether typer raised it to say something of its own."""
    return isinstance(error, (typer.Exit, typer.Abort)) or any(
        kind.__name__ == "ClickException" for kind in type(error).__mro__
    )


def _tell(error: BaseException, *, debug: bool) -> Code:
    code = code_of(error)
    if debug:
        # Each piece is a frame, or an exception's text, whose own lines are set in.
        pieces = traceback.TracebackException.from_exception(error).format()
        say(lines(*(masked(line) for piece in pieces for line in indented(piece.rstrip("\n")).split("\n"))))
    elif code in _TOLD:
        say(lines(_TOLD[code], *_notes(error)))
    else:
        text = str(error) if isinstance(error, SinkError) else indented(str(error))
        first, *more = text.split("\n") if isinstance(text, Printable) else [text]
        say(lines(masked(f"{type(error).__name__}: {first}"), *map(masked, [*more, *_notes(error)])))
        if code is Code.FAILED:
            say("--debug shows where it was raised.")
    return code


def _notes(error: BaseException) -> list[str]:
    return [line for note in getattr(error, "__notes__", []) for line in indented(note).split("\n")]


def say(line: str) -> None:
    """Write to standard error, with control characters escaped."""
    print(printable(line), file=sys.stderr, flush=True)  # noqa: T201  the command line speaks


@contextmanager
def ending_soon() -> Iterator[None]:
    """Have SIGTERM raise `Terminated` here, and end the interpreter seconds later if that isn't heard."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    threading.Thread(target=_watch, args=(read,), name="mc_sink watch", daemon=True).start()
    earlier = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    try:
        with calling(_raise):
            yield
    finally:
        signal.set_wakeup_fd(earlier)
        os.close(write)


@contextmanager
def calling(function: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Have SIGTERM call a function meanwhile."""
    before = signal.signal(signal.SIGTERM, function)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _raise(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one would cut short what the first one began
    raise Terminated


def _watch(read: int) -> None:
    """Wait for SIGTERM, by the bytes that Python's own part in C writes for each signal."""
    with suppress(OSError), open(read, "rb", buffering=0) as signals:
        while heard := signals.read(1):
            if heard[0] == signal.SIGTERM:
                time.sleep(PATIENCE_SECONDS)
                os._exit(int(Code.TERMINATED))
