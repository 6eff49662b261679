"""An error as it may be kept: its type, and a text without cell values and secrets.

What a query or a database says often quotes the very cell that it stumbled over, anywhere in its text. So of errors
that aren't ours no word is kept; of ours, all but what stands in quotes; of rows that break a schema, the counts.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from mc_sink.exceptions import SinkError, ValidationError
from mc_sink.history._record import Failure

if TYPE_CHECKING:
    from types import TracebackType

MAX_TEXT = 1_000
MAX_CHECKS = 20
_OUR_NOTE = "mc_sink: "
_QUOTED = re.compile(r"""(?<!\w)'[^'\n]*'|"[^"\n]*"|`[^`\n]*`""")
_KEY_ID = re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{12,}\b")
_USER_INFO = re.compile(r"(?<=://)[^/\s'\"]+@")  # up to the last @: a password may have one
_SECRET_NAMES = re.compile(
    r"AWS_ACCESS_KEY_ID|.*(PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|(ACCESS|ACCOUNT|API|PRIVATE|SECRET)_KEY|_URI|_DSN)"
)
# A shorter value would blot out words that have nothing to do with it.
_MIN_SECRET = 8


def failure_of(error: BaseException) -> Failure:
    """Give what a record keeps of an error."""
    kind = type(error)
    ours = kind.__module__ == "builtins" or kind.__module__.startswith("mc_sink.")
    name = kind.__qualname__ if ours else f"{kind.__module__}.{kind.__qualname__}"
    notes = [_unquoted(note) for note in getattr(error, "__notes__", ()) if note.startswith(_OUR_NOTE)]
    return Failure(name, " ".join([_text(error), *notes])[:MAX_TEXT])


def _text(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        return _counts(error)
    if isinstance(error, SinkError):
        return _unquoted(str(error))
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        return "The run was told to end."
    return f"{_place(error.__traceback__)}; its text is left out, for it may quote cells."


def _unquoted(text: str) -> str:
    return masked(_QUOTED.sub("'…'", text))


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
