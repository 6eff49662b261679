"""Reduce an error to what a record may keep: its type, and a text without cell values and secrets.

Whatever a message quotes, of a cell, a header, a path or a reply, doesn't stand in our own source. So a record keeps of
a message only what does, phrase by phrase, and its target, which it holds anyway. All else is "…", numbers too. An
error that isn't ours has no word of ours: its type is kept, and the place that raised it. Of rows that break a schema
the counts are kept.
"""

from __future__ import annotations

import os
import re
import sys
from functools import cache
from importlib.machinery import SourceFileLoader
from itertools import groupby
from operator import itemgetter
from types import CodeType
from typing import TYPE_CHECKING

from mc_sink.connector.beside import without_folder
from mc_sink.connector.history.record import Failure
from mc_sink.exceptions import OUR_NOTE, PermissionDenied, SinkError, ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

MAX_TEXT = 1_000
MAX_CHECKS = 20
_KEY_ID = re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{12,}\b")
_USER_INFO = re.compile(r"(?<=://)[^/\s'\"]+@")  # up to the last @: a password may have one
_SECRET_NAMES = re.compile(
    r"AWS_ACCESS_KEY_ID|.*(PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|(ACCESS|ACCOUNT|API|PRIVATE|SECRET)_KEY|_URI|_DSN)"
)
# A shorter value would blot out words that have nothing to do with it.
_MIN_SECRET = 8
# Two words at least: a cell may well be one that stands in our source, such as "delivered", or a number.
_PHRASE = re.compile(r"[^\W\d_]{2,}\W+[^\W\d_]{2,}")
_GAP = "…"


def failure_of(error: BaseException, known: Iterable[str] = ()) -> Failure:
    """Return what a record keeps of an error; `known` are texts that the record holds anyway."""
    kind = type(error)
    ours = kind.__module__ == "builtins" or (isinstance(error, SinkError) and kind.__module__.startswith("mc_sink."))
    name = kind.__qualname__ if ours else f"{without_folder(kind.__module__)}.{kind.__qualname__}"
    notes = [note for note in getattr(error, "__notes__", ()) if note.startswith(OUR_NOTE)]
    kept = [_text(error, known), *(_kept(note.removeprefix(OUR_NOTE), known) for note in notes)]
    return Failure(name, masked(" ".join(filter(None, kept)))[:MAX_TEXT])


def _text(error: BaseException, known: Iterable[str]) -> str:
    if isinstance(error, ValidationError):
        return _counts(error)
    if isinstance(error, SinkError):
        return " ".join([*_facts(error), _kept(error.message, known), error.visibility])
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        return "The run was told to end."
    return f"{_place(error.__traceback__)}; its text is left out, for it may quote cells."


def _facts(error: SinkError) -> Iterator[str]:
    """Yield what an error holds besides its message, where that can't be a value of the rows."""
    if isinstance(error, PermissionDenied) and error.action:
        yield f"Missing: {error.action}."


def _kept(text: str, known: Iterable[str]) -> str:
    """Return of a message what stands in our source, or in `known`, with a gap for all else."""
    kept = bytearray(len(text))
    for phrase in (*filter(None, known), *_phrases()):
        start = text.find(phrase)
        while start >= 0:
            kept[start : start + len(phrase)] = b"\1" * len(phrase)
            start = text.find(phrase, start + 1)
    runs = groupby(zip(text, kept, strict=True), itemgetter(1))
    return "".join("".join(one for one, _ in run) if is_ours else _GAP for is_ours, run in runs)


def _phrases() -> Iterator[str]:
    """Yield every text of two words or more that stands in our source, as far as it is loaded."""
    for name, module in list(sys.modules.items()):
        loader = getattr(module, "__loader__", None)
        ours = name.partition(".")[0] == "mc_sink" and without_folder(name) == name  # and not one beside a connection
        if ours and isinstance(loader, SourceFileLoader):
            yield from _phrases_of(name, loader)


@cache
def _phrases_of(name: str, loader: SourceFileLoader) -> frozenset[str]:
    code = loader.get_code(name)
    return frozenset(filter(_PHRASE.search, _texts(code))) if code else frozenset()


def _texts(code: CodeType) -> Iterator[str]:
    """Yield the texts of a module and of all that is in it, those between the braces of an f-string apart."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _texts(constant)
        for one in constant if isinstance(constant, tuple | frozenset) else (constant,):
            if isinstance(one, str):
                yield one


def masked(text: str) -> str:
    """Cut credentials out of a text: the environment's, key ids, and what stands before the host of a URL."""
    known = {value for name, value in os.environ.items() if _SECRET_NAMES.fullmatch(name) and len(value) >= _MIN_SECRET}
    for value in sorted(known, key=len, reverse=True):
        text = text.replace(value, "…")
    return _USER_INFO.sub("…@", _KEY_ID.sub("…", text))


def _counts(error: ValidationError) -> str:
    """Say which checks failed how often, with no example."""
    if error.checks is None:
        return f"Rows break the schema {error.schema_name}."
    rows = error.checks.select("column", "check", "failures").rows()
    told = [f"{number:,} of {check} in {column or 'whole rows'}" for column, check, number in rows[:MAX_CHECKS]]
    more = [f"and {len(rows) - MAX_CHECKS} more checks"] if len(rows) > MAX_CHECKS else []
    return f"Rows break the schema {error.schema_name}: {'; '.join(told + more)}."


def _place(trace: TracebackType | None) -> str:
    """Say where an error was raised."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "Raised nobody knows where"
    return f"Raised in {trace.tb_frame.f_code.co_filename}, line {trace.tb_lineno}"
