"""Reduce an error to what a record may hold: its type, its typed facts, and a text without cell values and secrets.

- Of every `SinkError` the facts in its fields are kept: what became visible, counts, the missing permission, the
  checks that failed.
- Of its message only the phrases that appear in this package's source code are kept, and the target. Cells, headers,
  paths and replies appear in no source code, so they become "…", and numbers too.
- Of any other error the type and the place that raised it are kept.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from importlib.machinery import SourceFileLoader
from itertools import groupby
from operator import itemgetter
from types import CodeType
from typing import TYPE_CHECKING, Any

from mc_sink.exceptions import OUR_NOTE, LimitError, PermissionDenied, SinkError, ValidationError
from mc_sink.receipt import failed_checks
from mc_sink.records.record import Details, Failure, FailureCase, TimedOut
from mc_sink.scrub import masked

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mc_sink.records.record import Status

MAX_TEXT = 1_000
MAX_CHECKS = 20
MAX_CASES = 20
# At least two words: a cell may hold a single word of the source code, such as "delivered", or a number.
_PHRASE = re.compile(r"[^\W\d_]{2,}\W+[^\W\d_]{2,}")
_GAP = "…"
# Modules beside a connection file are imported below this name, with the folder in hex.
BESIDE = "mc_sink.connector.beside."


def without_folder(module: str) -> str:
    """Return a module's name without the prefix of its folder."""
    return module.removeprefix(BESIDE).partition(".")[2] if module.startswith(BESIDE) else module


def failure_of(error: BaseException, known: Iterable[str] = ()) -> Failure:
    """Return what a record keeps of an error; `known` are texts that the record holds anyway, such as its target."""
    kind = type(error)
    is_own = isinstance(error, SinkError) and kind.__module__.startswith("mc_sink.")
    short = is_own or isinstance(error, TimedOut) or kind.__module__ == "builtins"
    name = kind.__qualname__ if short else f"{without_folder(kind.__module__)}.{kind.__qualname__}"
    notes = [note for note in getattr(error, "__notes__", ()) if note.startswith(OUR_NOTE)]
    texts = [*_texts_of(error, known), *(_phrases_in(note.removeprefix(OUR_NOTE), known) for note in notes)]
    visible = error.visible if isinstance(error, SinkError) else None
    return Failure(name, masked(" ".join(filter(None, texts)))[:MAX_TEXT], visible)


def ending_of(error: BaseException, target: str) -> dict[str, Any]:
    """Return the facts of a run to `target` that this error ended.

    A signal makes it "interrupted", a timeout "failed".
    """
    status: Status = "failed" if isinstance(error, (Exception, TimedOut)) else "interrupted"
    details = Details()
    if isinstance(error, ValidationError):
        details = Details(checks=failed_checks(error.checks), cases=_first_cases(error))
    return {"status": status, "error": failure_of(error, known=(target,)), "details": details}


def _first_cases(error: ValidationError) -> tuple[FailureCase, ...]:
    """Return the first rows that failed, and the checks that they failed, without their values."""
    if error.failure_cases is None:
        return ()
    rows = error.failure_cases.head(MAX_CASES).select("row", "column", "check").rows()
    return tuple(FailureCase(*row) for row in rows)


def _texts_of(error: BaseException, known: Iterable[str]) -> Iterator[str]:
    if isinstance(error, SinkError):
        # Facts in an error's fields cannot be values of the rows.
        if isinstance(error, PermissionDenied) and error.action:
            yield f"Missing: {error.action}."
        if isinstance(error, LimitError) and error.limit:
            yield f"Limit: {error.limit} of {error.preset}."
        if isinstance(error, ValidationError):
            yield f"Rows break the schema {error.schema_name}{_counts(error)}."
        else:
            yield _phrases_in(error.message, known)
        yield error.visibility  # it is made of typed facts
    elif isinstance(error, TimedOut):
        yield "The run took longer than its connection's [schedule] timeout, and was ended."
    elif isinstance(error, (KeyboardInterrupt, SystemExit)):
        yield "The run was interrupted."
    else:
        place, trace = "Raised at an unknown place", error.__traceback__
        while trace is not None:
            place = f"Raised in {trace.tb_frame.f_code.co_filename}, line {trace.tb_lineno}"
            trace = trace.tb_next
        yield f"{place}; its text is left out, because it may quote cells."


def _counts(error: ValidationError) -> str:
    """Return which checks failed how often, without an example."""
    if error.checks is None:
        return ""
    rows = error.checks.select("column", "check", "failures").rows()
    counts = [f"{number:,} of {check} in {column or 'whole rows'}" for column, check, number in rows[:MAX_CHECKS]]
    if more := len(rows) - len(counts):
        counts.append(f"and {more} more {'check' if more == 1 else 'checks'}")
    return f": {'; '.join(counts)}"


def _phrases_in(text: str, known: Iterable[str]) -> str:
    """Return the parts of a message that appear in the source code or in `known`, with a gap for all others."""
    kept = bytearray(len(text))
    for phrase in (*filter(None, known), *_phrases()):
        start = text.find(phrase)
        while start >= 0:
            kept[start : start + len(phrase)] = b"\1" * len(phrase)
            start = text.find(phrase, start + 1)
    runs = groupby(zip(text, kept, strict=True), itemgetter(1))
    return "".join("".join(letter for letter, _ in run) if is_kept else _GAP for is_kept, run in runs)


def _phrases() -> Iterator[str]:
    """Yield every string of two words or more in the loaded modules of this package."""
    for name, module in list(sys.modules.items()):
        loader = getattr(module, "__loader__", None)
        is_own = name.partition(".")[0] == "mc_sink" and without_folder(name) == name  # and not beside a connection
        if is_own and isinstance(loader, SourceFileLoader):
            yield from _phrases_of(name, loader)


@cache
def _phrases_of(name: str, loader: SourceFileLoader) -> frozenset[str]:
    code = loader.get_code(name)
    return frozenset(filter(_PHRASE.search, _strings(code))) if code else frozenset()


def _strings(code: CodeType) -> Iterator[str]:
    """Yield the strings of a module and its functions; of an f-string, the pieces between its braces."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _strings(constant)
        for value in constant if isinstance(constant, tuple | frozenset) else (constant,):
            if isinstance(value, str):
                yield value
